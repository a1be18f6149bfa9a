//! What the provider says of this box: its user-data, identity, host name, keys and network.
//!
//! Reads files and returns data; mounts nothing and writes nothing. Channels are asked in a fixed
//! order, and the first that offers user-data wins: nothing is merged. A channel that is present but
//! cannot be read is told beside the result and never keeps another from being found; the same goes for a
//! network that cannot be used. The last channel, a metadata [`service`], is asked apart from the others,
//! since it takes a network and time.

#![forbid(unsafe_code)]

mod decode;
mod explain;
mod keys;
mod kind;
mod message;
pub mod network;
mod page;
mod providers;
mod read;
pub mod service;
mod tree;
mod user_data;

use std::fmt;
use std::path::PathBuf;

pub(crate) use decode::decode;
pub use decode::{DecodeError, MAX_DELIVERED, MAX_UNPACKED};
pub use explain::{ExplainError, Explained, ExplainedPart, Explanation, explain, explain_document};
pub use kind::Kind as UserDataKind;
pub use read::ReadError;
pub use tree::Wrong;
pub use user_data::{OpenError, UserData, document, open};

/// Where the channels are found, as far as they are there.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Root of a mounted volume labelled `cidata`.
    pub nocloud: Option<PathBuf>,
    /// Root of a mounted volume labelled `config-2`.
    pub config_drive: Option<PathBuf>,
    /// The `raw` file of fw_cfg `opt/holdfast/user-data`, whether it exists or not.
    pub fw_cfg: Option<PathBuf>,
    /// The files that may hold the SMBIOS credential `holdfast.user-data`; the first that exists counts.
    pub credentials: Vec<PathBuf>,
}

impl Sources {
    /// The channels that need no mounting, where Linux and systemd put them.
    pub fn standard() -> Sources {
        Sources {
            fw_cfg: Some("/sys/firmware/qemu_fw_cfg/by_name/opt/holdfast/user-data/raw".into()),
            credentials: vec!["/run/credentials/@system/holdfast.user-data".into()],
            ..Sources::default()
        }
    }
}

/// A way for a provider to say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// A volume labelled `cidata`.
    NoCloud,
    /// A volume labelled `config-2`.
    ConfigDrive,
    /// QEMU's fw_cfg.
    FwCfg,
    /// A system credential handed over by SMBIOS.
    Smbios,
    /// The provider's metadata service.
    Service,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Channel::NoCloud => "nocloud",
            Channel::ConfigDrive => "config-drive",
            Channel::FwCfg => "fw-cfg",
            Channel::Smbios => "smbios",
            Channel::Service => "metadata-service",
        })
    }
}

/// What a channel offers.
#[derive(Debug)]
pub struct Offer {
    /// Which channel.
    pub channel: Channel,
    /// User-data, opened; none where there is none.
    pub user_data: Option<UserData>,
    /// The provider's identity of this box; when it changes, this is another box.
    pub instance_id: Option<String>,
    /// A host name that is one (RFC 1123), in lower case.
    pub hostname: Option<String>,
    /// OpenSSH public keys, one a line, without options.
    pub public_keys: Vec<String>,
    /// The network; none where none is described, or none that can be used, which is noted.
    pub network: Option<network::Network>,
    /// What was passed over, for people.
    pub notes: Vec<String>,
}

impl Offer {
    fn new(channel: Channel) -> Offer {
        Offer {
            channel,
            user_data: None,
            instance_id: None,
            hostname: None,
            public_keys: Vec::new(),
            network: None,
            notes: Vec::new(),
        }
    }
}

/// A channel that is there and could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the channel {channel} cannot be read")]
pub struct Problem {
    /// Which channel.
    pub channel: Channel,
    /// Why.
    #[source]
    pub source: ReadError,
}

/// What all channels offer together.
#[derive(Debug, Default)]
pub struct Found {
    /// The winner: the first with user-data, else the first with anything.
    pub offer: Option<Offer>,
    /// Channels that are there and could not be read.
    pub problems: Vec<Problem>,
}

/// Asks all channels, in order: NoCloud, config drive, fw_cfg, SMBIOS.
pub fn find(sources: &Sources) -> Found {
    let mut found = Found::default();
    let answers = [
        (Channel::NoCloud, sources.nocloud.as_deref().map(providers::nocloud::offer)),
        (Channel::ConfigDrive, sources.config_drive.as_deref().map(providers::openstack::offer)),
        (Channel::FwCfg, sources.fw_cfg.as_deref().map(|path| providers::qemu::offer(Channel::FwCfg, path))),
        (Channel::Smbios, providers::qemu::credential(&sources.credentials)),
    ];
    for (channel, answer) in answers {
        match answer {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(offer))) => {
                let better = match &found.offer {
                    None => true,
                    Some(present) => present.user_data.is_none() && offer.user_data.is_some(),
                };
                if better {
                    found.offer = Some(offer);
                }
            }
            Some(Err(source)) => found.problems.push(Problem { channel, source }),
        }
    }
    found
}
