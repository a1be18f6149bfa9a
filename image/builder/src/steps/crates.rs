//! The crates that are compiled into the box's programs, as cargo resolves them: without those that only build
//! or test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::binaries::{self, TARGET};
use crate::error::HintExt;
use crate::release::sbom::Crate;

/// The crates of all programs.
pub fn of_the_box(repository: &Path) -> Result<BTreeSet<Crate>> {
    let lock =
        std::fs::read_to_string(repository.join("Cargo.lock")).context("failed to read `Cargo.lock`")?;
    let sums = checksums(&lock).context("failed to read `Cargo.lock`")?;
    let mut crates = BTreeSet::new();
    for is_static in [false, true] {
        let mut command = binaries::cargo_in(repository);
        command.args(["tree", "--locked", "--target", TARGET, "--edges", "normal,no-proc-macro"]);
        command.args(["--prefix", "none", "--format", "{p}|{l}", "--color", "never"]);
        for package in binaries::packages(is_static) {
            command.args(["-p", package]);
        }
        let output =
            command.output().context("failed to start cargo").hint("install Rust from https://rustup.rs")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cargo could not list the crates: {}", said.trim());
        crates.extend(parse(&String::from_utf8_lossy(&output.stdout), &sums));
    }
    Ok(crates)
}

/// Name and version to SHA-256.
type Sums = BTreeMap<(String, String), String>;

fn checksums(lock: &str) -> Result<Sums, toml::de::Error> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let lock: Lock = toml::from_str(lock)?;
    let sum = |package: Package| Some(((package.name, package.version), package.checksum?));
    Ok(lock.package.into_iter().filter_map(sum).collect())
}

/// Reads lines `NAME vVERSION [(PLACE)]|LICENCE [(*)]`.
fn parse(tree: &str, sums: &Sums) -> Vec<Crate> {
    let read = |line: &str| {
        let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
        let (name, rest) = package.split_once(" v")?;
        let version = rest.split(' ').next()?;
        let licence = (!licence.is_empty()).then(|| licence.to_owned());
        let sha256 = sums.get(&(name.to_owned(), version.to_owned())).cloned();
        Some(Crate { name: name.to_owned(), version: version.to_owned(), licence, sha256 })
    };
    tree.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_of_this_repository() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let crates = of_the_box(&repository).unwrap();
        let find = |name: &str| crates.iter().find(|found| found.name == name);
        let serde = find("serde").unwrap();
        assert_eq!(serde.licence.as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(serde.sha256.as_ref().map(String::len), Some(64));
        assert_eq!(find("agent-daemon").map(|own| own.sha256.clone()), Some(None));
        for absent in ["insta", "serde_derive", "pkg-config", "image-builder"] {
            assert_eq!(find(absent), None, "{absent}");
        }
    }

    #[test]
    fn lines_of_cargo() {
        let sums =
            checksums("[[package]]\nname = \"a\"\nversion = \"1.0.0+b\"\nchecksum = \"ab\"\n").unwrap();
        let found =
            parse("own v0.1.0 (/srv/with space)|Apache-2.0\na v1.0.0+b|MIT (*)\n\nb v2.0.0|\n", &sums);
        let of = |name: &str, version: &str, licence: Option<&str>, sha256: Option<&str>| Crate {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: licence.map(str::to_owned),
            sha256: sha256.map(str::to_owned),
        };
        let expect = [
            of("own", "0.1.0", Some("Apache-2.0"), None),
            of("a", "1.0.0+b", Some("MIT"), Some("ab")),
            of("b", "2.0.0", None, None),
        ];
        assert_eq!(found, expect);
    }
}
