//! Which crate may import which: the table, and the edges that `cargo tree` shows.
//!
//! Invariant: an edge between two of our crates that is not in [`ALLOWED`] fails the check.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Each crate and the crates of ours that it may import.
const ALLOWED: &[(&str, &[&str])] = &[
    ("recipes", &[]),
    ("image-layout", &[]),
    ("agent-metadata", &[]),
    ("agent-api", &[]),
    ("agent-shim", &[]),
    ("image-cloud", &[]),
    ("agent-system", &["image-layout"]),
    ("scripts-xtask", &["recipes", "agent-api"]),
    ("agent-core", &["recipes", "image-layout"]),
    ("agent-net", &["agent-core", "agent-system"]),
    ("agent-containers", &["agent-core", "agent-system"]),
    ("agent-update", &["agent-system", "image-layout"]),
    ("agent-fetch", &["agent-containers", "agent-system", "agent-update", "image-layout"]),
    ("agent-fleet", &["agent-core"]),
    ("agent-proxy", &["agent-api"]),
    ("agent-backup", &["agent-api"]),
    ("agent-cli", &["agent-api", "agent-metadata", "recipes"]),
    ("agent-initrd", &["agent-system", "image-layout"]),
    (
        "agent-daemon",
        &[
            "recipes",
            "image-layout",
            "agent-core",
            "agent-system",
            "agent-net",
            "agent-metadata",
            "agent-containers",
            "agent-update",
            "agent-fleet",
            "agent-api",
        ],
    ),
    ("image-builder", &["recipes", "image-layout", "image-cloud"]),
    ("qemu-tests", &["recipes", "image-layout", "agent-core", "agent-api"]),
];

pub(crate) fn check() -> Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--no-dedupe", "--depth", "1", "--edges", "normal,build,dev"])
        .args(["--prefix", "depth", "--format", " {p}"])
        .output()
        .context("cannot run cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let edges = edges(&String::from_utf8_lossy(&output.stdout));
    ensure!(edges.len() > 10, "cargo tree shows hardly any edges: its format has changed");
    let wrong = wrong(&edges);
    ensure!(wrong.is_empty(), "imports that the layering does not allow:\n{}", wrong.join("\n"));
    Ok(())
}

/// Edges between our crates in the output of `cargo tree --prefix depth`: ours have a path in brackets.
fn edges(tree: &str) -> BTreeSet<(String, String)> {
    let mut path: Vec<Option<String>> = vec![];
    let mut edges = BTreeSet::new();
    for line in tree.lines() {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(depth) = line[..digits].parse::<usize>() else { continue };
        let name = line[digits..].split_whitespace().next().unwrap_or_default();
        let ours = line.contains("(/").then(|| name.to_owned());
        path.truncate(depth);
        if let (Some(to), Some(Some(from))) = (&ours, path.last()) {
            edges.insert((from.clone(), to.clone()));
        }
        path.resize(depth, None);
        path.push(ours);
    }
    edges
}

fn wrong(edges: &BTreeSet<(String, String)>) -> Vec<String> {
    let allowed = |(from, to): &&(String, String)| {
        let row = ALLOWED.iter().find(|(name, _)| name == from);
        row.is_some_and(|(_, may)| may.contains(&to.as_str()))
    };
    edges.iter().filter(|edge| !allowed(edge)).map(|(from, to)| format!("{from} imports {to}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layering_holds() {
        check().unwrap();
    }

    #[test]
    fn a_reversed_import_is_found() {
        let tree = "0 recipes v0.1.0 (/w/recipes)\n1 serde v1.0.0\n1 agent-core v0.1.0 (/w/agent/core)\n\
                    2 image-layout v0.1.0 (/w/image/layout)\n";
        let edges = edges(tree);
        assert_eq!(edges.len(), 2);
        assert_eq!(wrong(&edges), ["recipes imports agent-core"]);
    }
}
