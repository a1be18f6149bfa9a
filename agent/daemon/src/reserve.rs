//! What the box keeps for itself: containers share the rest.
//!
//! All of them are in one slice with a limit on memory and on processes. Invariant: whatever they take, the box can
//! be reached and can put things right; who goes beyond the limit is a container. Absent: limits between containers,
//! which are the recipes' own, and which of them goes when memory is short, which is [`crate::eviction`].

use agent_core::container::SLICE;
use agent_system::systemd::{Number, Systemd};
use anyhow::Context;

/// Bytes that the smallest box keeps: what it uses at rest, and as much again for a fetch or a login.
const LEAST: u64 = 160 << 20;
/// Bytes that the largest keeps.
const MOST: u64 = 384 << 20;

/// Tells systemd.
pub(crate) async fn keep(systemd: &Systemd) -> anyhow::Result<()> {
    let memory = rustix::system::sysinfo();
    let limit = for_containers(memory.totalram * u64::from(memory.mem_unit));
    let numbers = [(Number::MemoryMax, limit), (Number::MemoryHigh, short(limit))];
    let set = systemd.set_numbers(SLICE, &numbers).await;
    set.context("failed to limit the memory of containers")
}

/// Bytes that containers may have of `total`: all but three tenths, within bounds, and half in any case.
fn for_containers(total: u64) -> u64 {
    let reserve = (total / 10 * 3).clamp(LEAST, MOST);
    total.saturating_sub(reserve).max(total / 2)
}

/// Bytes of `limit` from which on memory is short: the kernel slows containers down, and the largest is ended.
fn short(limit: u64) -> u64 {
    limit - limit / 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_short_a_little_before_the_kernel_ends_somebody() {
        assert_eq!(short(320 << 20), 300 << 20);
        assert_eq!(short(0), 0);
    }

    #[test]
    fn the_box_keeps_a_part_that_grows_with_it_to_a_bound() {
        for (total, expect) in [(256, 128), (460, 300), (960, 672), (1960, 1576), (16_000, 15_616)] {
            assert_eq!(for_containers(total << 20) >> 20, expect, "{total} MiB");
        }
    }
}
