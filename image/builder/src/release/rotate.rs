//! New keys for a role, without a moment in which a client that trusts the old root or the new one finds
//! something it refuses.
//!
//! The order: the new key lies in its folder; metadata of the role, and of those above it, are signed by old
//! and new key; the new root metadata are in the repository; then in the folder of keys; then key files get
//! their names. A command that was cut anywhere is made good by the next one.

use tough::schema::RoleType;

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
    let mut root = keys.root().signed.clone();
    root.version = metadata::next(root.version);
    root.expires = root_expires.after(repository.now());
    let root = keys.replace(role, root)?;
    let mut steps = steps(keys, repository, role, expires)?;
    steps.push(repository.root(&root)?);
    repository.apply(&steps, keys)?;
    Ok(keys.follow(root)?)
}

/// The writes before that of the new root.
fn steps(
    keys: &Keys,
    repository: &Repository,
    role: RoleType,
    expires: Lifetime,
) -> Result<Vec<Step>, RepositoryError> {
    let depth = match role {
        RoleType::Targets => Depth::Targets,
        RoleType::Snapshot => Depth::Snapshot,
        RoleType::Timestamp => Depth::Timestamp,
        _ => return Ok(Vec::new()),
    };
    repository.renew(keys, depth, repository.contents(), Vec::new(), expires)
}
