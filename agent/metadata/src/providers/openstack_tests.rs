use std::fs;

use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk0LlHVvXMDgW2VPZhoMRqsX4fL0vQ7QK2UQkSpZ1aA";

fn volume(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let latest = directory.path().join("openstack/latest");
    fs::create_dir_all(&latest).unwrap();
    for (name, content) in files {
        fs::write(latest.join(name), content).unwrap();
    }
    directory
}

fn check(metadata: &str, expect: (Option<&str>, Option<&str>, usize, usize)) {
    let volume = volume(&[("meta_data.json", metadata)]);
    let offer = offer(volume.path()).unwrap().unwrap();
    let (id, name) = (offer.instance_id.as_deref(), offer.hostname.as_deref());
    assert_eq!((id, name, offer.public_keys.len(), offer.notes.len()), expect, "{metadata}");
}

#[test]
fn metadata_is_taken_field_by_field() {
    let named = format!(
        r#"{{"uuid": "83679162", "hostname": "Test.novalocal", "public_keys": {{"mine": "{KEY}\n"}}}}"#
    );
    check(&named, (Some("83679162"), Some("test.novalocal"), 1, 0));
    check(r#"{"uuid": 7, "hostname": null, "public_keys": ""}"#, (Some("7"), None, 0, 0));
    check(r#"{"uuid": null, "hostname": "", "public_keys": null}"#, (None, None, 0, 0));
    check(&format!(r#"[{{"uuid": "x", "public_keys": ["{KEY}"]}}]"#), (Some("x"), None, 1, 0));
    check(
        &format!(r#"{{"keys": [{{"type": "ssh", "data": "{KEY}"}}, {{"type": "x509", "data": "no"}}]}}"#),
        (None, None, 1, 0),
    );
    check(
        &format!(r#"{{"hostname": "{}", "public_keys": {{"a": "{KEY} one\ntwo"}}}}"#, "h".repeat(70)),
        (None, None, 1, 2),
    );
    check("17", (None, None, 0, 0));
}

#[test]
fn nothing_there_is_nothing_offered() {
    assert!(offer(volume(&[]).path()).unwrap().is_none());
    assert!(offer(volume(&[("network_data.json", "{}")]).path()).unwrap().is_none());
}

#[test]
fn broken_metadata_costs_no_user_data() {
    assert!(matches!(offer(volume(&[("meta_data.json", "{")]).path()), Err(ReadError::Json { .. })));
    let both = volume(&[("meta_data.json", "{"), ("user_data", "format = 1"), ("network_data.json", "[")]);
    let offer = offer(both.path()).unwrap().unwrap();
    assert_eq!(offer.user_data.unwrap().document.unwrap(), b"format = 1");
    assert_eq!(offer.notes.len(), 2);
    assert!(offer.notes[1].starts_with("the provider's network is not used: "), "{:?}", offer.notes);
}
