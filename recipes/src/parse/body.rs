//! A recipe as a whole: the same for a file of its own and for one in place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use super::graph::{self, Edge};
use super::param::{param, size};
use super::paths::Paths;
use super::{container, empty, format, step};
use crate::document::{Entry, Node, Source, Table};
use crate::keys;
use crate::model::{BoxSettings, Item, Order, Param, Recipe, Volume};
use crate::resolve::params;
use crate::shape;
use crate::spec;

/// Entries that one table can have; more are a mistake or an attack.
const MAX_ENTRIES: usize = 256;

/// What is collected while a recipe is read, to be checked once all of it is known.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) paths: Paths<'a>,
    pub(super) edges: Vec<Edge<'a>>,
    /// Secrets that containers and steps name.
    pub(super) secrets: Vec<(Node<'a>, String)>,
    /// Volumes that containers and steps name.
    pub(super) mounts: Vec<(Node<'a>, Range<usize>, String)>,
}

/// Reads a recipe's document.
pub(crate) fn recipe(source: &Source<'_>, root: &Spanned<DeTable<'_>>) -> Option<Recipe> {
    if empty(source, root, "[recipe]") {
        return None;
    }
    let document = Table::new(source, root.get_ref(), 0..0, &spec::recipe::DOCUMENT);
    format(&document);
    let header = document.need("recipe").and_then(|node| node.table(&spec::recipe::RECIPE));
    let recipe = body(source, &document, header.as_ref(), false);
    if let Some(recipe) = &recipe {
        let settings = BoxSettings { allow_privileged: true, ..BoxSettings::default() };
        let errors = params::try_out(recipe, &settings, source.error_count() > 0);
        errors.into_iter().for_each(|error| source.push(error));
    }
    recipe
}

/// Reads the tables of a recipe from `table`, and its name and the like from `header`.
pub(super) fn body<'a>(
    source: &'a Source<'a>,
    table: &Table<'a>,
    header: Option<&Table<'a>>,
    in_place: bool,
) -> Option<Recipe> {
    let header_name = header.and_then(|header| header.need("name")).and_then(|node| node.parse(shape::name));
    let orders = [("parallel", Order::Parallel), ("declared", Order::Declared)];
    let order = header.and_then(|header| header.one_of("order", &orders)).unwrap_or_default();
    let mut reader = Reader {
        source,
        paths: Paths::default(),
        edges: Vec::new(),
        secrets: Vec::new(),
        mounts: Vec::new(),
    };
    let declared_params = entries(table, "params");
    let declared_volumes = entries(table, "volumes");
    let declared_containers = entries(table, "containers");
    let declared_steps = entries(table, "steps");
    let read = declared_params.iter().filter_map(|entry| param(entry, in_place));
    let params: BTreeMap<_, _> = read.map(|param| (param.name.clone(), param)).collect();
    let read = declared_volumes.iter().filter_map(|entry| volume(&mut reader, entry));
    let volumes: BTreeMap<_, _> = read.map(|volume| (volume.name.clone(), volume)).collect();
    let mut containers: Vec<_> =
        declared_containers.iter().filter_map(|entry| container::container(&mut reader, entry)).collect();
    let mut steps: Vec<_> =
        declared_steps.iter().filter_map(|entry| step::step(&mut reader, entry)).collect();
    let declared = declared(source, &declared_containers, &declared_steps);
    let known = declared.iter().cloned().collect();
    let require = graph::requirements(source, &reader.edges, &known, &declared, order);
    let named =
        |entries: &[Entry<'_>]| entries.iter().map(|entry| entry.key.to_owned()).collect::<BTreeSet<_>>();
    let (known_params, known_steps) = (named(&declared_params), named(&declared_steps));
    reader.paths.check(&known_params, &params, &known_steps, &require);
    secrets(&reader, &known_params, &params);
    mounts(&reader, &named(&declared_volumes));
    for container in &mut containers {
        container.require =
            require.get(&Item::Container(container.name.clone())).cloned().unwrap_or_default();
    }
    for step in &mut steps {
        step.require = require.get(&Item::Step(step.name.clone())).cloned().unwrap_or_default();
    }
    let position = |item: Item| declared.iter().position(|other| *other == item);
    containers.sort_by_key(|container| position(Item::Container(container.name.clone())));
    steps.sort_by_key(|step| position(Item::Step(step.name.clone())));
    let version = header.and_then(|header| header.parse("version", version));
    let description = header.and_then(|header| header.line("description", 500));
    let at = source.anchor(header.map_or(0..0, Table::span));
    Some(Recipe {
        name: header_name?,
        version,
        description,
        order,
        params,
        volumes,
        containers,
        steps,
        declared,
        at,
    })
}

/// The entries of a table with free keys, in the order of their names; too many are noted.
fn entries<'a>(table: &Table<'a>, key: &'static str) -> Vec<Entry<'a>> {
    let mut entries = table.entries(key);
    if entries.len() > MAX_ENTRIES {
        table.source.error(table.key_span(key), format!("`{key}` has more than {MAX_ENTRIES} entries"), None);
        entries.truncate(MAX_ENTRIES);
    }
    entries
}

fn version(text: &str) -> Result<semver::Version, shape::ShapeError> {
    let wrong =
        |_| shape::ShapeError::new("not a semantic version", "write three numbers, such as \"1.4.0\"");
    semver::Version::parse(text).map_err(wrong)
}

fn volume<'a>(reader: &mut Reader<'a>, entry: &Entry<'a>) -> Option<Volume> {
    let name = entry.key(shape::name);
    let table = entry.node.table(&spec::recipe::VOLUME)?;
    let size = match table.get("size") {
        Some(node) => Some(reader.paths.whole(node, None, &["size", "integer"], quota)?),
        None => None,
    };
    Some(Volume { name: name?, size, at: entry.anchor() })
}

fn quota(node: &Node<'_>) -> Option<u64> {
    let bytes = size(node)?;
    if bytes < 1 << 20 {
        node.error("`size` is less than 1M", "a number without a unit is bytes: write \"10G\"".to_owned());
        return None;
    }
    Some(bytes)
}

/// Containers and steps in the order of their first headers; a name that both have is noted.
fn declared(source: &Source<'_>, containers: &[Entry<'_>], steps: &[Entry<'_>]) -> Vec<Item> {
    let containers = containers.iter().map(|entry| (entry, Item::Container(entry.key.to_owned())));
    let steps = steps.iter().map(|entry| (entry, Item::Step(entry.key.to_owned())));
    let mut all: Vec<_> = containers.chain(steps).collect();
    all.sort_by_key(|(entry, _)| entry.start());
    let mut names = BTreeMap::new();
    for (entry, item) in &all {
        if let Some(other) = names.insert(item.name().to_owned(), item) {
            let hint = "containers and steps share one name space: choose another name".to_owned();
            source.error(entry.span.clone(), format!("`{item}` has the name of `{other}`"), Some(hint));
        }
    }
    all.into_iter().map(|(_, item)| item).collect()
}

fn secrets(reader: &Reader<'_>, known: &BTreeSet<String>, params: &BTreeMap<String, Param>) {
    for (node, name) in reader.secrets.iter().take_while(|_| !reader.source.is_full()) {
        match params.get(name) {
            Some(param) if param.kind.is_secret() => {}
            Some(param) => {
                let hint = "declare it with `type = \"secret\"`, or give it by `env` or `files`".to_owned();
                node.error(
                    format!("`{name}` is a parameter of type `{}`, no secret", param.kind.word()),
                    hint,
                );
            }
            None if known.contains(name) => {}
            None => {
                let hint = match keys::nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("declare it: `[params.{name}]` with `type = \"secret\"`"),
                };
                node.error(format!("there is no parameter `{name}`"), hint);
            }
        }
    }
}

fn mounts(reader: &Reader<'_>, known: &BTreeSet<String>) {
    let unknown = reader.mounts.iter().filter(|(_, _, name)| !known.contains(name));
    for (node, span, name) in unknown.take_while(|_| !reader.source.is_full()) {
        let hint = match keys::nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it: `[volumes.{name}]`"),
        };
        node.source.error(span.clone(), format!("there is no volume `{name}`"), Some(hint));
    }
}
