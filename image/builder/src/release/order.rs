//! The files of a repository, and the order in which they are written.
//!
//! A reader follows timestamp → snapshot → targets metadata → target, and takes newer root metadata before all
//! of these. So what is pointed at is written first, the timestamp when all it leads to is there, and root
//! metadata last: what went before is signed with the keys of the old root and of the new one
//! ([`super::keys::Keys::sign`]), and under the old root a reader sees the same.

use image_layout::release::{METADATA, TARGETS};

/// What a file of a repository is, in the order of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `targets/SHA256.NAME`.
    Target,
    /// `metadata/N.targets.json`.
    Targets,
    /// `metadata/N.snapshot.json`.
    Snapshot,
    /// `metadata/timestamp.json`.
    Timestamp,
    /// `metadata/N.root.json`.
    Root,
}

/// What a file is, and the number in its name; `None`: it is none of a repository's.
pub(crate) fn kind(path: &str) -> Option<(Kind, u64)> {
    let (folder, name) = path.split_once('/')?;
    let (first, rest) = name.split_once('.')?;
    if folder == TARGETS {
        let hash =
            first.len() == 64 && first.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        return (hash && !rest.is_empty() && !rest.contains('/')).then_some((Kind::Target, 0));
    }
    if folder != METADATA {
        return None;
    }
    if name == super::metadata::TIMESTAMP {
        return Some((Kind::Timestamp, 0));
    }
    let number = first.parse().ok().filter(|number: &u64| number.to_string() == first)?;
    let kind = match rest {
        "targets.json" => Kind::Targets,
        "snapshot.json" => Kind::Snapshot,
        "root.json" => Kind::Root,
        _ => return None,
    };
    Some((kind, number))
}

/// Path of a metadata file.
pub(crate) fn metadata(name: &str) -> String {
    format!("{METADATA}/{name}")
}

/// Path of a target of this hash.
pub(crate) fn target(sha256: &str, name: &str) -> String {
    format!("{TARGETS}/{sha256}.{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_repository() {
        let hash = "0123456789abcdef".repeat(4);
        let target = target(&hash, "channel-stable.json");
        let mut paths = [
            ("metadata/11.root.json", Some((Kind::Root, 11))),
            ("metadata/2.root.json", Some((Kind::Root, 2))),
            ("metadata/timestamp.json", Some((Kind::Timestamp, 0))),
            ("metadata/3.snapshot.json", Some((Kind::Snapshot, 3))),
            ("metadata/3.targets.json", Some((Kind::Targets, 3))),
            (target.as_str(), Some((Kind::Target, 0))),
            ("metadata/03.targets.json", None),
            ("metadata/root.json", None),
            ("metadata/3.other.json", None),
            ("metadata/.part-abc", None),
            ("targets/.part-abc", None),
            ("targets/abc.json", None),
            (".lock", None),
            ("timestamp.json", None),
        ];
        for (path, expect) in paths {
            assert_eq!(kind(path), expect, "{path}");
        }
        paths.sort_by_key(|(path, _)| kind(path));
        let order: Vec<&str> =
            paths.iter().map(|(path, _)| *path).filter(|path| kind(path).is_some()).collect();
        let expect =
            [&target, "metadata/3.targets.json", "metadata/3.snapshot.json", "metadata/timestamp.json"];
        assert_eq!(order[..4], expect);
        assert_eq!(order[4..], ["metadata/2.root.json", "metadata/11.root.json"]);
    }
}
