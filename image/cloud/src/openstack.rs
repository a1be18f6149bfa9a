//! OpenStack: Keystone version 3, Glance version 2, Nova version 2.1.

mod config;
mod identity;
mod session;

pub use config::{Cloud, ConfigError};
pub use session::{Disk, MAX_USER_DATA, OpenStack, OpenStackError, fits};
