//! Image references.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ShapeError;

/// A reference to an image: registry host, repository, and a tag, a digest or both. Nothing is implied: no
/// `docker.io` and no `latest`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageRef {
    /// Reads `HOST[:PORT]/REPOSITORY[:TAG][@sha256:HEX]` (OCI distribution specification, "Pulling manifests").
    pub fn parse(text: &str) -> Result<ImageRef, ShapeError> {
        let form =
            "write `HOST/NAME:TAG` or `HOST/NAME@sha256:HEX`, such as \"registry.example.org/notes:1.4\"";
        let wrong = |message: &str| ShapeError::new(message, form);
        if text.len() > 512 || !text.is_ascii() {
            return Err(wrong("not an image reference"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let named_host = rest.split_once('/').filter(|(host, _)| is_host_word(host));
        let Some((host, path)) = named_host else {
            let hub = if rest.contains('/') { rest.to_owned() } else { format!("library/{rest}") };
            let tagged = if digest.is_some() || hub.contains(':') { hub } else { format!("{hub}:TAG") };
            return Err(ShapeError::new(
                "an image without its registry's host",
                format!("for Docker Hub write \"docker.io/{tagged}\""),
            ));
        };
        super::registry_host(host)?;
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if !repository.split('/').all(is_component) {
            return Err(wrong("not the name of an image"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("not the tag of an image"));
        }
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(ShapeError::new(
                "not a digest",
                "a digest is `sha256:` and 64 digits of 0-9 and a-f",
            ));
        }
        if tag.is_none() && digest.is_none() {
            return Err(ShapeError::new(
                "an image without a tag or digest",
                format!("\"{text}:latest\" would be what others imply; better name a version"),
            ));
        }
        Ok(ImageRef {
            host: host.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// Registry, `HOST[:PORT]`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Name within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Tag, if one is named.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Digest, if one is named: `sha256:HEX`. It wins over the tag.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for ImageRef {
    type Error = ShapeError;

    fn try_from(text: String) -> Result<ImageRef, ShapeError> {
        ImageRef::parse(&text)
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> String {
        image.to_string()
    }
}

/// What tells a registry's host from the first part of a name: a dot, a port, or `localhost`.
fn is_host_word(word: &str) -> bool {
    word == "localhost" || word.contains('.') || word.contains(':')
}

fn is_component(part: &str) -> bool {
    let bytes = part.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let Some((first, last)) = bytes.first().zip(bytes.last()) else { return false };
    if !plain(first) || !plain(last) || !bytes.iter().all(|b| plain(b) || b"._-".contains(b)) {
        return false;
    }
    let runs = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    runs.into_iter().all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    matches!(bytes.len(), 1..=128)
        && !b".-".contains(&bytes[0])
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}
