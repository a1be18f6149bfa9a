//! Rules of the sources that no compiler knows: the top level, and where `unsafe` may stand.

use std::process::Command;

use anyhow::{Context, Result, ensure};

const TOP: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "agent",
    "image",
    "qemu-tests",
    "recipes",
    "rust-toolchain.toml",
    "scripts",
];
const MAY_BE_UNSAFE: &[&str] = &["agent/initrd/", "agent/shim/", "agent/system/"];
const FORBID: &str = "#![forbid(unsafe_code)]";

pub(crate) fn check() -> Result<()> {
    let mut wrong = vec![];
    for file in &files()? {
        let first = file.split('/').next().unwrap_or_default();
        if !TOP.contains(&first) && !first.starts_with('.') {
            wrong.push(format!("{file}: `{first}` does not belong at the top level"));
        }
        if is_crate_root(file) && !MAY_BE_UNSAFE.iter().any(|d| file.starts_with(d)) {
            let text = std::fs::read_to_string(crate::root().join(file))
                .with_context(|| format!("cannot read {file}"))?;
            if !text.contains(FORBID) {
                wrong.push(format!("{file}: lacks `{FORBID}`"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Paths of the files in the repository.
pub(crate) fn files() -> Result<Vec<String>> {
    let output =
        Command::new("git").arg("ls-files").current_dir(crate::root()).output().context("cannot run git")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

fn is_crate_root(file: &str) -> bool {
    let program = file.rsplit_once("/src/bin/").is_some_and(|(_, name)| !name.contains('/'));
    (file.ends_with("/main.rs") && file.contains("/src/")) || file.ends_with("src/lib.rs") || program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_keep_the_rules() {
        check().unwrap();
    }

    #[test]
    fn crate_roots() {
        for (file, root) in [
            ("agent/core/src/lib.rs", true),
            ("agent/containers/src/bin/fetch.rs", true),
            ("qemu-tests/src/bin/bench/main.rs", true),
            ("qemu-tests/src/bin/bench/ours.rs", false),
            ("agent/core/src/plan/mod.rs", false),
        ] {
            assert_eq!(is_crate_root(file), root, "{file}");
        }
    }
}
