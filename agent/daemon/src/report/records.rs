//! The files on data by name, size and format; not one of them is shown.

use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use agent_core::state;
use agent_system::files;

/// Files that are listed.
const MOST: usize = 5000;
/// Folders deeper than this are not entered.
const DEEPEST: usize = 4;
/// The longest file whose format is read.
const READ: u64 = 16 << 20;

/// A line for each file below `root`, its mode, size, format and name. What is in volumes and in containers is
/// their own, and what is being fetched is foreign.
pub(super) fn list(root: &Path) -> String {
    let mut lines = String::from("mode    bytes format name\n");
    let mut left = MOST;
    folder(root, Path::new(""), 0, &mut left, &mut lines);
    if left == 0 {
        lines += "and more\n";
    }
    lines
}

fn folder(root: &Path, below: &Path, depth: usize, left: &mut usize, lines: &mut String) {
    let entries = std::fs::read_dir(root.join(below)).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let path = below.join(&name);
        let Ok(metadata) = std::fs::symlink_metadata(root.join(&path)) else { continue };
        if *left == 0 {
            return;
        }
        *left -= 1;
        let format = match path.extension().is_some_and(|extension| extension == "json") {
            true => format_of(&root.join(&path)),
            false => String::new(),
        };
        let (mode, size) = (metadata.mode() & 0o7777, metadata.len());
        let slash = if metadata.is_dir() { "/" } else { "" };
        let name = path.display().to_string().replace(char::is_control, "?");
        let _ = writeln!(lines, "{mode:04o} {size:>8} {format:>6} {name}{slash}");
        if metadata.is_dir() && depth < DEEPEST && !is_foreign(&path) {
            folder(root, &path, depth + 1, left, lines);
        }
    }
}

/// What a volume holds, a container's writable layer, and what fetches write.
fn is_foreign(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        ["volumes", _, data, ..] => data.starts_with("data"),
        ["containers", _, ..] | ["images", "staging" | "downloads", ..] => true,
        _ => false,
    }
}

fn format_of(path: &Path) -> String {
    let bytes = files::read_foreign(path, READ).ok();
    let format = bytes.and_then(|bytes| state::format_of(std::str::from_utf8(&bytes).ok()?));
    format.map_or_else(|| "none".to_owned(), |format| format.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_formats_are_told_and_nothing_of_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("secrets/site.json", r#"{"format": 3, "values": {"k": "hunter2"}}"#);
        write("instances/torn.json", "hunter2");
        write("identity/ssh_host_ed25519_key", "hunter2");
        write("volumes/00000000000000a1/volume.json", r#"{"format": 1}"#);
        write("volumes/00000000000000a1/data/hunter2", "x");
        write("containers/site.web/upper/hunter2", "x");
        write("images/staging/fetch-1/hunter2.json", "x");
        write("images/downloads/fetch-1/hunter2", "x");
        write("update/request.json", r#"{"format": 2}"#);
        let (pipe, mode) = (folder.path().join("update/result.json"), rustix::fs::Mode::RUSR);
        rustix::fs::mkfifoat(rustix::fs::CWD, pipe, mode).unwrap();
        let said = list(folder.path());
        assert!(!said.contains("hunter2"), "{said}");
        for (format, name) in [
            ("3", "secrets/site.json"),
            ("none", "instances/torn.json"),
            ("", "identity/ssh_host_ed25519_key"),
            ("1", "volumes/00000000000000a1/volume.json"),
            ("", "volumes/00000000000000a1/data/"),
            ("", "containers/site.web/"),
            ("", "images/staging/"),
            ("", "images/downloads/"),
            ("2", "update/request.json"),
            ("none", "update/result.json"),
        ] {
            assert!(
                said.lines().any(|line| line.ends_with(&format!("{format:>6} {name}"))),
                "{name}: {said}"
            );
        }
    }
}
