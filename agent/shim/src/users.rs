//! `USER[:GROUP]` looked up in a container's own `/etc/passwd` and `/etc/group`.
//!
//! The C library's lookup is not used: it would load name service modules out of the container.

use thiserror::Error;

/// Who a process runs as, in the container's ids.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// User.
    pub(crate) uid: u32,
    /// First group.
    pub(crate) gid: u32,
    /// Further groups.
    pub(crate) groups: Vec<u32>,
}

/// A user or a group that is not there.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum UserError {
    #[error("user `{0}` is not in the container's /etc/passwd")]
    User(String),
    #[error("group `{0}` is not in the container's /etc/group")]
    Group(String),
    #[error("`{0}` is not USER or USER:GROUP")]
    Form(String),
}

/// One line of passwd, as far as it is of use.
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or_default();
        Some(Account { name, uid, gid, home })
    })
}

/// Name, id and members of each group.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

/// Resolves `USER[:GROUP]`, each a name or a number. A number needs no entry. Without a group, the
/// account's own one counts (0 for a number without an account), and the groups that list it.
pub(crate) fn resolve(request: &str, passwd: &str, group: &str) -> Result<Identity, UserError> {
    let (user, asked_group) = match request.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (request, None),
    };
    if user.is_empty() || asked_group == Some("") {
        return Err(UserError::Form(request.to_owned()));
    }
    let number = user.parse::<u32>().ok();
    let account = accounts(passwd).find(|a| a.name == user || Some(a.uid) == number);
    let uid = match (&account, number) {
        (Some(account), _) => account.uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err(UserError::User(user.to_owned())),
    };
    if let Some(asked) = asked_group {
        let gid = groups(group)
            .find(|(name, _, _)| *name == asked)
            .map(|(_, gid, _)| gid)
            .or_else(|| asked.parse().ok())
            .ok_or_else(|| UserError::Group(asked.to_owned()))?;
        return Ok(Identity { uid, gid, groups: Vec::new() });
    }
    let Some(account) = account else {
        return Ok(Identity { uid, gid: 0, groups: Vec::new() });
    };
    let lists_it = |members: &str| members.split(',').any(|member| member == account.name);
    let groups = groups(group)
        .filter(|(_, gid, members)| *gid != account.gid && lists_it(members))
        .map(|(_, gid, _)| gid)
        .collect();
    Ok(Identity { uid, gid: account.gid, groups })
}

/// The home folder of a user, `/` where there is none.
pub(crate) fn home(uid: u32, passwd: &str) -> &str {
    accounts(passwd)
        .find(|account| account.uid == uid)
        .map(|account| account.home)
        .filter(|home| home.starts_with('/'))
        .unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                          broken line\n\
                          web:x:101:102:,,,:/srv/web:/bin/false\n\
                          nohome:x:103:103::\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\nadm:x:4:web,other\nssl:x:5:other,web\nx:y\n";

    fn check(request: &str, expect: Result<(u32, u32, &[u32]), UserError>) {
        let expect = expect.map(|(uid, gid, groups)| Identity { uid, gid, groups: groups.to_vec() });
        assert_eq!(resolve(request, PASSWD, GROUP), expect, "{request}");
    }

    #[test]
    fn names_and_numbers() {
        check("root", Ok((0, 0, &[])));
        check("0", Ok((0, 0, &[])));
        check("web", Ok((101, 102, &[4, 5])));
        check("101", Ok((101, 102, &[4, 5])));
        check("4000", Ok((4000, 0, &[])));
        check("web:adm", Ok((101, 4, &[])));
        check("web:77", Ok((101, 77, &[])));
        check("4000:4001", Ok((4000, 4001, &[])));
    }

    #[test]
    fn what_is_missing_is_named() {
        check("nobody", Err(UserError::User("nobody".to_owned())));
        check("web:none", Err(UserError::Group("none".to_owned())));
        check(":web", Err(UserError::Form(":web".to_owned())));
        check("web:", Err(UserError::Form("web:".to_owned())));
        check("", Err(UserError::Form(String::new())));
        check("-1", Err(UserError::User("-1".to_owned())));
    }

    #[test]
    fn home_falls_back_to_the_root() {
        assert_eq!(home(101, PASSWD), "/srv/web");
        assert_eq!(home(103, PASSWD), "/");
        assert_eq!(home(9, PASSWD), "/");
    }
}
