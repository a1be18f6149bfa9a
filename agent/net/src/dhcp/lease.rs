//! What a server gives, and what that means for the link.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use agent_core::network::host::{BASE_METRIC, sane_mtu};
use agent_core::network::{Cidr, LinkSettings, Route};
use serde::{Deserialize, Serialize};

/// The time of a lease that never ends.
pub const INFINITE: u32 = u32::MAX;

/// A lease, kept on data so that the same address is asked for after a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The box's address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// The server that gave it.
    pub server: Ipv4Addr,
    /// Seconds from its acknowledgement to its end; [`INFINITE`] for none.
    pub seconds: u32,
    /// Seconds until it is to be renewed at its server.
    pub renew: u32,
    /// Seconds until any server is asked.
    pub rebind: u32,
    /// Option 3.
    pub routers: Vec<Ipv4Addr>,
    /// Option 121; where it is given, option 3 is not looked at (RFC 3442).
    pub routes: Option<Vec<(Cidr, Ipv4Addr)>>,
    /// Option 6.
    pub dns: Vec<Ipv4Addr>,
    /// Options 119 and 15.
    pub search: Vec<String>,
    /// Option 12.
    pub hostname: Option<String>,
    /// Option 26.
    pub mtu: Option<u16>,
}

impl Lease {
    /// Whether it ends at some time.
    pub fn ends(&self) -> bool {
        self.seconds != INFINITE
    }

    /// What the link should have by this lease. `order` is the NIC's place among all.
    ///
    /// A router outside the lease's subnet is taken to be on the link, as with OVH's /32; a next hop
    /// of `0.0.0.0` in option 121 means that the destination itself is (RFC 3442).
    pub fn settings(&self, order: u32) -> LinkSettings {
        let Some(own) = Cidr::new(self.address, self.prefix) else { return LinkSettings::default() };
        let pairs: Vec<(Cidr, Ipv4Addr)> = match &self.routes {
            Some(routes) => routes.clone(),
            None => {
                let default = Cidr::default_route(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                self.routers.first().map(|router| (default, *router)).into_iter().collect()
            }
        };
        let routes: BTreeSet<Route> = pairs
            .into_iter()
            // The kernel has that one already, by the address.
            .filter(|(to, via)| !(via.is_unspecified() && to.network() == own.network()))
            .map(|(to, via)| Route {
                via: (!via.is_unspecified()).then_some(IpAddr::V4(via)),
                to: to.network(),
                on_link: !via.is_unspecified() && !own.contains(IpAddr::V4(via)),
                metric: BASE_METRIC + order,
                source: None,
            })
            .collect();
        LinkSettings { mtu: sane_mtu(self.mtu), addresses: BTreeSet::from([own]), routes }
    }
}

impl Ages for Lease {
    fn aged(&self, elapsed: u64) -> Option<Lease> {
        let mut lease = self.clone();
        if lease.ends() {
            let elapsed = u32::try_from(elapsed).ok()?;
            lease.seconds = lease.seconds.checked_sub(elapsed).filter(|left| *left > 0)?;
            lease.renew = lease.renew.saturating_sub(elapsed);
            lease.rebind = lease.rebind.saturating_sub(elapsed);
        }
        Some(lease)
    }
}

/// What is good for a time.
pub trait Ages: Sized {
    /// With its times as they are `elapsed` seconds after it was acknowledged; none when it has ended.
    fn aged(&self, elapsed: u64) -> Option<Self>;
}

/// A lease as it is kept on data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLease<L = Lease> {
    /// Version of this form.
    pub format: u32,
    /// Seconds since 1970 when it was acknowledged.
    pub acknowledged: u64,
    /// The same moment by a clock that nobody sets; versions before kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime: Option<Uptime>,
    /// The lease.
    pub lease: L,
}

/// A moment of one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uptime {
    /// The kernel's name for the boot.
    pub boot: String,
    /// Seconds since it began.
    pub seconds: u64,
}

/// The only form there is.
pub const FORMAT: u32 = 1;

impl<L: Ages> KeptLease<L> {
    /// The lease as it is now; none when it has ended. In the boot that kept it the time since then counts,
    /// whatever the clock was set to meanwhile. In another one a clock that stands before the
    /// acknowledgement tells nothing, and the lease counts as fresh: its server has the last word.
    pub fn now(&self, seconds_since_1970: u64, uptime: Option<&Uptime>) -> Option<L> {
        let both = self.uptime.as_ref().zip(uptime).filter(|(then, now)| then.boot == now.boot);
        let elapsed = match both {
            Some((then, now)) => now.seconds.saturating_sub(then.seconds),
            None => seconds_since_1970.saturating_sub(self.acknowledged),
        };
        self.lease.aged(elapsed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn lease() -> Lease {
        Lease {
            address: Ipv4Addr::new(192, 0, 2, 7),
            prefix: 24,
            server: Ipv4Addr::new(192, 0, 2, 1),
            seconds: 3600,
            renew: 1800,
            rebind: 3150,
            routers: vec![Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)],
            routes: None,
            dns: vec![],
            search: vec![],
            hostname: None,
            mtu: None,
        }
    }

    fn routes(lease: &Lease) -> Vec<String> {
        let show = |route: &Route| {
            let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
            format!("{}{via}{}", route.to, if route.on_link { " onlink" } else { "" })
        };
        lease.settings(0).routes.iter().map(show).collect()
    }

    #[test]
    fn the_first_router_is_the_default() {
        assert_eq!(routes(&lease()), ["0.0.0.0/0 via 192.0.2.1"]);
    }

    #[test]
    fn a_router_outside_the_subnet_is_on_the_link() {
        let lease = Lease {
            address: Ipv4Addr::new(54, 36, 112, 9),
            prefix: 32,
            routers: vec![Ipv4Addr::new(54, 36, 112, 1)],
            ..lease()
        };
        assert_eq!(routes(&lease), ["0.0.0.0/0 via 54.36.112.1 onlink"]);
    }

    #[test]
    fn classless_routes_replace_the_router() {
        let to = |text: &str| text.parse::<Cidr>().unwrap();
        let given = vec![
            (to("0.0.0.0/0"), Ipv4Addr::new(169, 254, 1, 1)),
            (to("169.254.1.1/32"), Ipv4Addr::UNSPECIFIED),
            (to("198.51.100.9/24"), Ipv4Addr::new(192, 0, 2, 254)),
            (to("192.0.2.0/24"), Ipv4Addr::UNSPECIFIED),
        ];
        let lease = Lease { routes: Some(given), ..lease() };
        assert_eq!(
            routes(&lease),
            ["169.254.1.1/32", "0.0.0.0/0 via 169.254.1.1 onlink", "198.51.100.0/24 via 192.0.2.254"]
                .map(str::to_owned)
        );
        assert!(routes(&Lease { routes: Some(vec![]), ..lease }).is_empty(), "empty is given too");
    }

    #[test]
    fn a_lease_ages_and_ends() {
        let kept = KeptLease { format: FORMAT, acknowledged: 1000, uptime: None, lease: lease() };
        let now = |seconds| kept.now(seconds, Some(&uptime("a", 9)));
        assert_eq!(now(1000), Some(lease()));
        let later = now(3000).unwrap();
        assert_eq!((later.seconds, later.renew, later.rebind), (1600, 0, 1150));
        assert_eq!(now(4600), None);
        assert_eq!(now(u64::MAX), None);
        assert_eq!(now(5), Some(lease()), "a clock that went back tells nothing");
        let endless = KeptLease { lease: Lease { seconds: INFINITE, ..lease() }, ..kept };
        assert!(endless.now(u64::MAX, None).is_some());
    }

    fn uptime(boot: &str, seconds: u64) -> Uptime {
        Uptime { boot: boot.to_owned(), seconds }
    }

    #[test]
    fn in_the_same_boot_the_clock_may_be_set() {
        let kept =
            KeptLease { format: FORMAT, acknowledged: 1000, uptime: Some(uptime("a", 10)), lease: lease() };
        let left =
            |clock, uptime: Option<Uptime>| kept.now(clock, uptime.as_ref()).map(|lease| lease.seconds);
        assert_eq!(left(1_000_000, Some(uptime("a", 110))), Some(3500), "forward");
        assert_eq!(left(0, Some(uptime("a", 110))), Some(3500), "back");
        assert_eq!(left(1000, Some(uptime("a", 3610))), None, "it has ended");
        assert_eq!(left(1200, Some(uptime("b", 110))), Some(3400), "another boot");
        assert_eq!(left(1_000_000, Some(uptime("b", 110))), None);
        assert_eq!(left(1200, None), Some(3400), "nobody says which boot this is");
    }

    /// Versions before kept the clock's time alone.
    #[test]
    fn what_a_version_before_kept_is_read() {
        let kept = KeptLease { format: FORMAT, acknowledged: 1000, uptime: None, lease: lease() };
        let text = serde_json::to_string(&kept).unwrap();
        assert!(!text.contains("uptime"), "{text}");
        assert_eq!(serde_json::from_str::<KeptLease>(&text).unwrap(), kept);
        let kept = KeptLease { uptime: Some(uptime("a", 10)), ..kept };
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<KeptLease>(&text).unwrap(), kept);
    }
}
