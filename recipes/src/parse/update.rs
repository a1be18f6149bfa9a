//! `[box.update]`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::container::duration;
use super::settings::few;
use crate::document::{Node, Table};
use crate::keys;
use crate::model::{DEFAULT_UPDATE_CHANNEL, Update, UpdatePolicy};
use crate::shape::{self, BaseUrl, Window};

/// Reads the table; `instances` are those of the document, where it is read with them.
pub(super) fn update(table: &Table<'_>, instances: Option<&BTreeSet<&str>>) -> Option<Update> {
    let url = table.need("url").and_then(|node| node.parse(BaseUrl::parse));
    let policies =
        [("auto", UpdatePolicy::Auto), ("stage", UpdatePolicy::Stage), ("manual", UpdatePolicy::Manual)];
    let policy = table.one_of("policy", &policies).unwrap_or_default();
    let window = match table.get("window") {
        Some(node) => node.parse(Window::parse),
        None => Some(Window::default()),
    };
    let jitter = jitter(table, window);
    let channel = table.parse("channel", shape::name).unwrap_or_else(|| DEFAULT_UPDATE_CHANNEL.to_owned());
    let mut seen = BTreeSet::new();
    let ignore = few(table, "ignore", |node| ignored(&node, instances, &mut seen));
    Some(Update { url: url?, policy, window: window.unwrap_or_default(), jitter, channel, ignore })
}

/// The jitter, held against a window that is right.
fn jitter(table: &Table<'_>, window: Option<Window>) -> Duration {
    let given = duration(table, "jitter", Duration::ZERO, Duration::from_secs(86_400));
    let default = Update::default_jitter(&window.unwrap_or_default());
    if let (Some(node), Some(given), Some(window)) = (table.get("jitter"), given, window)
        && given >= window.length()
    {
        let length = shape::duration_text(window.length());
        let hint = format!("write a time span such as \"{}\"", shape::duration_text(default));
        node.error(format!("`jitter` is not shorter than the window, which is {length} long"), hint);
    }
    given.unwrap_or(default)
}

/// A name of `ignore`: an instance of the document, named once.
fn ignored(
    node: &Node<'_>,
    instances: Option<&BTreeSet<&str>>,
    seen: &mut BTreeSet<String>,
) -> Option<String> {
    let name = node.parse(shape::name)?;
    if !seen.insert(name.clone()) {
        node.error(format!("`ignore` has `{name}` twice"), "leave one of the two out".to_owned());
        return None;
    }
    if let Some(instances) = instances.filter(|instances| !instances.contains(name.as_str())) {
        let names = || instances.iter().copied();
        let hint = match keys::nearest(&name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if instances.is_empty() => "no `[[recipe]]` of this document has a `name`".to_owned(),
            None => format!(
                "there are {}; one whose recipe is in a file needs a `name` beside its `use`",
                keys::listed(names())
            ),
        };
        node.error(format!("this document has no instance `{name}`"), hint);
        return None;
    }
    Some(name)
}
