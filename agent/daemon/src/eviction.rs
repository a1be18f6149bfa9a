//! Ends the container that takes the memory of all others, before the kernel ends one of those.
//!
//! The kernel goes by what processes have mapped. Files in memory count for none of them, so it would end the neighbours
//! of a container that fills a tmpfs, again and again, and not that one. Containers are slowed down by the kernel
//! when little is left of what they share ([`crate::reserve`]), and here the one that is chosen loses its share then: its
//! limit becomes 0, so the kernel ends it as a whole, and it is started again with back-off like any that ran out of
//! memory. Absent: who is chosen, which is [`agent_core::eviction`].

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_core::container::SLICE;
use agent_core::eviction::{Share, choose, short};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::agent::Agent;
use crate::observe;

/// Between two looks: an end takes the kernel a moment.
const PAUSE: Duration = Duration::from_millis(100);
/// After which it is tried again to listen to the kernel.
const AGAIN: Duration = Duration::from_secs(30);
/// After which the slice is opened anew: it may be another. Milliseconds.
const SILENT: i32 = 600_000;

/// A container that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Evicted {
    share: Share,
    /// Bytes that all of them held.
    of: u64,
}

/// Follows what the kernel tells of the slice, for ever, in a thread of its own: the kernel may take long to end one.
pub(crate) fn start(agent: Arc<Agent>) {
    let slice = Path::new("/sys/fs/cgroup").join(SLICE);
    std::thread::spawn(move || {
        loop {
            if let Err(error) = follow(&slice, |evicted| tell(&agent, evicted)) {
                tracing::warn!("nobody ends the container that takes all memory: {error}");
                std::thread::sleep(AGAIN);
            }
        }
    });
}

fn tell(agent: &Agent, evicted: &Evicted) {
    let Share { name, held, .. } = &evicted.share;
    let message = format!(
        "{name} held {} MiB of the {} MiB that containers had in all, and was ended so that the others go on",
        held >> 20,
        evicted.of >> 20
    );
    agent.events.add("memory", Some(&name.instance), message);
}

/// Until the kernel has been silent for long, as it is of a slice that is gone.
fn follow(slice: &Path, tell: impl Fn(&Evicted)) -> io::Result<()> {
    let mut events = File::open(slice.join("memory.events.local"))?;
    loop {
        // The kernel tells of what changes after the file was read.
        events.rewind()?;
        events.read_to_string(&mut String::new())?;
        match relieve(slice)? {
            Some(evicted) => tell(&evicted),
            None => {
                let timeout = PollTimeout::try_from(SILENT).unwrap_or(PollTimeout::MAX);
                match poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout) {
                    Ok(0) => return Ok(()),
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Ends the container that is to go, if one is.
fn relieve(slice: &Path) -> io::Result<Option<Evicted>> {
    let Some(high) = limit(slice, "memory.high")? else { return Ok(None) };
    let of = held(slice)?;
    // The kernel tells of what is full of files on disk, too, and then often.
    if !short(of, high) {
        return Ok(None);
    }
    let entries = std::fs::read_dir(slice)?.filter_map(Result::ok);
    // One that is gone meanwhile holds nothing.
    let (mut shares, mut ends): (Vec<_>, Vec<_>) =
        entries.filter_map(|entry| share(&entry.path()).ok()?).unzip();
    let Some(chosen) = choose(of, high, &shares) else { return Ok(None) };
    let (share, ends) = (shares.swap_remove(chosen), ends.swap_remove(chosen));
    Ok(ends.end()?.then_some(Evicted { share, of }))
}

/// What ends a container. Both are of the one that was looked at, and of none that has its name since.
struct Ends {
    limit: File,
    kill: File,
}

impl Ends {
    /// Says whether it was still there.
    fn end(mut self) -> io::Result<bool> {
        // The kernel counts it as one that ran out of memory, and the second ends whom it spares then.
        let there = put(&mut self.limit, "0")?;
        put(&mut self.kill, "1")?;
        Ok(there)
    }
}

/// Writes to a cgroup, and says whether it is still there.
fn put(file: &mut File, text: &str) -> io::Result<bool> {
    match file.write_all(text.as_bytes()) {
        Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(false),
        written => written.map(|()| true),
    }
}

/// What the container of a unit has; none for other units.
fn share(unit: &Path) -> io::Result<Option<(Share, Ends)>> {
    let name = unit.file_name().and_then(|name| observe::container_of(name.to_str()?));
    let Some(name) = name else { return Ok(None) };
    let folder = unit.join("ctr");
    let open = |name: &str| File::options().write(true).open(folder.join(name));
    let ends = Ends { limit: open("memory.max")?, kill: open("cgroup.kill")? };
    Ok(Some((Share { name, held: held(&folder)?, limit: limit(&folder, "memory.max")? }, ends)))
}

/// A limit in bytes; none is `max`.
fn limit(folder: &Path, name: &str) -> io::Result<Option<u64>> {
    Ok(std::fs::read_to_string(folder.join(name))?.trim().parse().ok())
}

/// Bytes that only an end frees: all but what files on disk have in memory.
fn held(folder: &Path) -> io::Result<u64> {
    let current = std::fs::read_to_string(folder.join("memory.current"))?.trim().parse().unwrap_or(0);
    let stat = std::fs::read_to_string(folder.join("memory.stat"))?;
    Ok(held_of(current, &stat))
}

fn held_of(current: u64, stat: &str) -> u64 {
    let field = |name: &str| -> u64 {
        let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0)
    };
    let freed = field("file").saturating_sub(field("shmem")) + field("slab_reclaimable");
    current.saturating_sub(freed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cgroup: what it holds in MiB, of that files on disk and files in memory, and its limit.
    fn group(path: &Path, current: u64, file: u64, shmem: u64, max: &str) {
        std::fs::create_dir_all(path).unwrap();
        let stat = format!(
            "anon 1\nfile {}\nshmem {}\nfile_mapped 7\nslab_reclaimable 0\n",
            (file + shmem) << 20,
            shmem << 20
        );
        std::fs::write(path.join("memory.current"), format!("{}\n", current << 20)).unwrap();
        std::fs::write(path.join("memory.stat"), stat).unwrap();
        std::fs::write(path.join("memory.max"), format!("{max}\n")).unwrap();
        std::fs::write(path.join("cgroup.kill"), "").unwrap();
    }

    /// Containers, each with what it holds, what of that can be freed, and its limit; who is ended.
    fn check(high: &str, all: u64, free: u64, containers: &[(&str, u64, u64, &str)], expect: Option<&str>) {
        let slice = tempfile::tempdir().unwrap();
        let slice = slice.path();
        group(slice, all, free, 0, "max");
        std::fs::write(slice.join("memory.high"), format!("{high}\n")).unwrap();
        let ctr = |name: &str| slice.join(format!("holdfast-{name}.service/ctr"));
        for (name, current, file, max) in containers {
            group(&ctr(name), *current, *file, current - file, max);
        }
        // A unit that is no container, and one whose container is not there yet.
        group(&slice.join("other.service/ctr"), 300, 0, 0, "max");
        std::fs::create_dir_all(slice.join("holdfast-new.web.service")).unwrap();
        let evicted = relieve(slice).unwrap().map(|evicted| evicted.share.name.to_string());
        assert_eq!(evicted.as_deref(), expect, "{containers:?}");
        for (name, _, _, max) in containers {
            let now = |file: &str| std::fs::read_to_string(ctr(name).join(file)).unwrap();
            // The kernel takes what is written as a whole.
            let (limit, kill) = if expect == Some(*name) { ("0", "1") } else { (*max, "") };
            assert!(now("memory.max").starts_with(limit), "{name}");
            assert_eq!(now("cgroup.kill"), kill, "{name}");
        }
    }

    #[test]
    fn who_is_chosen_is_ended_and_nobody_else() {
        let high = &(320_u64 << 20).to_string();
        let two: &[_] = &[("site.web", 20, 5, "max"), ("files.sh", 290, 0, "max")];
        check(high, 315, 5, two, Some("files.sh"));
        check(high, 310, 1, two, None);
        // Files on disk are given back, those in memory are not.
        check(high, 320, 40, two, None);
        check("max", 320, 0, two, None);
        check(
            high,
            320,
            0,
            &[("site.db", 250, 0, "300000000"), ("files.sh", 60, 0, "max")],
            Some("files.sh"),
        );
        // The one with the larger cache is not the largest.
        check(high, 320, 0, &[("a.a", 200, 150, "max"), ("b.b", 120, 0, "max")], Some("b.b"));
        check(high, 320, 0, &[("a.a", 290, 0, "0"), ("b.b", 20, 0, "max")], None);
        check(high, 320, 0, &[], None);
    }

    #[test]
    fn what_cannot_be_freed_is_counted() {
        assert_eq!(held_of(100, "anon 10\nfile 60\nshmem 20\nfile_mapped 5\nslab_reclaimable 7\n"), 53);
        assert_eq!(held_of(100, ""), 100);
        assert_eq!(held_of(5, "file 60\n"), 0);
    }

    #[test]
    fn without_the_slice_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = follow(folder.path(), |_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
