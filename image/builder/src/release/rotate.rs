//! New keys for a role, without a moment in which a client that trusts the old root or the new one finds
//! something it refuses.
//!
//! The order: the new key lies in its folder; metadata of the role, and of those above it, are signed by old
//! and new key; the new root metadata are in the repository; then in the folder of keys; then key files get
//! their names. A command that was cut anywhere is made good by the next one.

use tough::schema::{RoleType, Root, Signed};

use super::keys::Keys;
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

/// Makes the keys, and gives the new root metadata with the writes to the repository, the root's last.
pub(crate) fn plan(
    keys: &mut Keys,
    repository: &Repository,
    role: RoleType,
    root_expires: Lifetime,
    expires: Lifetime,
) -> Result<(Signed<Root>, Vec<Step>), RepositoryError> {
    let mut root = keys.root().signed.clone();
    root.version = metadata::next(root.version);
    root.expires = root_expires.after(repository.now());
    let root = keys.replace(role, root)?;
    let depth = match role {
        RoleType::Targets => Some(Depth::Targets),
        RoleType::Snapshot => Some(Depth::Snapshot),
        RoleType::Timestamp => Some(Depth::Timestamp),
        _ => None,
    };
    let mut steps = match depth {
        Some(depth) => repository.renew(keys, depth, repository.contents(), Vec::new(), expires)?,
        None => Vec::new(),
    };
    steps.push(repository.root(&root)?);
    Ok((root, steps))
}
