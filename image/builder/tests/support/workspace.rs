//! A checkout with `image/holdfast.toml`, a cache, and the program to run in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::archive::{Archive, Package, SUITE, armored};

/// What a run of the program gave.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Expects success.
    #[track_caller]
    pub(crate) fn ok(self) -> Run {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Expects a failure whose message has all of these.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> Run {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in: {}", self.stderr);
        }
        self
    }
}

/// A checkout in a folder that goes away.
pub(crate) struct Workspace {
    pub(crate) dir: TempDir,
    pub(crate) archive: Archive,
}

impl Workspace {
    /// One whose root wants `install`, from an archive that has `packages`.
    pub(crate) fn new(install: &[&str], packages: &[Package]) -> Workspace {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::new(&dir.path().join("mirror"));
        archive.publish(packages);
        let workspace = Workspace { dir, archive };
        fs::create_dir_all(workspace.root().join("image/keys")).unwrap();
        fs::write(workspace.root().join("image/keys/test.asc"), armored(&workspace.archive.key)).unwrap();
        workspace.configure(install, &[]);
        workspace
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.root().join("image/holdfast.lock")
    }

    pub(crate) fn lock_text(&self) -> String {
        fs::read_to_string(self.lock_file()).unwrap()
    }

    /// Writes `holdfast.toml`: the repository's own, with another archive and other packages.
    pub(crate) fn configure(&self, install: &[&str], provided: &[&str]) {
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../holdfast.toml");
        let mut config: toml::Table = fs::read_to_string(real).unwrap().parse().unwrap();
        let archive = format!(
            "architecture = \"amd64\"\nkeys = [\"keys/test.asc\"]\n\
             suites = [{{ name = \"{SUITE}\", archive = \"debian\", components = [\"main\"] }}]\n"
        );
        config.insert("archive".into(), toml::Value::Table(archive.parse().unwrap()));
        let set = format!("install = {install:?}\nprovided = {provided:?}\n");
        config.insert("packages".into(), toml::Value::Table(set.parse().unwrap()));
        config.insert("tools".into(), toml::Value::Table("install = []\n".parse().unwrap()));
        fs::write(self.root().join("image/holdfast.toml"), config.to_string()).unwrap();
    }

    /// Writes a recipe of an app that wants `install`.
    pub(crate) fn app(&self, name: &str, install: &[&str], more: &str) {
        let folder = self.root().join("recipes/apps");
        fs::create_dir_all(&folder).unwrap();
        let text = format!(
            "format = 1\n[app]\nname = \"{name}\"\nreference = \"test.local/{name}:1\"\n\
             [packages]\ninstall = {install:?}\n{more}"
        );
        fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }

    /// The program, not yet started, with this checkout, cache and mirror.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-image"));
        command.env_remove("HOLDFAST_RELOCK").env_remove("HOLDFAST_MIRROR").env_remove("HOLDFAST_CACHE");
        command.arg("--root").arg(self.root()).arg("--cache").arg(self.cache());
        command.arg("--mirror").arg(self.dir.path().join("mirror")).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        output(&mut self.command(arguments))
    }

    /// Files of the cache, whatever their name.
    pub(crate) fn cached(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.cache()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        files.sort();
        files
    }
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Run {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Runs a command to its end. It says none of these secrets, however much it is to say.
#[track_caller]
pub(crate) fn quietly(command: &mut Command, secrets: &[&str]) -> Run {
    let run = output(command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1"));
    no_secret_is_in(run.stdout.as_bytes(), secrets);
    no_secret_is_in(run.stderr.as_bytes(), secrets);
    run
}

#[track_caller]
pub(crate) fn no_secret_is_in(shown: &[u8], secrets: &[&str]) {
    let shown = String::from_utf8_lossy(shown);
    for secret in secrets {
        assert!(!shown.contains(secret), "a secret was shown: {shown}");
    }
}

/// The program in a folder of its own, where it finds a stand-in for what asks boxes: that writes both
/// command lines into `$HOME/seen`, and fails.
pub(crate) fn watched_program() -> (TempDir, PathBuf) {
    let beside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = beside.path().join("holdfast-image");
    fs::hard_link(env!("CARGO_BIN_EXE_holdfast-image"), &program).unwrap();
    let asks = beside.path().join("holdfast");
    let script = "#!/bin/sh\n/bin/cat /proc/$PPID/cmdline /proc/$$/cmdline >>\"$HOME/seen\"\nexit 1\n";
    fs::write(&asks, script).unwrap();
    fs::set_permissions(&asks, fs::Permissions::from_mode(0o755)).unwrap();
    (beside, program)
}
