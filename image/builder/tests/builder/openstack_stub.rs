//! Images and boxes in OpenStack, against a stub: what the real programs do only where they are wrong, and
//! what can be seen without them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::openstack_stub::{IMAGE, PASSWORD, SECRET, SERVER, Stub, TOKEN};
use crate::support::release::{built, noise};
use crate::support::terminal;
use crate::support::workspace::{Run, no_secret_is_in, quietly, watched_program};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_holdfast-image");
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk0LlHVvXMDgW2VPZhoMRqsX4fL0vQ7QK2UQkSpZ1aA ops";
/// What the user-data says to nobody but the box.
const IN_THE_DOCUMENT: &str = "sesame of the document";
const OTHER_PASSWORD: &str = "sesame of another";
const SECRETS: [&str; 5] = [PASSWORD, OTHER_PASSWORD, SECRET, TOKEN, IN_THE_DOCUMENT];
const UPLOAD: [&str; 3] = ["upload", "openstack", "image"];

/// A workstation and a cloud.
struct Place {
    folder: tempfile::TempDir,
    cloud: Stub,
}

impl Place {
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap(), cloud: Stub::start() };
        built(&place.path("image"), "holdfast.raw", &noise(1, 600));
        let user_data = format!("[box]\nhostname = \"hub1\"\nadmins = [\"{KEY}\"]\n# {IN_THE_DOCUMENT}\n");
        fs::write(place.path("box.toml"), user_data).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program, not yet started, with the variables of an openrc file.
    fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.env("OS_AUTH_URL", &self.cloud.auth_url).env("OS_PROJECT_NAME", "web");
        command.env("OS_USERNAME", "ops").env("OS_PASSWORD", PASSWORD).args(arguments);
        command
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(PROGRAM), arguments)
    }

    fn run(&self, arguments: &[&str]) -> Run {
        quietly(&mut self.command(arguments), &SECRETS)
    }
}

#[test]
fn an_image_that_is_stored_otherwise_is_refused_and_removed() {
    let place = Place::new();
    let sent = place.run(&UPLOAD).ok();
    assert_eq!(sent.stdout, format!("{IMAGE} holdfast-0.3.1\n"));
    for (says, told) in [
        (json!({ "os_hash_value": "00" }), "SHA-512 00 instead of "),
        (json!({ "size": 599 }), "size 599 instead of 600\n"),
    ] {
        place.cloud.state().says = says;
        let told = format!("error: the cloud stored another image than was sent: {told}");
        let refused = place.run(&UPLOAD).fails(1, &[&told]);
        assert_eq!(refused.stdout, "");
        let mut cloud = place.cloud.state();
        assert_eq!(cloud.asked.pop(), Some(format!("DELETE /v2/images/{IMAGE}")));
        assert_eq!(cloud.image, None);
    }
}

/// Everybody on the workstation sees the command lines of all that runs there.
#[test]
fn no_secret_is_shown_or_stands_on_a_command_line() {
    let place = Place::new();
    let mut stranger = place.command(&UPLOAD);
    quietly(stranger.env("OS_PASSWORD", OTHER_PASSWORD), &SECRETS).fails(1, &["answered with 401"]);
    let clouds = format!(
        "clouds:\n  work:\n    auth:\n      auth_url: {}\n      application_credential_id: robot\n      \
         application_credential_secret: {SECRET}\n",
        place.cloud.auth_url
    );
    fs::write(place.path("clouds.yaml"), clouds).unwrap();
    place.run(&[&UPLOAD[..], &["--cloud", "work"]].concat()).ok();

    let (_beside, program) = watched_program();
    let launch = ["launch", "openstack", "--user-data", "box.toml", "--size", "m1.tiny", "--timeout", "2s"];
    let told = format!("the box hub1 ({SERVER}) at 127.0.0.1 does not answer");
    for more in [&[][..], &["--cloud", "work"]] {
        let arguments = [&launch[..], more].concat();
        quietly(&mut place.command_of(&program, &arguments), &SECRETS).fails(1, &[&told]);
    }
    let seen = fs::read(place.path("seen")).unwrap();
    no_secret_is_in(&seen, &SECRETS);
    let seen = String::from_utf8(seen).unwrap();
    assert!(seen.contains("m1.tiny") && seen.contains("admin@127.0.0.1"), "{seen}");
}

#[test]
fn an_upload_shows_a_bar_on_a_terminal_and_else_a_plain_line() {
    let place = Place::new();
    let shown = terminal::shown(&place.command(&UPLOAD));
    for part in ["send image/holdfast.raw [", "] 0 B/600 B ", "] 600 B/600 B ", "\r\u{1b}["] {
        assert!(shown.contains(part), "no {part:?} in {shown:?}");
    }
    no_secret_is_in(shown.as_bytes(), &SECRETS);
    let plain = place.run(&UPLOAD).ok();
    assert!(plain.stderr.lines().any(|line| line == "send image/holdfast.raw, 600 B"), "{}", plain.stderr);
    assert!(!plain.stderr.contains(['\u{1b}', '\r', '[']), "{:?}", plain.stderr);
}
