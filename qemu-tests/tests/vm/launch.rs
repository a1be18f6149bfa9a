//! From a built image to a box that answers, through a provider.
//!
//! DigitalOcean's control plane is one that is held to its specification; OpenStack's are Keystone, Glance and Nova
//! themselves. What the provider has of the image boots, with what it would say to the box that it was asked for.

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../../image/builder/tests/support/digitalocean.rs"]
mod digitalocean;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../../image/builder/tests/support/http.rs"]
mod http;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../../image/builder/tests/support/openstack.rs"]
mod openstack;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../../image/builder/tests/support/s3.rs"]
mod s3;

use std::fs;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::common::{BOOT, CHANGE, DISK, lab, out, page, probe, text, wait_until};
use digitalocean::{ControlPlane, State, TOKEN};
use flate2::read::GzDecoder;
use openstack::{Cloud, PASSWORD};
use qemu_tests::{Bus, Channel, Disk, Lab, Machine, Nic, Setup};
use s3::{BUCKET, ID, SECRET, Server};
use serde_json::{Map, Value, json};

/// How long the whole of a launch may take.
const LAUNCH: &str = "15m";
/// How long it may take until a provider makes the box.
const MADE: Duration = Duration::from_secs(180);
/// The first NIC's hardware address, and that of one in the account's own network.
const MACS: [&str; 2] = ["52:54:00:12:34:56", "52:54:00:12:34:57"];
/// The address that Nova's network gives each box.
const NOVAS: &str = "192.168.1.30";

/// The workstation's program.
fn workstation(lab: &Lab) -> Command {
    let mut command = Command::new(lab.builder());
    command.arg("--root").arg(lab.root()).current_dir(lab.dir());
    command
}

/// The same with the credentials of DigitalOcean and of the bucket.
fn at_digitalocean(lab: &Lab, provider: &ControlPlane) -> Command {
    let mut command = workstation(lab);
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

/// Launches a box by the workstation's program, and switches it on once `made` gives what the provider has made of the
/// request. The machine, and what the program said when it had answered.
fn launched(
    lab: &Lab,
    mut launch: Command,
    disk: &Disk,
    document: &str,
    made: impl Fn() -> Option<Setup>,
) -> (Machine, String, String) {
    fs::write(lab.dir().join("box.toml"), document).unwrap();
    let (tell, told) = mpsc::channel();
    let port = later(told);
    launch.args(["--user-data", "box.toml", "--timeout", LAUNCH, "--json"]);
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
    let end = Instant::now() + MADE;
    let setup = loop {
        if let Some(setup) = made() {
            break setup;
        }
        if Instant::now() > end || launching.try_wait().unwrap().is_some() {
            let _ = launching.kill();
            panic!("no box was made: {}", out(&launching.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let machine = Machine::boot(lab, disk, &setup).unwrap();
    tell.send(machine.ssh_port()).unwrap();
    let ended = launching.wait_with_output().unwrap();
    let [said, wrong] =
        [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(ended.status.success(), "{said}{wrong}");
    (machine, said, wrong)
}

/// Launches a box at DigitalOcean.
fn launched_droplet(
    lab: &Lab,
    provider: &ControlPlane,
    disk: &Disk,
    document: &str,
    more: &[&str],
) -> (Machine, String, String) {
    let mut launch = at_digitalocean(lab, provider);
    launch.args(["launch", "digitalocean", "--size", "s-1vcpu-1gb", "--region", "fra1"]).args(more);
    let before = provider.state().droplets.len();
    launched(lab, launch, disk, document, || {
        let state = provider.state();
        (state.droplets.len() > before).then(|| droplet(lab, &state))
    })
}

/// The machine that DigitalOcean makes of the last request.
fn droplet(lab: &Lab, state: &State) -> Setup {
    let firmware = "type=1,manufacturer=DigitalOcean,product=Droplet";
    let drive = Disk::config_drive(lab, "droplet.drive", &droplet_drive(state)).unwrap();
    Setup {
        bus: Bus::VirtioScsi,
        more_disks: vec![(drive, false)],
        more_nics: vec![Nic { net: "10.110.0.0/20".into(), mac: MACS[1].into() }],
        arguments: ["-smbios", firmware].map(str::to_owned).into(),
        ..Setup::default()
    }
}

fn address(address: &str, netmask: &str, gateway: &str) -> Value {
    json!({ "ip_address": address, "netmask": netmask, "gateway": gateway })
}

/// The config drive of the last box that was asked for, as DigitalOcean documents its metadata: what the request says,
/// and of the keys those that it names and the account has.
fn droplet_drive(state: &State) -> Vec<(&'static str, Vec<u8>)> {
    let asked = state.launched.last().unwrap();
    let id = &state.droplets.last().unwrap()["id"];
    let key = |id: &Value| {
        let known = state.keys.iter().find(|key| key["id"] == *id);
        known.unwrap_or_else(|| panic!("the account has no key {id}"))["public_key"].clone()
    };
    let keys: Vec<Value> = asked["ssh_keys"].as_array().into_iter().flatten().map(key).collect();
    let by_number = keys.iter().enumerate().map(|(n, key)| (n.to_string(), key.clone()));
    let metadata = json!({
        "uuid": id.to_string(),
        "hostname": asked["name"],
        "name": asked["name"],
        "public_keys": by_number.collect::<Map<_, _>>(),
        "launch_index": 0,
    });
    let none = json!({ "ipv4": { "active": false } });
    let droplet = json!({
        "droplet_id": id,
        "hostname": asked["name"],
        "user_data": asked["user_data"],
        "vendor_data": "",
        "public_keys": keys,
        "region": asked["region"],
        "interfaces": {
            "public": [{
                "type": "public",
                "mac": MACS[0],
                "ipv4": address("10.0.2.15", "255.255.255.0", "10.0.2.2"),
                "anchor_ipv4": address("10.17.0.5", "255.255.0.0", "10.17.0.1"),
            }],
            "private": [{
                "type": "private",
                "mac": MACS[1],
                "ipv4": address("10.110.0.7", "255.255.240.0", "10.110.0.1"),
            }],
        },
        "floating_ip": none,
        "reserved_ip": none,
        "dns": { "nameservers": ["10.0.2.3"] },
        "tags": asked["tags"],
        "features": { "dhcp_enabled": false },
    });
    vec![
        ("digitalocean_meta_data.json", droplet.to_string().into_bytes()),
        ("openstack/latest/meta_data.json", metadata.to_string().into_bytes()),
        ("openstack/latest/user_data", asked["user_data"].as_str().unwrap().into()),
    ]
}

/// The machine that Nova makes of a request; the config drive has what its metadata service says.
fn instance(lab: &Lab, cloud: &Cloud, id: &str) -> Setup {
    const NETWORK: &str = "openstack/latest/network_data.json";
    let documents = [
        "openstack/latest/meta_data.json",
        "openstack/latest/user_data",
        "openstack/latest/vendor_data.json",
        NETWORK,
    ];
    let says = |document: &str| cloud.metadata(id, &format!("/{document}"));
    let files = documents.map(|document| (document, says(document).into_bytes()));
    let network: Value = serde_json::from_str(&says(NETWORK)).unwrap();
    let mac = network["links"][0]["ethernet_mac_address"].as_str().unwrap();
    let arguments = [
        "-smbios",
        "type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova",
        "-netdev",
        &format!("user,id=nova,net=192.168.1.0/24,dhcpstart={NOVAS}"),
        "-device",
        &format!("virtio-net-pci,netdev=nova,romfile=,mac={mac}"),
    ];
    let drive = Disk::config_drive(lab, "instance.drive", &files).unwrap();
    Setup {
        bus: Bus::VirtioScsi,
        more_disks: vec![(drive, false)],
        arguments: arguments.map(str::to_owned).into(),
        ..Setup::default()
    }
}

/// Waits until the box has these addresses on a NIC, by the provider's description; what it says of it.
fn wait_addresses(machine: &Machine, mac: &str, addresses: &[&str]) -> Value {
    wait_until("the provider's addresses", CHANGE, || {
        let said = machine.json(&["network"], &[0, 3]).map_err(|error| format!("{error:#}"))?;
        let nic = said["interfaces"].as_array().unwrap().iter().find(|nic| nic["mac"] == mac);
        let nic = nic.ok_or_else(|| said.to_string())?;
        let right = nic["source"] == "provider" && addresses.iter().all(|one| has(nic, "addresses", one));
        if right { Ok(nic.clone()) } else { Err(nic.to_string()) }
    })
}

fn has(nic: &Value, key: &str, value: &str) -> bool {
    nic[key].as_array().is_some_and(|all| all.iter().any(|one| one == value))
}

#[test]
fn a_built_image_becomes_a_box_that_answers() {
    let (lab, registry) = lab();
    let provider = ControlPlane::start();
    let bucket = Server::start(&lab.dir().join("buckets"));
    let image = lab.image().parent().unwrap().to_owned();
    let mut upload = at_digitalocean(&lab, &provider);
    upload.args(["upload", "digitalocean"]).arg(&image).args(["--region", "fra1", "--bucket", BUCKET]);
    let uploaded = upload.args(["--endpoint", &bucket.endpoint(), "--timeout", "5m"]).output().unwrap();
    assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
    let left = fs::read_dir(bucket.objects("")).unwrap().flatten();
    assert_eq!(left.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count(), 0);
    let fetched = provider.state().contents.pop().unwrap();
    assert!(fetched == fs::read(image.join("holdfast.raw.gz")).unwrap());

    // Nothing but the key that the provider was asked to give lets its owner in.
    let document = page(&registry, "launched").replacen("\"box\"", "\"hub1\"", 1);
    assert!(!document.contains("admins"));
    let (machine, said, wrong) = launched_droplet(&lab, &provider, &disk(&lab, &fetched), &document, &[]);
    let server: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&server["name"], &server["addresses"][0]), (&"hub1".into(), &"127.0.0.1".into()));
    assert!(wrong.contains("wait until it answers") && !wrong.contains(TOKEN), "{wrong}");
    machine.wait_served("launched", BOOT).unwrap();
    let status = machine.json(&["status"], &[0, 3]).unwrap();
    assert_eq!(
        (&status["hostname"], &status["user_data"]["channel"]),
        (&"hub1".into(), &"config-drive".into())
    );
    // Reserved addresses arrive at the anchor's. The gateway of the account's own network leads nowhere else.
    let public = wait_addresses(&machine, MACS[0], &["10.0.2.15/24", "10.17.0.5/16"]);
    assert!(has(&public, "gateways", "10.0.2.2") && !has(&public, "gateways", "10.17.0.1"), "{public}");
    let private = wait_addresses(&machine, MACS[1], &["10.110.0.7/20"]);
    assert!(!has(&private, "gateways", "10.110.0.1"), "{private}");
    machine.kill().unwrap();
}

/// Glance has what was built, and what it has boots with what Nova says to the box that it made.
#[test]
fn full_glance_and_nova_make_a_box_that_answers() {
    let programs = std::env::var_os("HOLDFAST_OPENSTACK").expect("HOLDFAST_OPENSTACK: the programs' folder");
    let (lab, registry) = lab();
    let mut cloud = Cloud::start(Path::new(&programs), &lab.dir().join("cloud"));
    cloud.add_compute();
    let openstack = |arguments: &[&str]| {
        let mut command = workstation(&lab);
        command.env("OS_AUTH_URL", &cloud.auth_url).env("OS_USERNAME", "admin").env("OS_PASSWORD", PASSWORD);
        command.env("OS_PROJECT_NAME", "admin").env("OS_REGION_NAME", "RegionOne").args(arguments);
        command
    };
    let image = lab.image().parent().unwrap().to_owned();
    let mut upload = openstack(&["upload", "openstack"]);
    let uploaded = upload.arg(&image).arg("--json").output().unwrap();
    assert!(uploaded.status.success(), "{}", out(&uploaded));
    let uploaded: Value = serde_json::from_slice(&uploaded.stdout).unwrap();
    let stored = cloud.image_content(uploaded["id"].as_str().unwrap());
    assert!(stored == fs::read(image.join("holdfast.qcow2")).unwrap());
    let [packed, raw] = ["stored.qcow2", "stored.raw"].map(|name| lab.dir().join(name));
    fs::write(&packed, stored).unwrap();
    let mut convert = lab.tool("qemu-img");
    let converted =
        convert.args(["convert", "-f", "qcow2", "-O", "raw"]).args([&packed, &raw]).output().unwrap();
    assert!(converted.status.success(), "{}", out(&converted));
    let disk = Disk::of(&lab, &raw, "instance.raw", DISK).unwrap();

    let document = page(&registry, "by Nova").replacen("\"box\"", "\"hub1\"", 1);
    assert!(!document.contains("admins"));
    // The box's address is one of Nova's network, in which this host is not.
    let mut launch = openstack(&["launch", "openstack", "--size", "m1.small"]);
    launch.args(["--ssh-option", "HostName=127.0.0.1"]);
    let (machine, said, _) = launched(&lab, launch, &disk, &document, || {
        let boxes = openstack(&["boxes", "openstack", "--json"]).output().unwrap();
        let boxes: Value = serde_json::from_slice(&boxes.stdout).ok()?;
        let running = boxes.as_array()?.iter().find(|server| server["state"] == "ACTIVE")?;
        Some(instance(&lab, &cloud, running["id"].as_str()?))
    });
    let server: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&server["name"], &server["addresses"]), (&"hub1".into(), &json!([NOVAS])));
    machine.wait_served("by Nova", BOOT).unwrap();
    let status = machine.json(&["status"], &[0, 3]).unwrap();
    assert_eq!(
        (&status["hostname"], &status["user_data"]["channel"]),
        (&"hub1".into(), &"config-drive".into())
    );
    let network = cloud.metadata(server["id"].as_str().unwrap(), "/openstack/latest/network_data.json");
    let network: Value = serde_json::from_str(&network).unwrap();
    let link = &network["links"][0];
    let nic =
        wait_addresses(&machine, link["ethernet_mac_address"].as_str().unwrap(), &[&format!("{NOVAS}/24")]);
    assert_eq!(nic["mtu"], link["mtu"]);
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
    provider.add_snapshot(7_555_999, "hub1-snapshot");
    let document = document.replacen("\"box\"", "\"hub2\"", 1).replace("kept", "again");
    let (machine, ..) = launched_droplet(&lab, &provider, &disk, &document, &["--image", "7555999"]);
    machine.wait_served("again", BOOT).unwrap();
    assert_eq!(provider.state().launched.last().unwrap()["image"], 7_555_999);
    assert_eq!(text(&machine, &["exec", "probe.sh", "--", "/bin/cat", "/data/mark"]), "ours");
    let tried = machine.ssh_with(&lost).args(["admin@127.0.0.1", "version"]).output().unwrap();
    assert!(!tried.status.success(), "the lost key is no way in any more");
    machine.kill().unwrap();
}
