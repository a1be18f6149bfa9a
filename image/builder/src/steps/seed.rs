//! User-data for a box that is run here, in the form of each channel.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::fat::{self, Volume};
use crate::error::{HintExt, Invalid};
use crate::plan::machine::{Channel, SMBIOS_LIMIT, Seed};

/// The least that [`fat`] makes.
const VOLUME_SIZE: u64 = 32 << 20;
const SERIAL: u32 = 0x4846_5345;

/// What the provider would tell the box.
#[derive(Debug)]
pub struct Metadata<'a> {
    /// User-data as given.
    pub user_data: Option<&'a [u8]>,
    /// An OpenSSH public key.
    pub ssh_key: Option<&'a str>,
    /// The host name.
    pub hostname: &'a str,
    /// Names the instance: another one makes the box read user-data again.
    pub instance_id: &'a str,
}

/// Writes what the channel needs into `folder`; `None` when there is nothing to tell.
pub fn make(metadata: &Metadata<'_>, channel: Channel, folder: &Path) -> Result<Option<Seed>> {
    let is_volume = matches!(channel, Channel::Nocloud | Channel::ConfigDrive);
    if metadata.ssh_key.is_some() && !is_volume {
        let error = Invalid("this channel carries no ssh key".to_owned());
        return Err(error).hint("use --channel nocloud or config-drive, or `[box] admins` in the user-data");
    }
    if metadata.user_data.is_none() && metadata.ssh_key.is_none() {
        return Ok(None);
    }
    let user_data = metadata.user_data.unwrap_or_default();
    Ok(Some(match channel {
        Channel::Nocloud => volume("cidata", &nocloud(metadata), folder)?,
        Channel::ConfigDrive => volume("config-2", &config_drive(metadata), folder)?,
        Channel::FwCfg => {
            let file = folder.join("user-data");
            std::fs::write(&file, user_data)?;
            Seed::File(file)
        }
        Channel::Smbios => {
            if user_data.len() > SMBIOS_LIMIT {
                return Err(Invalid(format!(
                    "the user-data has {} bytes, and smbios carries at most {SMBIOS_LIMIT}: \
                     use --channel nocloud, config-drive or fw-cfg",
                    user_data.len()
                ))
                .into());
            }
            Seed::Bytes(user_data.to_vec())
        }
    }))
}

type Files = Vec<(&'static str, Vec<u8>)>;

fn volume(label: &str, files: &Files, folder: &Path) -> Result<Seed> {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (*name, content.as_slice())).collect();
    let size: usize = files.iter().map(|(_, content)| content.len()).sum();
    ensure!((size as u64) < VOLUME_SIZE / 2, "the user-data is too large for a volume");
    let image = fat::build(&Volume { size: VOLUME_SIZE, label, serial: SERIAL }, &files)?;
    let path = folder.join("seed.img");
    std::fs::write(&path, image)?;
    Ok(Seed::Volume(path))
}

/// The files of a NoCloud volume; `meta-data` is YAML, and JSON is YAML.
fn nocloud(metadata: &Metadata<'_>) -> Files {
    let mut meta_data = json!({
        "instance-id": metadata.instance_id,
        "local-hostname": metadata.hostname,
    });
    if let Some(key) = metadata.ssh_key {
        meta_data["public-keys"] = json!([key.trim()]);
    }
    vec![
        ("meta-data", format!("{meta_data:#}\n").into_bytes()),
        ("user-data", metadata.user_data.unwrap_or_default().to_vec()),
    ]
}

/// The files of an OpenStack config drive.
fn config_drive(metadata: &Metadata<'_>) -> Files {
    let digest = Sha256::digest(metadata.instance_id);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    let mut meta_data = json!({
        "uuid": uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string(),
        "hostname": metadata.hostname,
        "name": metadata.hostname,
    });
    if let Some(key) = metadata.ssh_key {
        meta_data["public_keys"] = json!({ "run": key.trim() });
    }
    let mut files = vec![("openstack/latest/meta_data.json", format!("{meta_data:#}\n").into_bytes())];
    if let Some(user_data) = metadata.user_data {
        files.push(("openstack/latest/user_data", user_data.to_vec()));
    }
    files
}

/// A name for an instance that has none: another one each time.
pub fn random_instance() -> String {
    format!("run-{}", Uuid::new_v4())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(channel: Channel, user_data: &[u8], ssh_key: Option<&str>) -> Result<Option<Seed>> {
        let folder = tempfile::tempdir().unwrap().keep();
        let metadata = Metadata { user_data: Some(user_data), ssh_key, hostname: "box", instance_id: "i-1" };
        make(&metadata, channel, &folder)
    }

    fn read(seed: Option<Seed>, path: &str) -> String {
        let Some(Seed::Volume(image)) = seed else { panic!("no volume: {seed:?}") };
        String::from_utf8(fat::read(&std::fs::read(image).unwrap(), path).unwrap()).unwrap()
    }

    #[test]
    fn volumes_hold_what_the_box_looks_for() {
        let key = "ssh-ed25519 AAAA me";
        let made = || seed(Channel::Nocloud, b"format = 1", Some(key)).unwrap();
        assert_eq!(read(made(), "user-data"), "format = 1");
        let meta: serde_json::Value = serde_json::from_str(&read(made(), "meta-data")).unwrap();
        assert_eq!(meta["public-keys"][0], key);
        let made = || seed(Channel::ConfigDrive, b"format = 1", Some(key)).unwrap();
        assert_eq!(read(made(), "openstack/latest/user_data"), "format = 1");
        let meta: serde_json::Value =
            serde_json::from_str(&read(made(), "openstack/latest/meta_data.json")).unwrap();
        assert_eq!((&meta["public_keys"]["run"], &meta["hostname"]), (&key.into(), &"box".into()));
    }

    #[test]
    fn smbios_refuses_what_firmware_would_cut() {
        assert!(seed(Channel::Smbios, &[b'x'; SMBIOS_LIMIT], None).is_ok());
        let error = seed(Channel::Smbios, &[b'x'; SMBIOS_LIMIT + 1], None).unwrap_err().to_string();
        assert!(error.contains("has 12289 bytes, and smbios carries at most 12288"), "{error}");
        assert!(error.contains("fw-cfg"), "names another channel: {error}");
        assert!(seed(Channel::FwCfg, b"x", Some("key")).is_err());
    }
}
