//! What a folder or a saved document of a provider's would give a box.
//!
//! The same readers as on the box, but strict: the first value that cannot be used is an error with
//! its place, where a box would go on with what it can use. User-data is told apart, not parsed: a document of the
//! box's is the crate `recipes`'.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::kind::Kind;
use crate::network::Network;
use crate::providers::{self, NetworkError, digitalocean, nocloud, openstack};
use crate::read::{self, ReadError, json, yaml};
use crate::tree::{Tree, Wrong};
use crate::user_data::{self, Leaf, OpenError};
use crate::{Channel, Offer};

/// What was found.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// What kind of folder or document this is, for people.
    pub source: &'static str,
    /// The provider's identity of the box.
    pub instance_id: Option<String>,
    /// A host name that is one (RFC 1123).
    pub hostname: Option<String>,
    /// OpenSSH public keys.
    pub public_keys: Vec<String>,
    /// User-data, where there is some.
    pub user_data: Option<Explained>,
    /// The network, where one is described.
    pub network: Option<Network>,
    /// What was passed over, for people.
    pub notes: Vec<String>,
}

/// User-data that is there.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// What it is.
    pub kind: Kind,
    /// Bytes, unpacked.
    pub bytes: usize,
    /// Whether it is, or one of its parts is, what may be a document of the box's.
    pub document: bool,
    /// The parts of a MIME message, in its order; those that hold others are not among them.
    pub parts: Vec<ExplainedPart>,
    /// OpenSSH public keys of a cloud-config, which count where there is no document that can be used.
    pub public_keys: Vec<String>,
}

/// A part of a MIME message.
#[derive(Debug, Serialize)]
pub struct ExplainedPart {
    /// From 1.
    pub number: usize,
    /// What it says that it is, else what it looks like.
    pub media_type: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes, unpacked; none where it cannot be decoded.
    pub bytes: Option<usize>,
    /// Whether it is the one that counts.
    pub document: bool,
}

/// A path that cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is nothing at this path.
    #[error("there is no `{0}`")]
    Missing(PathBuf),
    /// A file cannot be read, or is no document.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A value cannot be used.
    #[error("`{path}`: {wrong}")]
    Wrong {
        /// In which file.
        path: PathBuf,
        /// Where in it, and why.
        wrong: Wrong,
    },
    /// User-data cannot be read.
    #[error("`{path}` cannot be read as user-data")]
    UserData {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// It is nothing that providers give.
    #[error("`{0}` is neither a config drive, a NoCloud folder nor a document of a provider's")]
    Unknown(PathBuf),
}

impl From<NetworkError> for ExplainError {
    fn from(error: NetworkError) -> ExplainError {
        match error {
            NetworkError::Read(error) => error.into(),
            NetworkError::Wrong(path, wrong) => ExplainError::Wrong { path, wrong },
        }
    }
}

/// Reads the folder or document at `path`.
pub fn explain(path: &Path) -> Result<Explanation, ExplainError> {
    if path.is_dir() {
        return folder(path);
    }
    let Some(bytes) = read::metadata(path)? else { return Err(ExplainError::Missing(path.to_owned())) };
    explain_document(path, &bytes)
}

fn folder(path: &Path) -> Result<Explanation, ExplainError> {
    let has = |names: &[&str]| names.iter().any(|name| path.join(name).exists());
    if has(&["openstack/latest"]) {
        return config_drive(path, &path.join("openstack/latest"));
    }
    if has(&["meta_data.json", "network_data.json"]) {
        return config_drive(path, path);
    }
    if has(&["meta-data", "user-data", "network-config"]) {
        return no_cloud(path);
    }
    Err(ExplainError::Unknown(path.to_owned()))
}

/// Reads a drive whose documents lie in `latest`.
fn config_drive(root: &Path, latest: &Path) -> Result<Explanation, ExplainError> {
    let mut offer = Offer::new(Channel::ConfigDrive);
    let path = latest.join("meta_data.json");
    if let Some(bytes) = read::metadata(&path)? {
        let json = serde_json::from_slice(&bytes).map_err(|source| ReadError::Json { path, source })?;
        openstack::take(&mut offer, json);
    }
    let network = openstack::drive_network(root, latest)?;
    providers::note_vendor_data(&mut offer, latest, &openstack::VENDOR_DATA);
    let mut explanation = from_offer("config drive", offer);
    explanation.user_data = user_data(&latest.join("user_data"))?;
    explanation.network = network;
    Ok(explanation)
}

fn no_cloud(root: &Path) -> Result<Explanation, ExplainError> {
    let mut offer = Offer::new(Channel::NoCloud);
    if let Some(metadata) = nocloud::metadata(&root.join("meta-data"))? {
        metadata.fill(&mut offer);
    }
    let network = providers::network(&root.join("network-config"), yaml, nocloud::network::read)?;
    providers::note_vendor_data(&mut offer, root, &[nocloud::VENDOR_DATA]);
    let mut explanation = from_offer("NoCloud", offer);
    explanation.user_data = user_data(&root.join("user-data"))?;
    explanation.network = network;
    Ok(explanation)
}

/// Explains a single document by what is in it; `path` is what errors call it.
pub fn explain_document(path: &Path, bytes: &[u8]) -> Result<Explanation, ExplainError> {
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim_start_matches('\u{feff}').trim_start();
    let tree = if text.starts_with('{') {
        Some(json(path, bytes)?)
    } else if text.starts_with('[') {
        serde_json::from_slice(bytes).ok()
    } else if Kind::of(bytes) == Kind::Toml {
        match yaml(path, bytes) {
            Err(error) if is_called_yaml(path) => return Err(error.into()),
            read => read.ok(),
        }
    } else {
        None
    };
    match tree {
        Some(tree) if digitalocean::is(&tree) => droplet(path, &tree),
        Some(tree) if openstack::network::is(&tree) => {
            let network = openstack::network::read(&tree).map_err(wrong(path))?;
            Ok(Explanation { network: Some(network), ..from_offer("OpenStack network data", offer()) })
        }
        Some(tree) if nocloud::network::is(&tree) => {
            let network = nocloud::network::read(&tree).map_err(wrong(path))?;
            Ok(Explanation { network, ..from_offer("NoCloud network-config", offer()) })
        }
        Some(_) if openstack::is(bytes) => {
            let mut offer = offer();
            let json = serde_json::from_slice(bytes)
                .map_err(|source| ReadError::Json { path: path.to_owned(), source })?;
            openstack::take(&mut offer, json);
            Ok(from_offer("OpenStack metadata", offer))
        }
        Some(Tree::Map(entries)) if entries.iter().any(|(key, _)| nocloud::KEYS.contains(&key.as_str())) => {
            let mut offer = offer();
            nocloud::parse(path, bytes)?.fill(&mut offer);
            Ok(from_offer("NoCloud meta-data", offer))
        }
        Some(Tree::Map(_)) => Err(ExplainError::Unknown(path.to_owned())),
        _ => {
            let user_data = Some(unpack(path, bytes)?);
            Ok(Explanation { user_data, ..from_offer("user-data", offer()) })
        }
    }
}

/// Whether its name says that a document is YAML, which is not told from TOML where it is broken.
fn is_called_yaml(path: &Path) -> bool {
    let is = |name: Option<&std::ffi::OsStr>, known: &[&str]| {
        known.iter().any(|known| name == Some(known.as_ref()))
    };
    is(path.file_name(), &["meta-data", "network-config"]) || is(path.extension(), &["yaml", "yml"])
}

fn droplet(path: &Path, tree: &Tree) -> Result<Explanation, ExplainError> {
    let droplet = digitalocean::droplet(tree).map_err(wrong(path))?;
    let mut offer = offer();
    providers::fill(&mut offer, droplet.id, droplet.hostname, droplet.public_keys);
    if droplet.vendor_data {
        offer.notes.push(providers::vendor_note("vendor_data"));
    }
    let user_data = droplet.user_data.map(|text| unpack(path, text.as_bytes())).transpose()?;
    let network = digitalocean::network(tree).map_err(wrong(path))?;
    Ok(Explanation { user_data, network, ..from_offer("DigitalOcean metadata", offer) })
}

/// An offer of nothing yet.
fn offer() -> Offer {
    Offer::new(Channel::ConfigDrive)
}

fn from_offer(source: &'static str, offer: Offer) -> Explanation {
    let Offer { instance_id, hostname, public_keys, notes, .. } = offer;
    Explanation { source, instance_id, hostname, public_keys, user_data: None, network: None, notes }
}

fn user_data(path: &Path) -> Result<Option<Explained>, ExplainError> {
    let delivered = read::start(path, crate::MAX_DELIVERED)?;
    delivered.map(|delivered| unpack(path, &delivered)).transpose()
}

fn unpack(path: &Path, delivered: &[u8]) -> Result<Explained, ExplainError> {
    let wrong = |source: OpenError| ExplainError::UserData { path: path.to_owned(), source };
    let data = crate::decode(delivered).map_err(|source| wrong(source.into()))?;
    let (kind, bytes) = (Kind::of(&data), data.len());
    let parts = if kind == Kind::Multipart { parts(&data).map_err(wrong)? } else { vec![] };
    let document = kind == Kind::Toml || parts.iter().any(|part| part.document);
    let public_keys = user_data::open_unpacked(data).keys;
    Ok(Explained { kind, bytes, document, parts, public_keys })
}

/// The parts of a message. That none of them is the box's is no error, as it is none of a script.
fn parts(data: &[u8]) -> Result<Vec<ExplainedPart>, OpenError> {
    let (mut leaves, chosen) = user_data::parts(data)?;
    let chosen = match chosen {
        Ok(at) => Some(at),
        Err(OpenError::None(_)) => None,
        Err(error) => return Err(error),
    };
    let part = |(at, leaf): (usize, &Leaf)| ExplainedPart {
        number: leaf.number,
        media_type: leaf.label.clone(),
        kind: leaf.kind,
        bytes: leaf.content.as_ref().ok().map(Vec::len),
        document: chosen == Some(at),
    };
    let parts = leaves.iter().enumerate().map(part).collect();
    if let Some(at) = chosen {
        leaves.swap_remove(at).content?;
    }
    Ok(parts)
}

fn wrong(path: &Path) -> impl FnOnce(Wrong) -> ExplainError {
    move |wrong| ExplainError::Wrong { path: path.to_owned(), wrong }
}
