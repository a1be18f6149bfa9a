//! The small forms of the language: names, sizes, time spans, image references, ports, templates, addresses,
//! URLs, time zones and windows.
//!
//! Each is parsed from a `&str` by one function, which either gives a value that needs no more checks or a
//! [`ShapeError`] that says what would be right. Numbers that TOML has itself (`256` for a size) are the
//! caller's.

mod image;
mod name;
mod net;
mod path;
mod port;
mod quantity;
mod template;
mod time;
mod url;
mod user;

use std::ops::Range;

pub use image::ImageRef;
pub use name::{hostname, identifier, is_compatible_hostname, name};
pub use net::{AdminKey, Cidr, Mac, registry_host};
pub use path::{absolute_path, file_path};
pub use port::{Port, Protocol, http_probe, tcp_probe};
pub use quantity::{Cpus, duration, duration_text, file_mode, size, size_text};
pub use template::{Segment, Template, TemplatePath, Templated};
pub use time::{TimeZone, Window};
pub use url::{BaseUrl, hook_url};
pub use user::{CAPABILITIES, User, capability, owner, stop_signal};

/// A text that does not have the form it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ShapeError {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// Which bytes of the text are at fault; all of it when absent.
    pub at: Option<Range<usize>>,
}

impl ShapeError {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> ShapeError {
        ShapeError { message: message.into(), hint: Some(hint.into()), at: None }
    }

    pub(crate) fn at(mut self, range: Range<usize>) -> ShapeError {
        self.at = Some(range);
        self
    }
}
