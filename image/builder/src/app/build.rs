//! From an app's recipe and its locked packages to an OCI image.
//!
//! What maintainer scripts would do is said in the recipe: users, folders, links. Setuid and setgid
//! bits of packages are not taken over.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::app::recipe::{AppRecipe, Content, LocalFile, User};
use crate::deb::{self, DebError, MERGED};
use crate::error::Invalid;
use crate::fetch::LocalPackage;
use crate::oci::image::{Image, RunConfig};
use crate::oci::layer::{Contents, Item, Kind};
use crate::plan::select::Selection;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Folders that every root has.
const FOLDERS: [(&str, u32); 8] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
];

/// Builds the image. `folder` is the recipe's; `epoch` bounds every time in it.
pub(crate) fn image(
    recipe: &AppRecipe,
    folder: &Path,
    packages: &[LocalPackage],
    epoch: u64,
) -> Result<Image> {
    let mut contents = Contents::default();
    let mut chosen = Chosen::new(&recipe.content);
    for local in packages {
        add_package(&mut contents, &local.path, &mut chosen)?;
    }
    chosen.check_all_used()?;
    for (name, mode) in FOLDERS {
        contents.insert(name, Item { kind: Kind::Directory, mode, uid: 0, gid: 0, mtime: epoch });
    }
    add_users(&mut contents, &recipe.users, epoch);
    for (path, file) in &recipe.files {
        add_file(&mut contents, path, file, folder, epoch)?;
    }
    for (name, target) in MERGED {
        if contents.has_below(target) {
            contents.insert(name, link(target, epoch));
        }
    }
    contents.add_parents(epoch);
    let created = jiff::Timestamp::from_second(i64::try_from(epoch)?)?.to_string();
    let layer = contents.pack(epoch)?;
    Ok(Image::new(&recipe.app.reference, "amd64", &created, &run_config(recipe)?, layer)?)
}

fn add_package(contents: &mut Contents, deb: &Path, chosen: &mut Chosen<'_>) -> Result<(), DebError> {
    deb::entries(deb, |entry, data| {
        if MERGED.iter().any(|(name, _)| *name == entry.path) || !chosen.keeps(&entry.path) {
            return Ok(());
        }
        let kind = match &entry.kind {
            deb::Kind::Directory => Kind::Directory,
            deb::Kind::Symlink(target) => Kind::Symlink(target.clone()),
            deb::Kind::File(size) => {
                let mut content = Vec::with_capacity(usize::try_from(*size).unwrap_or(0));
                let read = std::io::Read::read_to_end(data, &mut content);
                read.map_err(|source| DebError::Read { path: deb.to_owned(), source })?;
                Kind::File(content)
            }
            deb::Kind::Hardlink(target) => match contents.get(target) {
                Some(item) => item.kind.clone(),
                None => {
                    let reason = format!("`{}` is a link to `{target}`, which is not kept", entry.path);
                    return Err(DebError::Format { path: deb.to_owned(), reason });
                }
            },
        };
        let mode = entry.mode & 0o1777;
        contents.insert(&entry.path, Item { kind, mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime });
        Ok(())
    })
}

/// What is taken of the packages.
struct Chosen<'a> {
    everything: bool,
    keep: Selection<'a>,
    drop: Selection<'a>,
}

impl<'a> Chosen<'a> {
    fn new(content: &'a Content) -> Self {
        let selection = |patterns: &'a [String]| Selection::new(patterns.iter().map(String::as_str));
        Chosen {
            everything: content.keep.is_empty(),
            keep: selection(&content.keep),
            drop: selection(&content.drop),
        }
    }

    fn keeps(&mut self, path: &str) -> bool {
        (self.keep.keeps(path) || self.everything) && !self.drop.keeps(path)
    }

    /// A pattern that matches nothing is a mistake, or has become one with a new version.
    fn check_all_used(&self) -> Result<(), Invalid> {
        let unused = [self.keep.unused(), self.drop.unused()].concat();
        if unused.is_empty() {
            return Ok(());
        }
        Err(Invalid(format!("no file of the packages matches `{}`", unused.join("`, `"))))
    }
}

fn link(target: &str, mtime: u64) -> Item {
    Item { kind: Kind::Symlink(target.to_owned()), mode: 0o777, uid: 0, gid: 0, mtime }
}

/// `/etc/passwd` and `/etc/group`, which maintainer scripts would fill.
fn add_users(contents: &mut Contents, users: &[User], mtime: u64) {
    let mut passwd = String::from("root:x:0:0:root:/root:/usr/sbin/nologin\n");
    let mut group = String::from("root:x:0:\n");
    for user in users {
        let User { name, id, home } = user;
        passwd.push_str(&format!("{name}:x:{id}:{id}::{home}:/usr/sbin/nologin\n"));
        group.push_str(&format!("{name}:x:{id}:\n"));
    }
    passwd.push_str("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    group.push_str("nogroup:x:65534:\n");
    for (path, text) in [("etc/passwd", passwd), ("etc/group", group)] {
        let kind = Kind::File(text.into_bytes());
        contents.insert(path, Item { kind, mode: 0o644, uid: 0, gid: 0, mtime });
    }
}

fn add_file(contents: &mut Contents, path: &str, file: &LocalFile, folder: &Path, mtime: u64) -> Result<()> {
    let invalid = |reason: &str| Invalid(format!("the file `{path}` of the recipe {reason}"));
    let Some(relative) =
        path.strip_prefix('/').filter(|p| !p.split('/').any(|part| matches!(part, "" | "." | "..")))
    else {
        return Err(invalid("is no absolute path").into());
    };
    let LocalFile { content, source, link, directory, mode, owner } = file;
    let given = [content.is_some(), source.is_some(), link.is_some(), *directory];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(invalid("needs one of `content`, `source`, `link` and `directory`").into());
    }
    let kind = match (content, source, link) {
        (Some(text), _, _) => Kind::File(text.clone().into_bytes()),
        (_, Some(source), _) => {
            let source = folder.join(source);
            let read = std::fs::read(&source);
            Kind::File(read.with_context(|| format!("failed to read `{}`", source.display()))?)
        }
        (_, _, Some(target)) => Kind::Symlink(target.clone()),
        _ => Kind::Directory,
    };
    let default = match kind {
        Kind::Directory => 0o755,
        Kind::File(_) => 0o644,
        Kind::Symlink(_) => 0o777,
    };
    let mode = match mode {
        None => default,
        Some(text) => u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o1777)
            .ok_or_else(|| invalid("has a mode that is not octal, or sets user or group"))?,
    };
    let (uid, gid) = match owner {
        None => (0, 0),
        Some(text) => text
            .split_once(':')
            .and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)))
            .ok_or_else(|| invalid("has an owner that is not UID:GID"))?,
    };
    contents.insert(relative, Item { kind, mode, uid, gid, mtime });
    Ok(())
}

fn run_config(recipe: &AppRecipe) -> Result<RunConfig> {
    let image = &recipe.image;
    let mut env = vec![];
    if !image.env.contains_key("PATH") {
        env.push(format!("PATH={PATH}"));
    }
    env.extend(image.env.iter().map(|(name, value)| format!("{name}={value}")));
    for port in &image.ports {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        if number.parse::<u16>().is_err() || !matches!(protocol, "tcp" | "udp") {
            return Err(Invalid(format!("`{port}` is no port like `8080/tcp`")).into());
        }
    }
    let mut labels = std::collections::BTreeMap::new();
    if !recipe.app.description.is_empty() {
        labels.insert("org.opencontainers.image.description".to_owned(), recipe.app.description.clone());
    }
    Ok(RunConfig {
        cmd: image.command.clone(),
        entrypoint: image.entrypoint.clone(),
        env,
        exposed_ports: image.ports.iter().map(|port| (port.clone(), Default::default())).collect(),
        labels,
        stop_signal: image.stop_signal.clone(),
        user: image.user.clone(),
        working_dir: image.working_dir.clone(),
    })
}
