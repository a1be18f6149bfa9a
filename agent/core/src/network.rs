//! Networks as they should be: the box's own interfaces, and one network per instance. Which
//! addresses an instance gets is decided in [`crate::allocate`].
//!
//! Everything here is data and decisions about it; `agent-net` observes and applies. Deliberately
//! absent: the DHCP protocol (its outcome arrives as a [`host::LinkSettings`]) and anything that
//! asks the kernel.

pub mod choice;
pub mod cidr;
pub mod host;
pub mod policy;
pub mod provider;
mod resolver;
pub mod ruleset;
pub mod status;

pub use choice::{NetworkRecord, NetworkTrial, Unconfirmed, Whose};
pub use cidr::Cidr;
pub use host::{
    Dhcp6, HostConfig, InterfaceConfig, LinkChange, LinkMatch, LinkSettings, NetworkSettings, Route,
    RouteConfig, Wanted,
};
pub use provider::{Bond, Device, DeviceKind, ProviderNetwork};
pub use recipes::shape::Mac;
pub use resolver::resolver;
pub use ruleset::{InstanceNetwork, PublishedPort, ruleset};
pub use status::{AddressSource, NetworkEvent, NetworkStatus, NicState, NicStatus, PATIENCE};
