//! Which container is ended when memory is short: one, so that the others go on.
//!
//! Of those without a limit below what all share the one that holds the most, and one with such a limit only where
//! there is no other. Nobody is ended while one is ending that holds what is missing.

use crate::container::ContainerName;

/// A container, and what it has of the memory that all share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name.
    pub name: ContainerName,
    /// Bytes that only its end frees.
    pub held: u64,
    /// Its own limit in bytes; 0 while it is being ended.
    pub limit: Option<u64>,
}

/// Whether memory is short for containers that hold `of` bytes together, of the number of bytes from which on the kernel
/// slows them down.
pub fn short(of: u64, high: u64) -> bool {
    // What can be written back or read again is freed before, but for the little that programs run in.
    of >= high - high / 32
}

/// Which to end of them, if any.
pub fn choose(of: u64, high: u64, shares: &[Share]) -> Option<usize> {
    let ending = |share: &Share| share.limit == Some(0);
    let freed: u64 = shares.iter().filter(|share| ending(share)).map(|share| share.held).sum();
    if !short(of.saturating_sub(freed), high) {
        return None;
    }
    let rank = |(_, share): &(usize, &Share)| (share.limit.is_none_or(|limit| limit >= high), share.held);
    let running = shares.iter().enumerate().filter(|(_, share)| !ending(share));
    running.max_by_key(rank).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Containers, each with the MiB that it holds, and its limit; who is ended of those that share 320 MiB.
    fn check(of: u64, shares: &[(&str, u64, Option<u64>)], expect: Option<&str>) {
        let shares: Vec<Share> = shares
            .iter()
            .map(|(name, held, limit)| Share {
                name: ContainerName::parse(name).unwrap(),
                held: held << 20,
                limit: limit.map(|limit| limit << 20),
            })
            .collect();
        let chosen = choose(of << 20, 320 << 20, &shares).map(|at| shares[at].name.to_string());
        assert_eq!(chosen.as_deref(), expect, "{of}: {shares:?}");
    }

    #[test]
    fn the_largest_is_ended_when_memory_is_short() {
        let two = [("site.web", 20, None), ("files.sh", 290, None)];
        check(310, &two, Some("files.sh"));
        check(309, &two, None);
        check(320, &[], None);
    }

    #[test]
    fn one_that_keeps_to_its_limit_goes_last() {
        let small = Some(260);
        check(320, &[("site.db", 250, small), ("files.sh", 60, None)], Some("files.sh"));
        check(320, &[("site.db", 250, small), ("b.sh", 60, Some(90))], Some("site.db"));
        // A limit that is no less than what all share is none.
        check(320, &[("site.web", 60, None), ("files.sh", 250, Some(4096))], Some("files.sh"));
        check(320, &[("site.db", 250, small), ("b.sh", 60, Some(320))], Some("b.sh"));
    }

    #[test]
    fn nobody_goes_while_the_one_that_has_it_is_ending() {
        check(320, &[("a.a", 290, Some(0)), ("b.b", 20, None)], None);
        check(320, &[("a.a", 290, Some(0))], None);
        check(320, &[("a.a", 5, Some(0)), ("b.b", 290, None)], Some("b.b"));
    }
}
