//! Builds the container's root and everything that is mounted in it, in a mount namespace of the
//! shim's own.
//!
//! All sources are opened first, as detached mounts, with the shim's rights. Then a tmpfs covers
//! the folder that holds the bundles, in this namespace only, and everything is attached there:
//! the container's ids can walk to it, which they cannot to the sources, and no other container's
//! bundle can be seen from here. Nothing remains when the shim is gone.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, setgroups};

use crate::annotations::{self, IdMap};
use crate::bundle::Bundle;
use crate::mounts::{self, Change};
use crate::spec::{self, Scratch};
use crate::{idmap, inside, users};

/// A root that libcontainer can take over.
pub(crate) struct Prepared {
    /// The bundle for libcontainer.
    pub(crate) bundle: PathBuf,
    /// Owner of the container's first process, as the host's ids.
    pub(crate) owner: (u32, u32),
}

/// Opened sources, detached.
struct Sources {
    layers: Vec<OwnedFd>,
    /// With their place in `mounts`.
    binds: Vec<(usize, OwnedFd)>,
    sys: OwnedFd,
}

/// Makes the mount namespace, and the root in it. `state` must not lie where the bundles do. The writable layer takes
/// room as a member of `group`.
pub(crate) fn prepare(bundle: &Bundle, state: &Path, group: Option<u32>) -> anyhow::Result<Prepared> {
    let place = cover(bundle, state)?;
    unshare(CloneFlags::CLONE_NEWNS).context("failed to make a mount namespace")?;
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, slave, None::<&str>)
        .context("failed to detach the mount namespace from the host's")?;

    let map = bundle.annotations.id_map;
    let namespace = map.map(idmap::namespace).transpose()?;
    let namespace = namespace.as_ref().map(AsFd::as_fd);
    let sources = open_sources(bundle, namespace)?;

    let scratch = Scratch(&place);
    let covering = mounts::tmpfs(&[("mode", "0711"), ("size", "1m")])?;
    mounts::attach(covering.as_fd(), &place)?;

    let root = overlay(bundle, &scratch, &sources.layers, group)?;
    let passwd = inside::read(root.as_fd(), "etc/passwd")?;
    let process = bundle.spec.process().as_ref().context("`process` is missing")?;
    let (uid, gid) = (process.user().uid(), process.user().gid());
    let owner = (annotations::to_host(map, uid)?, annotations::to_host(map, gid)?);
    inside::make_folders(root.as_fd(), process.cwd(), owner)?;

    for (index, fd) in &sources.binds {
        attach_bind(fd.as_fd(), &scratch.bind(*index))?;
    }
    std::fs::create_dir(scratch.sys()).context("failed to make a mount point")?;
    mounts::attach(sources.sys.as_fd(), &scratch.sys())?;
    volumes(bundle, &scratch, namespace, root.as_fd(), (uid, gid))?;

    let home = users::home(uid, &passwd);
    write_config(bundle, &scratch, home)?;
    Ok(Prepared { bundle: place, owner })
}

/// The folder to cover: the one that holds the bundle. What is still looked up by its path later
/// must not lie below it, and the container's ids must be able to walk to it.
fn cover(bundle: &Bundle, state: &Path) -> anyhow::Result<PathBuf> {
    let place = match bundle.path.parent() {
        Some(parent) if parent != Path::new("/") => parent.to_owned(),
        _ => bail!("bundle `{}` must be in a folder of bundles", bundle.path.display()),
    };
    let upper = bundle.annotations.upper.as_deref();
    let volumes = bundle.annotations.volumes.iter().map(|volume| volume.source.as_path());
    for path in [state].into_iter().chain(upper).chain(volumes) {
        if path.starts_with(&place) {
            bail!("`{}` must not be in `{}`, the folder of bundles", path.display(), place.display());
        }
    }
    for ancestor in place.ancestors().skip(1) {
        let mode = std::fs::metadata(ancestor)
            .with_context(|| format!("failed to look at `{}`", ancestor.display()))?
            .mode();
        if bundle.annotations.id_map.is_some() && mode & 0o001 == 0 {
            bail!("`{}` must be open to every user (mode o+x)", ancestor.display());
        }
    }
    Ok(place)
}

fn open_sources(bundle: &Bundle, namespace: Option<BorrowedFd<'_>>) -> anyhow::Result<Sources> {
    let annotations = &bundle.annotations;
    let layers = annotations
        .layers
        .iter()
        .map(|file| mounts::layer(file, namespace))
        .collect::<anyhow::Result<_>>()?;

    let mut binds = Vec::new();
    for (index, mount) in bundle.spec.mounts().iter().flatten().enumerate() {
        let Some(recursive) = spec::bind_kind(mount) else { continue };
        let Some(source) = mount.source() else {
            bail!("the mount at `{}` has no source", mount.destination().display());
        };
        let metadata =
            std::fs::metadata(source).with_context(|| format!("failed to look at `{}`", source.display()))?;
        // A file of the bundle belongs to the container's ids, whether written as those or as
        // the host's ids for them.
        let own = source.starts_with(&bundle.path);
        let as_host = annotations.id_map.is_some_and(|map| map.contains(metadata.uid()));
        let id_map = if own && !as_host { namespace } else { None };
        let change = Change { id_map, read_only: false, inert: false, programs: own };
        binds.push((index, mounts::cloned(source, recursive, change)?));
    }

    Ok(Sources { layers, binds, sys: mounts::sysfs()? })
}

/// Mounts the overlay at its place and opens it.
fn overlay(
    bundle: &Bundle,
    scratch: &Scratch<'_>,
    layers: &[OwnedFd],
    group: Option<u32>,
) -> anyhow::Result<OwnedFd> {
    let mut lowers = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let at = scratch.lower(index);
        std::fs::create_dir(&at).context("failed to make a mount point")?;
        mounts::attach(layer.as_fd(), &at)?;
        lowers.push(at);
    }
    if lowers.len() == 1 {
        // A lone layer is refused; an empty one below it changes nothing.
        let empty = scratch.lower(1);
        std::fs::create_dir(&empty).context("failed to make a mount point")?;
        lowers.push(empty);
    }

    let read_only = bundle.spec.root().as_ref().is_some_and(|root| root.readonly() == Some(true));
    let writable = match &bundle.annotations.upper {
        // Only for mount points: libcontainer makes the root read-only when they are there.
        _ if read_only => scratch.0.to_owned(),
        Some(upper) => upper.clone(),
        None => bail!("`org.holdfast.upper` is missing, and the root is not read-only"),
    };
    let map = bundle.annotations.id_map;
    // An overlay writes as who mounted it, whoever writes to it, but for memory that is mapped.
    join(group)?;
    let upper = owned_folder(&writable.join("upper"), map)?;
    let work = owned_folder(&writable.join("work"), map)?;

    let overlay = mounts::overlay(&lowers, &upper, &work)?;
    join(None)?;
    let root = scratch.root();
    std::fs::create_dir(&root).context("failed to make a mount point")?;
    mounts::attach(overlay.as_fd(), &root)?;
    // The overlay holds the layers itself.
    for (index, _) in layers.iter().enumerate() {
        umount2(&scratch.lower(index), MntFlags::MNT_DETACH).context("failed to detach a layer")?;
    }
    Ok(overlay)
}

/// Makes the shim a member of this group, and of no other.
fn join(group: Option<u32>) -> anyhow::Result<()> {
    let groups: Vec<Gid> = group.map(Gid::from_raw).into_iter().collect();
    setgroups(&groups).context("failed to join the group of the writable layer")
}

/// Makes a folder of the container's root user, or checks that it is one of the container's ids.
fn owned_folder(path: &Path, map: Option<IdMap>) -> anyhow::Result<PathBuf> {
    let at = || format!("failed to make folder `{}`", path.display());
    match std::fs::symlink_metadata(path) {
        Ok(found) => {
            let own = match map {
                Some(map) => map.contains(found.uid()),
                None => true,
            };
            if !found.is_dir() || !own {
                bail!("`{}` is not a folder of this container's ids", path.display());
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let root = annotations::to_host(map, 0)?;
            std::fs::create_dir_all(path).with_context(at)?;
            std::fs::set_permissions(path, Permissions::from_mode(0o755)).with_context(at)?;
            chown(path, Some(root), Some(root)).with_context(at)?;
        }
        Err(error) => return Err(error).with_context(at),
    }
    Ok(path.to_owned())
}

fn attach_bind(fd: BorrowedFd<'_>, at: &Path) -> anyhow::Result<()> {
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
    if kind.is_dir() {
        std::fs::create_dir(at).context("failed to make a mount point")?;
    } else {
        File::create(at).context("failed to make a mount point")?;
    }
    mounts::attach(fd, at)
}

/// Binds the volumes. One that was never used takes owner and mode from the image's folder in its
/// place, else the container's user, so that a program without root can write to it.
fn volumes(
    bundle: &Bundle,
    scratch: &Scratch<'_>,
    namespace: Option<BorrowedFd<'_>>,
    root: BorrowedFd<'_>,
    user: (u32, u32),
) -> anyhow::Result<()> {
    let map = bundle.annotations.id_map;
    for (index, volume) in bundle.annotations.volumes.iter().enumerate() {
        first_use(&volume.source, || {
            let Some(found) = inside::folder(root, &volume.destination)? else {
                return Ok((UNUSED, user.0, user.1));
            };
            let id = |host: u32| host - map.map_or(0, |map| map.base.min(host));
            Ok((found.st_mode & 0o7777, id(found.st_uid), id(found.st_gid)))
        })
        .with_context(|| format!("failed to prepare volume `{}`", volume.source.display()))?;
        let change = Change { id_map: namespace, read_only: volume.read_only, inert: true, programs: true };
        let fd = mounts::cloned(&volume.source, false, change)?;
        attach_bind(fd.as_fd(), &scratch.volume(index))?;
    }
    Ok(())
}

/// Mode of a volume as it is made.
const UNUSED: u32 = 0o755;

/// Gives a volume the mode, user and group of `wanted` if it is as it was made: empty, of root, and with the
/// mode it was given. Containers that share it may start together, so the folder around it, which they do
/// not see, is locked: each finds what those before made of it.
fn first_use(volume: &Path, wanted: impl FnOnce() -> anyhow::Result<(u32, u32, u32)>) -> anyhow::Result<()> {
    let around = File::open(volume.parent().context("it is no folder in another")?)?;
    around.lock()?;
    let found = std::fs::symlink_metadata(volume)?;
    if !found.is_dir() {
        bail!("it is not a folder");
    }
    let as_made = (found.mode() & 0o7777, found.uid(), found.gid()) == (UNUSED, 0, 0);
    if as_made && std::fs::read_dir(volume)?.next().is_none() {
        let (mode, uid, gid) = wanted()?;
        chown(volume, Some(uid), Some(gid))?;
        std::fs::set_permissions(volume, Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn write_config(bundle: &Bundle, scratch: &Scratch<'_>, home: &str) -> anyhow::Result<()> {
    let volumes = &bundle.annotations.volumes;
    let spec = spec::for_runtime(&bundle.spec, volumes, scratch, home);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(scratch.0.join("config.json"))
        .context("failed to create the configuration for libcontainer")?;
    file.write_all(&serde_json::to_vec(&spec)?).context("failed to write the configuration for libcontainer")
}
