//! Which channel wins.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use agent_metadata::{Channel, DecodeError, Offer, OpenError, Sources, explain, find};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk0LlHVvXMDgW2VPZhoMRqsX4fL0vQ7QK2UQkSpZ1aA";

fn write(path: PathBuf, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Sources below a directory, none of which needs to exist.
fn sources(root: &Path) -> Sources {
    Sources {
        nocloud: Some(root.join("cidata")),
        config_drive: Some(root.join("config-2")),
        fw_cfg: Some(root.join("fw_cfg/raw")),
        credentials: vec![root.join("own/holdfast.user-data"), root.join("system/holdfast.user-data")],
    }
}

fn check(files: &[(&str, &str)], expect: Option<(Channel, Option<&str>)>) {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        write(root.path().join(path), content);
    }
    let found = find(&sources(root.path()));
    assert!(found.problems.is_empty(), "{files:?}: {:?}", found.problems);
    let got = found.offer.map(|offer| (offer.channel, offer.user_data.map(|data| data.document.unwrap())));
    let expect = expect.map(|(channel, data)| (channel, data.map(|data| data.as_bytes().to_vec())));
    assert_eq!(got, expect, "{files:?}");
}

#[test]
fn the_first_with_user_data_wins() {
    let nocloud = ("cidata/user-data", "nocloud");
    let drive = ("config-2/openstack/latest/user_data", "drive");
    let fw_cfg = ("fw_cfg/raw", "fw_cfg");
    let smbios = ("system/holdfast.user-data", "smbios");
    check(&[], None);
    check(&[smbios], Some((Channel::Smbios, Some("smbios"))));
    check(&[smbios, fw_cfg], Some((Channel::FwCfg, Some("fw_cfg"))));
    check(&[smbios, fw_cfg, drive], Some((Channel::ConfigDrive, Some("drive"))));
    check(&[smbios, fw_cfg, drive, nocloud], Some((Channel::NoCloud, Some("nocloud"))));
    check(&[("own/holdfast.user-data", "own"), smbios], Some((Channel::Smbios, Some("own"))));
}

#[test]
fn metadata_alone_counts_where_there_is_no_user_data() {
    let metadata = ("config-2/openstack/latest/meta_data.json", "{\"uuid\": \"1\"}");
    check(&[metadata], Some((Channel::ConfigDrive, None)));
    check(&[metadata, ("fw_cfg/raw", "x")], Some((Channel::FwCfg, Some("x"))));
    check(&[metadata, ("cidata/meta-data", "instance-id: 2")], Some((Channel::NoCloud, None)));
}

#[test]
fn what_cannot_be_read_is_told_and_stops_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("cidata/user-data")).unwrap();
    write(root.path().join("fw_cfg/raw"), "fw_cfg");
    let found = find(&sources(root.path()));
    assert_eq!(found.offer.map(|offer| offer.channel), Some(Channel::FwCfg));
    assert_eq!(found.problems.len(), 1);
    assert_eq!(found.problems[0].channel, Channel::NoCloud);
}

/// Why there is no document.
fn error(offer: &Offer) -> &DecodeError {
    match &offer.user_data.as_ref().unwrap().document {
        Err(OpenError::Decode(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn user_data_that_cannot_be_unpacked_still_brings_the_keys() {
    let root = tempfile::tempdir().unwrap();
    let latest = root.path().join("config-2/openstack/latest");
    write(latest.join("user_data"), [0x1f, 0x8b, 8, 0]);
    write(
        latest.join("meta_data.json"),
        format!("{{\"uuid\": \"1\", \"public_keys\": {{\"a\": \"{KEY}\"}}}}"),
    );
    write(root.path().join("fw_cfg/raw"), "not asked for");
    let offer = find(&sources(root.path())).offer.unwrap();
    assert_eq!(offer.channel, Channel::ConfigDrive);
    assert!(matches!(error(&offer), DecodeError::Gzip(_)));
    assert_eq!(offer.public_keys, [KEY]);

    write(latest.join("user_data"), vec![b'#'; 70_000]);
    let offer = find(&sources(root.path())).offer.unwrap();
    assert!(matches!(error(&offer), DecodeError::Delivered));
}

/// One file at least of each kind that is looked for.
const VOLUMES: [(&str, &str); 11] = [
    ("cidata/meta-data", "instance-id: 1\n"),
    ("cidata/user-data", "[box]\n"),
    ("cidata/network-config", "version: 2\n"),
    ("cidata/vendor-data", "#cloud-config\n"),
    ("config-2/digitalocean_meta_data.json", r#"{"droplet_id": 1}"#),
    ("config-2/openstack/latest/meta_data.json", r#"{"uuid": "2"}"#),
    ("config-2/openstack/latest/network_data.json", "{}"),
    ("config-2/openstack/latest/user_data", "[box]\n"),
    ("config-2/openstack/latest/vendor_data.json", r#"{"cloud-init": "x"}"#),
    ("fw_cfg/raw", "fw_cfg"),
    ("system/holdfast.user-data", "smbios"),
];

/// A folder and all below it: when each was changed, and what is in a file.
fn listing(path: &Path) -> BTreeMap<PathBuf, (SystemTime, Option<Vec<u8>>)> {
    let changed = fs::metadata(path).unwrap().modified().unwrap();
    let content = path.is_file().then(|| fs::read(path).unwrap());
    let mut all = BTreeMap::from([(path.to_owned(), (changed, content))]);
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            all.extend(listing(&entry.unwrap().path()));
        }
    }
    all
}

#[test]
fn a_look_at_volumes_writes_nothing() {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in VOLUMES {
        write(root.path().join(path), content);
    }
    // What is written from now on has another time.
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for path in listing(root.path()).keys() {
        File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
    let before = listing(root.path());
    assert!(before.values().all(|(changed, _)| *changed == long_ago));
    let found = find(&sources(root.path()));
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!(found.offer.unwrap().channel, Channel::NoCloud);
    for volume in ["cidata", "config-2"] {
        explain(&root.path().join(volume)).unwrap();
    }
    assert_eq!(listing(root.path()), before);
}
