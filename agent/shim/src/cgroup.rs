//! The container's cgroup, as seen by the shim: left-overs of an earlier run, and what the kernel
//! counted.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

const ROOT: &str = "/sys/fs/cgroup";

/// The folder of a `cgroupsPath`, which is absolute.
pub(crate) fn folder(cgroups_path: &Path) -> PathBuf {
    Path::new(ROOT).join(cgroups_path.strip_prefix("/").unwrap_or(cgroups_path))
}

/// Kills what an earlier run left in a cgroup and removes it.
pub(crate) fn clear(folder: &Path) -> anyhow::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    std::fs::write(folder.join("cgroup.kill"), "1")
        .with_context(|| format!("failed to kill what is left in `{}`", folder.display()))?;
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match remove(folder) {
            Ok(()) => return Ok(()),
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => {
                return Err(error).with_context(|| format!("failed to remove cgroup `{}`", folder.display()));
            }
        }
    }
}

/// Removes a cgroup and those below it, lowest first.
fn remove(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    std::fs::remove_dir(folder)
}

/// How many processes of the cgroup were killed for want of memory; 0 where nothing counts them.
pub(crate) fn oom_kills(folder: &Path) -> u64 {
    std::fs::read_to_string(folder.join("memory.events")).map(|text| oom_kills_of(&text)).unwrap_or(0)
}

fn oom_kills_of(memory_events: &str) -> u64 {
    memory_events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_and_not_mistaken_for_group_kills() {
        assert_eq!(oom_kills_of("low 0\noom 3\noom_kill 2\noom_group_kill 1\n"), 2);
        assert_eq!(oom_kills_of("low 0\noom_group_kill 1\n"), 0);
        assert_eq!(oom_kills_of(""), 0);
    }

    #[test]
    fn folder_is_below_the_mount() {
        assert_eq!(
            folder(Path::new("/system.slice/x.service/ctr")),
            Path::new("/sys/fs/cgroup/system.slice/x.service/ctr")
        );
    }
}
