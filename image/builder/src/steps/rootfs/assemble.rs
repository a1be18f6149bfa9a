//! Puts a root together from packages, static files, our programs and what code makes.
//!
//! Invariant: what is in the root is named in `image/holdfast.toml` or `image/files`; a name that leads
//! to nothing is an error, and so is a library that is asked for and not there.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use image_layout::manifest::Package;
use image_layout::paths;
use rayon::prelude::*;

use super::tree::{Kind, Tree};
use super::{certs, closure, users};
use crate::deb::{self, DebError};
use crate::fetch::LocalPackage;
use crate::plan::contents::Root;
use crate::plan::forbidden;
use crate::plan::select::{self, Selection};

/// A file of a package that is kept.
struct Kept {
    path: String,
    mode: u32,
    kind: deb::Kind,
    content: Vec<u8>,
}

/// The files of packages that the configuration keeps, in a tree with a merged `/usr`.
pub fn from_packages(packages: &[LocalPackage], root: &Root) -> Result<Tree> {
    let mut unknown: Vec<&str> = Vec::new();
    for pattern in root.keep.keys() {
        if !packages.iter().any(|local| select::matches(pattern, &local.package.name)) {
            unknown.push(pattern);
        }
    }
    ensure!(
        unknown.is_empty(),
        "holdfast.toml keeps files of packages that are not locked: {}",
        unknown.join(", ")
    );
    let read = |local: &LocalPackage| {
        let patterns = root.keep.iter().find(|(name, _)| select::matches(name, &local.package.name));
        patterns.map_or(Ok(Vec::new()), |(_, patterns)| kept_of(local, patterns))
    };
    let all: Vec<Vec<Kept>> = packages.par_iter().map(read).collect::<Result<_>>()?;
    let mut tree = Tree::merged();
    for (local, files) in packages.iter().zip(all) {
        for mut kept in files {
            if root.without_setuid.contains(&kept.path) {
                kept.mode &= 0o777;
            }
            if !root.drop.iter().any(|pattern| select::matches(pattern, &kept.path)) {
                insert(&mut tree, &local.package.name, kept)?;
            }
        }
    }
    Ok(tree)
}

fn kept_of(local: &LocalPackage, patterns: &[String]) -> Result<Vec<Kept>> {
    let mut selection = Selection::new(patterns.iter().map(String::as_str));
    let mut files = Vec::new();
    deb::entries(&local.path, |entry, reader| {
        if entry.kind == deb::Kind::Directory || !selection.keeps(&entry.path) {
            return Ok(());
        }
        let mut content = Vec::new();
        reader
            .read_to_end(&mut content)
            .map_err(|source| DebError::Read { path: local.path.clone(), source })?;
        files.push(Kept { path: entry.path.clone(), mode: entry.mode, kind: entry.kind.clone(), content });
        Ok::<(), DebError>(())
    })?;
    let unused = selection.unused();
    ensure!(
        unused.is_empty(),
        "holdfast.toml keeps files that `{}` {} does not have: {}",
        local.package.name,
        local.package.version,
        unused.join(", ")
    );
    Ok(files)
}

fn insert(tree: &mut Tree, package: &str, kept: Kept) -> Result<()> {
    match kept.kind {
        deb::Kind::Symlink(target) => tree.symlink(&kept.path, &target, package),
        deb::Kind::Hardlink(target) => {
            let first = tree.get(&target).cloned();
            let first = first.with_context(|| {
                format!("`{}` is a hard link to `{target}`, which is not kept", kept.path)
            })?;
            tree.insert(&kept.path, first);
        }
        _ => tree.file(&kept.path, kept.mode, kept.content, package),
    }
    Ok(())
}

/// What the root holds besides packages.
pub struct Additions<'a> {
    /// The folder whose tree is copied as it is: `image/files`.
    pub files: &'a Path,
    /// Our programs: path in the root to file.
    pub programs: &'a [(String, PathBuf)],
    /// Library recipes, `NAME.toml`.
    pub recipes: &'a Path,
    /// The seccomp profile, resolved.
    pub seccomp: String,
    /// An OCI layout with the embedded images.
    pub images: Option<&'a Path>,
    /// `IMAGE_VERSION`.
    pub version: &'a str,
    /// The TUF root metadata of the publisher whose releases the image follows.
    pub update_root: Option<&'a [u8]>,
}

/// Adds everything that is not of a package.
pub fn add(tree: &mut Tree, root: &Root, additions: &Additions<'_>) -> Result<()> {
    for path in &root.mount_points {
        tree.directory(path, 0o755, "layout");
    }
    for (path, target) in &root.links {
        tree.symlink(path, target, "layout");
    }
    users::add(tree);
    ensure!(certs::bundle(tree) > 0, "no CA certificate is kept");
    copy_folder(tree, additions.files, "", "holdfast")?;
    for (path, file) in additions.programs {
        let content = std::fs::read(file).with_context(|| format!("failed to read `{}`", file.display()))?;
        tree.file(path, 0o755, content, "holdfast");
    }
    copy_folder(tree, additions.recipes, paths::RECIPES, "recipes")?;
    if let Some(images) = additions.images {
        copy_folder(tree, images, paths::IMAGES, "images")?;
    }
    if let Some(root) = additions.update_root {
        tree.file(paths::UPDATE_ROOT, 0o644, root, "holdfast");
    }
    tree.file(paths::SECCOMP, 0o644, additions.seccomp.as_str(), "golang-github-containers-common");
    tree.file("usr/lib/os-release", 0o644, os_release(additions.version), "holdfast");
    tree.symlink("etc/os-release", "../usr/lib/os-release", "holdfast");
    Ok(())
}

/// The description of the system, os-release(5).
fn os_release(version: &str) -> String {
    format!(
        "NAME=Holdfast\nID=holdfast\nID_LIKE=debian\nPRETTY_NAME=\"Holdfast {version}\"\n\
         VERSION_CODENAME=trixie\nIMAGE_ID=holdfast\nIMAGE_VERSION={version}\n"
    )
}

/// Copies a folder; files are 0644, or 0755 if their owner may execute them. A folder that is not there
/// is empty.
fn copy_folder(tree: &mut Tree, from: &Path, to: &str, origin: &str) -> Result<()> {
    let read = || format!("failed to read `{}`", from.display());
    if !from.exists() {
        return Ok(());
    }
    let mut entries: Vec<_> = std::fs::read_dir(from).with_context(read)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().ok().context("a name is not UTF-8").with_context(read)?;
        let path = if to.is_empty() { name } else { format!("{to}/{name}") };
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            copy_folder(tree, &entry.path(), &path, origin)?;
        } else if metadata.is_symlink() {
            let target = std::fs::read_link(entry.path())?;
            tree.symlink(&path, &target.to_string_lossy(), origin);
        } else {
            let mode = if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            let content = std::fs::read(entry.path()).with_context(read)?;
            tree.file(&path, mode, content, origin);
        }
    }
    Ok(())
}

/// Refuses a root that would not run or may not be shipped.
pub fn check(tree: &Tree) -> Result<()> {
    let missing = closure::missing(tree);
    if !missing.is_empty() {
        bail!("libraries are missing in the root:\n  {}", missing.join("\n  "));
    }
    let found = forbidden::find(tree.listing());
    if !found.is_empty() {
        bail!("the root holds what it must not:\n  {}", found.join("\n  "));
    }
    let dangling: Vec<&str> = tree
        .iter()
        .filter(|(path, node)| match &node.kind {
            Kind::Symlink(target) => !outside(target) && !tree.resolves(path),
            _ => false,
        })
        .map(|(path, _)| path)
        .collect();
    ensure!(dangling.is_empty(), "links of the root lead nowhere: {}", dangling.join(", "));
    Ok(())
}

/// Links into what is mounted at run time.
fn outside(target: &str) -> bool {
    ["/run/", "/dev/", "/proc/", "/var/", "../run/", "../proc/"].iter().any(|start| target.starts_with(start))
}

/// The packages with the bytes that the root has of each.
pub fn packages(tree: &Tree, packages: &[LocalPackage]) -> Vec<Package> {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, node) in tree.iter() {
        if let Kind::File(content) = &node.kind {
            *sizes.entry(node.origin.as_str()).or_default() += content.len() as u64;
        }
    }
    let with_size = |local: &LocalPackage| Package {
        name: local.package.name.clone(),
        version: local.package.version.clone(),
        architecture: local.package.arch.clone(),
        sha256: local.package.sha256.clone(),
        size: sizes.get(local.package.name.as_str()).copied().unwrap_or(0),
    };
    packages.iter().map(with_size).filter(|package| package.size > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_tree(change: impl FnOnce(&mut Tree)) -> Result<(), String> {
        let mut tree = Tree::merged();
        tree.file("etc/hosts", 0o644, *b"", "test");
        change(&mut tree);
        check(&tree).map_err(|error| error.to_string())
    }

    #[test]
    fn a_planted_setuid_file_or_shell_stops_the_build() {
        assert_eq!(check_tree(|_| ()), Ok(()));
        let error = check_tree(|tree| tree.file("usr/bin/su", 0o4755, *b"x", "test")).unwrap_err();
        assert_eq!(error, "the root holds what it must not:\n  usr/bin/su: setuid or setgid");
        let error = check_tree(|tree| tree.file("usr/bin/dash", 0o755, *b"x", "test")).unwrap_err();
        assert!(error.contains("usr/bin/dash: a shell"), "{error}");
    }

    #[test]
    fn a_planted_private_key_stops_the_build() {
        for label in ["PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
            let key = format!("-----BEGIN {label}-----\nMC4C\n-----END {label}-----\n");
            let error = check_tree(|tree| tree.file("etc/ssl/own.pem", 0o600, key, "test")).unwrap_err();
            assert_eq!(error, "the root holds what it must not:\n  etc/ssl/own.pem: a private key");
        }
    }

    #[test]
    fn a_link_to_nothing_stops_the_build() {
        let error = check_tree(|tree| tree.symlink("etc/x", "y", "test")).unwrap_err();
        assert_eq!(error, "links of the root lead nowhere: etc/x");
        assert_eq!(check_tree(|tree| tree.symlink("etc/x", "../run/holdfast/y", "test")), Ok(()));
    }

    #[test]
    fn modes_of_copied_files_do_not_depend_on_the_checkout() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "x").unwrap();
        for (mode, expect) in [(0o600, 0o644), (0o664, 0o644), (0o700, 0o755), (0o775, 0o755)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let mut tree = Tree::merged();
            copy_folder(&mut tree, folder.path(), "etc", "test").unwrap();
            assert_eq!(tree.get("etc/a").unwrap().mode, expect, "{mode:o}");
        }
    }
}
