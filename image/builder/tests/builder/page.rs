//! The page for a publisher in need, run.

use std::fs;
use std::path::Path;

use crate::support::release::{Publisher, image};

/// Lines of the page's code blocks, without remarks.
fn lines() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../publisher.md");
    let text = fs::read_to_string(page).unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines).map(|line| line.split(" #").next().unwrap().trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn every_command_of_the_page_for_a_publisher_in_need_does_what_it_says() {
    let publisher = Publisher { dir: tempfile::tempdir().unwrap() };
    for (n, seed) in [(1, 1), (2, 2), (3, 3)] {
        image(&format!("0.1.0.{n}"), seed).write(&publisher.path(&format!("image-{n}")));
    }
    let first = "keys/first-root.json";
    let mut published = 0;
    for line in lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["rm", file] => fs::remove_file(publisher.path(file)).unwrap(),
            ["holdfast-image", "release", arguments @ ..] => {
                publisher.run(arguments).ok();
            }
            _ => panic!("what is this: {line}"),
        }
        if line.contains("keys init") {
            fs::copy(publisher.path("keys/root.json"), publisher.path(first)).unwrap();
        }
        // A box that was installed at the very beginning follows through all of it.
        if line.contains(" publish ") {
            published += 1;
            let run = publisher.run(&["verify", "--repository", "www", "--root", first]).ok();
            let version = match published {
                1..=4 | 6 => "0.1.0.1",
                5 => "0.1.0.2",
                _ => "0.1.0.3",
            };
            let channel = |line: &str| line.split_whitespace().eq(["stable", version]);
            assert!(run.stdout.lines().any(channel), "{line}: {}", run.stdout);
        }
    }
    assert_eq!(published, 9);
}
