//! User-data from text, and what can be saved of it when it is invalid.

use toml::de::DeTable;

use crate::diagnostic::{Anchor, Diagnostics, Kind};
use crate::document::{Source, with_document};
use crate::model::{BoxSettings, UserData};
use crate::parse;
use crate::shape::AdminKey;
use crate::spec::user_data::DOCUMENT;

/// Parses a user-data document. `name` is what errors call it.
pub fn parse(name: &str, text: &str) -> Result<UserData, Diagnostics> {
    if let Some(error) = foreign(text) {
        return Err(Anchor::elsewhere(name).error(error.0, Some(error.1.to_owned())).of(Kind::Syntax).into());
    }
    with_document(name, text, &DOCUMENT, parse::user_data)
}

/// How documents of other tools begin, in lower case and the longer beginning first, and what each is.
const FOREIGN: [(&str, &str); 10] = [
    ("content-type:", "this is a MIME message, not a document in one"),
    ("mime-version:", "this is a MIME message, not a document in one"),
    ("#cloud-config-archive", "this is an archive of cloud-init, which Holdfast does not read"),
    ("#cloud-config", "this is a cloud-config, which Holdfast does not read"),
    ("#cloud-boothook", "this is a boothook of cloud-init, which Holdfast does not run"),
    ("#include", "this is a list of URLs for cloud-init, which Holdfast does not fetch"),
    ("#part-handler", "this is a part handler of cloud-init, which Holdfast does not run"),
    ("#upstart-job", "this is an Upstart job, which Holdfast does not run"),
    ("## template: jinja", "this is a template of cloud-init, which Holdfast does not fill in"),
    ("#!", "this is a script, which Holdfast does not run"),
];

/// What a document of another tool is, told from its beginning, and what to do about it.
fn foreign(text: &str) -> Option<(&'static str, &'static str)> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let first = text.lines().next().unwrap_or_default().trim_end().to_ascii_lowercase();
    // A remark can begin with this word, too.
    let included = first.strip_prefix("#include").map(|rest| rest.strip_prefix("-once").unwrap_or(rest));
    let remark = included.is_some_and(|rest| {
        let list = rest.trim_start_matches([' ', '\t', ':']);
        let url =
            list.len() < rest.len() && list.split_whitespace().next().is_some_and(|w| w.contains("://"));
        !rest.is_empty() && !url
    });
    let ignition = text.starts_with('{') && text.contains("\"ignition\"");
    let what = match FOREIGN.iter().find(|(beginning, _)| first.starts_with(beginning)) {
        Some((_, what)) if !remark => *what,
        None if ignition => "this is an Ignition configuration, which Holdfast does not read",
        _ => return None,
    };
    let ours =
        "write it in TOML, with `[box]` and `[[recipe]]`: `holdfast-image init` makes a first one by asking";
    Some((what, ours))
}

/// Network settings alone: `[box] dns` and `[[box.interface]]`. Everything else of a document is refused.
pub fn network(name: &str, text: &str) -> Result<BoxSettings, Diagnostics> {
    with_document(name, text, &DOCUMENT, |source, root| {
        let root = root.get_ref();
        let refuse = |key: &toml::Spanned<std::borrow::Cow<'_, str>>| {
            let hint = "only `dns` and `[[box.interface]]` are; `holdfast apply` takes a whole document";
            source.error(key.span(), format!("`{}` is no network setting", key.get_ref()), Some(hint.into()));
        };
        root.keys().filter(|key| !matches!(key.get_ref().as_ref(), "format" | "box")).for_each(refuse);
        let table = root.get("box").and_then(|value| value.get_ref().as_table());
        let Some(table) = table else {
            let hint = "write `[box]` with `dns`, or `[[box.interface]]`".to_owned();
            source.error(0..0, "there is no `[box]`", Some(hint));
            return None;
        };
        table.keys().filter(|key| !matches!(key.get_ref().as_ref(), "dns" | "interface")).for_each(refuse);
        parse::settings_of(source, root)
    })
}

/// The settings of the box when `[box]` and the tables under it are right, whatever the rest of the document is.
/// Those of a newer format cannot be judged: `None`.
pub fn settings_only(text: &str) -> Option<BoxSettings> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let above = text.lines().map(str::trim_start).take_while(|line| !line.starts_with('['));
    let newer = |line: &str| {
        let root = DeTable::parse(line).ok().filter(|_| line.starts_with("format"));
        root.is_some_and(|root| parse::newer_format(root.get_ref()).is_some())
    };
    if above.into_iter().any(newer) {
        return None;
    }
    let ends = |line: &str| {
        let header: String = line.split_whitespace().collect();
        let below = ["[[box.", "[box.update]", "[box.notify]"].iter().any(|below| header.starts_with(below));
        line.starts_with('[') && !below
    };
    table_only(text, ends, |text, root| {
        let source = Source::new("", text);
        let settings = parse::settings_of(&source, root)?;
        source.finish(settings).ok()
    })
}

/// The good keys of `[box] admins` whenever that table parses alone: an invalid document must never lock its
/// owner out. A key that is itself damaged is left out.
pub fn admins_only(text: &str) -> Vec<AdminKey> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let keys = |_: &str, root: &DeTable<'_>| Some(parse::admins(root)).filter(|keys| !keys.is_empty());
    table_only(text, |line| line.starts_with('['), keys).unwrap_or_default()
}

/// Lines that may begin `[box]`, and lines that may end one, that are tried.
const MAX_TRIES: usize = 16;

/// Reads the whole document where it is TOML, else `[box]` alone, cut at each line that may be where it `ends`:
/// inside an array or a text such a line begins nothing, so the first cut that can be read counts.
fn table_only<T>(
    text: &str,
    ends: impl Fn(&str) -> bool,
    read: impl Fn(&str, &DeTable<'_>) -> Option<T>,
) -> Option<T> {
    if text.len() > crate::MAX_DOCUMENT {
        return None;
    }
    if let Ok(root) = DeTable::parse(text) {
        return read(text, root.get_ref());
    }
    let lines = || {
        text.split_inclusive('\n').scan(0, |at, line| {
            let start = *at;
            *at += line.len();
            Some((start, line.trim_start()))
        })
    };
    let is_box = |line: &str| {
        let rest = line.strip_prefix('[').and_then(|rest| rest.trim_start().strip_prefix("box"));
        rest.is_some_and(|rest| rest.trim_start().starts_with(']'))
    };
    for (start, _) in lines().filter(|(_, line)| is_box(line)).take(MAX_TRIES) {
        let cuts = lines().filter(|(at, line)| *at > start && ends(line)).map(|(at, _)| at);
        for end in cuts.take(MAX_TRIES).chain([text.len()]) {
            let alone = &text[start..end];
            if let Some(value) = DeTable::parse(alone).ok().and_then(|root| read(alone, root.get_ref())) {
                return Some(value);
            }
        }
    }
    None
}
