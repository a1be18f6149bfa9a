//! The box's network as the kernel has it: links, addresses, routes, DHCP, container networks and
//! nftables.
//!
//! [`agent_core::network`] decides; this crate observes and applies, and every call that changes
//! something says whether it did. No external program runs but `nft`. Deliberately absent: IPv6
//! address autoconfiguration, which is the kernel's, and policy on what should be published.

#![forbid(unsafe_code)]

pub mod containers;
pub mod dhcp;
pub mod dhcp6;
pub mod host;
pub mod links;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod sysctl;

/// Whether a call changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It did.
    Changed,
    /// All was already as asked for.
    Unchanged,
}

impl Outcome {
    /// [`Outcome::Changed`] if either is.
    pub fn or(self, other: Outcome) -> Outcome {
        if self == Outcome::Changed { self } else { other }
    }

    /// From "something was changed".
    pub fn from_changed(changed: bool) -> Outcome {
        if changed { Outcome::Changed } else { Outcome::Unchanged }
    }
}
