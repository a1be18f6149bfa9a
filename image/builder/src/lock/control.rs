//! Debian's control format: paragraphs of fields, and the relations between packages.
//!
//! Only what `Packages`, `Release` and `control` use: no comments, no signatures.

use crate::lock::version::Version;

/// Calls `each` for the fields of every paragraph. A continued value keeps its line breaks and loses
/// the blank that marks the continuation.
pub(crate) fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    text.split("\n\n").map(|text| Paragraph { text }).filter(|p| !p.text.trim().is_empty())
}

/// A group of fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paragraph<'a> {
    text: &'a str,
}

impl<'a> Paragraph<'a> {
    /// The only paragraph of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        Paragraph { text }
    }

    /// Name and first line of each field, with the continuation lines.
    pub(crate) fn fields(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    return None;
                }
                let mut end = 0;
                loop {
                    end += rest[end..].find('\n').map_or(rest.len() - end, |at| at + 1);
                    if end >= rest.len() || !rest[end..].starts_with([' ', '\t']) {
                        break;
                    }
                }
                let (field, tail) = rest.split_at(end);
                rest = tail;
                if let Some((name, value)) = field.split_once(':') {
                    return Some((name.trim(), value.trim()));
                }
            }
        })
    }

    /// The value of a field, whose names are compared without case.
    pub(crate) fn get(self, name: &str) -> Option<&'a str> {
        self.fields().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// How a version must compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// `<<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `=`
    Equal,
    /// `>=`
    GreaterOrEqual,
    /// `>>`
    Greater,
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<<" => Operator::Less,
            "<=" | "<" => Operator::LessOrEqual,
            "=" => Operator::Equal,
            ">=" | ">" => Operator::GreaterOrEqual,
            ">>" => Operator::Greater,
            _ => return None,
        })
    }

    fn text(self) -> &'static str {
        match self {
            Operator::Less => "<<",
            Operator::LessOrEqual => "<=",
            Operator::Equal => "=",
            Operator::GreaterOrEqual => ">=",
            Operator::Greater => ">>",
        }
    }
}

/// One package with the versions that will do: `libc6 (>= 2.38)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    /// Real or virtual name.
    pub name: String,
    /// Absent: any version.
    pub version: Option<(Operator, Version)>,
}

impl Relation {
    /// Reads one relation; architecture qualifiers and restrictions are passed over, since only one
    /// architecture is resolved.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text.find([' ', '(', '[', '<']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let name = name.split(':').next().unwrap_or(name);
        if name.is_empty() {
            return None;
        }
        let version = match rest.split_once('(').and_then(|(_, inner)| inner.split_once(')')) {
            None => None,
            Some((inner, _)) => {
                let inner = inner.trim();
                let end = inner.find(|c| !matches!(c, '<' | '=' | '>'))?;
                let (operator, version) = inner.split_at(end);
                Some((Operator::parse(operator)?, Version::new(version.trim())))
            }
        };
        Some(Relation { name: name.to_owned(), version })
    }

    /// Whether a version of the real package will do.
    pub(crate) fn admits(&self, version: &Version) -> bool {
        let Some((operator, wanted)) = &self.version else { return true };
        match operator {
            Operator::Less => version < wanted,
            Operator::LessOrEqual => version <= wanted,
            Operator::Equal => version == wanted,
            Operator::GreaterOrEqual => version >= wanted,
            Operator::Greater => version > wanted,
        }
    }

    /// Whether a provided name will do: an unversioned provision satisfies unversioned relations only
    /// (Debian Policy, 7.5).
    pub(crate) fn admits_provided(&self, version: Option<&Version>) -> bool {
        match (version, &self.version) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(version), Some(_)) => self.admits(version),
        }
    }

    /// The condition alone, for messages: `>= 2.38`, or `*`.
    pub(crate) fn condition(&self) -> String {
        match &self.version {
            None => "*".to_owned(),
            Some((operator, version)) => format!("{} {version}", operator.text()),
        }
    }
}

impl std::fmt::Display for Relation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            None => f.write_str(&self.name),
            Some((operator, version)) => write!(f, "{} ({} {version})", self.name, operator.text()),
        }
    }
}

/// `a | b, c`: every group needs one of its alternatives. A group that cannot be read is left out of
/// `Provides` and the like by the caller; here it makes the whole field invalid.
pub(crate) fn relations(text: &str) -> Option<Vec<Vec<Relation>>> {
    let groups = text.split(',').map(str::trim).filter(|group| !group.is_empty());
    groups.map(|group| group.split('|').map(Relation::parse).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_read_as_the_policy_writes_them() {
        let groups =
            relations("libc6 (>= 2.38), debconf (>= 0.5) | debconf-2.0, perl:any, a(=1) [amd64]").unwrap();
        let text: Vec<Vec<String>> = groups
            .iter()
            .map(|g| g.iter().map(|r| format!("{} {}", r.name, r.condition())).collect())
            .collect();
        assert_eq!(
            text,
            [
                vec!["libc6 >= 2.38".to_owned()],
                vec!["debconf >= 0.5".into(), "debconf-2.0 *".into()],
                vec!["perl *".into()],
                vec!["a = 1".into()],
            ]
        );
        assert_eq!(relations("a (~ 1)"), None);
    }

    #[test]
    fn a_provision_without_version_satisfies_no_versioned_relation() {
        let relation = Relation::parse("mta (>= 1)").unwrap();
        assert!(!relation.admits_provided(None));
        assert!(relation.admits_provided(Some(&Version::new("1.0"))));
        assert!(!relation.admits_provided(Some(&Version::new("0.9"))));
        assert!(Relation::parse("mta").unwrap().admits_provided(None));
    }

    #[test]
    fn fields_keep_continuation_lines() {
        let text = "Package: a\nDescription: one\n two\n three\nSize: 3\n";
        let paragraph = paragraphs(text).next().unwrap();
        assert_eq!(paragraph.get("size"), Some("3"));
        assert_eq!(paragraph.get("Description"), Some("one\n two\n three"));
        assert_eq!(paragraph.get("Missing"), None);
    }
}
