//! User-data as it comes: what a box reads of it.

use std::io::Write;

use agent_metadata::{DecodeError, OpenError, UserData, open};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

const DOCUMENT: &str = "format = 1\n[box]\nhostname = \"hub1\"\n";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk0LlHVvXMDgW2VPZhoMRqsX4fL0vQ7QK2UQkSpZ1aA";

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A message of parts, each a type and its content.
fn message(parts: &[(&str, &str)]) -> String {
    let part = |(kind, content): &(&str, &str)| format!("--=_x\nContent-Type: {kind}\n\n{content}\n");
    let parts: String = parts.iter().map(part).collect();
    format!("Content-Type: multipart/mixed; boundary=\"=_x\"\nMIME-Version: 1.0\n\n{parts}--=_x--\n")
}

fn document(opened: UserData) -> String {
    String::from_utf8(opened.document.unwrap()).unwrap()
}

#[test]
fn the_documents_part_is_read_however_it_is_put() {
    let plain = message(&[("application/toml", DOCUMENT)]);
    let packed = STANDARD.encode(gzip(DOCUMENT.as_bytes()));
    let encoded = plain
        .replace(DOCUMENT, &format!("{packed}\n"))
        .replace("application/toml\n", "application/octet-stream\nContent-Transfer-Encoding: base64\n");
    let quoted = plain.replace(DOCUMENT, &DOCUMENT.replace('=', "=3D").replace("hub1", "hu=\nb1")).replace(
        "application/toml\n",
        "text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n",
    );
    let inner =
        message(&[("text/x-shellscript", "#!/bin/sh"), ("text/plain", DOCUMENT)]).replace("=_x", "=_y");
    let nested = plain
        .replace(&format!("Content-Type: application/toml\n\n{DOCUMENT}"), inner.strip_suffix('\n').unwrap());
    let named = "Content-Disposition: attachment; filename=\"box.toml\"\nContent-Type: application/toml\n";
    for text in [
        plain.clone(),
        plain.replace('\n', "\r\n"),
        format!("From nobody Fri Nov 27 17:17:00 2026\n{plain}"),
        plain.replace("Content-Type: application/toml\n", named),
        plain.replace("Content-Type: application/toml\n", ""),
        plain.replace("application/toml", "Text/Plain; charset=\"us-ascii\""),
        message(&[("text/cloud-config", "users: []\n"), ("text/plain", DOCUMENT), ("text/plain", " ")]),
        // What says that it is one comes before what looks like one, or cannot be read.
        message(&[("text/plain", "a note"), ("application/toml", DOCUMENT), ("application/json", "{}")]),
        message(&[
            ("application/octet-stream\nContent-Transfer-Encoding: base64", "!!"),
            ("text/toml", DOCUMENT),
        ]),
        format!("\u{feff}\n{plain}"),
        plain.replace(
            "Content-Type: multipart/mixed; boundary",
            "content-type:\n\tmultipart/mixed;\n boundary",
        ),
        encoded.replace("application/octet-stream", "text/plain"),
        encoded,
        quoted,
        nested,
        STANDARD.encode(&plain),
        format!("MIME-Version: 1.0\nContent-Type: application/toml\n\n{DOCUMENT}"),
    ] {
        for delivered in [text.clone().into_bytes(), gzip(text.as_bytes())] {
            let read = document(open(&delivered)).replace("\r\n", "\n");
            assert_eq!(read.trim_end(), DOCUMENT.trim_end(), "{text}");
        }
    }
}

#[test]
fn what_else_a_message_holds_is_named() {
    let opened = open(
        message(&[
            ("text/x-shellscript", "#!/bin/sh\nrm -rf /\n"),
            ("text/cloud-config", &format!("ssh_authorized_keys: [\"{KEY}\"]\n")),
            ("text/x-include-url", "https://example.org/more\n"),
            ("text/plain", DOCUMENT),
        ])
        .as_bytes(),
    );
    assert_eq!(opened.keys, [KEY], "for the case that the document is no good");
    let ignored = ["text/x-shellscript", "text/cloud-config", "text/x-include-url"];
    let notes: Vec<String> =
        ignored.iter().zip(1..).map(|(kind, n)| format!("part {n} is {kind} and is ignored")).collect();
    assert_eq!(opened.notes, notes);
    assert_eq!(document(opened).trim_end(), DOCUMENT.trim_end());
}

#[test]
fn a_message_without_one_document_is_an_error_that_lets_its_owner_in() {
    let config = format!("#cloud-config\nssh_authorized_keys:\n  - {KEY} ops\n");
    let check = |text: &str, says: &str, keys: usize| {
        let opened = open(text.as_bytes());
        let error = opened.document.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(opened.keys.len(), keys, "{text}");
    };
    let both = [("text/x-shellscript", "#!/bin/sh\n"), ("text/cloud-config", config.as_str())];
    check(&message(&both), "Holdfast: part 1 is text/x-shellscript, part 2 is text/cloud-config; add one", 1);
    check(&message(&[("text/plain", DOCUMENT), ("text/plain", DOCUMENT)]), "the parts 1 and 2", 0);
    let cut = message(&[("text/plain", DOCUMENT)]);
    check(cut.trim_end().strip_suffix("--").unwrap(), "the closing line", 0);
    check(&cut[..cut.len() / 2], "the closing line", 0);
    check(&cut.replace("--=_x", "--=_y"), "the closing line", 0);
    check("Content-Type: multipart/mixed\n\n", "without a `boundary`", 0);
    // What came before the cut lets its owner in all the same.
    let config_first = message(&[("text/cloud-config", &config), ("text/plain", DOCUMENT)]);
    check(config_first.trim_end().strip_suffix("--").unwrap(), "the closing line", 1);
    let wrong = cut.replace("text/plain\n", "text/plain\nContent-Transfer-Encoding: base64\n");
    check(&wrong, "part 1 is binary", 0);
    let wrong = wrong.replace("text/plain", "application/toml");
    check(&wrong, "part 1 of user-data is not encoded as it says", 0);
    check(&message(&vec![("text/plain", "x"); 70]), "more than 64 parts", 0);
    // So does what stands above a part too many, or above one that cannot be taken apart, or at another boundary.
    let mut many = vec![("text/cloud-config", config.as_str())];
    many.resize(70, ("text/plain", "x"));
    check(&message(&many), "more than 64 parts", 1);
    let unbound = [("text/cloud-config", config.as_str()), ("multipart/mixed", "--a\n\nx\n--a--")];
    check(&message(&unbound), "without a `boundary`", 1);
    let level = |n| format!("--b{n}\nContent-Type: multipart/x; boundary=b{}\n\n", n + 1);
    let levels: String = (0..6).map(level).collect();
    let nested = [("text/cloud-config", config.as_str()), ("multipart/x; boundary=b0", levels.as_str())];
    check(&message(&nested), "parts in parts", 1);
    check(&message(&both).replace("boundary=\"=_x\"", "charset=utf-8"), "without a `boundary`", 1);
    check(&message(&both).replace("--=_x", "--=_y"), "the closing line", 1);
    // Messages in messages, and boundaries that never come, cost nothing.
    let deep = "Content-Type: multipart/x; boundary=a\n\n--a\n".repeat(1400);
    check(&deep, "parts in parts", 0);
    let forwarded = "Content-Type: message/rfc822\n\n".repeat(2000);
    check(&format!("MIME-Version: 1.0\n{forwarded}"), "part 1 is message/rfc822", 0);
}

#[test]
fn keys_of_a_cloud_config_let_its_owner_in() {
    let keys = |text: &str| {
        let opened = open(text.as_bytes());
        assert_eq!(opened.document.unwrap(), text.as_bytes(), "the document is what it is");
        opened.keys
    };
    let with = format!("{KEY} ops");
    let listed = format!("#cloud-config\npackages: [nginx]\nssh_authorized_keys:\n  - {with}\n");
    assert_eq!(keys(&listed), [with.as_str()]);
    assert_eq!(keys(&format!("\u{feff}{}", listed.replace('\n', "\r\n"))), [with.as_str()]);
    assert_eq!(keys(&format!("#cloud-config\nssh_authorized_keys: \"{with}\"\n")), [with.as_str()]);
    // Cut in the middle of a line below.
    assert_eq!(keys(&format!("{listed}runcmd:\n  - [\"echo")), [with.as_str()]);
    let user = |more: &str| {
        format!("#cloud-config\nusers:\n  - name: ops\n    ssh-authorized-keys: [\"{KEY}\"]\n{more}")
    };
    assert_eq!(keys(&user("    sudo: ALL=(ALL) NOPASSWD:ALL\n")), [KEY]);
    assert_eq!(keys(&user("    sudo: [\"ALL=(ALL) ALL\"]\n")), [KEY]);
    assert_eq!(keys(&user("")), [""; 0], "who may do little on another system may not do all here");
    for less in [
        "false",
        "fals",
        "[]",
        "0",
        "true",
        "\"ALL=(ALL) NOPASSWD: /usr/bin/systemctl restart nginx\"",
        "\"ALL=(postgres) ALL\"",
        "\"hub1=(ALL) ALL\"",
    ] {
        assert_eq!(keys(&user(&format!("    sudo: {less}\n"))), [""; 0], "{less}");
    }
    assert_eq!(keys(&user("    sudo: [\"ALL=(ALL:ALL) NOPASSWD: ALL\"]\n")), [KEY]);
    assert_eq!(keys(&user("").replace("ops", "root")), [KEY]);
    for groups in ["sudo", "wheel", "users, admin", "[users, sudo]"] {
        assert_eq!(keys(&user(&format!("    groups: {groups}\n"))), [KEY], "{groups}");
        assert_eq!(keys(&user(&format!("    groups: {groups}\n    sudo: false\n"))), [""; 0], "{groups}");
    }
    for groups in ["users", "sudoers", "[docker, adm]", "[]", "{sudo: 1}"] {
        assert_eq!(keys(&user(&format!("    groups: {groups}\n"))), [""; 0], "{groups}");
    }
    // A template of one, where it is YAML before it is filled in.
    let template = listed.replace("#cloud-config", "## template: jinja\n#cloud-config");
    assert_eq!(keys(&template), [with.as_str()]);
    assert_eq!(keys(&format!("{template}hostname: \"{{{{ v1.region }}}}\"\n")), [with.as_str()]);
    assert_eq!(keys(&format!("{template}hostname: {{{{ v1.region }}}}\n")), [""; 0]);
    let parts = [("text/jinja2", template.as_str()), ("text/plain", DOCUMENT)];
    assert_eq!(open(message(&parts).as_bytes()).keys, [with.as_str()]);
    assert_eq!(keys("#cloud-config\nssh_authorized_keys: {a: 1}\n- :\n"), [""; 0]);
    assert_eq!(keys("#cloud-config\n[[["), [""; 0]);
}

#[test]
fn all_else_stays_as_it_is() {
    for text in ["", " \n", DOCUMENT, "#!/bin/sh\n", "#include\nhttps://example.org\n", "\u{feff}[box]\r\n"] {
        let opened = open(text.as_bytes());
        assert_eq!(opened.document.unwrap(), text.as_bytes());
        assert!(opened.keys.is_empty() && opened.notes.is_empty());
    }
    assert!(matches!(open(&[b'#'; 65_537]).document, Err(OpenError::Decode(DecodeError::Delivered))));
    // Of a part that is no document the size is its own affair.
    let script = format!("#!/bin/sh\n{}", "# x\n".repeat(20_000));
    let large = message(&[("text/x-shellscript", &script), ("application/toml", DOCUMENT)]);
    assert_eq!(document(open(&gzip(large.as_bytes()))).trim_end(), DOCUMENT.trim_end());
    // A part is unpacked within the same limit.
    let bomb = STANDARD.encode(gzip(&vec![0; 4 << 20]));
    let packed = message(&[("application/toml\nContent-Transfer-Encoding: base64", &bomb)]);
    assert!(matches!(open(packed.as_bytes()).document, Err(OpenError::Decode(DecodeError::Unpacked))));
}
