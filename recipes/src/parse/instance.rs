//! User-data as a whole, and `[[recipe]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use super::{body, container, empty, format, settings};
use crate::diagnostic::Kind;
use crate::document::{Node, Source, Table};
use crate::model::{BoxSettings, DEFAULT_HEALTH_TIMEOUT, Given, InstanceDecl, InstanceSource, UserData};
use crate::resolve::{params, together};
use crate::shape::{self, ShapeError};
use crate::spec;

/// Instances that a box can have.
const MAX_INSTANCES: usize = 256;

/// Reads a user-data document.
pub(crate) fn user_data(source: &Source<'_>, root: &Spanned<DeTable<'_>>) -> Option<UserData> {
    if empty(source, root, "format = 1") {
        return None;
    }
    let document = Table::new(source, root.get_ref(), 0..0, &spec::user_data::DOCUMENT);
    let format = format(&document);
    let settings = document.get("box").and_then(|node| node.table(&spec::user_data::BOX));
    let settings = settings
        .map(|table| settings::settings(&table, Some(&written_names(root.get_ref()))))
        .unwrap_or_default();
    let mut instances = match document.get("recipe") {
        Some(node) if node.as_table().is_some() => {
            let hint = "user-data lists instances with double brackets, `[[recipe]]`; a recipe's own file is named by `use`";
            source.error_of(
                Kind::Type,
                document.key_span("recipe"),
                "`[recipe]` where `[[recipe]]` belongs",
                Some(hint.to_owned()),
            );
            Vec::new()
        }
        Some(node) => node.list(|node| instance(&node, &settings)).unwrap_or_default(),
        None => Vec::new(),
    };
    if instances.len() > MAX_INSTANCES {
        source.error(document.key_span("recipe"), format!("more than {MAX_INSTANCES} instances"), None);
        instances.truncate(MAX_INSTANCES);
    }
    names(source, &instances);
    ports(source, &instances, &settings);
    Some(UserData { format, settings, instances })
}

fn instance(node: &Node<'_>, settings: &BoxSettings) -> Option<InstanceDecl> {
    match node.as_table() {
        Some(table) if table.contains_key("use") => used(&node.table(&spec::user_data::USE)?),
        _ => in_place(&node.table(&spec::user_data::INLINE)?, settings),
    }
}

fn used(table: &Table<'_>) -> Option<InstanceDecl> {
    let source = table.need("use")?.parse(recipe_source);
    let name = table.get("name").map(|node| node.parse(shape::name));
    let mut params = BTreeMap::new();
    for entry in table.entries("params") {
        let value = entry.node.given();
        params
            .extend(entry.key(shape::identifier).zip(value.map(|value| Given { value, at: entry.anchor() })));
    }
    let source = source?;
    let name = match (name, &source) {
        (Some(name), _) => Some(name?),
        (None, InstanceSource::Library(name)) => Some(name.clone()),
        (None, _) => None,
    };
    let at = table.source.anchor(table.key_span("use"));
    Some(InstanceDecl { name, source, params, health_timeout: health_timeout(table), at })
}

fn recipe_source(text: &str) -> Result<InstanceSource, ShapeError> {
    if text.starts_with('/') {
        return shape::file_path(text).map(InstanceSource::Path);
    }
    if text.contains("://") {
        let hint = "until then, name a recipe of the library, put its file on the box, or write it in place"
            .to_owned();
        let message = "remote, which needs Holdfast 0.4".to_owned();
        return Err(ShapeError { message, hint: Some(hint), at: None });
    }
    shape::name(text).map(InstanceSource::Library).map_err(|error| {
        ShapeError::new("neither a name of the library nor an absolute path", error.hint.unwrap_or_default())
    })
}

fn in_place(table: &Table<'_>, settings: &BoxSettings) -> Option<InstanceDecl> {
    let before = table.source.error_count();
    let recipe = body::body(table.source, table, Some(table), true)?;
    let errors = params::try_out(&recipe, settings, table.source.error_count() > before);
    errors.into_iter().for_each(|error| table.source.push(error));
    Some(InstanceDecl {
        name: Some(recipe.name.clone()),
        source: InstanceSource::Inline(Box::new(recipe)),
        params: BTreeMap::new(),
        health_timeout: health_timeout(table),
        at: table.source.anchor(table.key_span("name")),
    })
}

fn health_timeout(table: &Table<'_>) -> Duration {
    let (least, most) = (Duration::from_secs(10), Duration::from_secs(3600));
    container::duration(table, "health_timeout", least, most).unwrap_or(DEFAULT_HEALTH_TIMEOUT)
}

/// The names of the instances as they are written, whatever else is wrong with them. One whose recipe is in a file
/// and that is given no name has none here.
fn written_names<'a>(root: &'a DeTable<'_>) -> BTreeSet<&'a str> {
    let list = root.get("recipe").and_then(|list| list.get_ref().as_array());
    let tables = list.into_iter().flat_map(|list| list.iter()).filter_map(|entry| entry.get_ref().as_table());
    let names = tables.filter_map(|table| table.get("name").or_else(|| table.get("use"))?.get_ref().as_str());
    names.filter(|name| shape::name(name).is_ok()).collect()
}

/// Notes instances of the same name.
fn names(source: &Source<'_>, instances: &[InstanceDecl]) {
    let mut seen = BTreeMap::new();
    for instance in instances {
        let Some(name) = &instance.name else { continue };
        if let Some(line) = seen.insert(name, instance.at.line) {
            source.push(together::same_name(name, &instance.at, line));
        }
    }
}

/// Notes ports that two instances written in place both publish. What a recipe from elsewhere publishes is told
/// when it is loaded.
fn ports(source: &Source<'_>, instances: &[InstanceDecl], settings: &BoxSettings) {
    let in_place = instances.iter().filter_map(|instance| match &instance.source {
        InstanceSource::Inline(recipe) => Some((instance.resolve(recipe, settings).ok()?, &instance.at)),
        _ => None,
    });
    let mut in_place: Vec<_> = in_place.collect();
    let mut names = BTreeSet::new();
    in_place.retain(|(instance, _)| names.insert(instance.name.clone()));
    together::conflicts(&in_place).into_iter().for_each(|error| source.push(error));
}
