//! `check` as the user sees it.

use std::fs;

use crate::support::workspace::{Run, Workspace, output};

const BOX: &str = "[box]\nhostname = \"hub1\"\n[[recipe]]\nname = \"hello\"\n[recipe.containers.web]\nimage = \"registry.example.org/hello:1\"\n";

fn check(w: &Workspace, text: &str, more: &[&str]) -> Run {
    let file = w.dir.path().join("box.toml");
    fs::write(&file, text).unwrap();
    w.run(&[&["check", file.to_str().unwrap()], more].concat())
}

#[test]
fn valid_documents_give_0_and_invalid_ones_2() {
    let w = Workspace::new(&[], &[]);
    let run = check(&w, BOX, &[]).ok();
    assert!(run.stdout.contains("box.toml: valid"), "{}", run.stdout);
    let run = check(&w, &BOX.replace("hostname", "hostnam"), &[]).fails(2, &[]);
    for word in ["box.toml:2:1: ", "hostnam = ******", "^^^^^^^", "hint: "] {
        assert!(run.stdout.contains(word), "no `{word}` in {}", run.stdout);
    }
    w.run(&["check", "/nowhere"]).fails(1, &["failed to read `/nowhere`"]);
    w.run(&["check"]).fails(2, &["Usage:"]);
}

#[test]
fn findings_can_be_read_by_programs() {
    let w = Workspace::new(&[], &[]);
    let run = check(&w, &BOX.replace("hello:1", "hello"), &["--json"]).fails(2, &[]);
    let reports: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(reports[0]["kind"], "user-data");
    assert_eq!(reports[0]["valid"], false);
    assert_eq!(reports[0]["errors"][0]["line"], 6);
    let run = check(&w, "[recipe]\nname = \"a\"\n", &["--json"]).ok();
    let reports: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&reports[0]["kind"], &reports[0]["valid"]), (&"recipe".into(), &true.into()));
}

const PUBLISHES: &str = "[[recipe]]\nname = \"NAME\"\n[recipe.containers.web]\nimage = \"registry.example.org/hello:1\"\nports = [\"8080:80\"]\n";

/// As the box does: instances are looked at together, those of the library with what their recipes say.
#[test]
fn a_port_that_two_instances_publish_is_told() {
    let w = Workspace::new(&[], &[]);
    let library = w.root().join("recipes/library");
    fs::create_dir_all(&library).unwrap();
    let recipe =
        PUBLISHES.replace("[[recipe]]", "[recipe]").replace("[recipe.c", "[c").replace("NAME", "hello");
    fs::write(library.join("hello.toml"), recipe).unwrap();
    let own = PUBLISHES.replace("NAME", "own");
    check(&w, &own, &[]).ok();
    check(&w, "[[recipe]]\nuse = \"hello\"\n", &[]).ok();
    let both = format!("[[recipe]]\nuse = \"hello\"\n{own}");
    let run = check(&w, &both, &[]).fails(2, &[]);
    assert!(run.stdout.contains("`own` and `hello` both publish port 8080 of the box"), "{}", run.stdout);
    let run = check(&w, &both.replace("use = \"hello\"", "use = \"/srv/hello.toml\""), &[]).ok();
    assert!(run.stdout.contains("note: the recipe `/srv/hello.toml` was not looked at"), "{}", run.stdout);
}

#[test]
fn more_than_a_provider_hands_over_is_said() {
    let w = Workspace::new(&[], &[]);
    let run = check(&w, &format!("{BOX}#{}\n", "x".repeat(64 * 1024)), &[]).ok();
    assert!(run.stdout.contains("note: a provider hands over at most 65536 bytes"), "{}", run.stdout);
    check(&w, &format!("{BOX}#{}\n", "x".repeat(1024 * 1024)), &[]).fails(2, &[]);
}

/// As after `| head`: the reader is gone before anything is written.
#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let w = Workspace::new(&[], &[]);
    let file = w.dir.path().join("box.toml");
    for (text, code) in [(BOX.to_owned(), 0), (BOX.replace("hostname", "hostnam"), 2)] {
        fs::write(&file, text).unwrap();
        for (out, err) in [(true, false), (false, true), (true, true)] {
            let mut command = w.command(&["check", file.to_str().unwrap()]);
            let closed = || std::io::pipe().unwrap().1;
            if out {
                command.stdout(closed());
            }
            if err {
                command.stderr(closed());
            }
            let run = output(&mut command);
            assert_eq!((run.code, run.stderr.as_str()), (code, ""), "{out} {err}");
        }
    }
    let mut command = w.command(&["check", "/nowhere"]);
    assert_eq!(output(command.stderr(std::io::pipe().unwrap().1)).code, 1);
}

/// The document that the README shows, with a key in the place of the one that is cut short there.
#[test]
fn the_document_of_the_readme_is_accepted() {
    let readme = include_str!("../../../../README.md");
    let shown = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(shown.lines().count() <= 15, "{shown}");
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let w = Workspace::new(&[], &[]);
    check(&w, &shown.replace("AAAA…", key), &[]).ok();
}
