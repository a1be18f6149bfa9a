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

use crate::common::{BOOT, DISK, lab, page};
use digitalocean::{ControlPlane, TOKEN};
use flate2::read::GzDecoder;
use qemu_tests::{Bus, Channel, Disk, Lab, Machine, Setup};
use s3::{BUCKET, ID, SECRET, Server};
use serde_json::Value;

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

    let (asked, launched) = mpsc::channel::<Value>();
    provider.state().on_launch = Some(Box::new(move |body| asked.send(body.clone()).unwrap()));
    let document = page(&registry, "launched").replacen("\"box\"", "\"hub1\"", 1);
    fs::write(lab.dir().join("box.toml"), document).unwrap();
    let (tell, told) = mpsc::channel();
    let port = later(told);
    let mut launch = workstation(&lab, &provider);
    launch.args([
        "launch",
        "digitalocean",
        "--user-data",
        "box.toml",
        "--size",
        "s-1vcpu-1gb",
        "--region",
        "fra1",
    ]);
    launch.args(["--timeout", LAUNCH, "--json", "--ssh-key"]).arg(lab.key().with_extension("pub"));
    for option in [
        format!("Port={port}"),
        format!("IdentityFile={}", lab.key().display()),
        "IdentitiesOnly=yes".to_owned(),
        known_hosts(lab.dir()),
    ] {
        launch.args(["--ssh-option", &option]);
    }
    let launching = launch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let body = launched.recv_timeout(Duration::from_secs(60)).unwrap();
    let setup = Setup {
        user_data: Some((Channel::ConfigDrive, body["user_data"].as_str().unwrap().into())),
        bus: Bus::VirtioScsi,
        instance_id: "3164444".into(),
        hostname: body["name"].as_str().unwrap().into(),
        ..Setup::default()
    };
    let machine = Machine::boot(&lab, &disk(&lab, &fetched), &setup).unwrap();
    tell.send(machine.ssh_port()).unwrap();
    let ended = launching.wait_with_output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{said}{wrong}");
    let server: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&server["name"], &server["addresses"][0]), (&"hub1".into(), &"127.0.0.1".into()));
    assert!(wrong.contains("wait until it answers") && !wrong.contains(TOKEN), "{wrong}");
    machine.wait_served("launched", BOOT).unwrap();
    assert_eq!(machine.json(&["status"], &[0, 3]).unwrap()["hostname"], "hub1");
    machine.kill().unwrap();
}
