//! Image references: `HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`, always with a registry host and with a tag
//! or digest, as recipes have them.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// A parsed image reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Host and port as written.
    pub registry: String,
    /// Path within the registry.
    pub repository: String,
    /// Tag, if one is written.
    pub tag: Option<String>,
    /// Digest, if one is written; then it counts and the tag is for people.
    pub digest: Option<Digest>,
}

/// Why a text is no image reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ReferenceError {
    #[error("image `{0}` names no registry host")]
    Host(String),
    #[error("image `{0}` has no valid repository name")]
    Repository(String),
    #[error("image `{0}` has no valid tag")]
    Tag(String),
    #[error("image `{0}` has no valid SHA-256 digest")]
    Digest(String),
    #[error("image `{0}` has neither tag nor digest")]
    Unpinned(String),
}

impl Reference {
    /// What to ask the registry for: the digest if there is one, else the tag.
    pub fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => String::new(),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        let fail = |error: fn(String) -> ReferenceError| error(text.to_owned());
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| fail(ReferenceError::Digest))?)),
            None => (text, None),
        };
        let (registry, path) = rest.split_once('/').ok_or_else(|| fail(ReferenceError::Host))?;
        let is_host = registry.contains(['.', ':']) || registry == "localhost";
        if !is_host || !registry.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
        {
            return Err(fail(ReferenceError::Host));
        }
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (path, None),
        };
        if repository.len() > 255 || !repository.split('/').all(is_repository_part) {
            return Err(fail(ReferenceError::Repository));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(fail(ReferenceError::Tag));
        }
        if tag.is_none() && digest.is_none() {
            return Err(fail(ReferenceError::Unpinned));
        }
        Ok(Reference { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// OCI distribution specification: lower-case letters and digits, single separators between them.
fn is_repository_part(part: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    edge(part.bytes().next())
        && edge(part.bytes().last())
        && part.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= 128
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let digest = Digest::of(b"");
        for (text, registry, repository) in [
            ("registry.example.org/notes:1.4".to_owned(), "registry.example.org", "notes"),
            ("localhost:5000/a/b-c/d_e:T-1_x.y".to_owned(), "localhost:5000", "a/b-c/d_e"),
            (format!("[::1]:5000/a@{digest}"), "[::1]:5000", "a"),
            (format!("r.example/a:1@{digest}"), "r.example", "a"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.registry, registry);
            assert_eq!(reference.repository, repository);
            assert_eq!(reference.to_string(), text);
        }
        let both: Reference = format!("r.example/a:1@{digest}").parse().unwrap();
        assert_eq!(both.target(), digest.to_string());
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "nginx",
            "nginx:1",
            "library/nginx:1",
            "r.example/",
            "r.example/a",
            "r.example/a:",
            "r.example/A:1",
            "r.example/a:-1",
            "r.example/../a:1",
            "r.example/a/:1",
            "r.example//a:1",
            "r.example/a@sha256:12",
            "r.ex/a?b:1",
            "r.ex@a/b:1",
            "r.example/a:1:2",
            "r ex.org/a:1",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
