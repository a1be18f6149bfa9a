//! From text to a tree of values that know where they were written.
//!
//! Invariant: whatever the bytes, this ends in a table or in errors, with bounded memory and stack: documents are
//! at most [`crate::MAX_DOCUMENT`] bytes and nest at most 80 deep (the bound of the `toml` crate).

mod dialect;
mod hide;
mod node;
mod source;
mod syntax;
mod table;

use toml::Spanned;
use toml::de::DeTable;

pub(crate) use node::Node;
pub(crate) use source::Source;
pub(crate) use table::{Entry, Table};

use crate::diagnostic::{Anchor, Diagnostics, Kind};
use crate::spec::{self, Spec};

/// Parses TOML and hands the root table over together with its source. Errors of syntax end it, but for
/// duplicate keys: there the first one counts, and the others are told with everything else. Values of keys that
/// `spec` does not have are never shown.
pub(crate) fn with_document<T>(
    file: &str,
    text: &str,
    spec: &'static Spec,
    read: impl FnOnce(&Source<'_>, &Spanned<DeTable<'_>>) -> Option<T>,
) -> Result<T, Diagnostics> {
    if text.len() > crate::MAX_DOCUMENT {
        let message = format!("a document of {} bytes: it may have at most 1 MiB", text.len());
        let hint = "put large files into a volume or an image".to_owned();
        return Err(Anchor::elsewhere(file).error(message, Some(hint)).of(Kind::Syntax).into());
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut source = Source::new(file, text);
    let (root, faults) = syntax::parse(text);
    if let Some((span, number)) = crate::parse::newer_format(root.get_ref()) {
        let message = format!("`format = {number}` is newer than this version knows");
        let hint =
            format!("Holdfast {} reads format {}: update it first", env!("CARGO_PKG_VERSION"), crate::FORMAT);
        return Err(source.anchor(span).error(message, Some(hint)).of(Kind::Newer).into());
    }
    source.hide(hide::secrets(&root));
    source.hide(hide::telling(root.get_ref()));
    source.hide(hide::unknown(root.get_ref(), spec));
    if !faults.is_empty() {
        // Whose they are cannot be told for sure.
        source.hide(syntax::long_strings(text));
    }
    let broken = faults.iter().filter_map(|fault| hide::broken_line(&source, spec, fault.span.start));
    source.hide(broken.collect());
    let readable =
        faults.iter().all(|fault| fault.is_duplicate()) && (faults.is_empty() || !root.get_ref().is_empty());
    for fault in faults {
        let (message, hint) = fault.explain(text);
        source.error_of(Kind::Syntax, fault.span, message, hint);
    }
    let value = match readable {
        true => {
            dialect::check(&source);
            read(&source, &root)
        }
        false => None,
    };
    source.finish(())?;
    value.ok_or_else(|| Anchor::elsewhere(file).error("this document cannot be read", None).into())
}

/// What stands in the place of a value that is hidden.
const HIDDEN: &str = "\"[hidden]\"";

/// User-data for others to read: without the values that may be secrets, and without comments. `None` when it is no
/// TOML, so that what is a secret in it cannot be told.
pub fn hide(text: &str) -> Option<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (root, faults) = syntax::parse(text);
    if !faults.is_empty() {
        return None;
    }
    let mut source = Source::new("", text);
    source.hide(hide::secrets(&root));
    source.hide(hide::telling(root.get_ref()));
    source.hide(hide::unknown(root.get_ref(), &spec::user_data::DOCUMENT));
    let values = source.hidden().iter().map(|range| (range.clone(), HIDDEN));
    let mut hidden: Vec<_> =
        values.chain(syntax::comments(text).into_iter().map(|range| (range, ""))).collect();
    hidden.sort_by_key(|(range, _)| range.start);
    let mut out = String::new();
    let mut at = 0;
    for (range, shown) in hidden.into_iter() {
        // A comment in a list that is hidden whole.
        if range.start >= at {
            out += &text[at..range.start];
            out += shown;
            at = range.end;
        }
    }
    Some(out + &text[at..])
}

#[cfg(test)]
mod tests {
    use super::hide;

    #[test]
    fn a_document_for_others_says_what_it_is_and_no_secret() {
        let document = r#"
[box]
hostname = "hub1" # s3cret-0
slack = "https://hooks.example.org/s3cret-m"
[[box.registry]]
host = "r.example.org"
username = "hub"
password = "s3cret-a"
[box.notify]
url = "https://hooks.example.org/s3cret-b"
[[recipe]]
use = "notes"
params = { title = "s3cret-c" }
[[recipe]]
name = "own"
[recipe.params.key]
type = "secret"
default = "s3cret-d"
[recipe.containers.web]
image = "r.example.org/web:1"
command = ["server", "--requirepass", "s3cret-h", "--auth-key=s3cret-i", "--port", "80", "--token", "{{ params.key }}"]
env = { DB_PASSWORD = "s3cret-e", URL = "x://me:s3cret-j", DEBUG = true, PORT = "8080", KEY = "{{ params.key }}" }
files = { "/etc/x" = { content = """
s3cret-f
""" } }
[recipe.containers.web.health]
command = ["sh", "-c", "cli -a s3cret-k ping"]
[recipe.steps.one]
run = ["curl", "-H", "Authorization: s3cret-l", "x.example.org"]
image = "x.example.org/y:1"
env = { API_TOKEN = "s3cret-g", PIN = 123456, DB_PASS = 1234 }
"#;
        let shown = hide(document).unwrap();
        assert!(!shown.contains("s3cret"), "{shown}");
        for kept in [
            "hostname = \"hub1\" \n",
            "username = \"hub\"",
            "web:1",
            "DB_PASSWORD",
            r#"["server", "--requirepass", "[hidden]", "[hidden]", "--port", "80", "--token", "{{ params.key }}"]"#,
            r#"DEBUG = true, PORT = "8080", KEY = "{{ params.key }}""#,
            r#"["sh", "-c", "[hidden]"]"#,
            r#"["curl", "-H", "[hidden]", "x.example.org"]"#,
            r#"PIN = "[hidden]", DB_PASS = "[hidden]""#,
        ] {
            assert!(shown.contains(kept), "{kept} is gone: {shown}");
        }
        assert_eq!(shown.matches("[hidden]").count(), 15, "{shown}");
        assert!(hide(&shown).is_some(), "it is still TOML");
        assert_eq!(hide("password = \"s3cret"), None);
    }
}
