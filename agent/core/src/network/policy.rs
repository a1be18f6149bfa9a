//! Routing by source, for boxes with more than one way out.
//!
//! Where several NICs have a default route, what comes in by one must be answered by it: providers
//! drop packets whose sender is not theirs. Each such NIC has a table of its own, by which goes what
//! has one of its addresses, or the NIC's mark: the ruleset marks answers of containers by the NIC
//! on which their connection came in. With one way out there is nothing of all this.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Cidr, LinkSettings, Route};

/// The table of the NIC with the kernel's number N is this plus N.
pub const FIRST_TABLE: u32 = 1000;
/// NICs with higher numbers than this answer by the main table.
pub const MOST_NICS: u32 = 63;

/// Rules, and the tables they look into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Routes with the NICs they belong to; the table follows from the NIC.
    pub routes: BTreeSet<(u32, Route)>,
    /// Rules.
    pub rules: BTreeSet<Rule>,
}

/// Which packets go where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// All that the main table has a route for, other than a default one, goes by it: containers and
    /// private networks are there.
    MainFirst {
        /// Of IPv6, or of IPv4.
        v6: bool,
    },
    /// What has this sender goes by the NIC's table.
    From {
        /// The NIC's number.
        nic: u32,
        /// One of its addresses.
        address: IpAddr,
    },
    /// What has the NIC's mark goes by its table.
    Mark {
        /// The NIC's number, which is also the mark.
        nic: u32,
        /// Of IPv6, or of IPv4.
        v6: bool,
    },
}

/// The tables and rules for NICs by their numbers. Families are told apart: two ways out in one say
/// nothing of the other. Routes from router advertisements are the kernel's and are in no table.
pub fn policy(nics: &[(u32, LinkSettings)]) -> Policy {
    let mut policy = Policy::default();
    for v6 in [false, true] {
        let of_family = |cidr: &Cidr| cidr.address().is_ipv6() == v6;
        let ways: Vec<&(u32, LinkSettings)> = nics
            .iter()
            .filter(|(nic, settings)| {
                *nic <= MOST_NICS && settings.routes.iter().any(|r| r.to.is_default() && of_family(&r.to))
            })
            .collect();
        if ways.len() < 2 {
            continue;
        }
        policy.rules.insert(Rule::MainFirst { v6 });
        for (nic, settings) in ways {
            let own = settings.routes.iter().filter(|route| of_family(&route.to)).cloned();
            policy.routes.extend(own.map(|route| (*nic, route)));
            for address in settings.addresses.iter().filter(|address| of_family(address)) {
                let subnet =
                    Route { via: None, to: address.network(), on_link: false, metric: 1, source: None };
                policy.routes.insert((*nic, subnet));
                policy.rules.insert(Rule::From { nic: *nic, address: address.address() });
            }
            policy.rules.insert(Rule::Mark { nic: *nic, v6 });
        }
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(addresses: &[&str], gateways: &[&str]) -> LinkSettings {
        let route = |via: &str| {
            let via: IpAddr = via.parse().unwrap();
            Route { via: Some(via), to: Cidr::default_route(via), on_link: false, metric: 100, source: None }
        };
        LinkSettings {
            mtu: None,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            routes: gateways.iter().map(|via| route(via)).collect(),
        }
    }

    #[test]
    fn one_way_out_needs_nothing() {
        let first = nic(&["192.0.2.7/24", "2001:db8::7/64"], &["192.0.2.1", "2001:db8::1"]);
        let private = nic(&["10.0.0.7/24"], &[]);
        assert_eq!(policy(&[(2, first.clone()), (3, private)]), Policy::default());
        let only6 = nic(&["2001:db8:1::7/64"], &[]);
        assert_eq!(policy(&[(2, first), (3, only6)]), Policy::default());
    }

    #[test]
    fn two_ways_out_are_told_apart_by_family() {
        let first = nic(&["192.0.2.7/24", "2001:db8::7/64"], &["192.0.2.1", "2001:db8::1"]);
        let second = nic(&["198.51.100.7/24"], &["198.51.100.1"]);
        let policy = policy(&[(2, first), (3, second)]);
        let from = |nic, text: &str| Rule::From { nic, address: text.parse().unwrap() };
        let mark = |nic| Rule::Mark { nic, v6: false };
        let first = Rule::MainFirst { v6: false };
        let expect = [first, from(2, "192.0.2.7"), mark(2), from(3, "198.51.100.7"), mark(3)];
        assert_eq!(policy.rules, BTreeSet::from(expect));
        let shown: Vec<String> = policy
            .routes
            .iter()
            .map(|(nic, r)| format!("{nic} {} {:?}", r.to, r.via.map(|v| v.to_string())))
            .collect();
        assert_eq!(
            shown,
            [
                "2 192.0.2.0/24 None",
                "2 0.0.0.0/0 Some(\"192.0.2.1\")",
                "3 198.51.100.0/24 None",
                "3 0.0.0.0/0 Some(\"198.51.100.1\")"
            ]
        );
    }
}
