//! TUF root metadata: whom a client trusts.

use tough::schema::{RoleType, Root, Signed};

/// Why a text is no root metadata that a client could start from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootError {
    /// It is something else.
    #[error("it is no TUF root metadata")]
    Syntax(#[from] serde_json::Error),
    /// Fewer of its own keys signed it than it says itself.
    #[error("it is not signed by its own keys")]
    Signature(#[source] Box<tough::schema::Error>),
    /// A role lacks keys.
    #[error("it names too few keys for the role `{0}`")]
    Role(RoleType),
    /// Targets would be looked for under other names.
    #[error("it is of a repository without consistent snapshots")]
    Inconsistent,
}

/// Reads root metadata and checks that it is signed as it says itself. Its end of validity is not looked at.
pub(crate) fn parse(text: &[u8]) -> Result<Signed<Root>, RootError> {
    let root: Signed<Root> = serde_json::from_slice(text)?;
    root.signed.verify_role(&root).map_err(|error| RootError::Signature(Box::new(error)))?;
    for role in [RoleType::Root, RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp] {
        let threshold = root.signed.roles.get(&role).map_or(u64::MAX, |keys| keys.threshold.get());
        if (root.signed.keys(role).count() as u64) < threshold {
            return Err(RootError::Role(role));
        }
    }
    if !root.signed.consistent_snapshot {
        return Err(RootError::Inconsistent);
    }
    Ok(root)
}
