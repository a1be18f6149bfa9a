//! A copy of what images are made of, to be changed and built: a release with a fault in it.
//!
//! The box's programs are those that the image under test was made with.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::command::run;
use crate::lab::Lab;

/// Folders whose files may be changed; everything else leads to the repository.
const COPIED: [&str; 4] = ["image/files", "image/grub", "image/keys", "recipes/library"];
/// Files that may be changed.
const CONFIGURATION: [&str; 2] = ["image/holdfast.toml", "image/holdfast.lock"];
/// The box's programs, and the folder of `target/box` that each is in.
const PROGRAMS: [(&str, &str); 5] = [
    ("dynamic", "holdfastd"),
    ("dynamic", "holdfast"),
    ("dynamic", "holdfast-fetch"),
    ("static", "holdfast-shim"),
    ("static", "holdfast-initrd"),
];

/// The copy.
#[derive(Debug)]
pub struct Sources {
    place: TempDir,
    builder: PathBuf,
}

impl Sources {
    /// Copies what may be changed.
    pub fn new(lab: &Lab) -> Result<Sources> {
        let place = tempfile::Builder::new().prefix("sources-").tempdir_in(lab.dir())?;
        let sources = Sources { place, builder: lab.builder() };
        let root = sources.root();
        for folder in ["image", "recipes", "bins"] {
            fs::create_dir_all(root.join(folder))?;
        }
        for path in COPIED {
            run(Command::new("cp").arg("-r").arg(lab.root().join(path)).arg(root.join(path)))?;
        }
        for path in CONFIGURATION {
            fs::copy(lab.root().join(path), root.join(path))?;
        }
        for folder in ["", "image", "recipes"] {
            for entry in fs::read_dir(lab.root().join(folder))? {
                let path = Path::new(folder).join(entry?.file_name());
                if !root.join(&path).exists() {
                    symlink(lab.root().join(&path), root.join(&path))?;
                }
            }
        }
        for (folder, name) in PROGRAMS {
            let built = lab.root().join("target/box").join(folder);
            let program = built.join("x86_64-unknown-linux-gnu/release").join(name);
            ensure!(program.exists(), "{} is missing: run `scripts/build`", program.display());
            symlink(program, root.join("bins").join(name))?;
        }
        Ok(sources)
    }

    /// Puts `new` in the place of `old`, which must stand in a file, once.
    pub fn replace(&self, path: &str, old: &str, new: &str) -> Result<()> {
        let file = self.root().join(path);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {path}"))?;
        ensure!(text.matches(old).count() == 1, "`{old}` does not stand in {path} once");
        fs::write(file, text.replace(old, new)).with_context(|| format!("cannot write {path}"))
    }

    /// Writes a file of the root, below `image/files`.
    pub fn file(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        let file = self.root().join("image/files").join(path);
        fs::create_dir_all(file.parent().context("a file has a folder")?)?;
        fs::write(&file, content)?;
        Ok(fs::set_permissions(file, fs::Permissions::from_mode(mode))?)
    }

    /// Takes another program in place of one of the box's.
    pub fn program(&self, name: &str, program: &Path) -> Result<()> {
        let file = self.root().join("bins").join(name);
        fs::remove_file(&file).with_context(|| format!("the box has no program `{name}`"))?;
        Ok(symlink(program, file)?)
    }

    /// Builds the raw image of a version into a folder.
    pub fn build(&self, version: &str, update_root: &Path, output: &Path) -> Result<()> {
        let mut command = Command::new(&self.builder);
        command.current_dir(self.root()).args(["build", "--format", "raw", "--image-version", version]);
        command.arg("--root").arg(self.root()).arg("--bin-dir").arg(self.root().join("bins"));
        run(command.arg("--update-root").arg(update_root).arg("--output").arg(output)).map(drop)
    }

    fn root(&self) -> &Path {
        self.place.path()
    }
}
