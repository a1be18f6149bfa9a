//! Images in OpenStack, against Keystone and Glance themselves.
//!
//! They are Python's programs, which `scripts/test --full` puts into a place of their own; a test says where by
//! `HOLDFAST_OPENSTACK`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::openstack::{Cloud, PASSWORD};
use crate::support::release::built;
use crate::support::workspace::{Run, output};
use serde_json::{Value, json};

struct Place {
    folder: tempfile::TempDir,
    cloud: Cloud,
}

impl Place {
    fn new() -> Place {
        let programs =
            std::env::var_os("HOLDFAST_OPENSTACK").expect("HOLDFAST_OPENSTACK: the programs' folder");
        let folder = tempfile::tempdir().unwrap();
        let cloud = Cloud::start(Path::new(&programs), &folder.path().join("cloud"));
        let place = Place { folder, cloud };
        // Glance looks at what it is given: a raw disk begins with a boot record.
        let mut disk = vec![0; 3 << 20];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[0x1be..0x1ce]
            .copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0x17, 0, 0]);
        built(&place.image(), "holdfast.raw", &disk);
        place
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// The program with the variables of an openrc file, and these instead of some.
    fn run(&self, set: &[(&str, &str)], arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-image"));
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command
            .env("OS_AUTH_URL", &self.cloud.auth_url)
            .env("OS_USERNAME", "admin")
            .env("OS_PASSWORD", PASSWORD);
        command.env("OS_PROJECT_NAME", "admin").env("OS_REGION_NAME", "RegionOne").envs(set.iter().copied());
        let run = output(command.args(arguments));
        assert!(!run.stdout.contains(PASSWORD) && !run.stderr.contains(PASSWORD), "a secret was shown");
        run
    }
}

fn json_of(run: Run) -> Value {
    serde_json::from_str(&run.ok().stdout).unwrap()
}

#[test]
#[ignore = "needs Keystone and Glance, which scripts/test --full prepares"]
fn keystone_and_glance_have_an_image_as_it_was_sent() {
    let place = Place::new();
    let image = json_of(place.run(&[], &["upload", "openstack", "image", "--firmware", "uefi", "--json"]));
    assert_eq!((&image["name"], &image["state"]), (&json!("holdfast-0.3.1"), &json!("active")));
    let id = image["id"].as_str().unwrap();
    let stored = fs::read(place.folder.path().join("cloud/glance/images").join(id)).unwrap();
    assert!(stored == fs::read(place.image().join("holdfast.raw")).unwrap());

    // The same by an application credential, from `clouds.yaml`.
    let (credential, secret) = place.cloud.application_credential();
    let clouds = format!(
        "clouds:\n  work:\n    auth_type: v3applicationcredential\n    region_name: RegionOne\n    auth:\n      \
         auth_url: {}\n      application_credential_id: {credential}\n      application_credential_secret: {secret}\n",
        place.cloud.auth_url
    );
    fs::write(place.folder.path().join("clouds.yaml"), clouds).unwrap();
    let second = json_of(
        place.run(&[], &["upload", "openstack", "image", "--cloud", "work", "--name", "b", "--json"]),
    );
    let images = json_of(place.run(&[("OS_CLOUD", "work")], &["images", "openstack", "--json"]));
    let names: Vec<&str> =
        images.as_array().unwrap().iter().filter_map(|image| image["name"].as_str()).collect();
    assert_eq!(names, ["b", "holdfast-0.3.1"]);

    let gone = place.run(&[], &["destroy", "openstack", "image", "b", "--yes"]).ok();
    assert_eq!(gone.stdout, format!("removed image {} b\n", second["id"].as_str().unwrap()));
    assert_eq!(json_of(place.run(&[], &["images", "openstack", "--json"])).as_array().unwrap().len(), 1);

    // What the cloud refuses leaves nothing behind, and is told in its words.
    built(&place.image(), "holdfast.qcow2", b"no qcow2 at all, whatever its name says it would be");
    fs::remove_file(place.image().join("holdfast.raw")).unwrap();
    place.run(&[], &["upload", "openstack", "image"]).fails(1, &["answered with 415", "qcow2"]);
    assert_eq!(json_of(place.run(&[], &["images", "openstack", "--json"])).as_array().unwrap().len(), 1);

    // Who asks, where, and where not.
    let run = |name: &str, value: &str| place.run(&[(name, value)], &["images", "openstack"]);
    run("OS_PASSWORD", "other").fails(1, &["answered with 401", "hint: check user, password and project"]);
    run("OS_REGION_NAME", "none").fails(1, &["the cloud has no service `image` in the region `none`"]);
    run("OS_REGION_NAME", "").fails(1, &["the cloud has several regions: ", "hint: name one with --region"]);
    run("OS_AUTH_URL", "").fails(1, &["no cloud is named", "hint: source the provider's openrc file"]);
    run("OS_CLOUD", "none").fails(1, &["no `clouds.yaml` has the cloud `none`"]);
    let boxes = place.run(&[], &["boxes", "openstack"]);
    boxes.fails(1, &["the cloud has no service `compute`"]);
}
