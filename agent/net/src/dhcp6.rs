//! DHCPv6 (RFC 8415) as a client: addresses (IA_NA), or resolvers alone.
//!
//! [`client`] is the protocol without sockets and clocks; [`message`] is its data; [`task`] joins them to
//! one NIC. Which prefixes are on the link, and the default route, are told by routers and are the
//! kernel's. Deliberately absent: temporary addresses, delegated prefixes, reconfiguration,
//! authentication, and releasing: a box keeps its address over restarts.

pub mod client;
pub mod message;
pub mod task;

pub use client::{Action, Client};
pub use message::{Identity, Lease};
pub use task::{Dhcp6Event, Dhcp6Task};
