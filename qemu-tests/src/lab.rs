//! What all machines of a test share: the image, the tools, a key, a folder that goes away.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::command::run;

/// A place to build machines in.
#[derive(Debug)]
pub struct Lab {
    dir: TempDir,
    root: PathBuf,
}

impl Lab {
    /// Makes a lab. The image, the apps and `holdfast-image` must have been built, as `scripts/test`
    /// does; whatever is missing is an error that says so.
    pub fn new() -> Result<Lab> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let dir = tempfile::Builder::new().prefix("holdfast-lab-").tempdir()?;
        let lab = Lab { dir, root };
        for path in [lab.image(), lab.builder()] {
            ensure!(path.exists(), "{} is missing: run `scripts/test`, which builds it", path.display());
        }
        let key = lab.key();
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]).arg(key))?;
        Ok(lab)
    }

    /// The folder of this lab; removed with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The image under test.
    pub fn image(&self) -> PathBuf {
        self.given("HOLDFAST_TEST_IMAGE", "target/image/holdfast.raw")
    }

    /// What the image under test is: its path, and what the manifest beside it says; without one, when it was
    /// written. Building the same image again changes nothing.
    pub fn identity(&self) -> Result<String> {
        let image = self.image();
        let manifest = image.with_file_name("manifest.json");
        let is = match std::fs::read_to_string(&manifest) {
            Ok(manifest) => manifest,
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot read {}", manifest.display()));
            }
            Err(_) => format!("{:?}", std::fs::metadata(&image)?.modified()?),
        };
        Ok(format!("{image:?} {is}"))
    }

    /// `holdfast-image`.
    pub fn builder(&self) -> PathBuf {
        self.given("HOLDFAST_IMAGE", "target/tool/holdfast-image")
    }

    /// `holdfast`, as the workstation runs it.
    pub fn cli(&self) -> PathBuf {
        self.given("HOLDFAST_CLI", "target/tool/holdfast")
    }

    /// The OCI layout of an app of `recipes/apps`.
    pub fn app(&self, name: &str) -> PathBuf {
        self.root.join("target/apps").join(name)
    }

    /// A program of the locked tools, run from its own tree.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.builder());
        command.current_dir(&self.root).args(["tool", name, "--"]);
        command
    }

    /// The path of a file in the tree of the locked tools.
    pub fn tool_file(&self, path: &str) -> Result<PathBuf> {
        let mut command = Command::new(self.builder());
        let found = run(command.current_dir(&self.root).args(["tool", "--path", path]))?;
        let found = PathBuf::from(found.trim());
        ensure!(found.exists(), "the locked tools have no {path}");
        Ok(found)
    }

    /// The private half of the key that every machine of this lab is given.
    pub fn key(&self) -> PathBuf {
        self.dir().join("key")
    }

    /// The public half, as a line of `authorized_keys`.
    pub fn public_key(&self) -> Result<String> {
        public_half(&self.key())
    }

    fn given(&self, variable: &str, default: &str) -> PathBuf {
        std::env::var_os(variable).map_or_else(|| self.root.join(default), PathBuf::from)
    }
}

/// The public half of a key that lies beside it, as a line of `authorized_keys`.
pub(crate) fn public_half(key: &Path) -> Result<String> {
    let text = std::fs::read_to_string(key.with_extension("pub")).context("the key has no public half")?;
    Ok(text.trim().to_owned())
}
