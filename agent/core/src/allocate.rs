//! Gives instances their ids and addresses.
//!
//! Id ranges and bridge names come from a counter that only grows, so that neither is ever reused.
//! Subnets are the lowest that no recorded instance has and no route of the host overlaps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::container::Allocation;
use crate::state::Counters;

/// First id of the first instance's range.
pub const FIRST_ID: u32 = 1 << 20;
/// Ids in a range.
pub const IDS: u32 = 1 << 16;
/// Ranges that there are: ids stay positive as signed numbers.
const RANGES: u32 = (i32::MAX as u32 - FIRST_ID) / IDS;
/// First host number that a container gets.
const FIRST_HOST: u8 = 2;

/// Why an instance cannot get what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// The counter has reached its end.
    #[error("no id range is left")]
    Ids,
    /// All of 10.213.0.0/16 is in use here or routed elsewhere.
    #[error("no subnet of 10.213.0.0/16 is left")]
    Subnets,
    /// An instance has at most 253 containers and steps.
    #[error("no address is left in the instance's subnet")]
    Addresses,
}

/// What must not be handed out again.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Gateways of the recorded instances.
    pub gateways: BTreeSet<Ipv4Addr>,
    /// Networks that the host has routes to, with their prefix lengths; the default route is no network.
    pub routed: Vec<(Ipv4Addr, u8)>,
}

/// A new instance's allocation, and the counters as they are to be recorded before it is used.
///
/// `random` makes the box's /48 with the first instance.
pub fn allocate(
    counters: &Counters,
    taken: &Taken,
    names: &[String],
    random: u64,
) -> Result<(Allocation, Counters), AllocateError> {
    let index = counters.next_index;
    if index >= RANGES {
        return Err(AllocateError::Ids);
    }
    let ula = counters.ula.unwrap_or_else(|| ula(random));
    let gateway4 = free_subnet(taken).ok_or(AllocateError::Subnets)?;
    let [a, b, c, ..] = ula.segments();
    let mut allocation = Allocation {
        id_base: FIRST_ID + index * IDS,
        index,
        gateway4,
        gateway6: Ipv6Addr::new(a, b, c, (index & 0xffff) as u16, 0, 0, 0, 1),
        addresses: BTreeMap::new(),
    };
    extend(&mut allocation, names)?;
    Ok((allocation, Counters { next_index: index + 1, ula: Some(ula) }))
}

/// Gives addresses to the containers in `names` that have none; says whether there were any.
pub fn extend(allocation: &mut Allocation, names: &[String]) -> Result<bool, AllocateError> {
    let mut changed = false;
    for name in names {
        if allocation.addresses.contains_key(name) {
            continue;
        }
        let used: BTreeSet<u8> = allocation.addresses.values().map(|(v4, _)| v4.octets()[3]).collect();
        let host = (FIRST_HOST..=254).find(|h| !used.contains(h)).ok_or(AllocateError::Addresses)?;
        let [a, b, c, _] = allocation.gateway4.octets();
        let [p, q, r, s, ..] = allocation.gateway6.segments();
        let addresses = (Ipv4Addr::new(a, b, c, host), Ipv6Addr::new(p, q, r, s, 0, 0, 0, host.into()));
        allocation.addresses.insert(name.clone(), addresses);
        changed = true;
    }
    Ok(changed)
}

/// A random /48 of fd00::/8 (RFC 4193).
fn ula(random: u64) -> Ipv6Addr {
    let [a, b, c, d, e, ..] = random.to_be_bytes();
    Ipv6Addr::from([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// The gateway of the lowest subnet that is free.
fn free_subnet(taken: &Taken) -> Option<Ipv4Addr> {
    (0..=255).map(|n| Ipv4Addr::new(10, 213, n, 1)).find(|gateway| {
        let used = taken.gateways.contains(gateway);
        !used && !taken.routed.iter().any(|route| overlaps(*gateway, *route))
    })
}

/// Whether the /24 around `gateway` and a routed network share an address.
fn overlaps(gateway: Ipv4Addr, (network, length): (Ipv4Addr, u8)) -> bool {
    let shared = u32::from(length.min(24));
    let mask = if shared == 0 { return false } else { u32::MAX << (32 - shared) };
    u32::from(gateway) & mask == u32::from(network) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn ranges_are_never_given_twice() {
        let mut counters = Counters::default();
        let mut seen = BTreeSet::new();
        for _ in 0..300 {
            let (allocation, next) = allocate(&counters, &Taken::default(), &[], 7).unwrap();
            assert!(seen.insert(allocation.id_base));
            assert_eq!(allocation.id_base % IDS, 0);
            counters = next;
        }
        let last = Counters { next_index: RANGES - 1, ula: None };
        let (allocation, next) = allocate(&last, &Taken::default(), &[], 7).unwrap();
        assert!(allocation.id_base.checked_add(IDS).is_some_and(|end| end <= i32::MAX as u32 + 1));
        assert_eq!(allocate(&next, &Taken::default(), &[], 7), Err(AllocateError::Ids));
    }

    #[test]
    fn the_first_instance_makes_the_prefix() {
        let (one, counters) =
            allocate(&Counters::default(), &Taken::default(), &[], 0x1234_5678_9a00_0000).unwrap();
        assert_eq!(one.gateway6, "fd12:3456:789a::1".parse::<Ipv6Addr>().unwrap());
        let (two, _) = allocate(&counters, &Taken::default(), &[], 99).unwrap();
        assert_eq!(two.gateway6, "fd12:3456:789a:1::1".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn subnets_in_use_or_routed_are_skipped() {
        let check = |gateways: &[[u8; 4]], routed: &[([u8; 4], u8)], expect: Option<u8>| {
            let taken = Taken {
                gateways: gateways.iter().map(|g| Ipv4Addr::from(*g)).collect(),
                routed: routed.iter().map(|(a, l)| (Ipv4Addr::from(*a), *l)).collect(),
            };
            let got = allocate(&Counters::default(), &taken, &[], 0).map(|(a, _)| a.gateway4.octets()[2]);
            assert_eq!(got.ok(), expect, "{taken:?}");
        };
        check(&[], &[], Some(0));
        check(&[[10, 213, 0, 1], [10, 213, 1, 1]], &[], Some(2));
        check(&[], &[([10, 213, 0, 0], 23)], Some(2));
        check(&[[10, 213, 0, 1]], &[([10, 213, 1, 77], 32)], Some(2));
        check(&[], &[([10, 0, 0, 0], 8)], None);
        check(&[], &[([0, 0, 0, 0], 0), ([192, 168, 0, 0], 16)], Some(0));
    }

    #[test]
    fn containers_keep_their_addresses() {
        let (mut allocation, _) =
            allocate(&Counters::default(), &Taken::default(), &names(&["web"]), 0).unwrap();
        let web = allocation.addresses["web"];
        assert_eq!(web.0, Ipv4Addr::new(10, 213, 0, 2));
        assert_eq!(web.1.segments()[7], 2);
        assert_eq!(extend(&mut allocation, &names(&["app", "web"])), Ok(true));
        assert_eq!(extend(&mut allocation, &names(&["app", "web"])), Ok(false));
        assert_eq!(allocation.addresses["web"], web);
        assert_eq!(allocation.addresses["app"].0, Ipv4Addr::new(10, 213, 0, 3));
        let many: Vec<_> = (0..260).map(|n| format!("c{n}")).collect();
        assert_eq!(extend(&mut allocation, &many), Err(AllocateError::Addresses));
    }
}
