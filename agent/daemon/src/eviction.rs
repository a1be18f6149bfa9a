//! Ends the container that takes the memory of all others, before the kernel ends one of those.
//!
//! The kernel goes by what processes have mapped. Files in memory count for none of them, so it would end the neighbours
//! of a container that fills a tmpfs, again and again, and not that one. Containers are slowed down by the kernel
//! when little is left of what they share ([`crate::reserve`]), and here the largest loses its share then: its limit
//! becomes 0, so the kernel ends it as a whole, and it is started again with back-off like any that ran out of memory.
//! Invariant: none with a limit of its own goes while one without is there. Absent: anything before memory is short.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_core::ContainerName;
use agent_core::container::SLICE;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::agent::Agent;
use crate::observe;

/// Between two looks: an end takes the kernel a moment.
const PAUSE: Duration = Duration::from_millis(100);
/// After which it is tried again to listen to the kernel.
const AGAIN: Duration = Duration::from_secs(30);

/// A container that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Evicted {
    name: ContainerName,
    /// Bytes that it held.
    held: u64,
    /// Bytes that all of them held.
    of: u64,
}

/// Follows what the kernel tells of the slice, for ever.
pub(crate) async fn run(agent: Arc<Agent>) {
    let slice = Path::new("/sys/fs/cgroup").join(SLICE);
    loop {
        let Err(error) = follow(&slice, |evicted| tell(&agent, evicted)).await;
        tracing::warn!("nobody ends the container that takes all memory: {error}");
        tokio::time::sleep(AGAIN).await;
    }
}

fn tell(agent: &Agent, evicted: &Evicted) {
    let Evicted { name, held, of } = evicted;
    let message = format!(
        "{name} held {} MiB of the {} MiB that containers had in all, and was ended so that the others go on",
        held >> 20,
        of >> 20
    );
    agent.events.add("memory", Some(&name.instance), message);
}

async fn follow(slice: &Path, tell: impl Fn(&Evicted)) -> io::Result<std::convert::Infallible> {
    let events = AsyncFd::with_interest(File::open(slice.join("memory.events.local"))?, Interest::PRIORITY)?;
    loop {
        // The kernel tells of what changes after the file was read.
        let mut file = events.get_ref();
        file.rewind()?;
        file.read_to_string(&mut String::new())?;
        let folder = slice.to_owned();
        let evicted =
            tokio::task::spawn_blocking(move || relieve(&folder)).await.map_err(io::Error::other)??;
        match evicted {
            Some(evicted) => tell(&evicted),
            None => events.ready(Interest::PRIORITY).await?.clear_ready(),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Ends the largest container if they hold so much together that the kernel cannot get below its threshold.
fn relieve(slice: &Path) -> io::Result<Option<Evicted>> {
    let Some(high) = limit(slice, "memory.high")? else { return Ok(None) };
    let of = held(slice)?;
    // What can be written back or read again is freed first, but for the little that programs run in.
    if of < high - high / 32 {
        return Ok(None);
    }
    let entries = std::fs::read_dir(slice)?.filter_map(Result::ok);
    let containers = entries.filter_map(|entry| {
        let name = observe::container_of(entry.file_name().to_str()?)?;
        candidate(name, entry.path().join("ctr")).ok()?
    });
    let Some(largest) = containers.max_by_key(|candidate| (candidate.unlimited, candidate.held)) else {
        return Ok(None);
    };
    std::fs::write(largest.folder.join("memory.max"), "0")?;
    Ok(Some(Evicted { name: largest.name, held: largest.held, of }))
}

struct Candidate {
    name: ContainerName,
    folder: PathBuf,
    unlimited: bool,
    held: u64,
}

/// A container that may be ended; none if it is being ended.
fn candidate(name: ContainerName, folder: PathBuf) -> io::Result<Option<Candidate>> {
    let limit = limit(&folder, "memory.max")?;
    let held = held(&folder)?;
    Ok((limit != Some(0)).then_some(Candidate { name, folder, unlimited: limit.is_none(), held }))
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
        std::fs::create_dir_all(slice.join("other.service/ctr")).unwrap();
        std::fs::create_dir_all(slice.join("holdfast-new.web.service")).unwrap();
        let evicted = relieve(slice).unwrap();
        assert_eq!(
            evicted.as_ref().map(|evicted| evicted.name.to_string()).as_deref(),
            expect,
            "{containers:?}"
        );
        for (name, _, _, max) in containers {
            let now = std::fs::read_to_string(ctr(name).join("memory.max")).unwrap();
            let ended = expect == Some(*name) || *max == "0";
            assert_eq!(now.trim(), if ended { "0" } else { *max }, "{name}");
        }
    }

    #[test]
    fn the_largest_is_ended_when_memory_is_short_and_those_with_a_limit_of_their_own_last() {
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
        check(
            high,
            320,
            0,
            &[("site.db", 250, 0, "300000000"), ("b.sh", 60, 0, "90000000")],
            Some("site.db"),
        );
        // The one with the larger cache is not the largest.
        check(high, 320, 0, &[("a.a", 200, 150, "max"), ("b.b", 120, 0, "max")], Some("b.b"));
        // One that is ended already is not ended again.
        check(high, 320, 0, &[("a.a", 290, 0, "0"), ("b.b", 20, 0, "max")], Some("b.b"));
        check(high, 320, 0, &[("a.a", 290, 0, "0")], None);
        check(high, 320, 0, &[], None);
    }

    #[test]
    fn what_cannot_be_freed_is_counted() {
        assert_eq!(held_of(100, "anon 10\nfile 60\nshmem 20\nfile_mapped 5\nslab_reclaimable 7\n"), 53);
        assert_eq!(held_of(100, ""), 100);
        assert_eq!(held_of(5, "file 60\n"), 0);
    }

    #[tokio::test]
    async fn where_the_kernel_cannot_be_listened_to_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let Err(error) = follow(folder.path(), |_| ()).await;
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
