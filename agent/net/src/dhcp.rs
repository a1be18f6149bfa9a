//! DHCPv4 (RFC 2131) as a client.
//!
//! [`client`] is the protocol without sockets and clocks; [`lease`] and [`message`] are its data;
//! [`frame`] and `socket` reach the wire; [`task`] joins them for one NIC. What is sent to
//! everyone leaves by a packet socket, since the kernel would not send from `0.0.0.0` on one link
//! while another has an address; that socket is open only while an answer is awaited there. A renewal
//! is plain UDP. Deliberately absent: the random wait before the first message, BOOTP, option
//! overload, and authentication.

pub mod client;
pub mod frame;
pub mod lease;
pub mod message;
mod socket;
pub mod task;

pub use client::{Action, Client, Destination, Loss};
pub use lease::Lease;
pub use task::{DhcpEvent, DhcpTask};
