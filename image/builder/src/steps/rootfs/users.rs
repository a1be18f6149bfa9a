//! Users and groups of the root, with numbers that never change.
//!
//! Replaces the maintainer scripts of base-passwd, systemd, udev, dbus and openssh-server, which would
//! call `adduser` and `systemd-sysusers`. Files on data belong to these numbers: a number is never given
//! to another name.

use super::tree::{Kind, Node, Tree};

struct User {
    name: &'static str,
    id: u32,
    gecos: &'static str,
    home: &'static str,
    shell: &'static str,
}

const NO_LOGIN: &str = "/usr/sbin/nologin";

/// Number, name, and what runs as it; each has a group of its name and number.
const USERS: [User; 8] = [
    User { name: "root", id: 0, gecos: "root", home: "/root", shell: NO_LOGIN },
    User { name: "admin", id: 1000, gecos: "Admin", home: "/run/holdfast/admin", shell: "/usr/bin/holdfast" },
    User { name: "sshd", id: 900, gecos: "OpenSSH before login", home: "/run/sshd", shell: NO_LOGIN },
    User { name: "messagebus", id: 901, gecos: "D-Bus", home: "/", shell: NO_LOGIN },
    User { name: "systemd-timesync", id: 902, gecos: "Time", home: "/", shell: NO_LOGIN },
    User { name: "holdfast-fetch", id: 910, gecos: "Pulls images", home: "/", shell: NO_LOGIN },
    User { name: "holdfast-update", id: 911, gecos: "Stages updates", home: "/", shell: NO_LOGIN },
    User { name: "nobody", id: 65534, gecos: "nobody", home: "/", shell: NO_LOGIN },
];

/// Groups that have no user: those of devices, as Debian numbers them, and systemd's.
const GROUPS: [(&str, u32); 18] = [
    ("tty", 5),
    ("disk", 6),
    ("lp", 7),
    ("kmem", 15),
    ("dialout", 20),
    ("cdrom", 24),
    ("tape", 26),
    ("audio", 29),
    ("video", 44),
    ("utmp", 43),
    ("plugdev", 46),
    ("adm", 4),
    ("input", 920),
    ("sgx", 921),
    ("clock", 922),
    ("kvm", 923),
    ("render", 924),
    ("systemd-journal", 925),
];

/// Adds `passwd`, `group`, `shadow` and `gshadow`. No account has a password; `admin` is not locked
/// either, since sshd refuses locked accounts even with a key: `*` matches no password.
pub fn add(tree: &mut Tree) {
    let mut groups: Vec<(&str, u32)> = USERS.iter().map(|u| (group_of(u.name), u.id)).collect();
    groups.extend(GROUPS);
    groups.sort_by_key(|(_, id)| *id);
    let lines = |line: &dyn Fn(&User) -> String| USERS.iter().map(line).collect::<String>();
    let passwd = lines(&|u| format!("{0}:x:{1}:{1}:{2}:{3}:{4}\n", u.name, u.id, u.gecos, u.home, u.shell));
    let shadow = lines(&|u| format!("{}:*:1::::::\n", u.name));
    let group: String = groups.iter().map(|(name, id)| format!("{name}:x:{id}:\n")).collect();
    let gshadow: String = groups.iter().map(|(name, _)| format!("{name}:*::\n")).collect();
    for (path, mode, content) in [
        ("etc/passwd", 0o644, passwd),
        ("etc/group", 0o644, group),
        ("etc/shadow", 0o600, shadow),
        ("etc/gshadow", 0o600, gshadow),
    ] {
        let kind = Kind::File(content.into_bytes());
        tree.insert(path, Node { mode, uid: 0, gid: 0, kind, origin: "users".to_owned() });
    }
}

/// Debian calls nobody's group `nogroup`.
fn group_of(user: &'static str) -> &'static str {
    if user == "nobody" { "nogroup" } else { user }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique_and_no_password_exists() {
        let mut tree = Tree::merged();
        add(&mut tree);
        let lines = |path| String::from_utf8(tree.content(path).unwrap().to_vec()).unwrap();
        for path in ["etc/passwd", "etc/group"] {
            let text = lines(path);
            for column in [0, 2] {
                let mut values: Vec<&str> = text.lines().map(|l| l.split(':').nth(column).unwrap()).collect();
                let count = values.len();
                values.sort_unstable();
                values.dedup();
                assert_eq!(values.len(), count, "{path}, column {column}");
            }
        }
        assert!(lines("etc/shadow").lines().all(|line| line.split(':').nth(1) == Some("*")));
        assert_eq!(tree.get("etc/shadow").unwrap().mode, 0o600);
    }
}
