//! Links, their addresses, routes and rules: observing and changing them.

mod apply;
mod devices;
mod observe;
mod policy;

pub use apply::{apply, converge, forget_routers};
pub use devices::converge_devices;
pub use observe::{Link, host_subnets, link_by_name, links, observe};
pub use policy::converge_policy;
