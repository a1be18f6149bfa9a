//! `check` as the user sees it.

mod support;

use std::fs;

use support::workspace::{Run, Workspace};

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
    for word in ["box.toml:2:1: ", "hostnam = \"hub1\"", "^^^^^^^", "hint: "] {
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
