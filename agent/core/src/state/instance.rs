//! What is recorded of an instance.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use recipes::Secret;
use serde::{Deserialize, Serialize};

use super::Format;
use crate::container::Allocation;

/// An instance that exists, or whose volumes do. Kept without `in_force` while its volumes live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// Its name.
    pub name: String,
    /// Whether it is listed; false once it was removed and only its volumes and secrets are left.
    pub in_force: bool,
    /// Its ids and addresses.
    pub allocation: Allocation,
    /// Image references and what they were resolved to.
    pub pins: BTreeMap<String, Pin>,
    /// How its steps went.
    pub steps: BTreeMap<String, StepRecord>,
}

/// What a reference was resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Digest of the manifest for this platform.
    pub digest: String,
    /// What it was before a `pull`, until the new one has proved healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
}

/// How a step last went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Whether it ever succeeded.
    pub succeeded: bool,
    /// Fingerprint of image, parameters and files when it last succeeded.
    pub fingerprint: Option<String>,
    /// Kernel boot id when it last succeeded.
    pub boot: Option<String>,
    /// When it last ended, seconds since 1970.
    pub ended_at: u64,
    /// How its last run ended: exit code, 128 + signal.
    pub code: i32,
    /// Its output, for those that require it. May be a secret.
    pub output: Secret,
}

/// Secrets that were generated for an instance. Kept 0600.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsRecord {
    /// Values by the parameter's name.
    pub values: BTreeMap<String, Secret>,
}

/// Numbers that are never given out twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Index of the next instance.
    pub next_index: u32,
    /// The box's own random /48, made with the first instance.
    pub ula: Option<Ipv6Addr>,
}

impl Format for InstanceRecord {
    const SUBJECT: &'static str = "record of an instance";
    const SINCE: &'static [u32] = &[1];
    const SPARE: bool = true;
}

impl Format for SecretsRecord {
    const SUBJECT: &'static str = "secrets of an instance";
    const SINCE: &'static [u32] = &[1];
    const SPARE: bool = true;
}

impl Format for Counters {
    const SUBJECT: &'static str = "counters";
    const SINCE: &'static [u32] = &[1];
}
