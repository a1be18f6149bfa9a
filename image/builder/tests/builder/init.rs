//! A first document: from options without a terminal, and by asking at one.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::terminal;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk0LlHVvXMDgW2VPZhoMRqsX4fL0vQ7QK2UQkSpZ1aA ops";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::create_dir(place.0.path().join(".ssh")).unwrap();
        fs::write(place.0.path().join(".ssh/id_ed25519.pub"), format!("{KEY}\n")).unwrap();
        place
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run_with(Stdio::null(), arguments)
    }

    /// Runs it at a terminal, at which these lines are typed.
    fn asked(&self, lines: &[&str]) -> (i32, String, String) {
        let (_ours, theirs) = terminal::typed(lines);
        self.run_with(theirs.into(), &[])
    }

    fn run_with(&self, stdin: Stdio, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-image"));
        command.env_clear().env("HOME", self.0.path()).current_dir(self.0.path()).stdin(stdin);
        let output = command.arg("init").args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.0.path().join(name)).ok()
    }
}

#[test]
fn a_document_that_a_box_accepts_is_written_once() {
    let place = Place::new();
    let image = ["--image", "registry.example.org/team/site:1"];
    let (code, stdout, stderr) = place.run(&image);
    assert_eq!(code, 0, "{stderr}");
    let expect = format!(
        "format = 1\n\n[box]\nhostname = \"hub1\"\nadmins = [\"{KEY}\"]\n\n[[recipe]]\nname = \"site\"\n\
         [recipe.containers.web]\nimage = \"registry.example.org/team/site:1\"\nports = [\"80:8080\"]\n"
    );
    assert_eq!(place.file("box.toml").unwrap(), expect);
    assert_eq!(
        stdout,
        "holdfast-image run target/image/holdfast.raw --user-data box.toml --forward 8080:80\n"
    );

    let (code, _, stderr) = place.run(&[&image[..], &["--hostname", "hub2"]].concat());
    assert_eq!(
        (code, stderr.as_str()),
        (2, "error: `box.toml` is there already\nhint: give another name, or --force to write over it\n")
    );
    assert_eq!(place.file("box.toml").unwrap(), expect);
    assert_eq!(place.run(&[&image[..], &["--force", "--hostname", "hub2"]].concat()).0, 0);
    assert!(place.file("box.toml").unwrap().contains("hub2"));
    let (_, stdout, _) = place.run(&[&image[..], &["-", "--port", "127.0.0.1:81:80"]].concat());
    assert!(stdout.contains("ports = [\"127.0.0.1:81:80\"]"), "{stdout}");
}

#[test]
fn a_person_is_asked_for_all_of_it_and_again_for_what_no_box_takes() {
    let place = Place::new();
    let answers =
        ["no host", "hub7", "none.pub", "", "nginx", "registry.example.org/site:1", "80", "81:8080"];
    let (code, _, stderr) = place.asked(&answers);
    assert_eq!(code, 0, "{stderr}");
    for (question, times) in [
        ("Name of the box [hub1]: ", 2),
        ("File with your public ssh key [", 2),
        ("Image to run, with its registry and tag: ", 2),
        ("Port of the box, and of the container [80:8080]: ", 2),
    ] {
        assert_eq!(stderr.matches(question).count(), times, "{stderr}");
    }
    let text = place.file("box.toml").unwrap();
    for line in ["hostname = \"hub7\"", KEY, "image = \"registry.example.org/site:1\"", "[\"81:8080\"]"] {
        assert!(text.contains(line), "{text}");
    }
    let (code, _, stderr) = place.asked(&["hub8"]);
    assert_eq!(code, 2, "it is there already: {stderr}");
}

#[test]
fn an_answer_that_cannot_be_used_writes_nothing() {
    let place = Place::new();
    for (arguments, words) in [
        (&[][..], ["Image to run, with its registry and tag: no answer", "hint: give it as an option"]),
        (&["--image", "nginx"], ["nginx", "hint: "]),
        (&["--image", "registry.example.org/site:1", "--hostname", "no host"], ["host", "hint: "]),
        (&["--image", "registry.example.org/site:1", "--port", "99999:80"], ["port", "error: "]),
        (&["--image", "registry.example.org/site:1", "--key", "none"], ["failed to read `none`", "error: "]),
    ] {
        let (code, _, stderr) = place.run(arguments);
        assert!(
            code != 0 && words.iter().all(|word| stderr.contains(word)),
            "{arguments:?}: {code} {stderr}"
        );
        assert_eq!(place.file("box.toml"), None);
    }
}
