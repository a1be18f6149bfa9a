//! User-data opened: what a box reads of it, out of whatever it was put into.
//!
//! Unpacked ([`crate::decode`]) and, where it is a MIME message (RFC 2045 and 2046, as cloud-init takes it), taken
//! apart. One part of a message is the box's document; the others are other tools', are not read, and are
//! named. Keys of a cloud-config are kept: where there is no document that can be used, who gave the wrong one
//! must get in to give the right one. Nothing is run and nothing is fetched.

use crate::kind::Kind;
use crate::message::{self, Message, Part};
use crate::tree::{Node, Tree};
use crate::{DecodeError, MAX_UNPACKED, keys};

/// User-data, opened.
#[derive(Debug)]
pub struct UserData {
    /// The text that is to be the box's document, whatever it is.
    pub document: Result<Vec<u8>, OpenError>,
    /// OpenSSH public keys of a cloud-config, to be used where the document cannot be: those of
    /// `ssh_authorized_keys`, and of users who may do everything. Those of a message are kept where they can be read,
    /// whatever is wrong with the rest of it.
    pub keys: Vec<String>,
    /// What was passed over, for people.
    pub notes: Vec<String>,
}

/// User-data in which there is no document to be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be unpacked.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A message whose end is missing: what is there may not be all.
    #[error("user-data is a MIME message that is cut: the closing line of a boundary is missing")]
    Cut,
    /// A message of several parts that does not say what separates them.
    #[error("user-data is a MIME message without a `boundary`")]
    Boundary,
    /// The part that is to be the document cannot be decoded.
    #[error("part {0} of user-data is not encoded as it says")]
    Encoding(usize),
    /// More parts, or parts in parts, than are looked at.
    #[error("user-data has more than {MOST_PARTS} parts, or parts in parts in parts without end")]
    Parts,
    /// None of the parts is the box's.
    #[error("no part of user-data is a document of Holdfast: {0}; add one of the type `application/toml`")]
    None(String),
    /// Several parts are.
    #[error("the parts {0} and {1} of user-data are both documents of Holdfast; leave one of them")]
    Several(usize, usize),
}

/// Most parts of a message.
pub(crate) const MOST_PARTS: usize = 64;

impl UserData {
    /// User-data of which nothing can be read.
    pub(crate) fn failed(error: OpenError) -> UserData {
        UserData { document: Err(error), keys: vec![], notes: vec![] }
    }
}

/// Opens user-data as it was delivered.
pub fn open(delivered: &[u8]) -> UserData {
    opened(delivered, admins)
}

/// The document alone, for who gives it to a box by hand and is in already.
pub fn document(delivered: &[u8]) -> Result<Vec<u8>, OpenError> {
    opened(delivered, |_| vec![]).document
}

/// Opens what is unpacked already.
pub(crate) fn open_unpacked(data: Vec<u8>) -> UserData {
    unpacked(data, admins)
}

fn opened(delivered: &[u8], admins: impl Fn(&[u8]) -> Vec<String>) -> UserData {
    match crate::decode(delivered) {
        Ok(data) => unpacked(data, admins),
        Err(error) => UserData::failed(error.into()),
    }
}

fn unpacked(data: Vec<u8>, admins: impl Fn(&[u8]) -> Vec<String>) -> UserData {
    match Kind::of(&data) {
        Kind::Multipart => {
            let opened = match message::parts(&data) {
                Ok(message) => chosen(message, &admins),
                Err(error) => UserData::failed(error),
            };
            match opened.document {
                Err(OpenError::Cut | OpenError::Boundary | OpenError::Parts) if opened.keys.is_empty() => {
                    UserData { keys: rescued(&data, &admins), ..opened }
                }
                _ => opened,
            }
        }
        Kind::CloudConfig => UserData { keys: admins(&data), document: Ok(data), notes: vec![] },
        _ => UserData { document: Ok(data), keys: vec![], notes: vec![] },
    }
}

/// A part that holds no others.
pub(crate) struct Leaf {
    /// From 1, in the message's order.
    pub(crate) number: usize,
    pub(crate) kind: Kind,
    /// What it says that it is, else what it looks like.
    pub(crate) label: String,
    /// Whether it says itself that it is TOML.
    explicit: bool,
    pub(crate) content: Result<Vec<u8>, OpenError>,
}

/// The parts of a message that is unpacked, and which of them is to be the document, by its place among them.
pub(crate) fn parts(data: &[u8]) -> Result<(Vec<Leaf>, Result<usize, OpenError>), OpenError> {
    message::parts(data).map(|message| leaves(&message))
}

fn chosen(message: Message<'_>, admins: impl Fn(&[u8]) -> Vec<String>) -> UserData {
    let (mut leaves, document) = leaves(&message);
    let is = |leaf: &&Leaf, kind: Kind| leaf.kind == kind;
    let others = leaves.iter().filter(|leaf| !is(leaf, Kind::Toml) && !is(leaf, Kind::Empty));
    let notes = others.map(|leaf| format!("part {} is {} and is ignored", leaf.number, leaf.label)).collect();
    let keys = configured(&leaves, admins);
    let document = document.and_then(|at| leaves.swap_remove(at).content);
    UserData { document, keys, notes }
}

/// Keys of the cloud-configs among parts.
fn configured(leaves: &[Leaf], admins: impl Fn(&[u8]) -> Vec<String>) -> Vec<String> {
    let configs = leaves.iter().filter(|leaf| leaf.kind == Kind::CloudConfig);
    configs.filter_map(|leaf| leaf.content.as_ref().ok()).flat_map(|content| admins(content)).collect()
}

/// Keys of a message that cannot be taken apart as a whole: those above the first line that it fails at, else
/// those between lines like the first that may be a boundary's, whatever the message says it is.
fn rescued(data: &[u8], admins: impl Fn(&[u8]) -> Vec<String>) -> Vec<String> {
    let lines = data.split_inclusive(|byte| *byte == b'\n');
    let ends: Vec<usize> = lines
        .scan(0, |end, line| {
            *end += line.len();
            Some(*end)
        })
        .collect();
    let good = ends.partition_point(|end| message::parts(&data[..*end]).is_ok());
    let above = good.checked_sub(1).map_or(0, |last| ends[last]);
    let boundary =
        data.split(|byte| *byte == b'\n').find_map(|line| line.trim_ascii_end().strip_prefix(b"--"));
    let boundary = boundary.unwrap_or_default();
    let header = &b"Content-Type: multipart/mixed; boundary=\""[..];
    let guessed: Vec<u8> = [header, boundary, &b"\"\n\n"[..], data].concat();
    let tried = [&data[..above], &guessed[..]].into_iter().filter_map(|data| message::parts(data).ok());
    let mut keys = tried.map(|message| configured(&leaves(&message).0, &admins));
    keys.find(|keys| !keys.is_empty()).unwrap_or_default()
}

fn leaves(message: &Message<'_>) -> (Vec<Leaf>, Result<usize, OpenError>) {
    let mut left = MAX_UNPACKED;
    let leaves = message.parts.iter().zip(1..).map(|(part, number)| leaf(part, number, &mut left));
    let leaves: Vec<Leaf> = leaves.collect();
    let candidates = |explicit: bool| -> Vec<usize> {
        let all = leaves.iter().enumerate();
        all.filter(|(_, leaf)| leaf.kind == Kind::Toml && leaf.explicit >= explicit)
            .map(|(at, _)| at)
            .collect()
    };
    // One that says what it is comes before those that only look like it.
    let explicit = candidates(true);
    let ours = if explicit.is_empty() { candidates(false) } else { explicit };
    let document = match ours[..] {
        _ if message.cut => Err(OpenError::Cut),
        [] => {
            let seen = leaves.iter().map(|leaf| format!("part {} is {}", leaf.number, leaf.label));
            Err(OpenError::None(seen.collect::<Vec<_>>().join(", ")))
        }
        [one] => Ok(one),
        [one, other, ..] => Err(OpenError::Several(leaves[one].number, leaves[other].number)),
    };
    (leaves, document)
}

fn leaf(part: &Part<'_>, number: usize, left: &mut usize) -> Leaf {
    let content = match part.decoded() {
        None => Err(OpenError::Encoding(number)),
        Some(raw) => crate::decode::unpack(raw).map_err(OpenError::from),
    };
    let content = content.and_then(|content| {
        *left = left.checked_sub(content.len()).ok_or(OpenError::Decode(DecodeError::Unpacked))?;
        Ok(content)
    });
    let explicit = TOML.contains(&part.media_type.as_str());
    let kind = match &content {
        Ok(content) => kind(&part.media_type, content),
        // Nothing is known of it but what it says.
        Err(_) => kind(&part.media_type, b"\0"),
    };
    // What says that it is the document, and cannot be read, is not some other tool's.
    let kind = if explicit && content.is_err() { Kind::Toml } else { kind };
    let said = &part.media_type;
    let label = if ANYTHING.contains(&said.as_str()) { kind.to_string() } else { said.clone() };
    Leaf { number, kind, label, explicit, content }
}

/// What a document of the box may be called.
const TOML: [&str; 4] = ["application/toml", "application/x-toml", "text/toml", "text/x-toml"];
/// What says nothing of the content.
const ANYTHING: [&str; 3] = ["", "text/plain", "application/octet-stream"];

/// The kind that a part says it is of, else the kind that it looks like.
fn kind(media_type: &str, content: &[u8]) -> Kind {
    let looks = Kind::of(content);
    match media_type {
        _ if looks == Kind::Empty => Kind::Empty,
        "text/cloud-config" => Kind::CloudConfig,
        said if said.starts_with("text/x-shellscript") => Kind::Script,
        said if TOML.contains(&said) || ANYTHING.contains(&said) => looks,
        _ if looks == Kind::Toml => Kind::CloudInit,
        _ => looks,
    }
}

/// Keys of a cloud-config that let in who may do everything. Of one that is cut, those above the cut.
fn admins(data: &[u8]) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(data) else { return vec![] };
    let text = text.trim_start_matches('\u{feff}');
    let whole = serde_saphyr::from_str::<Tree>(text);
    let above = || text.rfind('\n').and_then(|end| serde_saphyr::from_str::<Tree>(&text[..end]).ok());
    let Some(tree) = whole.ok().or_else(above) else { return vec![] };
    let top = Node::top(&tree);
    let mut found = texts(&top);
    for user in top.list("users").unwrap_or_default() {
        let root = user.get("name").is_some_and(|name| name.text().is_ok_and(|name| name == "root"));
        let is = |key: &str, all: fn(&str) -> bool| {
            user.some(key).unwrap_or_default().iter().any(|value| value.text().is_ok_and(all))
        };
        let grouped = user.get("sudo").is_none() && is("groups", are_of_admins);
        if root || grouped || is("sudo", may_do_all) {
            found.extend(texts(&user));
        }
    }
    keys::clean(found).0
}

/// Whether a rule of sudoers lets its user do everything as anyone, everywhere: only such a user is let in here,
/// where an admin may do everything.
fn may_do_all(rule: &str) -> bool {
    let rule: String = rule.split_whitespace().collect();
    let Some(rest) = rule.strip_prefix("ALL=") else { return false };
    let rest = rest.strip_prefix("(ALL)").or_else(|| rest.strip_prefix("(ALL:ALL)")).unwrap_or(rest);
    rest.strip_prefix("NOPASSWD:").unwrap_or(rest) == "ALL"
}

/// Whether one of these groups, separated by commas, is one whose members may do everything where no rule says less.
fn are_of_admins(groups: &str) -> bool {
    groups.split(',').any(|group| ["admin", "sudo", "wheel"].contains(&group.trim()))
}

fn texts(node: &Node<'_>) -> Vec<String> {
    let listed = ["ssh_authorized_keys", "ssh-authorized-keys"].map(|key| node.some(key).unwrap_or_default());
    listed.iter().flatten().filter_map(|key| key.raw().ok().map(str::to_owned)).collect()
}
