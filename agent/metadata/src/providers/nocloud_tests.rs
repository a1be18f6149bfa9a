use std::fs;

use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk0LlHVvXMDgW2VPZhoMRqsX4fL0vQ7QK2UQkSpZ1aA";

fn volume(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

/// Identity, host name and number of keys that this `meta-data` gives.
fn check(metadata: &str, expect: (Option<&str>, Option<&str>, usize)) {
    let volume = volume(&[("meta-data", metadata)]);
    let offer = offer(volume.path()).unwrap().unwrap();
    let got = (offer.instance_id.as_deref(), offer.hostname.as_deref(), offer.public_keys.len());
    assert_eq!(got, expect, "{metadata}");
    assert!(offer.user_data.is_none());
}

#[test]
fn the_usual_forms_of_meta_data() {
    check("", (None, None, 0));
    check("# nothing\n", (None, None, 0));
    check("instance-id: iid-1\nlocal-hostname: Box1\n", (Some("iid-1"), Some("box1"), 0));
    check("instance-id: 0012\nhostname: a\nlocal-hostname: b\n", (Some("0012"), Some("b"), 0));
    check("instance-id: \"1e3\"\nlocal-hostname: null\n", (Some("1e3"), None, 0));
    check(&format!("public-keys:\n  - {KEY} a\n  - {KEY} b\nother: [1, {{x: y}}]\n"), (None, None, 2));
    check(&format!("public-keys:\n  mine: {KEY}\n"), (None, None, 1));
    check(&format!("public-keys: {KEY}\n"), (None, None, 1));
    check(&format!("public-keys:\n  0:\n    openssh-key: {KEY}\n"), (None, None, 1));
    check("public-keys: []\n", (None, None, 0));
    check("public-keys:\n", (None, None, 0));
    check("{\"instance-id\": \"json\", \"local-hostname\": \"j\"}", (Some("json"), Some("j"), 0));
}

#[test]
fn nothing_there_is_nothing_offered() {
    assert!(offer(volume(&[]).path()).unwrap().is_none());
    assert!(offer(volume(&[("network-config", "version: 2")]).path()).unwrap().is_none());
    assert!(offer(std::path::Path::new("/nonexistent")).unwrap().is_none());
}

#[test]
fn broken_meta_data_costs_no_user_data() {
    let broken = "instance-id: [\n  unfinished";
    let alone = volume(&[("meta-data", broken)]);
    assert!(matches!(offer(alone.path()), Err(ReadError::Yaml { .. })));
    let both = volume(&[("meta-data", broken), ("user-data", "format = 1\n"), ("network-config", "")]);
    let offer = offer(both.path()).unwrap().unwrap();
    assert_eq!(offer.user_data.unwrap().document.unwrap(), b"format = 1\n");
    assert_eq!(offer.notes.len(), 2, "{:?}", offer.notes);
    assert!(!offer.notes[0].contains('\n'));
}

#[test]
fn a_bomb_of_aliases_ends_quickly() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let previous = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
    }
    let began = std::time::Instant::now();
    let _ = offer(volume(&[("meta-data", &bomb)]).path());
    assert!(began.elapsed().as_secs() < 5);
}
