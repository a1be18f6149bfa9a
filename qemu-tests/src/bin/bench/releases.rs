//! Releases that differ from the image that boxes run in one respect each. They lie in `target/bench`, made
//! once for a commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use qemu_tests::{Lab, Publisher, unpack};

/// In how many packages [`five`] differs; the mirror has to have so many that are newer.
const PACKAGES: usize = 5;
const TARGET: &str = "x86_64-unknown-linux-gnu/release";
/// The program's version, which all of the box's programs are compiled with.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A release of the same packages whose programs were all compiled anew, with another version.
pub(crate) fn own(lab: &Lab, publisher: &Publisher) -> Result<PathBuf> {
    once(lab, publisher, "own", |source, build| {
        let file = source.join("Cargo.toml");
        let manifest = fs::read_to_string(&file)?;
        let (head, _) = VERSION.rsplit_once('.').context("no version")?;
        let changed = manifest.replacen(
            &format!("\nversion = \"{VERSION}\"\n"),
            &format!("\nversion = \"{head}.999\"\n"),
            1,
        );
        ensure!(manifest != changed, "{} does not say version {VERSION}", file.display());
        fs::write(file, changed)?;
        let mut lock = Command::new("cargo");
        run(lock.args(["update", "--quiet", "--workspace", "--offline"]).current_dir(source))?;
        run(build.args(["--image-version", "0.1.0.3"])).map(drop)
    })
}

/// A release of the same programs with five packages in the version that the mirror has by now: the largest
/// ones of the root but the kernel. Those that depend on one of them by its exact version move along, and so do
/// packages of embedded apps, as they do for whoever runs `holdfast-image lock --update` with these names.
pub(crate) fn five(lab: &Lab, publisher: &Publisher) -> Result<PathBuf> {
    once(lab, publisher, "five", |source, build| {
        let lock = |names: &[&str]| -> Result<Vec<String>> {
            let mut lock = Command::new(lab.builder());
            let said = run(lock.arg("--root").arg(source).args(["lock", "--update"]).args(names))?;
            Ok(said.lines().filter_map(moved).map(str::to_owned).collect())
        };
        let config = fs::read_to_string(source.join("image/holdfast.toml"))?;
        let file = source.join("image/holdfast.lock");
        let locked = fs::read_to_string(&file)?;
        // A package is part of the root when files of it are kept.
        let mut newer: Vec<String> =
            lock(&[])?.into_iter().filter(|name| config.contains(&format!("\n\"{name}\" = ["))).collect();
        newer.sort_by_key(|name| std::cmp::Reverse(size(&locked, name)));
        newer.truncate(PACKAGES);
        ensure!(newer.len() == PACKAGES, "the mirror has {} newer packages only: {newer:?}", newer.len());
        archive(lab, source)?;
        let moved = lock(&newer.iter().map(String::as_str).collect::<Vec<_>>())?;
        eprintln!("  packages in another version: {}", moved.join(", "));
        build.args(["--image-version", "0.1.0.4", "--bin-dir"]).arg(programs(lab, source)?);
        run(build).map(drop)
    })
}

/// Makes an image out of a copy of the repository unless it was made for this commit and publisher. What was
/// compiled there stays for the next time.
fn once(
    lab: &Lab,
    publisher: &Publisher,
    name: &str,
    make: impl FnOnce(&Path, &mut Command) -> Result<()>,
) -> Result<PathBuf> {
    let folder = lab.root().join("target/bench").join(name);
    let (source, image) = (folder.join("source"), folder.join("image"));
    let root = publisher.keys().join("root.json");
    let commit = run(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(lab.root()))?;
    let origin = commit + &fs::read_to_string(&root)?;
    if fs::read_to_string(folder.join("origin")).is_ok_and(|text| text == origin) {
        return Ok(image);
    }
    eprintln!("  making the release `{name}`");
    archive(lab, &source)?;
    let mut build = Command::new(lab.builder());
    build.arg("--root").arg(&source).args(["build", "--format", "raw", "--update-root"]).arg(root);
    make(&source, build.arg("--output").arg(&image))?;
    fs::write(folder.join("origin"), origin)?;
    Ok(image)
}

/// Puts the last commit's files into `source`, instead of those that are there but `target`.
fn archive(lab: &Lab, source: &Path) -> Result<()> {
    fs::create_dir_all(source)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        if entry.file_name() == "target" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?
        } else {
            fs::remove_file(entry.path())?
        }
    }
    unpack(lab, "HEAD", source)
}

/// The programs of the image under test in one folder.
fn programs(lab: &Lab, source: &Path) -> Result<PathBuf> {
    let folder = source.join("target/programs");
    fs::create_dir_all(&folder)?;
    for kind in ["dynamic", "static"] {
        let built = lab.root().join("target/box").join(kind).join(TARGET);
        for entry in fs::read_dir(&built).with_context(|| format!("no {}", built.display()))? {
            let path = entry?.path();
            if path.is_file() && path.extension().is_none() {
                fs::copy(&path, folder.join(path.file_name().context("no name")?))?;
            }
        }
    }
    Ok(folder)
}

/// The package of the image that a line of `lock` says has another version now: `  image: NAME OLD -> NEW`.
fn moved(line: &str) -> Option<&str> {
    let words: Vec<&str> = line.strip_prefix("  image: ")?.split_whitespace().collect();
    (words.len() == 4 && words[2] == "->").then(|| words[0])
}

/// Bytes of a package, as its line in the lock file says.
fn size(locked: &str, name: &str) -> u64 {
    let line = locked.lines().find(|line| line.contains(&format!("{{ name = \"{name}\",")));
    let number = line.and_then(|line| line.split_once("size = ")?.1.split(',').next());
    number.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// What a command wrote; its messages are shown when it fails.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?} failed: {out}{err}");
    Ok(out.into_owned() + &err)
}
