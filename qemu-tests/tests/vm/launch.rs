//! From a built image to a box that answers, through a provider.
//!
//! The provider's control plane is one that is held to its specification; what it fetched from the bucket boots,
//! with the metadata that it would serve.

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../../image/builder/tests/support/digitalocean.rs"]
mod digitalocean;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../../image/builder/tests/support/s3.rs"]
mod s3;

use std::fs;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::common::{BOOT, CHANGE, DISK, lab, out, page, probe, text, wait_until};
use digitalocean::{ControlPlane, TOKEN};
use flate2::read::GzDecoder;
use qemu_tests::{Bus, Channel, Disk, Lab, Machine, Setup};
use s3::{BUCKET, ID, SECRET, Server};
use serde_json::{Value, json};

/// How long the whole of a launch may take.
const LAUNCH: &str = "15m";

/// The workstation's program with the credentials of the provider and of the bucket.
fn workstation(lab: &Lab, provider: &ControlPlane) -> Command {
    let mut command = Command::new(lab.builder());
    command.arg("--root").arg(lab.root()).current_dir(lab.dir());
    command.env("DIGITALOCEAN_ACCESS_TOKEN", TOKEN).env("DIGITALOCEAN_API_URL", &provider.url);
    command.env("SPACES_ACCESS_KEY_ID", ID).env("SPACES_SECRET_ACCESS_KEY", SECRET);
    command
}

/// A port that leads to the port that is told later; until then nobody answers there.
fn later(port: mpsc::Receiver<u16>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut known = None;
        for client in listener.incoming().flatten() {
            known = known.or_else(|| port.try_recv().ok());
            let Some(server) = known.and_then(|port| TcpStream::connect(("127.0.0.1", port)).ok()) else {
                continue;
            };
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || {
                    // An end of either side is an end of the connection.
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    own
}

/// What the provider fetched, as a disk.
fn disk(lab: &Lab, fetched: &[u8]) -> Disk {
    let raw: PathBuf = lab.dir().join("fetched.raw");
    let mut plain = GzDecoder::new(fetched);
    let mut file = fs::File::create(&raw).unwrap();
    let mut chunk = vec![0; 1 << 20];
    let mut length = 0;
    while let count @ 1.. = read_full(&mut plain, &mut chunk) {
        let chunk = &chunk[..count];
        length += count as u64;
        if chunk.iter().any(|byte| *byte != 0) {
            io::Write::write_all(&mut file, chunk).unwrap();
        } else {
            io::Seek::seek(&mut file, io::SeekFrom::Start(length)).unwrap();
        }
    }
    file.set_len(length).unwrap();
    Disk::of(lab, &raw, "droplet.raw", DISK).unwrap()
}

fn read_full(from: &mut impl Read, chunk: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < chunk.len() {
        match from.read(&mut chunk[filled..]).unwrap() {
            0 => break,
            count => filled += count,
        }
    }
    filled
}

fn known_hosts(folder: &Path) -> String {
    format!("UserKnownHostsFile={}", folder.join("known_hosts").display())
}

/// Launches a box by the workstation's program: what the provider is to give it is given to a machine with this
/// disk. The machine, and what the program said when it had answered.
fn launched(
    lab: &Lab,
    provider: &ControlPlane,
    disk: &Disk,
    instance_id: &str,
    document: &str,
    more: &[&str],
) -> (Machine, String, String) {
    let (asked, launched) = mpsc::channel::<Value>();
    provider.state().on_launch = Some(Box::new(move |body| asked.send(body.clone()).unwrap()));
    fs::write(lab.dir().join("box.toml"), document).unwrap();
    let (tell, told) = mpsc::channel();
    let port = later(told);
    let mut launch = workstation(lab, provider);
    launch.args(["launch", "digitalocean", "--user-data", "box.toml", "--size", "s-1vcpu-1gb"]);
    launch.args(["--region", "fra1", "--timeout", LAUNCH, "--json"]).args(more);
    launch.arg("--ssh-key").arg(lab.key().with_extension("pub"));
    for option in [
        format!("Port={port}"),
        format!("IdentityFile={}", lab.key().display()),
        "IdentitiesOnly=yes".to_owned(),
        known_hosts(lab.dir()),
    ] {
        launch.args(["--ssh-option", &option]);
    }
    let mut launching = launch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let Ok(body) = launched.recv_timeout(Duration::from_secs(60)) else {
        launching.kill().unwrap();
        panic!("no box was asked for: {}", out(&launching.wait_with_output().unwrap()));
    };
    let setup = Setup {
        user_data: Some((Channel::ConfigDrive, body["user_data"].as_str().unwrap().into())),
        bus: Bus::VirtioScsi,
        instance_id: instance_id.into(),
        hostname: body["name"].as_str().unwrap().into(),
        ..Setup::default()
    };
    let machine = Machine::boot(lab, disk, &setup).unwrap();
    tell.send(machine.ssh_port()).unwrap();
    let ended = launching.wait_with_output().unwrap();
    let [said, wrong] =
        [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(ended.status.success(), "{said}{wrong}");
    (machine, said, wrong)
}

#[test]
fn a_built_image_becomes_a_box_that_answers() {
    let (lab, registry) = lab();
    let provider = ControlPlane::start();
    let bucket = Server::start(&lab.dir().join("buckets"));
    let image = lab.image().parent().unwrap().to_owned();
    let mut upload = workstation(&lab, &provider);
    upload.args(["upload", "digitalocean"]).arg(&image).args(["--region", "fra1", "--bucket", BUCKET]);
    let uploaded = upload.args(["--endpoint", &bucket.endpoint(), "--timeout", "5m"]).output().unwrap();
    assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
    let left = fs::read_dir(bucket.objects("")).unwrap().flatten();
    assert_eq!(left.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count(), 0);
    let fetched = provider.state().contents.pop().unwrap();
    assert!(fetched == fs::read(image.join("holdfast.raw.gz")).unwrap());

    let document = page(&registry, "launched").replacen("\"box\"", "\"hub1\"", 1);
    let (machine, said, wrong) = launched(&lab, &provider, &disk(&lab, &fetched), "3164444", &document, &[]);
    let server: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&server["name"], &server["addresses"][0]), (&"hub1".into(), &"127.0.0.1".into()));
    assert!(wrong.contains("wait until it answers") && !wrong.contains(TOKEN), "{wrong}");
    machine.wait_served("launched", BOOT).unwrap();
    assert_eq!(machine.json(&["status"], &[0, 3]).unwrap()["hostname"], "hub1");
    machine.kill().unwrap();
}

/// Whose key is lost makes a snapshot of the box at the provider, and a new box of it that is told of another
/// key: everything that the box had is there.
#[test]
fn full_who_is_locked_out_gets_in_by_a_snapshot() {
    let (lab, registry) = lab();
    let provider = ControlPlane::start();
    let (lost, line) = crate::logins::key(&lab, "lost");
    let volumes = "volumes = { data = \"/data\" }\n[recipe.volumes.data]\nsize = \"64M\"\n";
    let document = page(&registry, "kept") + &probe(&registry, volumes);
    let own = format!("\"box\"\nprovider_keys = false\nadmins = [\"{line}\"]");
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup::with(document.replacen("\"box\"", &own, 1)).by(Channel::ConfigDrive);
    let setup = Setup { bus: Bus::VirtioScsi, ..setup };
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("kept", BOOT).unwrap();
    let write = "exec probe.sh -- /bin/sh -c 'echo ours >/data/mark; sync'";
    wait_until("a mark in the volume", CHANGE, || {
        let done = machine.ssh_with(&lost).args(["admin@127.0.0.1", write]).output().unwrap();
        if done.status.success() { Ok(()) } else { Err(out(&done)) }
    });
    // The other key is no way in.
    assert!(!machine.cli(&["version"]).unwrap().status.success());
    machine.power_off(CHANGE).unwrap();

    // The provider's snapshot is the disk as it is.
    provider.state().images.push(json!({
        "id": 7_555_999,
        "name": "hub1-snapshot",
        "type": "snapshot",
        "distribution": "Unknown",
        "slug": null,
        "public": false,
        "regions": ["fra1"],
        "created_at": "2026-11-29T09:00:00Z",
        "min_disk_size": 25,
        "size_gigabytes": 1.5,
        "description": "",
        "tags": [],
        "status": "available",
        "error_message": ""
    }));
    let document = document.replacen("\"box\"", "\"hub2\"", 1).replace("kept", "again");
    let (machine, ..) = launched(&lab, &provider, &disk, "3164445", &document, &["--image", "7555999"]);
    machine.wait_served("again", BOOT).unwrap();
    assert_eq!(provider.state().launched.last().unwrap()["image"], 7_555_999);
    assert_eq!(text(&machine, &["exec", "probe.sh", "--", "/bin/cat", "/data/mark"]), "ours");
    let tried = machine.ssh_with(&lost).args(["admin@127.0.0.1", "version"]).output().unwrap();
    assert!(!tried.status.success(), "the lost key is no way in any more");
    machine.kill().unwrap();
}
