//! Memory, disk and time of the box, as the kernel and timesyncd say.

use agent_api::types::{Disk, Memory, TimeStatus};
use agent_core::ContainerName;
use image_layout::paths;

use crate::agent::Agent;
use crate::clock;

/// Memory in bytes; what cannot be read counts as 0.
pub(crate) fn memory() -> Memory {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = field(&text, "MemTotal");
    let taken = ["PageTables", "KernelStack", "Percpu", "SecPageTables"].map(|name| field(&text, name));
    let installed = std::fs::read_to_string("/proc/iomem").map(|text| ram(&text)).unwrap_or(total);
    Memory {
        total,
        available: field(&text, "MemAvailable"),
        pss: pss(),
        slab: field(&text, "Slab"),
        kernel: installed.saturating_sub(total) + taken.iter().sum::<u64>(),
    }
}

/// A field of meminfo or smaps_rollup, which counts in KiB.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Bytes of memory in `/proc/iomem`.
fn ram(text: &str) -> u64 {
    let ranges = text.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| {
        let range = line.strip_suffix(" : System RAM")?;
        let (from, to) = range.split_once('-')?;
        let hex = |word: &str| u64::from_str_radix(word, 16).ok();
        Some(hex(to)?.checked_sub(hex(from)?)? + 1)
    });
    ranges.sum()
}

/// Proportional set sizes of all processes.
fn pss() -> u64 {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let processes = entries.filter(|e| e.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let rollups = processes.filter_map(|e| std::fs::read_to_string(e.path().join("smaps_rollup")).ok());
    rollups.map(|text| field(&text, "Pss")).sum()
}

/// The data file system.
pub(crate) fn disk() -> Disk {
    match rustix::fs::statvfs(paths::STATE) {
        Ok(stat) => Disk {
            size: stat.f_blocks * stat.f_frsize,
            used: (stat.f_blocks - stat.f_bfree) * stat.f_frsize,
            available: stat.f_bavail * stat.f_frsize,
        },
        Err(_) => Disk { size: 0, used: 0, available: 0 },
    }
}

/// Whether the clock was set, and by whom.
pub(super) async fn time(agent: &Agent) -> TimeStatus {
    TimeStatus {
        now: clock::rfc3339(clock::epoch()),
        synchronized: std::path::Path::new("/run/systemd/timesync/synchronized").exists(),
        server: server(agent).await,
    }
}

async fn server(agent: &Agent) -> Option<String> {
    let bus = agent.bus.as_ref()?;
    let name = "org.freedesktop.timesync1";
    let call = bus.call_method(
        Some(name),
        "/org/freedesktop/timesync1",
        Some("org.freedesktop.DBus.Properties"),
        "Get",
        &("org.freedesktop.timesync1.Manager", "ServerName"),
    );
    let reply = tokio::time::timeout(std::time::Duration::from_secs(2), call).await.ok()?.ok()?;
    let body = reply.body();
    let value: zbus::OwnedVariant = body.deserialize().ok()?;
    let text = String::try_from(value).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

/// Bytes of memory that a container's processes use.
pub(crate) fn of_container(name: &ContainerName) -> Option<u64> {
    let path = format!("/sys/fs/cgroup{}/memory.current", name.cgroup());
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_in_bytes() {
        let text = "MemTotal:        1000 kB\nSlab:   20 kB\nSlabX: 7 kB\n";
        assert_eq!(field(text, "Slab"), 20 * 1024);
        assert_eq!(field(text, "MemTotal"), 1000 * 1024);
        assert_eq!(field(text, "Mem"), 0);
    }

    #[test]
    fn only_whole_ranges_of_memory_count() {
        let text = "00001000-00001fff : System RAM\n00002000-00002fff : Reserved\n\
                    00100000-001fffff : System RAM\n  00100000-0010ffff : Kernel code\n";
        assert_eq!(ram(text), 0x1000 + 0x10_0000);
        assert_eq!(ram("00000000-00000000 : System RAM"), 1);
    }
}
