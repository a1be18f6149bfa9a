//! Images and boxes in OpenStack, against Keystone, Glance and Nova themselves.
//!
//! They are Python's programs, which `scripts/test --full` puts into a place of their own; a test says where by
//! `HOLDFAST_OPENSTACK`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::openstack::{CORES, Cloud, PAGE, PASSWORD, TOKENS};
use crate::support::release::built;
use crate::support::workspace::{Run, no_secret_is_in, quietly, watched_program};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

const PROGRAM: &str = env!("CARGO_BIN_EXE_holdfast-image");
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk0LlHVvXMDgW2VPZhoMRqsX4fL0vQ7QK2UQkSpZ1aA ops";
const OTHER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk1LlHVvXMDgW2VPZhoMRqsX4fL0vQ7QK2UQkSpZ1aA night";
/// What the user-data says to nobody but the box.
const IN_THE_DOCUMENT: &str = "sesame of the document";
/// What the fixture of a network gives each box.
const ADDRESS: &str = "192.168.1.30";
/// A name that nearly all of which must be escaped.
const SNAPSHOT: &str = "hub1: the night / before";

struct Place {
    folder: tempfile::TempDir,
    cloud: Cloud,
    /// The secret of the application credential, once there is one.
    secret: Option<String>,
}

impl Place {
    fn new() -> Place {
        let programs =
            std::env::var_os("HOLDFAST_OPENSTACK").expect("HOLDFAST_OPENSTACK: the programs' folder");
        let folder = tempfile::tempdir().unwrap();
        let cloud = Cloud::start(Path::new(&programs), &folder.path().join("cloud"));
        let place = Place { folder, cloud, secret: None };
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
        self.run_at(Path::new(PROGRAM), set, arguments)
    }

    fn run_at(&self, program: &Path, set: &[(&str, &str)], arguments: &[&str]) -> Run {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command
            .env("OS_AUTH_URL", &self.cloud.auth_url)
            .env("OS_USERNAME", "admin")
            .env("OS_PASSWORD", PASSWORD);
        command.env("OS_PROJECT_NAME", "admin").env("OS_REGION_NAME", "RegionOne").envs(set.iter().copied());
        quietly(command.args(arguments), &self.secrets())
    }

    fn secrets(&self) -> Vec<&str> {
        let secrets = [PASSWORD, TOKENS, IN_THE_DOCUMENT].into_iter();
        secrets.chain(self.secret.as_deref()).collect()
    }

    fn launch(&self, more: &[&str]) -> Run {
        let launch = ["launch", "openstack", "--user-data", "box.toml", "--timeout", "60s", "--no-wait"];
        self.run(&[], &[&launch[..], more].concat())
    }

    fn destroy(&self, more: &[&str]) -> Run {
        self.run(&[], &[&["destroy", "openstack", "box"], more].concat())
    }

    /// The boxes and their states, by name: those that were made in one second have no order.
    fn boxes(&self) -> Vec<String> {
        let boxes = json_of(self.run(&[], &["boxes", "openstack", "--json"]));
        let text = |server: &Value, key: &str| server[key].as_str().unwrap().to_owned();
        let mut boxes: Vec<String> = boxes
            .as_array()
            .unwrap()
            .iter()
            .map(|server| format!("{} {}", text(server, "name"), text(server, "state")))
            .collect();
        boxes.sort();
        boxes
    }
}

fn json_of(run: Run) -> Value {
    serde_json::from_str(&run.ok().stdout).unwrap()
}

#[test]
#[ignore = "needs Keystone and Glance, which scripts/test --full prepares"]
fn keystone_and_glance_have_an_image_as_it_was_sent() {
    let mut place = Place::new();
    let image = json_of(place.run(&[], &["upload", "openstack", "image", "--firmware", "uefi", "--json"]));
    assert_eq!((&image["name"], &image["state"]), (&json!("holdfast-0.3.1"), &json!("active")));
    let id = image["id"].as_str().unwrap();
    let sent = fs::read(place.image().join("holdfast.raw")).unwrap();
    let stored = fs::read(place.folder.path().join("cloud/glance/images").join(id)).unwrap();
    assert!(stored == sent);
    assert!(place.cloud.image_content(id) == sent, "what makes boxes of it has the same");
    let hash: String = Sha512::digest(&sent).iter().map(|byte| format!("{byte:02x}")).collect();
    let has = |id: &str, expect: Value| {
        let document = place.cloud.image_document(id);
        for (key, value) in expect.as_object().unwrap() {
            assert_eq!(&document[key], value, "{key} of {document}");
        }
    };
    has(
        id,
        json!({
            "disk_format": "raw", "container_format": "bare", "visibility": "private", "tags": ["holdfast"],
            "os_type": "linux", "hw_disk_bus": "scsi", "hw_scsi_model": "virtio-scsi",
            "hw_firmware_type": "uefi", "size": sent.len(), "os_hash_algo": "sha512", "os_hash_value": hash,
        }),
    );

    // The same by an application credential, from `clouds.yaml`.
    let (credential, secret) = place.cloud.application_credential();
    let clouds = format!(
        "clouds:\n  work:\n    auth_type: v3applicationcredential\n    region_name: RegionOne\n    auth:\n      \
         auth_url: {}\n      application_credential_id: {credential}\n      application_credential_secret: {secret}\n",
        place.cloud.auth_url
    );
    fs::write(place.folder.path().join("clouds.yaml"), clouds).unwrap();
    place.secret = Some(secret);
    let upload = ["upload", "openstack", "image", "--cloud", "work", "--name", "b", "--disk", "virtio"];
    let second = json_of(place.run(&[], &[&upload[..], &["--json"]].concat()));
    let virtio = json!({ "hw_disk_bus": "virtio", "hw_scsi_model": null, "hw_firmware_type": "bios" });
    has(second["id"].as_str().unwrap(), virtio);
    let names = |set: &[(&str, &str)], arguments: &[&str]| -> Vec<String> {
        let images = json_of(place.run(set, &[&["images"][..], arguments, &["--json"]].concat()));
        let images = images.as_array().unwrap().iter();
        images.map(|image| image["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[("OS_CLOUD", "work")], &["openstack"]), ["b", "holdfast-0.3.1"]);

    // OVHcloud's is one of them, and the option for the region comes before the variable. Nobody is elsewhere.
    let elsewhere = [("OS_REGION_NAME", "elsewhere")];
    let nobody = "POST `http://127.0.0.1:9/v2/images` failed";
    let ovh = ["upload", "ovh", "image", "--name", "c"];
    place.run(&elsewhere, &ovh).fails(1, &[nobody]);
    place.run(&[], &[&ovh[..], &["--region", "elsewhere"]].concat()).fails(1, &[nobody]);
    let here = ["--region", "RegionOne"];
    place.run(&elsewhere, &[&ovh[..], &here].concat()).ok();
    assert!(names(&elsewhere, &["ovh", "--region", "RegionOne"]).contains(&"c".to_owned()));
    place.run(&elsewhere, &[&["destroy", "ovh", "image", "c", "--yes"], &here[..]].concat()).ok();

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

#[test]
#[ignore = "needs Keystone, Glance and Nova, which scripts/test --full prepares"]
fn keystone_and_glance_with_nova_have_boxes_as_they_were_asked_for() {
    let mut place = Place::new();
    place.cloud.add_compute();
    // As long as Nova takes it.
    let user_data = format!("[box]\nhostname = \"hub1\"\nadmins = [\"{KEY}\"]\n# {IN_THE_DOCUMENT} ");
    let user_data = format!("{user_data:x<49148}\n");
    fs::write(place.folder.path().join("box.toml"), &user_data).unwrap();
    fs::write(place.folder.path().join("other.pub"), OTHER_KEY).unwrap();
    place.run(&[], &["upload", "openstack", "image"]).ok();

    place.launch(&["--size", "none"]).fails(1, &["there is no size `none`", "hint: `openstack flavor list`"]);
    assert!(place.boxes().is_empty());
    // What no computer has room for stays, and can be removed.
    place
        .launch(&["--name", "big", "--size", "m1.large"])
        .fails(1, &["error: the box failed: No valid host was found.\n", "hint: what there is of it"]);
    assert_eq!(place.boxes(), ["big ERROR"]);
    place.destroy(&["big", "--yes"]).ok();

    let hub = json_of(place.launch(&["--size", "m1.tiny", "--json"]));
    assert_eq!((&hub["name"], &hub["state"]), (&json!("hub1"), &json!("ACTIVE")));
    assert_eq!(hub["addresses"], json!([ADDRESS]));
    let hears = |server: &Value, path: &str| place.cloud.metadata(server["id"].as_str().unwrap(), path);
    let about = |server: &Value| -> Value {
        serde_json::from_str(&hears(server, "/openstack/latest/meta_data.json")).unwrap()
    };
    assert!(hears(&hub, "/openstack/latest/user_data") == user_data, "the box has what was given");
    assert_eq!((&about(&hub)["name"], &about(&hub)["meta"]), (&json!("hub1"), &json!({ "holdfast": "1" })));
    assert_eq!(about(&hub)["keys"][0]["data"], json!(KEY));

    // A size of another page than the first; a name that no key at Nova may have.
    let web = json_of(place.launch(&["--name", "web.example.org", "--size", "m1.medium", "--json"]));
    assert_eq!(hears(&web, "/latest/meta-data/instance-type"), "m1.medium");
    assert_eq!(about(&web)["keys"], about(&hub)["keys"], "a key that is known is not added again");
    // The name of another box, which has another key.
    let night = json_of(place.launch(&["--size", "m1.tiny", "--ssh-key", "other.pub", "--json"]));
    assert_eq!(about(&night)["keys"][0]["data"], json!(OTHER_KEY));
    let boxes = place.boxes();
    assert_eq!(boxes, ["hub1 ACTIVE", "hub1 ACTIVE", "web.example.org ACTIVE"]);
    assert!(boxes.len() > PAGE);
    let full = format!("403: Quota exceeded for cores: Requested 8, but already used 4 of {CORES} cores");
    place.launch(&["--name", "big", "--size", "m1.xlarge"]).fails(1, &[&full]);

    place.destroy(&["web.example.org"]).fails(2, &["nobody can be asked", "hint: --yes"]);
    place.destroy(&["hub1", "--yes"]).fails(2, &["there are 2 of the name `hub1`"]);
    assert_eq!(place.boxes(), boxes);
    let [hub, web] = [&hub, &web].map(|server| server["id"].as_str().unwrap());
    let gone = place.destroy(&["web.example.org", hub, "--yes"]).ok().stdout;
    assert_eq!(gone, format!("removed box {web} web.example.org\nremoved box {hub} hub1\n"));
    // Nova takes its time.
    let end = Instant::now() + Duration::from_secs(60);
    while place.boxes() != ["hub1 ACTIVE"] {
        assert!(Instant::now() < end, "{:?}", place.boxes());
        std::thread::sleep(Duration::from_millis(200));
    }

    // A snapshot has no tag: it goes by its identity, and by its name where nothing else is called so.
    let disk = fs::read(place.image().join("holdfast.raw")).unwrap();
    let snapshot = place.cloud.snapshot(night["id"].as_str().unwrap(), SNAPSHOT, &disk);
    assert_eq!(place.cloud.image_document(&snapshot)["tags"], json!([]));
    let made_of = |server: &Value| {
        let document = place.cloud.server_document(server["id"].as_str().unwrap());
        document["image"]["id"].as_str().unwrap().to_owned()
    };
    let of = |image: &str, name: &str| {
        place.launch(&["--size", "m1.tiny", "--image", image, "--name", name, "--json"])
    };
    assert_eq!(made_of(&json_of(of(&snapshot, "by-id"))), snapshot);
    let ovh = ["launch", "ovh", "--user-data", "box.toml", "--timeout", "60s", "--no-wait", "--json"];
    let ovh = [&ovh[..], &["--size", "m1.tiny", "--image", SNAPSHOT, "--name", "by-name"]].concat();
    let other_region = [("OS_REGION_NAME", "elsewhere")];
    let by_name = place.run(&other_region, &[&ovh[..], &["--region", "RegionOne"]].concat());
    assert_eq!(made_of(&json_of(by_name)), snapshot);
    let upload = ["upload", "openstack", "image", "--name", SNAPSHOT, "--json"];
    let namesake = json_of(place.run(&[], &upload))["id"].as_str().unwrap().to_owned();
    let several = format!("there are 2 images of the name `{SNAPSHOT}`");
    of(SNAPSHOT, "x").fails(2, &[&several, "hint: name one by its identity: ", &snapshot, &namesake]);
    assert_eq!(made_of(&json_of(of(&namesake, "by-other-id"))), namesake);
    for none in ["hub1", "HUB1: the night / before", "00000000-0000-0000-0000-000000000000", ""] {
        let told = format!("there is no image `{none}` at this provider");
        of(none, "x").fails(2, &[&told, "hint: `images` shows those that were uploaded"]);
    }

    // Nobody reaches these boxes: the program that asks them, which is looked for beside this one, always fails.
    let (_beside, program) = watched_program();
    let launch = ["launch", "openstack", "--user-data", "box.toml", "--timeout", "30s", "--size", "m1.tiny"];
    let run = place.run_at(&program, &[], &[&launch[..], &["--name", "hub2"]].concat());
    run.fails(
        1,
        &[&format!("hub2 has {ADDRESS}\n"), &format!("at {ADDRESS} does not answer"), "hint: it stays there"],
    );
    no_secret_is_in(&fs::read(place.folder.path().join("seen")).unwrap(), &place.secrets());
    let boxes = ["by-id", "by-name", "by-other-id", "hub1", "hub2"].map(|name| format!("{name} ACTIVE"));
    assert_eq!(place.boxes(), boxes);
}
