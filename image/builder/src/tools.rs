//! The programs that build, run and test images: locked packages, unpacked into a tree of their own and
//! run through that tree's loader, so that what the host has installed does not matter.
//!
//! The tree lies in the cache under the hash of what it is made of, and is renamed into place when it
//! is whole. Before a program is first run, the loader lists its libraries: each must come from the
//! tree, and they and the program must still be what was unpacked. Scripts are not run: the tree has no
//! interpreters.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::deb::{self, DebError};
use crate::fetch::{Cache, LocalPackage, digest};
use crate::lock::LockedPackage;
use crate::progress::Progress;

/// Where the tree's programs are.
const PROGRAMS: [&str; 3] = ["usr/bin", "usr/sbin", "usr/libexec"];
/// Where the tree's libraries are.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib"];
/// The tree's loader.
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
/// SHA-256 of each file; its presence says that the tree is whole.
const SUMS: &str = ".sums";

/// Why a tool cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// The tree cannot be made.
    #[error("failed to unpack the tools")]
    Unpack(#[from] DebError),
    /// A file of the tree cannot be used.
    #[error("failed to use `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such program.
    #[error("no locked package has the program `{0}`")]
    NoProgram(String),
    /// There is no such file.
    #[error("no locked package has the file `{0}`")]
    NoFile(String),
    /// It is a script.
    #[error("`{0}` is a script, and the tools have no interpreter")]
    Script(String),
    /// A file is not what was unpacked.
    #[error("`{path}` of the tools in `{tree}` has been changed since it was unpacked")]
    Changed {
        /// Within the tree.
        path: String,
        /// The tree.
        tree: PathBuf,
    },
    /// Its libraries are not all in the tree.
    #[error("`{program}` would not run from its own tree:\n{lines}")]
    Libraries {
        /// The program.
        program: String,
        /// What the loader said of the libraries in question.
        lines: String,
    },
}

impl ToolError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            ToolError::Changed { tree, .. } => {
                format!("remove `{}`: it is unpacked again from verified packages", tree.display())
            }
            ToolError::NoProgram(_) | ToolError::NoFile(_) => {
                "the packages of the tools are named in image/holdfast.toml".to_owned()
            }
            _ => return None,
        })
    }
}

/// The unpacked tree.
#[derive(Debug)]
pub(crate) struct Tools {
    tree: PathBuf,
    /// Files that have been verified.
    checked: Mutex<BTreeSet<String>>,
}

impl Tools {
    /// The tree of these packages, when it has been unpacked already.
    pub(crate) fn existing(cache: &Cache, packages: &[LockedPackage]) -> Option<Tools> {
        let tree = tree_of(cache, packages);
        tree.join(SUMS).exists().then(|| Tools { tree, checked: Mutex::default() })
    }

    /// Unpacks the packages, unless their tree is there already.
    pub(crate) fn open(
        cache: &Cache,
        packages: &[LocalPackage],
        progress: &Progress,
    ) -> Result<Tools, ToolError> {
        let locked: Vec<LockedPackage> = packages.iter().map(|local| local.package.clone()).collect();
        if let Some(tools) = Tools::existing(cache, &locked) {
            return Ok(tools);
        }
        let tree = tree_of(cache, &locked);
        progress.step(&format!("unpack {} tools", packages.len()), || build(&tree, packages))?;
        Ok(Tools { tree, checked: Mutex::default() })
    }

    /// The tree's folder.
    pub(crate) fn tree(&self) -> &Path {
        &self.tree
    }

    /// A file of the tree, like `usr/lib/grub/i386-pc/boot.img`, verified; or a folder of it, with the files that
    /// lie in it verified.
    pub(crate) fn file(&self, path: &str) -> Result<PathBuf, ToolError> {
        let file = self.tree.join(path);
        if !file.exists() {
            return Err(ToolError::NoFile(path.to_owned()));
        }
        if file.is_file() {
            self.verify([file.as_path()])?;
        } else {
            let fail = |source| ToolError::File { path: file.clone(), source };
            let entries = fs::read_dir(&file).map_err(fail)?.flatten().map(|entry| entry.path());
            let files: Vec<PathBuf> = entries.filter(|entry| entry.is_file()).collect();
            self.verify(files.iter().map(PathBuf::as_path))?;
        }
        Ok(file)
    }

    /// A program of the tree, ready to be given arguments. It finds its libraries in the tree only.
    pub(crate) fn command(&self, name: &str) -> Result<Command, ToolError> {
        let program = self.program(name)?;
        let fail = |source| ToolError::File { path: program.clone(), source };
        let kind = Executable::read(&program).map_err(fail)?;
        let mut command = match kind {
            Executable::Script => return Err(ToolError::Script(name.to_owned())),
            Executable::Static => {
                self.verify([program.as_path()])?;
                Command::new(&program)
            }
            Executable::Dynamic => {
                self.check(name, &program)?;
                let mut command = self.loader();
                command.arg("--argv0").arg(name).arg(&program);
                command
            }
        };
        command.env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD");
        // Whoever builds may have it set for something else; mkfs.erofs obeys it rather than its arguments.
        command.env_remove("SOURCE_DATE_EPOCH");
        if name.starts_with("qemu-") {
            command.env("QEMU_MODULE_DIR", self.tree.join("usr/lib/x86_64-linux-gnu/qemu"));
        }
        if name.starts_with("qemu-system-") {
            for folder in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
                command.arg("-L").arg(self.tree.join(folder));
            }
        }
        Ok(command)
    }

    fn program(&self, name: &str) -> Result<PathBuf, ToolError> {
        let mut places = PROGRAMS.iter().map(|folder| self.tree.join(folder).join(name));
        places.find(|path| path.is_file()).ok_or_else(|| ToolError::NoProgram(name.to_owned()))
    }

    fn loader(&self) -> Command {
        let mut path = self.tree.join(LIBRARIES[0]).into_os_string();
        for folder in &LIBRARIES[1..] {
            path.push(":");
            path.push(self.tree.join(folder));
        }
        let mut command = Command::new(self.tree.join(LOADER));
        command.args([OsStr::new("--inhibit-cache"), OsStr::new("--library-path"), &path]);
        command
    }

    /// Has the loader list the libraries: none may be missing, none may be the host's, and they, the
    /// loader and the program must be what was unpacked.
    fn check(&self, name: &str, program: &Path) -> Result<(), ToolError> {
        let loader = self.tree.join(LOADER);
        self.verify([loader.as_path(), program])?;
        let mut command = self.loader();
        command.arg("--list").arg(program).env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD");
        let output = command.output().map_err(|source| ToolError::File { path: loader.clone(), source })?;
        let list = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let mut strange: Vec<&str> = list.lines().filter(|line| !self.is_own(line)).collect();
        if !output.status.success() {
            strange.extend(errors.lines());
        }
        if !strange.is_empty() || !output.status.success() {
            return Err(ToolError::Libraries { program: name.to_owned(), lines: strange.join("\n") });
        }
        self.verify(list.lines().filter_map(library).map(Path::new))
    }

    /// Compares files of the tree with what was unpacked, each once.
    fn verify<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> Result<(), ToolError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| ToolError::File { path, source }
        };
        let list = self.tree.join(SUMS);
        let sums = fs::read_to_string(&list).map_err(fail(&list))?;
        let sums: BTreeSet<&str> = sums.lines().collect();
        let tree = self.tree.canonicalize().map_err(fail(&self.tree))?;
        let mut checked = self.checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for file in files {
            let real = file.canonicalize().map_err(fail(file))?;
            let path = real.strip_prefix(&tree).unwrap_or(&real).display().to_string();
            if checked.contains(&path) {
                continue;
            }
            let content = File::open(&real).and_then(digest::sha256_of);
            let (sum, _) = content.map_err(fail(&real))?;
            if !sums.contains(format!("{sum}  {path}").as_str()) {
                return Err(ToolError::Changed { path, tree: self.tree.clone() });
            }
            checked.insert(path);
        }
        Ok(())
    }

    /// Whether a line of the loader's list, `libc.so.6 => /tree/libc.so.6 (0x…)`, names a library of the
    /// tree, or the kernel's own.
    fn is_own(&self, line: &str) -> bool {
        match library(line) {
            None => line.trim().starts_with("linux-vdso.so"),
            Some(path) => Path::new(path).starts_with(&self.tree),
        }
    }
}

/// The path in a line of the loader's list; the kernel's own library has none.
fn library(line: &str) -> Option<&str> {
    let line = line.trim();
    let path = line.split_once("=> ").map_or(line, |(_, path)| path);
    let path = path.rsplit_once(" (").map_or(path, |(path, _)| path);
    path.starts_with('/').then_some(path)
}

/// Where the tree of these packages is or will be.
fn tree_of(cache: &Cache, packages: &[LockedPackage]) -> PathBuf {
    let mut names: Vec<&str> = packages.iter().map(|package| package.sha256.as_str()).collect();
    names.sort_unstable();
    cache.folder().join("tools").join(&digest::sha256(names.join("\n").as_bytes())[..16])
}

fn build(tree: &Path, packages: &[LocalPackage]) -> Result<(), ToolError> {
    let fail = |source| ToolError::File { path: tree.to_owned(), source };
    let folder = tree.parent().unwrap_or(tree);
    fs::create_dir_all(folder).map_err(fail)?;
    remove_leftovers(folder);
    let staging = tempfile::Builder::new().prefix(".part-").tempdir_in(folder).map_err(fail)?;
    let root = staging.path().join("tree");
    fs::create_dir(&root).map_err(fail)?;
    let sums = deb::unpack(packages.iter().map(|local| local.path.as_path()), &root)?;
    let sums: String = sums.iter().map(|(path, sum)| format!("{sum}  {path}\n")).collect();
    fs::write(root.join(SUMS), sums).map_err(fail)?;
    if tree.exists() && !tree.join(SUMS).exists() {
        fs::rename(tree, staging.path().join("incomplete")).map_err(fail)?;
    }
    match fs::rename(&root, tree) {
        Err(source) if !tree.join(SUMS).exists() => Err(fail(source)),
        _ => Ok(()),
    }
}

/// Removes what interrupted runs have left; what is newer may be another run's that is still going on.
fn remove_leftovers(folder: &Path) {
    const OLD: std::time::Duration = std::time::Duration::from_secs(3600);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
        let old = matches!(age, Ok(Ok(age)) if age > OLD);
        if old && entry.file_name().to_string_lossy().starts_with(".part-") {
            // What cannot be removed stays, and is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// How a program is started.
enum Executable {
    Script,
    Static,
    Dynamic,
}

impl Executable {
    /// Looks for `PT_INTERP` in a 64-bit ELF file's program headers.
    fn read(path: &Path) -> std::io::Result<Executable> {
        const PT_INTERP: u32 = 3;
        let mut file = File::open(path)?;
        let mut header = [0; 64];
        let read = file.read(&mut header)?;
        if read < header.len() || !header.starts_with(b"\x7fELF") {
            return Ok(Executable::Script);
        }
        let number = |at: usize, length: usize| {
            header[at..at + length].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let (offset, size, count) = (number(32, 8), number(54, 2), number(56, 2));
        for segment in 0..count {
            let mut kind = [0; 4];
            file.read_exact_at(&mut kind, offset + segment * size)?;
            if u32::from_le_bytes(kind) == PT_INTERP {
                return Ok(Executable::Dynamic);
            }
        }
        Ok(Executable::Static)
    }
}
