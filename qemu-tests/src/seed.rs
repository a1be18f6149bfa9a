//! Volumes and options that bring user-data to a box.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::json;

/// How user-data reaches the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A volume labelled `cidata`.
    NoCloud,
    /// A volume labelled `config-2`.
    ConfigDrive,
    /// QEMU's firmware configuration device.
    FwCfg,
    /// A systemd credential in the SMBIOS tables.
    Smbios,
}

/// What a provider says of a box.
#[derive(Clone, Debug)]
pub(crate) struct Seed<'a> {
    pub(crate) user_data: &'a [u8],
    pub(crate) instance_id: &'a str,
    pub(crate) hostname: &'a str,
    pub(crate) public_key: &'a str,
    /// The document that describes the network, where the channel has one.
    pub(crate) network: Option<&'a str>,
}

impl Seed<'_> {
    /// Writes what `channel` needs into `dir` and gives QEMU's arguments.
    pub(crate) fn arguments(&self, channel: Channel, dir: &Path) -> Result<Vec<String>> {
        let file = dir.join("seed");
        let drive = |path: &Path| {
            let drive = format!("if=none,id=seed,format=raw,readonly=on,file={}", path.display());
            ["-drive", &drive, "-device", "virtio-blk-pci,drive=seed"].map(str::to_owned).to_vec()
        };
        Ok(match channel {
            Channel::NoCloud => {
                let meta = format!(
                    "instance-id: {}\nlocal-hostname: {}\npublic-keys:\n  - {}\n",
                    self.instance_id, self.hostname, self.public_key
                );
                let mut files = vec![("user-data", self.user_data), ("meta-data", meta.as_bytes())];
                files.extend(self.network.map(|network| ("network-config", network.as_bytes())));
                volume(&file, *b"cidata     ", &files)?;
                drive(&file)
            }
            Channel::ConfigDrive => {
                let meta = json!({
                    "uuid": self.instance_id,
                    "hostname": self.hostname,
                    "public_keys": { "owner": self.public_key },
                })
                .to_string();
                let mut files = vec![
                    ("openstack/latest/user_data", self.user_data),
                    ("openstack/latest/meta_data.json", meta.as_bytes()),
                ];
                let network =
                    self.network.map(|network| ("openstack/latest/network_data.json", network.as_bytes()));
                files.extend(network);
                volume(&file, *b"config-2   ", &files)?;
                drive(&file)
            }
            Channel::FwCfg => {
                std::fs::write(&file, self.user_data)?;
                vec!["-fw_cfg".into(), format!("name=opt/holdfast/user-data,file={}", file.display())]
            }
            Channel::Smbios => {
                let encoded = BASE64_STANDARD.encode(self.user_data);
                let value = format!("value=io.systemd.credential.binary:holdfast.user-data={encoded}");
                vec!["-smbios".into(), format!("type=11,{value}")]
            }
        })
    }
}

/// Writes a FAT volume of 8 MiB with a label and files by path.
pub(crate) fn volume(path: &Path, label: [u8; 11], files: &[(&str, &[u8])]) -> Result<()> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(8 * 1024 * 1024)?;
    let options = fatfs::FormatVolumeOptions::new().volume_label(label);
    fatfs::format_volume(&file, options).context("cannot format the seed volume")?;
    let fs = fatfs::FileSystem::new(&file, fatfs::FsOptions::new())?;
    for (name, content) in files {
        if let Some((dirs, _)) = name.rsplit_once('/') {
            let mut at = String::new();
            for dir in dirs.split('/') {
                at.push_str(dir);
                fs.root_dir().create_dir(&at)?;
                at.push('/');
            }
        }
        fs.root_dir().create_file(name)?.write_all(content)?;
    }
    Ok(())
}
