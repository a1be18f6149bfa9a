//! The data file system, by the programs of e2fsprogs: nothing is mounted.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use image_layout::disk::{self, Role};
use image_layout::paths;

use crate::command::run;
use crate::disk::Disk;
use crate::lab::Lab;
use crate::sparse;

/// What is read out of the state folder, besides images.
const READ: [&str; 10] = [
    "counters.json",
    "provider.json",
    "update.json",
    "scrub.json",
    "notify.json",
    "identity",
    "generations",
    "instances",
    "secrets",
    "volumes",
];
/// What is not read out of the images: a conversion that goes on has a file of 2 TiB, nearly all of it a hole.
const STAGING: &str = "staging";
/// Blocks of 512 bytes that a file which is read out may have: 1 GiB.
const LONGEST: u64 = 2 << 20;

/// What `e2fsck` may end with: nothing to do, repaired, repaired and to be booted anew.
const REPAIRED: [i32; 4] = [0, 1, 2, 3];

/// Copies the file system out of a disk into `to`, with the little that is behind it.
pub(super) fn take(disk: &Disk, to: &Path) -> Result<()> {
    sparse::copy_from(&mut File::open(disk.path())?, disk::start(Role::Data), &mut File::create(to)?)
}

/// Repairs a file system; what is wrong when that cannot be done.
pub(super) fn repair(lab: &Lab, data: &Path) -> Result<Option<String>> {
    let done = lab.tool("e2fsck").arg("-fy").arg(data).output()?;
    let code = done.status.code().unwrap_or(-1);
    let said = String::from_utf8_lossy(&done.stdout);
    Ok((!REPAIRED.contains(&code)).then(|| format!("the file system cannot be repaired ({code}): {said}")))
}

/// Copies of the state folder what [`READ`] names into `to`, and gives its path there.
pub(super) fn read_out(lab: &Lab, data: &Path, to: &Path) -> Result<PathBuf> {
    // Data is mounted as `/var`.
    let inside = paths::STATE.strip_prefix("/var").context("the state is not on data")?;
    let root = to.join("state");
    let images = root.join("images");
    fs::create_dir_all(&images)?;
    let named = |folder: &str, names: &[String], to: &Path| {
        let sources: Vec<String> = names.iter().map(|name| format!("{inside}{folder}/{name}")).collect();
        format!("rdump {} {}\n", sources.join(" "), to.display())
    };
    let mut listed = list(lab, data, &format!("{inside}/images"))?;
    listed.retain(|name| name != STAGING);
    let mut requests = named("", &READ.map(str::to_owned), &root);
    if !listed.is_empty() {
        requests += &named("/images", &listed, &images);
    }
    let file = to.join("requests");
    fs::write(&file, requests)?;
    debugfs(lab, data, "-f", &file.display().to_string())?;
    Ok(root)
}

/// The names in a folder; none when there is no such folder.
fn list(lab: &Lab, data: &Path, folder: &str) -> Result<Vec<String>> {
    let said = debugfs(lab, data, "-R", &format!("ls -p {folder}"))?;
    // `/INODE/MODE/UID/GID/NAME/SIZE/`
    let names = said.lines().filter_map(|line| line.split('/').nth(5));
    Ok(names.filter(|name| !matches!(*name, "" | "." | "..")).map(str::to_owned).collect())
}

/// Runs `debugfs`, which writes holes out, with a limit on what it writes.
fn debugfs(lab: &Lab, data: &Path, option: &str, value: &str) -> Result<String> {
    let tool = lab.tool("debugfs");
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -f {LONGEST}; exec \"$@\"")).arg("sh");
    command.arg(tool.get_program()).args(tool.get_args()).current_dir(lab.root());
    run(command.arg(option).arg(value).arg(data))
}
