//! A publisher of releases: keys, images of several versions, a repository, and a web server in front of it.
//!
//! Images and keys are made once for an image under test and used by every test; the repository of a test is
//! its own. The server is busybox's, which gives ranges.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use image_layout::manifest::Manifest;
use sha2::{Digest, Sha256};

use crate::command::run;
use crate::disk::Disk;
use crate::lab::Lab;
use crate::ports::free_port;
use crate::sources::Sources;

/// The version that boxes of a [`Publisher`] are installed with.
pub const FIRST: &str = "0.1.0.1";
/// The version after it.
pub const SECOND: &str = "0.1.0.2";

const RAW: &str = "holdfast.raw";
const MANIFEST: &str = "manifest.json";

/// A publisher.
#[derive(Debug)]
pub struct Publisher {
    /// Images and keys, shared.
    shared: PathBuf,
    /// This one's repository.
    repository: PathBuf,
    builder: PathBuf,
    root: PathBuf,
    server: Option<Child>,
    port: u16,
}

impl Publisher {
    /// One that has published nothing yet; its server runs.
    pub fn new(lab: &Lab) -> Result<Publisher> {
        let shared = shared(lab)?;
        let repository = tempfile::Builder::new().prefix("releases-").tempdir_in(lab.dir())?.keep();
        let mut publisher = Publisher {
            shared,
            repository,
            builder: lab.builder(),
            root: lab.root().to_owned(),
            server: None,
            port: free_port(lab)?,
        };
        publisher.up(lab)?;
        Ok(publisher)
    }

    /// The raw image of a version of [`FIRST`] and [`SECOND`].
    pub fn raw(&self, version: &str) -> PathBuf {
        self.image(version).join(RAW)
    }

    /// The folder of an image.
    pub fn image(&self, version: &str) -> PathBuf {
        self.shared.join(version)
    }

    /// The folder of keys, with `root.json`.
    pub fn keys(&self) -> PathBuf {
        self.shared.join("keys")
    }

    /// The folder that the server serves.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// How a box reaches it.
    pub fn url(&self) -> String {
        format!("http://10.0.2.2:{}", self.port)
    }

    /// A release that is [`SECOND`] but for its version and a change of its boot partition, that of slot a of
    /// the disk. Its root still says [`SECOND`]: it is for releases that do not get to their agent.
    pub fn changed(
        &self,
        lab: &Lab,
        version: &str,
        change: impl FnOnce(&Disk) -> Result<()>,
    ) -> Result<PathBuf> {
        let (from, folder) = (self.image(SECOND), lab.dir().join(version));
        fs::create_dir(&folder)?;
        let name = folder.join(RAW).into_os_string().into_string().expect("the lab's path is text");
        let disk = Disk::of(lab, &self.raw(SECOND), &name, fs::metadata(self.raw(SECOND))?.len())?;
        change(&disk)?;
        let mut manifest: Manifest = serde_json::from_slice(&fs::read(from.join(MANIFEST))?)?;
        manifest.version = version.to_owned();
        for output in &mut manifest.outputs {
            if output.name == RAW {
                output.sha256 = sha256(disk.path())?;
            } else {
                fs::copy(from.join(&output.name), folder.join(&output.name))?;
            }
        }
        fs::write(folder.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
        Ok(folder)
    }

    /// An image of a version that is built from changed sources.
    pub fn built(
        &self,
        lab: &Lab,
        version: &str,
        change: impl FnOnce(&Sources) -> Result<()>,
    ) -> Result<PathBuf> {
        let folder = lab.dir().join(version);
        let sources = Sources::new(lab)?;
        change(&sources)?;
        sources.build(version, &self.keys().join("root.json"), &folder)?;
        Ok(folder)
    }

    /// The image of a version as a tag of the repository builds it. What it is made from is compiled once.
    pub fn tagged(&self, lab: &Lab, tag: &str, version: &str) -> Result<PathBuf> {
        let tree = lab.root().join("target/tags").join(tag);
        if !tree.exists() {
            let fresh = tree.with_file_name(format!("{tag}.new"));
            unpack(lab, tag, &fresh).with_context(|| format!("`git fetch --tags` gets the tag `{tag}`"))?;
            fs::rename(&fresh, &tree)?;
        }
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--locked", "--profile", "tool", "-p", "image-builder"]);
        run(cargo.current_dir(&tree).env_remove("CARGO_TARGET_DIR"))?;
        let folder = lab.dir().join(version);
        let mut build = Command::new(tree.join("target/tool/holdfast-image"));
        build.current_dir(&tree).args(["build", "--format", "raw", "--image-version", version]);
        build.arg("--update-root").arg(self.keys().join("root.json")).arg("--output").arg(&folder);
        run(build.env_remove("CARGO_TARGET_DIR"))?;
        Ok(folder)
    }

    /// Adds an image to the repository and points the channel at it.
    pub fn add(&self, image: &Path) -> Result<()> {
        self.release(&["add", "--keys"], &[&self.keys(), image])
    }

    /// Runs `holdfast-image release` with the repository, and paths behind.
    pub fn release(&self, arguments: &[&str], paths: &[&Path]) -> Result<()> {
        let mut command = Command::new(&self.builder);
        command.current_dir(&self.root).arg("release").args(arguments).args(paths);
        run(command.arg("--repository").arg(&self.repository)).map(drop)
    }

    /// Starts the server, on the same port after [`Publisher::down`].
    pub fn up(&mut self, lab: &Lab) -> Result<()> {
        let mut server = lab.tool("busybox");
        server.args(["httpd", "-f", "-p", &format!("127.0.0.1:{}", self.port), "-h"]).arg(&self.repository);
        let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.server = Some(server.context("cannot start the web server")?);
        Ok(())
    }

    /// Stops the server.
    pub fn down(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            eprintln!("the web server did not end: {error}");
        }
    }
}

/// Puts the files of a commit into a folder, with the time of now, by which cargo sees that they changed.
pub fn unpack(lab: &Lab, commit: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let archive = folder.with_extension("tar");
    let mut git = Command::new("git");
    run(git.args(["archive", commit, "--output"]).arg(&archive).current_dir(lab.root()))?;
    run(Command::new("tar").arg("-xmf").arg(&archive).arg("-C").arg(folder))?;
    Ok(fs::remove_file(archive)?)
}

/// Images and keys for the image under test: one test makes them, others wait for it.
fn shared(lab: &Lab) -> Result<PathBuf> {
    let folder = lab.root().join("target/releases");
    let lock = File::create(folder.with_extension("lock"))?;
    lock.lock().context("cannot wait for the images")?;
    // Another builder may make others of the same.
    let origin = format!("{} {:?}", lab.identity()?, fs::metadata(lab.builder())?.modified()?);
    if fs::read_to_string(folder.join("origin")).is_ok_and(|text| text == origin) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir(&folder)?;
    let builder = || {
        let mut command = Command::new(lab.builder());
        command.current_dir(lab.root());
        command
    };
    run(builder().args(["release", "keys", "init", "--keys"]).arg(folder.join("keys")))?;
    for version in [FIRST, SECOND] {
        build(&mut builder(), &folder, version)?;
    }
    fs::write(folder.join("origin"), origin)?;
    Ok(folder)
}

/// Builds an image of a version.
fn build(builder: &mut Command, folder: &Path, version: &str) -> Result<()> {
    builder.args(["build", "--format", "raw", "--image-version", version, "--update-root"]);
    builder.arg(folder.join("keys/root.json")).arg("--output").arg(folder.join(version));
    run(builder).map(drop)
}

/// The digest of a file, in hex.
fn sha256(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
