//! A box: two slots in files, and the folder that the agent and the stager share.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_update::{
    Device, Outcome, Patience, Request, Slots, Staged, UpdateError, UpdateErrorKind, UpdateResult, Verb,
};
use image_layout::release::{Part, WrittenPart};
use tempfile::TempDir;

use super::images::{BLOCK, sha256};
use super::publisher::Publisher;

/// Bytes of the partitions.
pub const BOOT: u64 = 2 << 20;
pub const ROOT: u64 = 8 << 20;
/// What runs.
pub const INSTALLED: &str = "0.1.0";

pub struct Machine {
    folder: TempDir,
    /// The first root of the publisher, unless a test says otherwise.
    pub root: String,
    pub channel: String,
    pub epoch: u64,
}

impl Machine {
    /// One whose slots are empty.
    pub fn new(publisher: &Publisher) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("update")).unwrap();
        for (name, size) in partitions() {
            File::create(folder.path().join(name)).unwrap().set_len(size).unwrap();
        }
        Machine { folder, root: publisher.root(1), channel: "stable".to_owned(), epoch: 1_700_000_000 }
    }

    /// The folder that is shared with the agent.
    pub fn shared(&self) -> PathBuf {
        self.folder.path().join("update")
    }

    pub fn partition(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts an image into a partition.
    pub fn fill(&self, name: &str, image: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.partition(name)).unwrap();
        file.write_all_at(image, 0).unwrap();
    }

    /// The first bytes of a partition.
    pub fn holds(&self, name: &str, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        File::open(self.partition(name)).unwrap().read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    pub fn flip(&self, name: &str, at: usize) {
        let byte = self.holds(name, at + 1)[at];
        let file = OpenOptions::new().write(true).open(self.partition(name)).unwrap();
        file.write_all_at(&[byte ^ 1], at as u64).unwrap();
    }

    /// The partitions as they are handed over: only those of the target can be written.
    pub fn slots(&self) -> Slots {
        let open = |slot: &str, part: Part| {
            let name = format!("{slot}-{}", part.as_str());
            let write = slot == "target";
            let file = OpenOptions::new().read(true).write(write).open(self.partition(&name)).unwrap();
            (part, Device::new(file, name).unwrap())
        };
        let both = |slot: &str| vec![open(slot, Part::Boot), open(slot, Part::Root)];
        Slots { target: both("target"), running: both("running") }
    }

    pub fn ask(&self, url: &str, verb: Verb) {
        let request = Request {
            format: Request::FORMAT,
            verb,
            url: url.to_owned(),
            channel: self.channel.clone(),
            installed: INSTALLED.parse().unwrap(),
            epoch: self.epoch,
            root: self.root.clone(),
        };
        fs::write(self.shared().join(Request::FILE), serde_json::to_vec(&request).unwrap()).unwrap();
    }

    /// One run; checks that the result is also written, and that the slot that runs is as it was.
    pub fn run(&self, url: &str, verb: Verb) -> Outcome {
        self.ask(url, verb);
        let running =
            || ["running-boot", "running-root"].map(|name| sha256(&fs::read(self.partition(name)).unwrap()));
        let before = running();
        let outcome = agent_update::run(&self.shared(), &self.slots(), patience(), &mut |_| {}).unwrap();
        assert_eq!(running(), before);
        assert_eq!(self.result(), outcome);
        outcome
    }

    /// The result as the agent reads it.
    pub fn result(&self) -> Outcome {
        let written = fs::read(self.shared().join(UpdateResult::FILE)).unwrap();
        serde_json::from_slice::<UpdateResult>(&written).unwrap().outcome
    }

    pub fn stage(&self, url: &str) -> Result<Staged, UpdateError> {
        match self.run(url, Verb::Stage) {
            Outcome::Staged(staged) => {
                let left = names(&self.shared());
                assert_eq!(left, ["metadata", "request.json", "result.json", "trusted"]);
                Ok(staged)
            }
            Outcome::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub fn verify(&self, parts: Vec<WrittenPart>) -> Result<(), UpdateError> {
        match self.run("http://nowhere.invalid", Verb::Verify(parts)) {
            Outcome::Verified => Ok(()),
            Outcome::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// Checks that both partitions hold these images.
    pub fn holds_images(&self, boot: &[u8], root: &[u8]) {
        for (name, image) in [("target-boot", boot), ("target-root", root)] {
            assert!(self.holds(name, image.len()) == image, "{name} is not the image");
        }
    }

    /// Whether the slot can be started from.
    pub fn starts(&self) -> bool {
        self.holds("target-boot", BLOCK).iter().any(|byte| *byte != 0)
    }
}

/// Trouble that may pass does so soon.
pub fn patience() -> Patience {
    Patience { attempts: 3, pause: Duration::from_millis(2) }
}

pub fn partitions() -> [(&'static str, u64); 4] {
    [("target-boot", BOOT), ("target-root", ROOT), ("running-boot", BOOT), ("running-root", ROOT)]
}

pub fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// Checks kind and message of a refusal; `HOST` stands for the server, `HASH` for a SHA-256.
pub fn check(case: &str, error: &UpdateError, url: &str, kind: UpdateErrorKind, message: &str) {
    let mut said = String::new();
    for part in error.message.replace(url, "HOST").split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let hash = part.len() >= 64 && part[..64].bytes().all(|byte| byte.is_ascii_hexdigit());
        said.push_str(if hash { "HASH" } else { part });
        said.push_str(if hash { &part[64..] } else { "" });
    }
    assert_eq!((error.kind, said.as_str()), (kind, message), "{case}");
}
