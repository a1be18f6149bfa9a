//! The box's own network.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Interface;

/// The box's own network as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkState {
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
    /// Name servers in use, in order.
    pub dns: Vec<String>,
    /// Search domains.
    pub search: Vec<String>,
    /// Whose settings are in force.
    pub settings: NetworkSource,
    /// Whether the provider describes the network; that counts for interfaces of which the settings say nothing.
    pub provider: bool,
    /// Whether settings confirmed by hand are on record.
    pub confirmed: bool,
    /// Seconds until what is tried gives way to what was before.
    pub seconds_left: Option<u64>,
}

/// Whose network settings are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkSource {
    /// Those of the document.
    Document,
    /// Those that were confirmed by hand.
    Confirmed,
    /// Those before a change of the document that nobody confirmed.
    Before,
    /// Those that are being tried.
    Tried,
}
