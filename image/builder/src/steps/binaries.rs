//! Our own programs, compiled for the box.
//!
//! What is compiled does not depend on where: source and registry paths are remapped, and the user's
//! flags for Rust and C are not passed on. It is small: a program that panics ends at once, so it has no tables to
//! unwind its stack by, and what the loader is to relocate is written in its short form (`DT_RELR`).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::error::HintExt;

pub(super) const TARGET: &str = "x86_64-unknown-linux-gnu";
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// A program: cargo package, binary, path in the root (`None`: in the initrd only), whether it is static.
struct Program {
    package: &'static str,
    name: &'static str,
    path: Option<&'static str>,
    is_static: bool,
}

const PROGRAMS: [Program; 5] = [
    Program {
        package: "agent-daemon",
        name: "holdfastd",
        path: Some("usr/libexec/holdfast/holdfastd"),
        is_static: false,
    },
    Program { package: "agent-cli", name: "holdfast", path: Some("usr/bin/holdfast"), is_static: false },
    // `holdfast-update` is a link to it.
    Program {
        package: "agent-fetch",
        name: "holdfast-fetch",
        path: Some("usr/libexec/holdfast/holdfast-fetch"),
        is_static: false,
    },
    Program {
        package: "agent-shim",
        name: "holdfast-shim",
        path: Some("usr/libexec/holdfast/holdfast-shim"),
        is_static: true,
    },
    Program { package: "agent-initrd", name: "holdfast-initrd", path: None, is_static: true },
];

/// Our programs as files.
#[derive(Debug)]
pub struct Binaries {
    /// Path in the root, and file.
    pub root: Vec<(String, PathBuf)>,
    /// The initrd's `/init`.
    pub init: PathBuf,
}

/// Takes ready programs from a folder.
pub fn ready(folder: &Path) -> Result<Binaries> {
    let find = |program: &Program| {
        let file = folder.join(program.name);
        ensure!(file.is_file(), "`{}` is not there", file.display());
        Ok(file)
    };
    collect(find)
}

/// Compiles them with cargo, as the repository's lock file says.
pub fn compile(repository: &Path) -> Result<Binaries> {
    for library in ["libseccomp.a", "libelf.a", "libz.a"] {
        let present = Path::new(LIBRARIES).join(library).exists();
        let result = if present { Ok(()) } else { Err(anyhow::anyhow!("`{library}` is not installed")) };
        result.hint("sudo apt-get install build-essential libseccomp-dev libelf-dev zlib1g-dev")?;
    }
    for is_static in [false, true] {
        cargo(repository, is_static)?;
    }
    collect(|program| {
        Ok(folder(repository, program.is_static).join(TARGET).join("release").join(program.name))
    })
}

fn collect(find: impl Fn(&Program) -> Result<PathBuf>) -> Result<Binaries> {
    let mut root = Vec::new();
    let mut init = None;
    for program in &PROGRAMS {
        let file = find(program)?;
        match program.path {
            Some(path) => root.push((path.to_owned(), file)),
            None => init = Some(file),
        }
    }
    Ok(Binaries { root, init: init.context("there is no initrd program")? })
}

/// Static and dynamic programs are compiled apart: their flags differ, and cargo would compile everything
/// anew at each turn.
fn folder(repository: &Path, is_static: bool) -> PathBuf {
    repository.join("target/box").join(if is_static { "static" } else { "dynamic" })
}

/// The cargo packages of the programs that are compiled together.
pub(super) fn packages(is_static: bool) -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().filter(move |program| program.is_static == is_static).map(|program| program.package)
}

/// Cargo, in the repository.
pub(super) fn cargo_in(repository: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository);
    command
}

fn cargo(repository: &Path, is_static: bool) -> Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    // The last remap that fits wins.
    let remaps = [(home.as_path(), "/cargo"), (repository, "/holdfast")];
    let mut rust: Vec<String> =
        ["-C", "force-unwind-tables=no", "-C", "link-arg=-Wl,-z,pack-relative-relocs"]
            .map(str::to_owned)
            .into();
    let mut c = ["-O2", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"].map(str::to_owned).to_vec();
    for (from, to) in remaps {
        rust.push(format!("--remap-path-prefix={}={to}", from.display()));
        c.push(format!("-ffile-prefix-map={}={to}", from.display()));
    }
    if is_static {
        rust.extend(["-C".to_owned(), "target-feature=+crt-static".to_owned()]);
    }
    let mut command = cargo_in(repository);
    command.args(["build", "--release", "--locked", "--target", TARGET]);
    command.arg("--target-dir").arg(folder(repository, is_static));
    for program in PROGRAMS.iter().filter(|program| program.is_static == is_static) {
        command.args(["-p", program.package, "--bin", program.name]);
    }
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let about_profile = text.starts_with("CARGO_PROFILE_") || text.starts_with("CARGO_BUILD_");
        // Of the program that runs this one, when cargo runs that: build scripts look, and would run again.
        let about_caller = text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_");
        if about_profile
            || about_caller
            || matches!(&*text, "RUSTFLAGS" | "CFLAGS" | "CPPFLAGS" | "LDFLAGS" | "RUSTC_WRAPPER")
        {
            command.env_remove(name);
        }
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", rust.join("\x1f")).env("CFLAGS", c.join(" "));
    command.env("LC_ALL", "C").env("TZ", "UTC");
    if is_static {
        command.env("LIBSECCOMP_LINK_TYPE", "static").env("LIBSECCOMP_LIB_PATH", LIBRARIES);
    }
    let status =
        command.status().context("failed to start cargo").hint("install Rust from https://rustup.rs")?;
    if !status.success() {
        bail!("cargo could not compile the box's programs ({status})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = ready(folder.path()).unwrap_err().to_string();
        assert!(error.contains("holdfastd` is not there"), "{error}");
        for program in &PROGRAMS {
            std::fs::write(folder.path().join(program.name), "").unwrap();
        }
        let found = ready(folder.path()).unwrap();
        assert_eq!(found.root.len(), 4);
        assert!(found.init.ends_with("holdfast-initrd"));
    }
}
