//! New keys for a role, without a moment in which a client that trusts the old root or the new one finds
//! something it refuses.
//!
//! The order: the new key lies in its folder; metadata of the role, and of those above it, are signed by old
//! and new key; the new root metadata are in the repository; then in the folder of keys; then key files get
//! their names. A command that was cut anywhere is made good by the next one.

use tough::schema::{RoleType, Root, Signed};

use super::keys::{Absent, Keys};
use super::lifetime::Lifetime;
use super::metadata;
use super::repository::{Depth, Repository, RepositoryError, Step};

/// Replaces the keys of a role.
pub(crate) fn rotate(
    keys: &mut Keys,
    repository: &mut Repository,
    role: RoleType,
    root_expires: Lifetime,
    expires: Lifetime,
) -> Result<(), RepositoryError> {
    let (root, steps) = plan(keys, repository, role, root_expires, expires)?;
    repository.apply(&steps, keys)?;
    Ok(keys.follow(root)?)
}

/// Replaces the keys of a role of which some are lost, with those that are here. Where too few are left to sign
/// for the role, the root metadata come first, and a client that looks in between looks again later.
pub(crate) fn replace_lost(
    keys: &mut Keys,
    repository: &mut Repository,
    role: RoleType,
    root_expires: Lifetime,
    expires: Lifetime,
) -> Result<(), RepositoryError> {
    let root = next_root(keys, repository, root_expires);
    let root = keys.replace(role, root, Absent::Lost)?;
    repository.write(&repository.root(&root)?)?;
    keys.follow(root)?;
    let steps = match depth(role) {
        Some(depth) => repository.renew(keys, depth, repository.contents(), Vec::new(), expires)?,
        None => Vec::new(),
    };
    repository.apply(&steps, keys)
}

fn next_root(keys: &Keys, repository: &Repository, expires: Lifetime) -> Root {
    let mut root = keys.root().signed.clone();
    root.version = metadata::next(root.version);
    root.expires = expires.after(repository.now());
    root
}

/// What has to be signed anew when a role has other keys.
fn depth(role: RoleType) -> Option<Depth> {
    match role {
        RoleType::Targets => Some(Depth::Targets),
        RoleType::Snapshot => Some(Depth::Snapshot),
        RoleType::Timestamp => Some(Depth::Timestamp),
        _ => None,
    }
}

/// Makes the keys, and gives the new root metadata with the writes to the repository, the root's last.
pub(crate) fn plan(
    keys: &mut Keys,
    repository: &Repository,
    role: RoleType,
    root_expires: Lifetime,
    expires: Lifetime,
) -> Result<(Signed<Root>, Vec<Step>), RepositoryError> {
    let root = next_root(keys, repository, root_expires);
    let root = keys.replace(role, root, Absent::Elsewhere)?;
    let mut steps = match depth(role) {
        Some(depth) => repository.renew(keys, depth, repository.contents(), Vec::new(), expires)?,
        None => Vec::new(),
    };
    steps.push(repository.root(&root)?);
    Ok((root, steps))
}
