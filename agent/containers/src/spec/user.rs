//! `USER[:GROUP]` of an image or a recipe, looked up in the image's own passwd and group.

use serde::{Deserialize, Serialize};

/// Whom a process runs as, in the container's own ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// First group.
    pub gid: u32,
    /// Other groups, sorted.
    pub groups: Vec<u32>,
}

/// A user that is not there.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum UserError {
    #[error("the image has no user `{0}`")]
    User(String),
    #[error("the image has no group `{0}`")]
    Group(String),
}

/// Resolves a user. A number needs no entry, but takes group and further groups from one if there is.
/// A group that is written replaces the user's groups. Nothing at all is root.
pub(super) fn resolve(text: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    let (user, named_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let number: Option<u32> = if user.is_empty() { Some(0) } else { user.parse().ok() };
    let account = entries(passwd).find_map(|fields| {
        let uid: u32 = fields.get(2)?.parse().ok()?;
        let gid: u32 = fields.get(3)?.parse().ok()?;
        let matches = fields[0] == user || number == Some(uid);
        matches.then(|| (fields[0], uid, gid))
    });
    let (name, uid, gid) = match (account, number) {
        (Some(account), _) => account,
        (None, Some(uid)) => ("", uid, 0),
        (None, None) => return Err(UserError::User(user.to_owned())),
    };
    if let Some(named) = named_group {
        return Ok(User { uid, gid: resolve_group(named, group)?, groups: Vec::new() });
    }
    let mut groups: Vec<u32> = entries(group)
        .filter(|fields| {
            !name.is_empty() && fields.get(3).is_some_and(|members| members.split(',').any(|m| m == name))
        })
        .filter_map(|fields| fields.get(2)?.parse().ok())
        .filter(|found| *found != gid)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(User { uid, gid, groups })
}

fn resolve_group(text: &str, group: &str) -> Result<u32, UserError> {
    let named =
        || entries(group).find(|fields| fields[0] == text).and_then(|fields| fields.get(2)?.parse().ok());
    text.parse().ok().or_else(named).ok_or_else(|| UserError::Group(text.to_owned()))
}

fn entries(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|fields| !fields[0].is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:sys,app\napp:x:1001:app\nempty:x:9:\nweb:x:33:app,x\n";

    #[test]
    fn users_and_groups() {
        let user = |uid, gid, groups: &[u32]| Ok(User { uid, gid, groups: groups.to_vec() });
        for (text, expect) in [
            ("", user(0, 0, &[])),
            ("root", user(0, 0, &[])),
            ("app", user(1000, 1001, &[4, 33])),
            ("1000", user(1000, 1001, &[4, 33])),
            ("77", user(77, 0, &[])),
            ("77:88", user(77, 88, &[])),
            ("app:adm", user(1000, 4, &[])),
            ("app:5", user(1000, 5, &[])),
            ("app:", user(1000, 1001, &[4, 33])),
            (":5", user(0, 5, &[])),
            ("nobody", Err(UserError::User("nobody".into()))),
            ("app:none", Err(UserError::Group("none".into()))),
            ("-1", Err(UserError::User("-1".into()))),
        ] {
            assert_eq!(resolve(text, PASSWD, GROUP), expect, "{text}");
        }
        assert_eq!(resolve("1000:1000", "", ""), user(1000, 1000, &[]));
    }
}
