//! Drives a box in QEMU, from outside.
//!
//! A test makes a [`Lab`] (image, tools, registry, keys), describes a [`Machine`], boots it and looks at
//! it as its owner would: the served page, the console, the CLI over ssh. Nothing here reaches into the
//! box but through those. A console line that means trouble fails the test when the machine is dropped.

#![forbid(unsafe_code)]

mod api;
mod command;
mod console;
mod cpio;
pub mod cuts;
mod disk;
mod disk_faults;
pub mod documents;
mod gate;
mod lab;
mod machine;
mod name_server;
mod ports;
mod publisher;
mod qemu;
mod qmp;
mod registry;
mod relay;
mod saved;
mod schema;
mod seed;
mod shell;
mod sources;
mod sparse;
mod stop;
mod time_server;
pub mod wire;

pub use api::Reply;
pub use console::{Console, TROUBLE};
pub use cpio::{Entry, cpio};
pub use disk::{Disk, Image, Sums};
pub use disk_faults::DiskFault;
pub use gate::{Gate, Mode};
pub use lab::Lab;
pub use machine::{Bus, Firmware, Machine, Nic, Setup};
pub use name_server::{Answer, NameServer};
pub use publisher::{FIRST, Publisher, SECOND, unpack};
pub use registry::{Registry, USER};
pub use relay::Relay;
pub use schema::Schema;
pub use seed::Channel;
pub use shell::{Shell, time_server};
pub use sources::Sources;
pub use stop::Stop;
pub use time_server::TimeServer;
