//! User-data opened: what a box reads of it, out of whatever it was put into.
//!
//! Unpacked ([`decode`]) and, where it is a MIME message (RFC 2045 and 2046, as cloud-init takes it), taken
//! apart. One part of a message is the box's document; the others are other tools', are not read, and are
//! named. Where a cloud-config stands in the document's place its owner's keys are kept: who gave the wrong
//! document must get in to give the right one. Nothing is run and nothing is fetched.

use mail_parser::{MessageParser, MessagePart, MimeHeaders, PartType};

use crate::kind::Kind;
use crate::tree::{Node, Tree};
use crate::{DecodeError, MAX_UNPACKED, decode, keys};

/// Most parts of a message, counting those that hold others.
const MOST_PARTS: usize = 64;

/// User-data, opened.
#[derive(Debug)]
pub struct UserData {
    /// The text that is to be the box's document, whatever it is.
    pub document: Result<Vec<u8>, OpenError>,
    /// OpenSSH public keys of a cloud-config where there is no document: those of `ssh_authorized_keys`, and
    /// of users who may become root.
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
    #[error("user-data is a MIME message that is cut: its closing boundary is missing")]
    Cut,
    /// A message that is none.
    #[error("user-data is no MIME message, though it begins like one")]
    Message,
    /// A part that cannot be decoded.
    #[error("part {0} of user-data is not encoded as it says")]
    Encoding(usize),
    /// More parts than are looked at.
    #[error("user-data has more than {MOST_PARTS} parts")]
    Parts,
    /// None of the parts is the box's.
    #[error("no part of user-data is a document of Holdfast: {0}; add one of the type `application/toml`")]
    None(String),
    /// Several parts are.
    #[error("the parts {0} and {1} of user-data are both documents of Holdfast; leave one of them")]
    Several(usize, usize),
}

/// Opens user-data as it was delivered.
pub fn open(delivered: &[u8]) -> UserData {
    let data = match decode(delivered) {
        Ok(data) => data,
        Err(error) => return UserData { document: Err(error.into()), keys: vec![], notes: vec![] },
    };
    match Kind::of(&data) {
        Kind::Multipart => message(&data),
        Kind::CloudConfig => UserData { keys: admins(&data), document: Ok(data), notes: vec![] },
        _ => UserData { document: Ok(data), keys: vec![], notes: vec![] },
    }
}

/// A part that holds no others.
struct Leaf {
    /// From 1, in the message's order.
    number: usize,
    kind: Kind,
    content: Vec<u8>,
}

fn message(data: &[u8]) -> UserData {
    let leaves = match leaves(data) {
        Ok(leaves) => leaves,
        Err(error) => return UserData { document: Err(error), keys: vec![], notes: vec![] },
    };
    let mut ours = leaves.iter().filter(|leaf| leaf.kind == Kind::Toml);
    let document = match (ours.next(), ours.next()) {
        (Some(one), None) => Ok(one.content.clone()),
        (Some(one), Some(other)) => Err(OpenError::Several(one.number, other.number)),
        (None, _) => {
            let seen = leaves.iter().map(|leaf| format!("part {} is {}", leaf.number, leaf.kind));
            Err(OpenError::None(seen.collect::<Vec<_>>().join(", ")))
        }
    };
    let theirs = leaves.iter().filter(|leaf| !matches!(leaf.kind, Kind::Toml | Kind::Empty));
    let notes = theirs.clone().map(|leaf| format!("part {} is {} and is ignored", leaf.number, leaf.kind));
    let configs = theirs.clone().filter(|leaf| leaf.kind == Kind::CloudConfig);
    let mut keys: Vec<String> = vec![];
    if document.is_err() {
        keys.extend(configs.flat_map(|leaf| admins(&leaf.content)));
    }
    UserData { notes: notes.collect(), document, keys }
}

fn leaves(data: &[u8]) -> Result<Vec<Leaf>, OpenError> {
    // The line that separates messages in a file (RFC 4155) is none of a message's own.
    let start = if data.starts_with(b"From ") { line_end(data) } else { 0 };
    let parser = MessageParser::new().with_mime_headers().default_header_ignore();
    let message = parser.parse(&data[start..]).ok_or(OpenError::Message)?;
    if message.parts.len() > MOST_PARTS {
        return Err(OpenError::Parts);
    }
    let mut leaves: Vec<Leaf> = vec![];
    for part in &message.parts {
        if let PartType::Multipart(_) = part.body {
            let boundary = part.content_type().and_then(|kind| kind.attribute("boundary"));
            let closed = boundary.is_some_and(|boundary| ends(&data[start..], boundary));
            if !closed {
                return Err(OpenError::Cut);
            }
            continue;
        }
        let number = leaves.len() + 1;
        if part.is_encoding_problem {
            return Err(OpenError::Encoding(number));
        }
        let content = decode(part.contents())?;
        let size: usize = leaves.iter().map(|leaf| leaf.content.len()).sum();
        if size + content.len() > MAX_UNPACKED {
            return Err(DecodeError::Unpacked.into());
        }
        leaves.push(Leaf { number, kind: kind(part, &content), content });
    }
    Ok(leaves)
}

fn line_end(data: &[u8]) -> usize {
    data.iter().position(|byte| *byte == b'\n').map_or(data.len(), |end| end + 1)
}

/// Whether a line closes what `boundary` separates.
fn ends(data: &[u8], boundary: &str) -> bool {
    let closing = format!("--{boundary}--");
    data.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_end() == closing.as_bytes())
}

/// The kind that a part says it is of, else the kind that it looks like.
fn kind(part: &MessagePart<'_>, content: &[u8]) -> Kind {
    let looks = Kind::of(content);
    let Some(said) = part.content_type() else { return looks };
    let said = format!("{}/{}", said.ctype(), said.subtype().unwrap_or_default()).to_ascii_lowercase();
    match said.as_str() {
        _ if looks == Kind::Empty => Kind::Empty,
        "text/cloud-config" => Kind::CloudConfig,
        said if said.starts_with("text/x-shellscript") => Kind::Script,
        said if THEIRS.iter().any(|theirs| said.starts_with(theirs)) => Kind::CloudInit,
        _ => looks,
    }
}

/// Types that cloud-init has for parts of its own, or their beginnings.
const THEIRS: [&str; 6] = [
    "text/cloud-",
    "text/jinja2",
    "text/part-handler",
    "text/upstart-job",
    "text/x-include",
    "text/x-gobject",
];

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
        let sudo = user.get("sudo").is_some_and(|sudo| sudo.truth().unwrap_or(true));
        if root || sudo {
            found.extend(texts(&user));
        }
    }
    keys::clean(found).0
}

fn texts(node: &Node<'_>) -> Vec<String> {
    let listed = ["ssh_authorized_keys", "ssh-authorized-keys"].map(|key| node.some(key).unwrap_or_default());
    listed.iter().flatten().filter_map(|key| key.raw().ok().map(str::to_owned)).collect()
}
