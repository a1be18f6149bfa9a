//! Files as each level of the state has them: `fixtures/state/format-LEVEL` is `/var/lib/holdfast` of a box.
//!
//! They say how a file looks that is out there, and are not changed to make a test pass. A type whose text
//! would be another gets a format and [`LEVEL`] is raised, with a folder for the new level beside the old.

use std::path::{Path, PathBuf};

use agent_core::state::{
    Counters, Format, Generation, InstanceRecord, LEVEL, Provider, SecretsRecord, VolumeRecord, decode,
    encode_as, format_of,
};
use agent_core::update::UpdateRecord;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state")
}

/// Every file below a folder, by its path in it.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.is_dir() {
            true => {
                found.extend(files(&path).into_iter().map(|(rest, text)| (format!("{name}/{rest}"), text)))
            }
            false => found.push((name, std::fs::read_to_string(&path).unwrap())),
        }
    }
    found
}

/// Those of a box as it is, and as it is in the middle of an update.
fn files_of(level: u32) -> Vec<(String, String)> {
    let folders = [format!("format-{level}"), format!("format-{level}-trial")];
    folders.iter().flat_map(|folder| files(&fixtures().join(folder))).collect()
}

/// What this version makes of a file of `level`: it reads it and would write the same.
fn check<T: Format>(level: u32, name: &str, text: &str) {
    let value: T = decode(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(format_of(text), Some(T::at(level).into()), "{name}");
    let same = "a text that changed is another format: raise it, and keep the old one";
    assert_eq!(encode_as(&value, T::at(level)).unwrap(), text, "{name}: {same}");
}

/// Checks the file by what it is; false for what has no format of this kind.
fn check_file(level: u32, name: &str, text: &str) -> bool {
    let check = match name.split('/').collect::<Vec<_>>()[..] {
        ["counters.json"] => check::<Counters>,
        ["provider.json"] => check::<Provider>,
        ["update.json"] => check::<UpdateRecord>,
        ["generations", _] => check::<Generation>,
        ["instances", _] => check::<InstanceRecord>,
        ["secrets", _] => check::<SecretsRecord>,
        ["volumes", _, "volume.json"] => check::<VolumeRecord>,
        ["events" | "network", _] => return false,
        _ => panic!("{name} is of no known type"),
    };
    check(level, name, text);
    true
}

#[test]
fn each_level_has_its_files_which_are_read_and_written_as_they_are() {
    for level in 1..=LEVEL {
        let files = files_of(level);
        let checked = files.iter().filter(|(name, text)| check_file(level, name, text));
        assert!(checked.count() >= 8, "level {level}");
    }
    let levels: [&[u32]; 7] = [
        Counters::SINCE,
        Generation::SINCE,
        InstanceRecord::SINCE,
        Provider::SINCE,
        SecretsRecord::SINCE,
        UpdateRecord::SINCE,
        VolumeRecord::SINCE,
    ];
    assert!(levels.iter().all(|since| since[0] == 1 && since.is_sorted()));
    assert_eq!(levels.iter().flat_map(|since| since.iter()).max(), Some(&LEVEL));
}

#[test]
fn fields_that_may_be_left_out_occur_in_the_files_of_the_newest_level() {
    let all: String = files_of(LEVEL).into_iter().map(|(_, text)| text).collect();
    // A file without any other field could not be read.
    for field in ["previous", "replaced", "taken", "held", "progress", "level", "staged", "checked", "failed"]
    {
        let key = format!("\"{field}\": ");
        assert!(all.split(&key).skip(1).any(|value| !value.starts_with("null")), "{field}");
    }
}

#[test]
fn a_newer_version_has_kept_each_file_as_this_one_has_it() {
    let next = fixtures().join("format-next");
    let this = files(&fixtures().join(format!("format-{LEVEL}")));
    let mut newer = 0;
    for (name, text) in this.iter().filter(|(name, _)| !name.starts_with("network/")) {
        let Some(format) = format_of(text) else { continue };
        let now = std::fs::read_to_string(next.join(name)).unwrap();
        assert_eq!(format_of(&now), Some(format + 1), "{name}");
        let kept = std::fs::read_to_string(next.join(format!("{name}.format-{format}"))).unwrap();
        assert_eq!(kept, *text, "{name}");
        newer += 1;
    }
    assert!(newer >= 8);
}
