//! Images and boxes at DigitalOcean, against a control plane that is held to the provider's specification and a
//! bucket that checks signatures.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::digitalocean::{ControlPlane, TOKEN};
use crate::support::release::{built, noise};
use crate::support::s3::{BUCKET, ID, SECRET, Server};
use crate::support::terminal;
use crate::support::workspace::{self, Run, no_secret_is_in, watched_program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_holdfast-image");
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk0LlHVvXMDgW2VPZhoMRqsX4fL0vQ7QK2UQkSpZ1aA ops";
/// What the user-data says to nobody but the box.
const IN_THE_DOCUMENT: &str = "sesame of the document";
const SECRETS: [&str; 3] = [TOKEN, SECRET, IN_THE_DOCUMENT];

/// A workstation, the provider, and a bucket of its.
struct Place {
    folder: tempfile::TempDir,
    provider: ControlPlane,
    bucket: Server,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Server::start(&folder.path().join("buckets"));
        let place = Place { provider: ControlPlane::start(), bucket, folder };
        built(&place.image(), "holdfast.raw.gz", &noise(1, 300_000));
        place.write(
            "box.toml",
            &format!("[box]\nhostname = \"hub1\"\nadmins = [\"{KEY}\"]\n# {IN_THE_DOCUMENT}\n"),
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.path("image")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The program, not yet started, with the provider's and the bucket's credentials.
    fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(PROGRAM), arguments)
    }

    fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.env("DIGITALOCEAN_ACCESS_TOKEN", TOKEN).env("DIGITALOCEAN_API_URL", &self.provider.url);
        command.env("SPACES_ACCESS_KEY_ID", ID).env("SPACES_SECRET_ACCESS_KEY", SECRET);
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        quietly(&mut self.command(arguments))
    }

    fn upload_command(&self, more: &[&str]) -> Command {
        let endpoint = self.bucket.endpoint();
        let upload =
            ["upload", "digitalocean", "image", "--region", "fra1", "--bucket", BUCKET, "--endpoint"];
        self.command(&[&upload[..], &[endpoint.as_str()], more].concat())
    }

    fn upload(&self, more: &[&str]) -> Run {
        quietly(&mut self.upload_command(&[&["--timeout", "20s"], more].concat()))
    }

    /// An upload whose image is never imported, and waited for. `signals`: what `env` has them do first.
    fn waiting_upload(&self, signals: &str) -> Child {
        self.provider.state().slow = 1_000_000;
        let upload = self.upload_command(&["--timeout", "60s"]);
        let mut command = self.command_of(Path::new("/usr/bin/env"), &[signals, PROGRAM]);
        command.args(upload.get_args()).env("RUST_LOG", "trace");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while self.provider.state().images.is_empty() {
            assert!(Instant::now() < end, "nothing is imported");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    fn launch(&self, more: &[&str]) -> Run {
        let launch =
            ["launch", "digitalocean", "--user-data", "box.toml", "--size", "s-1vcpu-1gb", "--region"];
        self.run(&[&launch[..], &["fra1", "--no-wait", "--timeout", "20s"], more].concat())
    }

    /// Names of the objects that are in the bucket.
    #[track_caller]
    fn nothing_is_left_in_the_bucket(&self) {
        let left = files(&self.bucket.objects(""));
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Runs it to its end. It says no secret, however much it is to say.
#[track_caller]
fn quietly(command: &mut Command) -> Run {
    workspace::quietly(command, &SECRETS)
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn an_image_is_imported_from_an_object_that_is_gone_afterwards() {
    let place = Place::new();
    let run = place.upload(&["--json"]).ok();
    let image: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&image["name"], &image["state"]), (&json!("holdfast-0.3.1"), &json!("available")));
    assert!(
        run.stderr.contains("public until it is imported: s3://releases/holdfast-upload-"),
        "{}",
        run.stderr
    );
    place.nothing_is_left_in_the_bucket();
    let sent = fs::read(place.image().join("holdfast.raw.gz")).unwrap();
    assert!(place.provider.state().contents == [sent], "the provider has what was built");
    let second = place.upload(&["--name", "mine"]).ok();
    assert_eq!(second.stdout, "7555621 mine\n");
    let names = |run: Run| -> Vec<String> {
        let images: Vec<Value> = serde_json::from_str(&run.ok().stdout).unwrap();
        images.iter().map(|image| image["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(place.run(&["images", "digitalocean", "--json"])), ["mine", "holdfast-0.3.1"]);
    place.provider.state().page = 1;
    assert_eq!(names(place.run(&["images", "digitalocean", "--json"])), ["mine", "holdfast-0.3.1"]);
}

#[test]
fn whatever_fails_nothing_stays_public() {
    let place = Place::new();
    place.provider.state().refuse = Some("Image format is not supported".to_owned());
    let run = place.upload(&[]);
    run.fails(1, &["the image was not imported: Image format is not supported", "hint: "]);
    place.nothing_is_left_in_the_bucket();

    let mut stranger = place.upload_command(&[]);
    let run = quietly(stranger.env("DIGITALOCEAN_ACCESS_TOKEN", "other"));
    run.fails(1, &["answered with 401: Unable to authenticate you", "hint: make a token with write access"]);
    place.nothing_is_left_in_the_bucket();

    place.provider.state().slow = 1_000;
    let run = quietly(&mut place.upload_command(&["--timeout", "1s"]));
    run.fails(1, &["the import of the image took longer than 1 s"]);
    place.nothing_is_left_in_the_bucket();
    let images = place.provider.state().images.clone();
    assert_eq!(images.len(), 1, "what is not waited for is removed: {images:?}");

    let mut wrong = place.upload_command(&[]);
    let run = quietly(wrong.env("SPACES_SECRET_ACCESS_KEY", "other"));
    run.fails(1, &["failed to write `s3://releases/holdfast-upload-", "SignatureDoesNotMatch"]);
    let mut nobody = place.upload_command(&[]);
    nobody.env_remove("DIGITALOCEAN_ACCESS_TOKEN");
    quietly(&mut nobody)
        .fails(1, &["there is no token: neither DIGITALOCEAN_ACCESS_TOKEN", "hint: `doctl auth init`"]);
    assert_eq!(place.provider.state().images.len(), 1);
}

#[test]
fn what_cannot_be_removed_is_told_whatever_became_of_the_image() {
    let place = Place::new();
    for refuse in [None, Some("Image format is not supported".to_owned())] {
        let reason =
            refuse.clone().unwrap_or_else(|| "failed to remove `s3://releases/holdfast-upload-".to_owned());
        place.provider.state().refuse = refuse;
        place.bucket.limit(1);
        let run = place.upload(&[]);
        run.fails(1, &["`s3://releases/holdfast-upload-", "may still be public: remove it by hand", &reason]);
    }
    assert_eq!(files(&place.bucket.objects("")).len(), 2);
}

#[test]
fn an_object_that_the_bucket_does_not_know_of_is_removed_or_told() {
    let place = Place::new();
    place.bucket.lose_answers();
    let failed = "failed to write `s3://releases/holdfast-upload-";
    let run = place.upload(&[]);
    assert!(!run.stderr.contains("remove it by hand"), "{}", run.stderr);
    run.fails(1, &[failed, "the answer is lost"]);
    place.nothing_is_left_in_the_bucket();
    place.bucket.limit(1);
    place.upload(&[]).fails(1, &[failed, "may still be public: remove it by hand"]);
    assert_eq!(files(&place.bucket.objects("")).len(), 1);
    assert!(place.provider.state().images.is_empty());
}

#[test]
fn a_provider_that_breaks_off_keeps_no_image_that_nobody_waits_for() {
    let place = Place::new();
    place.provider.state().slow = 1_000_000;
    place.provider.state().failing_looks = 4;
    place.upload(&[]).fails(1, &["answered with 500: Unexpected server-side error"]);
    place.nothing_is_left_in_the_bucket();
    assert!(place.provider.state().images.is_empty());
}

#[test]
fn an_upload_that_is_stopped_cleans_up() {
    for signal in [Signal::INT, Signal::HUP] {
        let place = Place::new();
        let child = place.waiting_upload("--default-signal=HUP");
        assert!(!files(&place.bucket.objects("")).is_empty());
        no_secret_is_in(&fs::read(format!("/proc/{}/cmdline", child.id())).unwrap(), &SECRETS);
        send(&child, signal);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(130), "{signal:?}");
        no_secret_is_in(&[ended.stdout, ended.stderr].concat(), &SECRETS);
        place.nothing_is_left_in_the_bucket();
        assert!(place.provider.state().images.is_empty());
    }
}

#[test]
fn an_upload_under_nohup_outlives_its_terminal() {
    let place = Place::new();
    let mut child = place.waiting_upload("--ignore-signal=HUP");
    send(&child, Signal::HUP);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(child.try_wait().unwrap(), None);
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    place.nothing_is_left_in_the_bucket();
}

#[test]
fn a_second_ctrl_c_ends_what_waits_for_a_server_that_says_nothing() {
    let place = Place::new();
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    server.set_nonblocking(true).unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    let upload = ["upload", "digitalocean", "image", "--region", "fra1", "--bucket", BUCKET, "--endpoint"];
    let mut command = place.command(&[&upload[..], &[endpoint.as_str()]].concat());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let _connection = loop {
        if let Ok(connection) = server.accept() {
            break connection;
        }
        assert!(Instant::now() < end, "nothing is put");
        std::thread::sleep(Duration::from_millis(20));
    };
    send(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "it would clean up");
    send(&child, Signal::INT);
    let end = Instant::now() + Duration::from_secs(2);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains("public until it is imported: s3://releases/holdfast-upload-"), "{told}");
    assert!(told.contains("the image is called holdfast-0.3.1: `images` shows it"), "{told}");
}

#[test]
fn only_what_was_built_is_sent() {
    let place = Place::new();
    let disk = place.image().join("holdfast.raw.gz");
    let mut bytes = fs::read(&disk).unwrap();
    bytes[1000] ^= 1;
    fs::write(&disk, &bytes).unwrap();
    place.upload(&[]).fails(1, &["is not what the manifest says", "hint: build it again"]);
    fs::remove_file(&disk).unwrap();
    place.upload(&[]).fails(1, &["there is no disk image in `image` that its manifest names"]);
    place
        .run(&["upload", "digitalocean", "none", "--bucket", "x"])
        .fails(1, &["failed to read `none/manifest.json`"]);
    place.nothing_is_left_in_the_bucket();
    assert!(place.provider.state().images.is_empty());
}

#[test]
fn a_box_is_made_with_the_first_admins_key_and_without_the_providers_agent() {
    let place = Place::new();
    place.launch(&[]).fails(2, &["there is no image at this provider", "hint: `holdfast-image upload`"]);
    place.upload(&[]).ok();
    let run = place.launch(&["--json"]).ok();
    let server: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&server["name"], &server["addresses"]),
        (&json!("hub1"), &json!(["127.0.0.1", "10.110.0.7"]))
    );
    let asked = place.provider.state().launched.pop().unwrap();
    let user_data = fs::read_to_string(place.path("box.toml")).unwrap();
    let expect = json!({
        "name": "hub1", "region": "fra1", "size": "s-1vcpu-1gb", "image": 7_555_620, "ssh_keys": [1],
        "user_data": user_data, "with_droplet_agent": false, "tags": ["holdfast"],
    });
    assert_eq!(asked, expect);
    assert_eq!(place.provider.state().keys[0]["public_key"], json!(KEY));

    place.write("other.pub", "ssh-rsa AAAAB3NzaC1yc2E= other\n");
    place.launch(&["--name", "hub2", "--ssh-key", "other.pub", "--image", "holdfast-0.3.1"]).ok();
    place.provider.state().failing = 1;
    place.launch(&["--name", "hub3"]).ok();
    let keys: Vec<Value> =
        place.provider.state().launched.iter().map(|asked| asked["ssh_keys"].clone()).collect();
    assert_eq!(keys, [json!([2]), json!([1])], "a key that is known is not added again");

    let shown = place.run(&["boxes", "digitalocean"]).ok().stdout;
    let names: Vec<&str> = shown.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(names, ["hub3", "hub2", "hub1"]);
}

#[test]
fn a_snapshot_goes_by_its_identity_or_its_name() {
    let place = Place::new();
    place.provider.add_snapshot(7_555_999, "hub1: before");
    place.launch(&[]).fails(2, &["there is no image at this provider"]);
    assert_eq!(place.run(&["images", "digitalocean"]).ok().stdout, "", "it was not uploaded");
    let made_of = |named: &str| {
        place.launch(&["--image", named]).ok();
        place.provider.state().launched.pop().unwrap()["image"].clone()
    };
    assert_eq!([made_of("7555999"), made_of("hub1: before")], [7_555_999, 7_555_999]);
    // What is called as another's identity is not that one.
    place.provider.add_snapshot(7_556_000, "7555999");
    place.provider.add_snapshot(7_556_001, "hub1: before");
    place.provider.state().page = 1;
    assert_eq!([made_of("7555999"), made_of("7556001")], [7_555_999, 7_556_001]);
    place.launch(&["--image", "hub1: before"]).fails(
        2,
        &[
            "there are 2 images of the name `hub1: before`",
            "hint: name one by its identity: 7555999, 7556001",
        ],
    );
    place
        .launch(&["--image", "Hub1: before"])
        .fails(2, &["there is no image `Hub1: before`", "hint: `images` shows"]);
}

#[test]
fn an_image_from_elsewhere_is_taken_only_where_it_is_named() {
    let place = Place::new();
    place.provider.add_foreign(7_555_999, "debian");
    place.launch(&[]).fails(2, &["there is no image at this provider"]);
    place.upload(&[]).ok();
    let shown = place.run(&["images", "digitalocean"]).ok().stdout;
    assert!(shown.contains("holdfast-0.3.1") && !shown.contains("debian"), "{shown}");
    let made_of = |more: &[&str]| {
        place.launch(more).ok();
        place.provider.state().launched.pop().unwrap()["image"].clone()
    };
    assert_eq!(made_of(&[]), 7_555_621);
    assert_eq!(made_of(&["--image", "debian"]), 7_555_999);
    for named in ["debian", "7555999"] {
        let told = format!("there is no image `{named}`");
        place.run(&["destroy", "digitalocean", "image", named, "--yes"]).fails(2, &[&told]);
    }
    assert_eq!(place.provider.state().images.len(), 2);
}

#[test]
fn a_box_that_nobody_heard_of_is_told() {
    let place = Place::new();
    place.upload(&[]).ok();
    place.provider.state().cuts_launches = true;
    place.launch(&[]).fails(
        1,
        &[
            "/v2/droplets` failed",
            "hint: the box may have been made all the same: `boxes` shows it, `destroy` removes it",
        ],
    );
    assert_eq!(place.provider.state().droplets.len(), 1);
}

/// Everybody on the workstation sees the command lines of all that runs there.
#[test]
fn what_asks_a_new_box_is_told_no_secret() {
    let place = Place::new();
    place.upload(&[]).ok();
    let (_beside, program) = watched_program();
    let launch = ["launch", "digitalocean", "--user-data", "box.toml", "--size", "s-1vcpu-1gb"];
    let more = ["--region", "fra1", "--timeout", "2s"];
    let launched = quietly(&mut place.command_of(&program, &[&launch[..], &more].concat()));
    launched.fails(1, &["the box hub1 (3164444) at 127.0.0.1 does not answer", "hint: it stays there"]);
    let seen = fs::read(place.path("seen")).unwrap();
    no_secret_is_in(&seen, &SECRETS);
    let seen = String::from_utf8(seen).unwrap();
    assert!(seen.contains("s-1vcpu-1gb") && seen.contains("admin@127.0.0.1"), "{seen}");
}

#[test]
fn no_option_takes_a_secret() {
    let place = Place::new();
    let uploads = ["digitalocean", "ovh", "openstack", "s3"].map(|to| vec!["upload", to]);
    let others = ["launch", "images", "boxes", "destroy"].map(|verb| vec![verb]);
    for command in uploads.iter().chain(&others) {
        let help = place.run(&[&command[..], &["--help"]].concat()).ok().stdout;
        let options = help.lines().map(str::trim).filter(|line| line.starts_with('-'));
        let options: Vec<String> = options.map(str::to_lowercase).collect();
        assert!(options.iter().any(|line| line.contains("--json")), "{help}");
        for secret in ["token", "secret", "password", "access-key"] {
            assert!(!options.iter().any(|line| line.contains(secret)), "{command:?}: {options:?}");
        }
    }
}

#[test]
fn what_no_box_could_use_is_not_launched() {
    let place = Place::new();
    place.upload(&[]).ok();
    place.launch(&["--image", "none"]).fails(2, &["there is no image `none` at this provider"]);
    place.write("box.toml", "[box]\nhostnam = \"hub1\"\n");
    place.launch(&[]).fails(2, &["box.toml:2:1", "hostnam"]);
    place.write("box.toml", "[box]\nhostname = \"hub1\"\n");
    place.launch(&[]).fails(2, &["DigitalOcean makes no box without a key", "hint: add one to `admins`"]);
    place.write("box.toml", &format!("[box]\nadmins = [\"{KEY}\"]\n"));
    place.launch(&[]).fails(2, &["the box needs a name"]);
    assert!(place.provider.state().launched.is_empty());
}

#[test]
fn what_is_destroyed_is_asked_for() {
    let place = Place::new();
    place.upload(&[]).ok();
    for name in ["a", "b", "b"] {
        place.launch(&["--name", name]).ok();
    }
    let destroy = |more: &[&str]| place.run(&[&["destroy", "digitalocean"], more].concat());
    destroy(&["box", "a"]).fails(2, &["nobody can be asked", "hint: --yes"]);
    destroy(&["box", "a", "none", "--yes"]).fails(2, &["there is no box `none`"]);
    destroy(&["box", "b", "--yes"])
        .fails(2, &["there are 2 of the name `b`", "hint: name one by its identity: 3164446, 3164445"]);
    assert_eq!(place.provider.state().droplets.len(), 3);
    assert_eq!(
        destroy(&["box", "a", "3164445", "--yes"]).ok().stdout,
        "removed box 3164444 a\nremoved box 3164445 b\n"
    );
    assert_eq!(destroy(&["image", "holdfast-0.3.1", "--yes", "--json"]).ok().stdout, "[\n  \"7555620\"\n]\n");
    assert!(place.provider.state().images.is_empty());
    assert_eq!(place.run(&["boxes", "digitalocean", "--json"]).ok().stdout.matches("\"id\"").count(), 1);
}

#[test]
fn a_person_is_asked_before_something_is_destroyed() {
    let place = Place::new();
    place.upload(&[]).ok();
    place.launch(&["--name", "a"]).ok();
    place.launch(&["--name", "b"]).ok();
    let asked = |answer: &str, what: &[&str]| {
        let (_ours, theirs) = terminal::typed(&[answer]);
        quietly(place.command(&[&["destroy", "digitalocean"], what].concat()).stdin(theirs))
    };
    let left = || {
        let state = place.provider.state();
        [state.droplets.len(), state.images.len()]
    };
    for (what, question, removed, then) in [
        (["box", "a"], "remove box a (3164444)? [y/N] ", "removed box 3164444 a\n", [1, 1]),
        (
            ["image", "holdfast-0.3.1"],
            "remove image holdfast-0.3.1 (7555620)? [y/N] ",
            "removed image 7555620 holdfast-0.3.1\n",
            [1, 0],
        ),
    ] {
        let before = left();
        for answer in ["n", "", "no, yes"] {
            asked(answer, &what).fails(1, &[question, "error: nothing was removed\n"]);
            assert_eq!(left(), before, "{answer:?}");
        }
        let run = asked("y", &what).ok();
        assert_eq!((run.stderr.as_str(), run.stdout.as_str()), (question, removed));
        assert_eq!(left(), then);
    }
}

/// The last of these would remove all boxes of a tag.
#[test]
fn what_is_asked_of_the_provider_must_be_an_operation_of_its_specification() {
    let provider = ControlPlane::start();
    provider.add_snapshot(7, "hub1: before");
    for (path, expect) in [
        ("/v2/images/8", 404),
        ("/v2/image/7", 422),
        ("/v2/images/7/actions", 422),
        ("/v2/droplets?tag_name=holdfast", 422),
    ] {
        let request = ureq::delete(format!("{}{path}", provider.url));
        let answer = request.header("authorization", format!("Bearer {TOKEN}")).call();
        let refused = matches!(answer, Err(ureq::Error::StatusCode(status)) if status == expect);
        assert!(refused, "{path}: {answer:?}");
    }
    assert_eq!(provider.state().images.len(), 1);
}

#[test]
fn an_image_becomes_an_object_or_a_file() {
    let place = Place::new();
    let endpoint = place.bucket.endpoint();
    let to = format!("s3://{BUCKET}/images/box.raw.gz");
    let mut command = place.command(&["upload", "s3", "image", &to, "--endpoint", &endpoint]);
    command.env("AWS_ACCESS_KEY_ID", ID).env("AWS_SECRET_ACCESS_KEY", SECRET);
    assert_eq!(quietly(&mut command).ok().stdout, format!("{to}\n"));
    let built = fs::read(place.image().join("holdfast.raw.gz")).unwrap();
    assert!(fs::read(place.bucket.objects("images/box.raw.gz")).unwrap() == built);
    let denied = ureq::get(format!("{endpoint}/{BUCKET}/images/box.raw.gz")).call();
    assert!(matches!(denied, Err(ureq::Error::StatusCode(403))), "nobody else reads it: {denied:?}");

    place.run(&["upload", "file", "image", "out.gz"]).ok();
    assert!(fs::read(place.path("out.gz")).unwrap() == built);
    place.run(&["upload", "file", "image", "none/out.gz"]).fails(1, &["failed to write `none/out.gz`"]);
    place.run(&["upload", "file", "image", "out", "--format", "qcow2"]).fails(1, &["there is no disk image"]);
    place.run(&["upload", "s3", "image", "s3://x"]).fails(2, &["`s3://x` is no object: s3://BUCKET/NAME"]);
}
