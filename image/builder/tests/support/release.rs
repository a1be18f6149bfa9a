//! Images as a build writes them, small, and what is done with them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use gpt::disk::LogicalBlockSize;
use gpt::partition::Partition;
use gpt::partition_types::Type;
use image_layout::disk::{self, PARTITIONS, Role, SECTOR};
use image_layout::slots::Slot;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::archive::sha256;
use super::workspace::{Run, output};

/// Bytes that do not compress, others for each seed.
pub(crate) fn noise(seed: u8, bytes: usize) -> Vec<u8> {
    let blocks = (0..bytes.div_ceil(32) as u32)
        .flat_map(|n| Sha256::new().chain_update([seed]).chain_update(n.to_le_bytes()).finalize().to_vec());
    blocks.take(bytes).collect()
}

/// What an image holds.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) version: String,
    pub(crate) boot: Vec<u8>,
    pub(crate) root: Vec<u8>,
}

/// An image with blocks that compress, blocks that do not, zeroes, and blocks that are there twice.
pub(crate) fn image(version: &str, seed: u8) -> Image {
    let text = b"all work and no play ".repeat(400);
    let shared = noise(7, 16 * 4096);
    let root = [&shared[..], &noise(seed, 3 * 4096), &[0; 8192], &shared[..4096], &text[..4096]].concat();
    Image { version: version.to_owned(), boot: [noise(seed ^ 1, 5000), vec![0; 100]].concat(), root }
}

impl Image {
    /// Writes it into a folder, as a build does: the disk, the bill of materials, the manifest. The disk ends
    /// behind the root, since to hash zeroes takes time.
    pub(crate) fn write(&self, folder: &Path) {
        let end = disk::start(Role::Root(Slot::A)) + self.root.len() as u64;
        self.write_disk(folder, Some(end));
    }

    /// The same with all of the disk.
    pub(crate) fn write_whole(&self, folder: &Path) {
        self.write_disk(folder, None);
    }

    fn write_disk(&self, folder: &Path, end: Option<u64>) {
        fs::create_dir_all(folder).unwrap();
        let raw = folder.join("holdfast.raw");
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&raw).unwrap();
        let last = PARTITIONS.last().unwrap();
        file.set_len(disk::start(last.role) + last.size + disk::ALIGNMENT).unwrap();
        let config = gpt::GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
        let mut table = config.create_from_device(&mut file, Some(uuid::Uuid::from_u128(7))).unwrap();
        let entry = |part: &disk::Partition| Partition {
            part_type_guid: part.type_guid.parse::<Type>().unwrap(),
            part_guid: uuid::Uuid::from_u128(u128::from(part.number)),
            first_lba: disk::start(part.role) / SECTOR,
            last_lba: (disk::start(part.role) + part.size) / SECTOR - 1,
            flags: 0,
            name: part.name.to_owned(),
        };
        let entries: BTreeMap<_, _> = PARTITIONS.iter().map(|part| (part.number, entry(part))).collect();
        table.update_partitions(entries).unwrap();
        table.write().unwrap();
        for (role, bytes) in [(Role::Boot(Slot::A), &self.boot), (Role::Root(Slot::A), &self.root)] {
            file.seek(SeekFrom::Start(disk::start(role))).unwrap();
            file.write_all(bytes).unwrap();
        }
        file.set_len(end.unwrap_or(file.metadata().unwrap().len())).unwrap();
        drop(file);
        let sbom = "{ \"spdxVersion\": \"SPDX-2.3\" }\n";
        fs::write(folder.join("sbom.spdx.json"), sbom).unwrap();
        let of = |name: &str| {
            let (mut hasher, mut size) = (Sha256::new(), 0);
            let mut file = File::open(folder.join(name)).unwrap();
            let mut chunk = vec![0; 1 << 20];
            while let read @ 1.. = file.read(&mut chunk).unwrap() {
                hasher.update(&chunk[..read]);
                size += read;
            }
            let sha256: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "name": name, "size": size, "sha256": sha256 })
        };
        let manifest = json!({
            "format": 1,
            "version": self.version,
            "epoch": 1_700_000_000,
            "root_hash": sha256(&self.root),
            "root_size": self.root.len(),
            "packages": [],
            "images": [],
            "outputs": [of("holdfast.raw"), of("sbom.spdx.json")],
        });
        fs::write(folder.join("manifest.json"), format!("{manifest:#}\n")).unwrap();
    }
}

/// Writes what a build writes, with these bytes for a disk in one form.
pub(crate) fn built(folder: &Path, name: &str, disk: &[u8]) {
    let sbom = b"{ \"spdxVersion\": \"SPDX-2.3\" }\n";
    let output =
        |name: &str, bytes: &[u8]| json!({ "name": name, "size": bytes.len(), "sha256": sha256(bytes) });
    let manifest = json!({
        "format": 1, "version": "0.3.1", "epoch": 1_700_000_000, "root_hash": "00", "root_size": 0,
        "packages": [], "images": [],
        "outputs": [output(name, disk), output("sbom.spdx.json", sbom)],
    });
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(name), disk).unwrap();
    fs::write(folder.join("sbom.spdx.json"), sbom).unwrap();
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
}

/// A folder with keys and a repository, or the places for them.
pub(crate) struct Publisher {
    pub(crate) dir: TempDir,
}

impl Publisher {
    /// One with keys.
    pub(crate) fn new() -> Publisher {
        let publisher = Publisher { dir: tempfile::tempdir().unwrap() };
        publisher.run(&["keys", "init", "--keys", "KEYS"]).ok();
        publisher
    }

    /// One with keys, and these releases in the channel `stable`.
    pub(crate) fn with(images: &[Image]) -> Publisher {
        let publisher = Publisher::new();
        images.iter().for_each(|image| drop(publisher.add(image, &[]).ok()));
        publisher
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.path("keys")
    }

    /// Runs `release`, with `KEYS` and `REPOSITORY` replaced by the folders.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        output(&mut self.command(arguments))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-image"));
        command.env_clear().env("HOME", self.dir.path()).current_dir(self.dir.path()).arg("release");
        for argument in arguments {
            match *argument {
                "KEYS" => command.arg(self.keys()),
                "REPOSITORY" => command.arg(self.repository()),
                other => command.arg(other),
            };
        }
        command
    }

    /// Runs a verb that signs.
    pub(crate) fn signing(&self, verb: &[&str], more: &[&str]) -> Run {
        self.run(&[verb, &["--keys", "KEYS", "--repository", "REPOSITORY"], more].concat())
    }

    pub(crate) fn add(&self, image: &Image, more: &[&str]) -> Run {
        image.write(&self.path("image"));
        self.signing(&["add"], &[more, &["image"]].concat())
    }

    /// What a client says that trusts the root metadata in this file.
    pub(crate) fn verify(&self, root: &Path) -> Run {
        self.run(&["verify", "--repository", "REPOSITORY", "--root", root.to_str().unwrap(), "--json"])
    }

    /// The same with the current root metadata, as JSON.
    pub(crate) fn report(&self) -> serde_json::Value {
        serde_json::from_str(&self.verify(&self.keys().join("root.json")).ok().stdout).unwrap()
    }

    /// Names of the files in a folder of the repository.
    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        names(&self.repository().join(folder))
    }
}

/// Names of the files in a folder, in order.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
