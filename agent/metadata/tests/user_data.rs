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
    // The document says who gets in.
    assert!(opened.keys.is_empty());
    assert_eq!(
        opened.notes,
        [
            "part 1 is script and is ignored",
            "part 2 is cloud-config and is ignored",
            "part 3 is cloud-init and is ignored"
        ]
    );
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
    check(&message(&both), "Holdfast: part 1 is script, part 2 is cloud-config; add one of the type", 1);
    check(&message(&[("text/plain", DOCUMENT), ("text/plain", DOCUMENT)]), "the parts 1 and 2", 0);
    let cut = message(&[("text/plain", DOCUMENT)]);
    check(cut.trim_end().strip_suffix("--").unwrap(), "its closing boundary is missing", 0);
    check(&cut[..cut.len() / 2], "its closing boundary is missing", 0);
    check("Content-Type: multipart/mixed\n\n", "part 1 is empty", 0);
    let wrong = cut.replace("text/plain\n", "text/plain\nContent-Transfer-Encoding: base64\n");
    check(&wrong, "part 1", 0);
    check(&message(&vec![("text/plain", "x"); 70]), "more than 64 parts", 0);
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
    assert_eq!(keys(&user("    sudo: false\n")), [""; 0]);
    assert_eq!(keys(&user("").replace("ops", "root")), [KEY]);
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
    // A part is unpacked within the same limit.
    let bomb = STANDARD.encode(gzip(&vec![0; 4 << 20]));
    let packed = message(&[("application/octet-stream\nContent-Transfer-Encoding: base64", &bomb)]);
    assert!(matches!(open(packed.as_bytes()).document, Err(OpenError::Decode(DecodeError::Unpacked))));
}
