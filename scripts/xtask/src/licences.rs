//! Licences of all crates that we build from, and `cargo deny` where it is installed.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Licences that the project accepts; one alternative of an expression is enough.
const ACCEPTED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "LGPL-2.1",
    "LGPL-2.1-only",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Crates that give a file instead of an expression, with what was read there.
const READ: &[(&str, &str)] = &[("rust-criu", "MIT")];

pub(crate) fn check() -> Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let wrong: Vec<String> = packages.iter().filter_map(problem).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    deny()
}

fn problem(package: &Value) -> Option<String> {
    let name = package["name"].as_str().unwrap_or("?");
    let source = package["source"].as_str();
    if source.is_some_and(|s| !s.starts_with("registry+https://github.com/rust-lang/crates.io-index")) {
        return Some(format!("{name} comes from {}", source.unwrap_or_default()));
    }
    let read = READ.iter().find(|(n, _)| *n == name).map(|(_, licence)| *licence);
    let licence = package["license"].as_str().or(read).unwrap_or_default();
    (!accepted(licence)).then(|| format!("{name} has the licence `{licence}`"))
}

/// Whether an SPDX expression can be met: each part of an `AND` must, one part of an `OR` is enough.
fn accepted(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let part =
        |text: &str| ACCEPTED.contains(&text.split_whitespace().collect::<Vec<_>>().join(" ").as_str());
    plain.split(" AND ").all(|all| all.split(" OR ").any(part))
}

fn deny() -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !command.status().is_ok_and(|s| s.success()) {
        println!("cargo-deny is not installed: licences were checked, advisories were not");
        return Ok(());
    }
    let checked = judge(|arguments| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["deny", "--config", ".deny.toml"]).args(arguments).current_dir(crate::root());
        Ok(command.status()?.success())
    })?;
    if !checked {
        println!("the database of advisories cannot be fetched: they were not checked");
    }
    Ok(())
}

/// Has `cargo deny` check everything by `run`, which says whether it succeeded with such arguments. Gives
/// whether advisories were checked too: their database may be out of reach.
fn judge(mut run: impl FnMut(&[&str]) -> Result<bool>) -> Result<bool> {
    for what in ["licenses", "bans", "sources"] {
        ensure!(run(&["check", what])?, "cargo deny check {what} failed");
    }
    // Apart from the check, whose exit code is the same for an advisory and for a database that it has not.
    if !run(&["fetch", "db"])? {
        return Ok(false);
    }
    ensure!(run(&["check", "advisories"])?, "cargo deny check advisories failed");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_has_an_accepted_licence() {
        check().unwrap();
    }

    #[test]
    fn expressions() {
        for good in ["MIT OR Apache-2.0", "MIT/Apache-2.0", "(GPL-3.0 OR MIT) AND BSD-3-Clause", "ISC"] {
            assert!(accepted(good), "{good}");
        }
        for bad in ["GPL-3.0-only", "MIT AND GPL-2.0", "", "AGPL-3.0"] {
            assert!(!accepted(bad), "{bad}");
        }
    }

    /// What is made of `cargo deny` when these of its commands fail.
    fn judged(failing: &[&str]) -> Result<bool, String> {
        let run = |arguments: &[&str]| Ok(!failing.contains(&arguments.join(" ").as_str()));
        judge(run).map_err(|error| error.to_string())
    }

    #[test]
    fn whatever_fails_but_the_fetch_of_the_database_fails_the_check() {
        assert_eq!(judged(&[]), Ok(true));
        for what in ["licenses", "bans", "sources", "advisories"] {
            let check = format!("check {what}");
            assert_eq!(judged(&[&check]), Err(format!("cargo deny check {what} failed")));
        }
        assert_eq!(judged(&["fetch db", "check advisories"]), Ok(false));
        assert_eq!(judged(&["fetch db", "check bans"]), Err("cargo deny check bans failed".to_owned()));
        let broken = judge(|_| anyhow::bail!("it cannot be started"));
        assert!(broken.is_err());
    }
}
