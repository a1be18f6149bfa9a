//! Links, their addresses and their routes: observing and changing them.

mod apply;
mod observe;

pub use apply::{apply, converge};
pub use observe::{Link, host_subnets, link_by_name, links, observe};
