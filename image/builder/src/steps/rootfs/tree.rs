//! The tree of a root, in memory, until it is written as a tar.
//!
//! Paths have no leading slash. `/bin`, `/sbin`, `/lib` and `/lib64` are links into `/usr`: a path through
//! one of them is stored under `/usr`. Owners are numbers, and root unless said otherwise: nothing here
//! asks who is building.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::plan::forbidden::Listed;

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Directory,
    /// A regular file with its content.
    File(Vec<u8>),
    /// A symbolic link with its target.
    Symlink(String),
}

/// An entry of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// What it is.
    pub kind: Kind,
    /// The package it is of, or what else made it.
    pub origin: String,
}

/// A tree of files.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// The path as the tree knows it: without `./` and slashes around, merged into `/usr`.
pub fn normal(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_matches('/');
    let first = path.split('/').next().unwrap_or(path);
    if MERGED.contains(&first) && path.len() > first.len() { format!("usr/{path}") } else { path.to_owned() }
}

impl Tree {
    /// A tree that holds the links of a merged `/usr`.
    pub fn merged() -> Tree {
        let mut tree = Tree::default();
        for name in MERGED {
            tree.symlink(name, &format!("usr/{name}"), "layout");
            tree.directory(&format!("usr/{name}"), 0o755, "layout");
        }
        tree
    }

    /// Adds or replaces an entry; missing parents become folders.
    pub fn insert(&mut self, path: &str, node: Node) {
        let path = normal(path);
        if path.is_empty() || path == "." || (MERGED.contains(&path.as_str()) && node.kind == Kind::Directory)
        {
            return;
        }
        for (slash, _) in path.match_indices('/') {
            let parent = &path[..slash];
            if !self.nodes.contains_key(parent) {
                self.directory(parent, 0o755, "layout");
            }
        }
        self.nodes.insert(path, node);
    }

    /// Adds a folder, or sets its mode.
    pub fn directory(&mut self, path: &str, mode: u32, origin: &str) {
        self.insert(path, Node { mode, uid: 0, gid: 0, kind: Kind::Directory, origin: origin.to_owned() });
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>, origin: &str) {
        let kind = Kind::File(content.into());
        self.insert(path, Node { mode, uid: 0, gid: 0, kind, origin: origin.to_owned() });
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str, origin: &str) {
        let kind = Kind::Symlink(target.to_owned());
        self.insert(path, Node { mode: 0o777, uid: 0, gid: 0, kind, origin: origin.to_owned() });
    }

    /// Drops an entry, and for a folder what is in it.
    pub fn remove(&mut self, path: &str) {
        let path = normal(path);
        let inside = format!("{path}/");
        self.nodes.retain(|p, _| *p != path && !p.starts_with(&inside));
    }

    /// The entry at a path; links are not followed.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&normal(path))
    }

    /// Whether the path leads to something when symbolic links are followed.
    pub fn resolves(&self, path: &str) -> bool {
        self.resolve(path).is_some()
    }

    /// The content of the file at a path; links are followed.
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        match &self.nodes.get(&self.resolve(path)?)?.kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// All entries in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// For the rules on what must not be in a root.
    pub fn listing(&self) -> impl Iterator<Item = Listed<'_>> {
        self.iter().map(|(path, node)| match &node.kind {
            Kind::Directory => Listed { path, mode: 0o040_000 | node.mode, content: &[] },
            Kind::Symlink(_) => Listed { path, mode: 0o120_000 | node.mode, content: &[] },
            Kind::File(content) => Listed { path, mode: 0o100_000 | node.mode, content },
        })
    }

    fn resolve(&self, path: &str) -> Option<String> {
        let mut path = normal(path);
        for _ in 0..40 {
            let Some((at, target)) = self.link_on_the_way(&path) else {
                return self.nodes.contains_key(&path).then_some(path);
            };
            let rest = path[at.len()..].to_owned();
            let base = match target.strip_prefix('/') {
                Some(absolute) => absolute.to_owned(),
                None => format!("{}/{target}", at.rsplit_once('/').map_or("", |(parent, _)| parent)),
            };
            path = normal(&without_dots(&format!("{base}{rest}")));
        }
        None
    }

    fn link_on_the_way(&self, path: &str) -> Option<(String, String)> {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.map(|end| &path[..end]).find_map(|prefix| match &self.nodes.get(prefix)?.kind {
            Kind::Symlink(target) => Some((prefix.to_owned(), target.clone())),
            _ => None,
        })
    }

    /// Writes the tree as a tar (ustar, PAX headers where they are needed), all dated `mtime`.
    pub fn write_tar(&self, out: impl Write, mtime: u64) -> io::Result<()> {
        let mut builder = tar::Builder::new(out);
        let header = |node: &Node, size: u64| {
            let mut header = tar::Header::new_ustar();
            header.set_mode(node.mode);
            header.set_uid(node.uid.into());
            header.set_gid(node.gid.into());
            header.set_mtime(mtime);
            header.set_size(size);
            header
        };
        let root = Node { mode: 0o755, uid: 0, gid: 0, kind: Kind::Directory, origin: String::new() };
        let mut top = header(&root, 0);
        top.set_entry_type(tar::EntryType::Directory);
        builder.append_data(&mut top, "./", io::empty())?;
        for (path, node) in self.iter() {
            let name = format!("./{path}");
            match &node.kind {
                Kind::Directory => {
                    let mut header = header(node, 0);
                    header.set_entry_type(tar::EntryType::Directory);
                    builder.append_data(&mut header, format!("{name}/"), io::empty())?;
                }
                Kind::File(content) => {
                    let mut header = header(node, content.len() as u64);
                    // mkfs.erofs passes over entries of the old kind, NUL.
                    header.set_entry_type(tar::EntryType::Regular);
                    builder.append_data(&mut header, name, content.as_slice())?;
                }
                Kind::Symlink(target) => {
                    let mut header = header(node, 0);
                    header.set_entry_type(tar::EntryType::Symlink);
                    builder.append_link(&mut header, name, target)?;
                }
            }
        }
        builder.into_inner()?.flush()
    }
}

fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::merged();
        tree.file("./lib/x86_64-linux-gnu/libz.so.1.3", 0o644, *b"elf", "zlib1g");
        tree.symlink("usr/lib/x86_64-linux-gnu/libz.so.1", "libz.so.1.3", "zlib1g");
        tree.symlink("etc/alternatives/z", "/lib/../lib/x86_64-linux-gnu/libz.so.1", "test");
        tree.symlink("etc/loop", "loop", "test");
        tree
    }

    #[test]
    fn usr_is_merged_and_links_are_followed() {
        let tree = tree();
        assert!(tree.get("usr/lib/x86_64-linux-gnu/libz.so.1.3").is_some());
        assert_eq!(tree.content("/lib/x86_64-linux-gnu/libz.so.1"), Some(&b"elf"[..]));
        assert_eq!(tree.content("/etc/alternatives/z"), Some(&b"elf"[..]));
        assert!(!tree.resolves("etc/loop"));
        assert!(!tree.resolves("etc/absent"));
    }

    #[test]
    fn parents_are_made_and_removal_takes_all() {
        let mut tree = tree();
        assert_eq!(tree.get("etc/alternatives").unwrap().kind, Kind::Directory);
        tree.remove("etc");
        assert!(tree.get("etc/alternatives/z").is_none());
        assert!(tree.get("usr/lib").is_some());
    }

    #[test]
    fn tar_belongs_to_root_and_lists_parents_first() {
        let mut tree = tree();
        tree.file(&format!("usr/share/{}", "long/".repeat(40)), 0o640, *b"x", "test");
        let (mut bytes, mut again) = (Vec::new(), Vec::new());
        tree.write_tar(&mut bytes, 77).unwrap();
        tree.write_tar(&mut again, 77).unwrap();
        assert_eq!(bytes, again);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut seen = vec![String::new()];
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().trim_matches('/').to_owned();
            let path = normal(&path);
            assert_eq!((entry.header().uid().unwrap(), entry.header().mtime().unwrap()), (0, 77));
            assert_ne!(entry.header().as_bytes()[156], 0, "{path} has a kind");
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
            assert!(seen.contains(&parent), "{path} before its parent");
            seen.push(path);
        }
        assert!(seen.iter().any(|path| path.starts_with("usr/share/long/long")));
    }
}
