//! Control planes of providers, from outside: images are brought there, boxes are made of them.
//!
//! Everything is asked for by the provider's published API; nothing is kept between calls. What was
//! begun and cannot be finished is taken back: an object that was public while it was imported, an
//! image that failed. Deliberately absent: what a box is told, which its user-data says.

#![forbid(unsafe_code)]

pub mod digitalocean;
mod http;
pub mod openstack;
pub mod s3;
mod secret;
mod wait;

pub use http::HttpError;
pub use secret::Secret;
pub use wait::{Patience, WaitError};

/// An image at a provider.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Image {
    /// The provider's identity of it.
    pub id: String,
    /// Its name, which need not be unique.
    pub name: String,
    /// In the provider's words.
    pub state: String,
    /// When it was made (RFC 3339).
    pub created: String,
}

/// A box at a provider.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Server {
    /// The provider's identity of it.
    pub id: String,
    /// Its name, which need not be unique.
    pub name: String,
    /// In the provider's words.
    pub state: String,
    /// Public IPv4 addresses first, then public IPv6, then others.
    pub addresses: Vec<String>,
    /// When it was made (RFC 3339).
    pub created: String,
}

/// What a new box is to be.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its name, and the host name that the provider gives.
    pub name: String,
    /// The provider's identity of the image.
    pub image: String,
    /// The provider's word for processors and memory.
    pub size: String,
    /// User-data as it is delivered, text.
    pub user_data: Secret,
    /// An OpenSSH public key that the provider gives too.
    pub ssh_key: Option<String>,
}

/// Images and boxes from here are found again by a tag or metadata of this name.
pub(crate) const MARK: &str = "holdfast";

/// What helps where a box was asked for, and no answer says what became of it.
pub(crate) const PERHAPS_MADE: &str =
    "the box may have been made all the same: `boxes` shows it, `destroy` removes it";

/// Whether two public keys are the same, whatever their comments.
fn same_key(a: &str, b: &str) -> bool {
    a.split_whitespace().take(2).eq(b.split_whitespace().take(2))
}
