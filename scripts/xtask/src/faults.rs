//! The tests that `agent/faults.md` names, each beside the fault that it does to a box: all of them exist.
//!
//! `file::name` is a test in a virtual machine and a word alone a file of such tests; what has `tests` in its path is a
//! unit test, of the crate that is named before it if one is, and a path is a file. `*` and `…` stand for the rest of
//! a name. Deliberately absent: whether a test does what its line says.

use anyhow::{Context, Result, ensure};

const FAULTS: &str = "agent/faults.md";
const MACHINES: &str = "qemu-tests/tests/vm";

/// A test, several, or a file of tests, as a line names them.
#[derive(Debug, PartialEq)]
struct Named<'a> {
    line: usize,
    /// The crate of a unit test, where that is said.
    of: Option<&'a str>,
    what: &'a str,
}

/// Path and text of a file.
type Source = (String, String);

pub(crate) fn check() -> Result<()> {
    let text = std::fs::read_to_string(crate::root().join(FAULTS)).with_context(|| format!("no {FAULTS}"))?;
    let named = named(&text);
    ensure!(named.len() > 40, "{FAULTS} names hardly any tests: its form has changed");
    let sources = sources()?;
    let missing = named.iter().filter(|named| !exists(named, &sources));
    let wrong: Vec<String> =
        missing.map(|named| format!("{FAULTS}:{}: there is no test `{}`", named.line, named.what)).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The files in which tests may be.
fn sources() -> Result<Vec<Source>> {
    let mut files = crate::sources::files()?;
    let folders = ["agent/", MACHINES];
    files.retain(|file| file.ends_with(".rs") && folders.iter().any(|folder| file.starts_with(folder)));
    // One that is removed may still be listed.
    let read =
        |file: String| std::fs::read_to_string(crate::root().join(&file)).ok().map(|text| (file, text));
    Ok(files.into_iter().filter_map(read).collect())
}

/// What stands between backticks in the last cells of tables, but for commands and settings.
fn named(text: &str) -> Vec<Named<'_>> {
    let mut all = vec![];
    for (row, line) in text.lines().zip(1..).filter(|(row, _)| row.starts_with('|')) {
        let cell = row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let mut of = None;
        for what in cell.split('`').skip(1).step_by(2).filter(|what| !what.contains([' ', '='])) {
            if what.starts_with("agent-") {
                of = Some(what);
            } else {
                all.push(Named { line, of: of.take(), what });
            }
        }
    }
    all
}

fn exists(named: &Named<'_>, sources: &[Source]) -> bool {
    let what = named.what;
    if what.contains('/') {
        return sources.iter().any(|(path, _)| path == what);
    }
    if let Some((module, test)) = unit(what) {
        return sources.iter().any(|(path, text)| is_of(path, named.of, &module) && has(text, test));
    }
    let (file, test) = what.split_once("::").unwrap_or((what, ""));
    let file = format!("{MACHINES}/{file}.rs");
    sources.iter().any(|(path, text)| *path == file && has(text, test))
}

/// A unit test's module, as a path, and its name.
fn unit(what: &str) -> Option<(String, &str)> {
    let (module, rest) = what.split_once("::tests")?;
    let test = if rest.is_empty() { rest } else { rest.strip_prefix("::")? };
    Some((module.replace("::", "/"), test))
}

/// Whether a file is a module's, or its tests': a crate's name is its path, and what is above a module may be left out.
fn is_of(path: &str, of: Option<&str>, module: &str) -> bool {
    let folder = of.map_or("agent/".to_owned(), |name| format!("{}/src/", name.replacen('-', "/", 1)));
    let ends = [".rs", "/mod.rs", "/tests.rs"].map(|end| format!("/{module}{end}"));
    path.starts_with(&folder) && ends.iter().any(|end| path.ends_with(end))
}

/// Whether a text has this test, one whose name begins so, or, where there is no name, any.
fn has(text: &str, test: &str) -> bool {
    match test.strip_suffix(['*', '…']) {
        _ if test.is_empty() => text.contains("#[test]"),
        Some(start) => text.contains(&format!("fn {start}")),
        None => text.contains(&format!("fn {test}(")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_that_is_named_exists() {
        check().unwrap();
    }

    #[test]
    fn tests_are_named_in_last_cells() {
        let text = "`a::b`\n\n| Fault | Test |\n|---|---|\n| `x::y` | the same as of `slots`, `agent-core` \
                    `plan::tests` |\n| z | `OOMPolicy=continue`; of `update check` `updates::full_*` |\n";
        let expect =
            [(5, None, "slots"), (5, Some("agent-core"), "plan::tests"), (6, None, "updates::full_*")];
        assert_eq!(named(text), expect.map(|(line, of, what)| Named { line, of, what }));
    }

    #[test]
    fn what_does_not_exist_is_found() {
        let source = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let sources = [
            source("qemu-tests/tests/vm/slots.rs", "#[test]\nfn full_a_slot_boots() {}\n"),
            source("agent/core/src/plan/tests.rs", "#[test]\nfn nothing_is_removed() {}\n"),
            source("agent/net/src/host/store.rs", "#[test]\nfn leases_are_kept() {}\n"),
            source("agent/net/tests/dhcp.rs", ""),
        ];
        for (of, what, expect) in [
            (None, "slots", true),
            (None, "slot", false),
            (None, "slots::full_a_slot_boots", true),
            (None, "slots::full_a_slot", false),
            (None, "slots::full_a_slot_*", true),
            (None, "slots::full_a_slot_b…", true),
            (None, "slots::full_the_slot_*", false),
            (None, "store::leases_are_kept", false),
            (None, "plan::tests::nothing_is_removed", true),
            (Some("agent-core"), "plan::tests::nothing_is_removed", true),
            (Some("agent-net"), "plan::tests::nothing_is_removed", false),
            (None, "plan::tests::all_is_removed", false),
            (Some("agent-net"), "store::tests", true),
            (Some("agent-net"), "stores::tests", false),
            (None, "agent/net/tests/dhcp.rs", true),
            (None, "agent/net/tests/dhcp6.rs", false),
        ] {
            assert_eq!(exists(&Named { line: 1, of, what }, &sources), expect, "{of:?} {what}");
        }
    }
}
