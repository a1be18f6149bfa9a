//! `[containers.NAME]`, and what a one-off step shares with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::body::Reader;
use super::graph::{self, Edge, Named};
use super::param::size;
use super::paths::Spot;
use crate::document::{Entry, Node, Table};
use crate::keys;
use crate::model::{
    Container, DEFAULT_PIDS, DEFAULT_STOP_TIMEOUT, File, Health, Item, Mount, Owner, Probe, Restart, Userns,
};
use crate::resolve::render;
use crate::shape::{self, Cpus, ImageRef, Port, ShapeError, Template, Templated, User};
use crate::spec;

const DAY: Duration = Duration::from_secs(86_400);

/// Reads one container; its `require` is filled in when the whole graph is known.
pub(super) fn container<'a>(reader: &mut Reader<'a>, entry: &Entry<'a>) -> Option<Container> {
    let name = entry.key(shape::name);
    let table = entry.node.table(&spec::recipe::CONTAINER)?;
    let item = Item::Container(entry.key.to_owned());
    let image = table.need("image").and_then(|node| node.parse(ImageRef::parse));
    requirements(reader, &table, "require", |to| Edge { from: item.clone(), ..to });
    if name.as_deref() == Some("localhost") {
        let hint =
            "containers are reached by their names, and this one means the container itself".to_owned();
        reader.source.error(entry.span.clone(), "a container cannot be called `localhost`", Some(hint));
    }
    let words =
        |reader: &mut Reader<'a>, key| table.list(key, |node| reader.paths.template(node, &item, Spot::Open));
    let container = Container {
        name: name.clone().unwrap_or_default(),
        image: image.clone().unwrap_or_else(placeholder),
        entrypoint: words(reader, "entrypoint").map(|list| not_empty(&table, "entrypoint", list)),
        command: words(reader, "command"),
        env: env(reader, &table, &item),
        secrets: secrets(reader, &table),
        files: files(reader, &table, &item),
        volumes: mounts(reader, &table),
        tmpfs: table.list("tmpfs", |node| node.parse(mount_point)).unwrap_or_default(),
        ports: table.list("ports", |node| port(reader, node, &item)).unwrap_or_default(),
        user: user(reader, &table, &item),
        working_dir: table.parse("working_dir", shape::absolute_path),
        read_only: table
            .get("read_only")
            .and_then(|node| reader.paths.whole(node, Some(&item), &["boolean"], Node::boolean))
            .unwrap_or(Templated::Value(false)),
        memory: table
            .get("memory")
            .and_then(|node| reader.paths.whole(node, Some(&item), &["size", "integer"], memory)),
        cpus: table
            .get("cpus")
            .and_then(|node| reader.paths.whole(node, Some(&item), &["integer", "string", "enum"], cpus)),
        pids: table
            .get("pids")
            .and_then(|node| reader.paths.whole(node, Some(&item), &["integer"], pids))
            .unwrap_or(Templated::Value(DEFAULT_PIDS)),
        cap_add: capabilities(&table),
        userns: table.one_of("userns", &[("auto", Userns::Auto), ("host", Userns::Host)]).unwrap_or_default(),
        privileged: table.boolean("privileged").unwrap_or(false),
        stop_signal: table.parse("stop_signal", shape::stop_signal),
        stop_timeout: duration(&table, "stop_timeout", Duration::ZERO, DAY).unwrap_or(DEFAULT_STOP_TIMEOUT),
        restart: table.get("restart").and_then(restart).unwrap_or_default(),
        require: Vec::new(),
        health: table
            .get("health")
            .and_then(|node| node.table(&spec::recipe::HEALTH))
            .and_then(|t| health(reader, &t, &item)),
        at: entry.anchor(),
    };
    places(&table, &container);
    (name.is_some() && image.is_some()).then_some(container)
}

/// Stands in for an image that was noted as wrong, so that the rest is read; it never leaves the parser.
fn placeholder() -> ImageRef {
    ImageRef::parse("localhost/unreadable:0").expect("a good reference")
}

fn not_empty(table: &Table<'_>, key: &'static str, list: Vec<Template>) -> Vec<Template> {
    if table.get(key).is_some_and(|node| node.list(Some).is_some_and(|list| list.is_empty())) {
        let hint = format!("write the program: {key} = [\"/usr/bin/notes\"]");
        table.source.error(table.key_span(key), format!("`{key}` is empty"), Some(hint));
    }
    list
}

/// A command that must hold at least the program.
pub(super) fn command<'a>(
    reader: &mut Reader<'a>,
    table: &Table<'a>,
    key: &'static str,
    item: &Item,
) -> Vec<Template> {
    let list = table.list(key, |node| reader.paths.template(node, item, Spot::Open)).unwrap_or_default();
    not_empty(table, key, list)
}

/// Notes the edges of `require` or `require_in`.
pub(super) fn requirements<'a>(
    reader: &mut Reader<'a>,
    table: &Table<'a>,
    key: &'static str,
    edge: impl Fn(Edge<'a>) -> Edge<'a>,
) {
    let named = if key == "require" { Named::To } else { Named::From };
    let read = |node: Node<'a>| node.parse(graph::item).map(|item| (node, item));
    for (node, item) in table.list(key, read).unwrap_or_default() {
        reader.edges.push(edge(Edge { from: item.clone(), to: item, node, named }));
    }
}

pub(super) fn env<'a>(reader: &mut Reader<'a>, table: &Table<'a>, item: &Item) -> BTreeMap<String, Template> {
    let variable = |text: &str| {
        let good = matches!(text.len(), 1..=255) && !text.contains(|c: char| c == '=' || c.is_control());
        let wrong =
            || ShapeError::new("not the name of a variable", "a name has no `=` and no control characters");
        good.then(|| text.to_owned()).ok_or_else(wrong)
    };
    let mut env = BTreeMap::new();
    for entry in table.entries("env") {
        let name = entry.key(variable);
        let value = reader.paths.template(entry.node, item, Spot::Secret);
        env.extend(name.zip(value));
    }
    env
}

pub(super) fn secrets<'a>(reader: &mut Reader<'a>, table: &Table<'a>) -> Vec<String> {
    let secrets = table.list("secrets", |node| {
        let name = node.parse(shape::identifier)?;
        reader.secrets.push((node, name.clone()));
        Some(name)
    });
    secrets.unwrap_or_default()
}

pub(super) fn files<'a>(reader: &mut Reader<'a>, table: &Table<'a>, item: &Item) -> BTreeMap<String, File> {
    let mut files = BTreeMap::new();
    for entry in table.entries("files") {
        let path = entry.key(mount_point);
        if entry.node.as_str().is_some() {
            let hint = "write `{ content = \"…\" }`".to_owned();
            entry.node.type_error("text where a table with `content` belongs", hint);
            continue;
        }
        let Some(table) = entry.node.table(&spec::recipe::FILE) else { continue };
        let content = table.need("content").and_then(|node| reader.paths.template(node, item, Spot::Secret));
        let mode = table.parse("mode", shape::file_mode).unwrap_or(0o644);
        let owner = table.parse("owner", shape::owner).unwrap_or(Owner { uid: 0, gid: 0 });
        let Some((path, content)) = path.zip(content) else { continue };
        if files.insert(path, File { content, mode, owner }).is_some() {
            reader.source.error(
                entry.span.clone(),
                "a file that is written above already",
                Some("keep one of the two".to_owned()),
            );
        }
    }
    files
}

pub(super) fn mounts<'a>(reader: &mut Reader<'a>, table: &Table<'a>) -> BTreeMap<String, Mount> {
    if let Some(node) = table.get("volumes").filter(Node::is_list) {
        let hint =
            "volumes are named: `volumes = { data = \"/var/lib/notes\" }`, with a table `[volumes.data]`"
                .to_owned();
        node.type_error("`volumes` is a list where a table belongs", hint);
        return BTreeMap::new();
    }
    let mut mounts = BTreeMap::new();
    for entry in table.entries("volumes") {
        let name = entry.key(shape::name);
        let mount = match entry.node.as_table() {
            Some(_) => entry.node.table(&spec::recipe::MOUNT).and_then(|table| {
                let path = table.need("path").and_then(|node| node.parse(mount_point));
                let read_only = table.boolean("read_only").unwrap_or(false);
                path.map(|path| Mount { path, read_only })
            }),
            None => entry.node.parse(mount_point).map(|path| Mount { path, read_only: false }),
        };
        if let Some(name) = &name {
            reader.mounts.push((entry.node, entry.span.clone(), name.clone()));
        }
        mounts.extend(name.zip(mount));
    }
    mounts
}

pub(super) fn user<'a>(reader: &mut Reader<'a>, table: &Table<'a>, item: &Item) -> Option<Templated<User>> {
    let read = |node: &Node<'a>| node.parse(User::parse);
    reader.paths.whole(table.get("user")?, Some(item), &["string", "integer", "enum"], read)
}

/// A path that a file, a volume or a tmpfs can have.
fn mount_point(text: &str) -> Result<String, ShapeError> {
    let path = shape::file_path(text)?;
    let under =
        |top: &str| path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match ["/proc", "/sys", "/dev", "/run/secrets"].into_iter().find(|top| under(top)) {
        Some(top) => Err(ShapeError::new(
            format!("a path in {top}"),
            format!("{top} is the container's own: choose another place"),
        )),
        None => Ok(path),
    }
}

fn port<'a>(reader: &mut Reader<'a>, node: Node<'a>, item: &Item) -> Option<Template> {
    if node.is_integer() {
        node.type_error("a port as a number", "write both sides as text: \"80:8080\"".to_owned());
        return None;
    }
    let template = reader.paths.template(node, item, Spot::Open)?;
    checked(&node, template, Port::parse)
}

/// The template, if its text has its form or is not known yet.
fn checked<T>(
    node: &Node<'_>,
    template: Template,
    parse: impl Fn(&str) -> Result<T, ShapeError>,
) -> Option<Template> {
    match template.as_literal().map(parse) {
        Some(Err(error)) => {
            node.shape_error(error);
            None
        }
        _ => Some(template),
    }
}

fn memory(node: &Node<'_>) -> Option<u64> {
    let least = 1 << 20;
    let bytes = size(node)?;
    if bytes < least {
        node.error("`memory` is less than 1M", "a number without a unit is bytes: write \"256M\"".to_owned());
        return None;
    }
    Some(bytes)
}

fn cpus(node: &Node<'_>) -> Option<Cpus> {
    let number = node.number()?;
    Cpus::new(number).map_err(|error| node.shape_error(error)).ok()
}

fn pids(node: &Node<'_>) -> Option<u32> {
    let number = node.integer(1..=4_194_304)?;
    render::pids(&number.to_string()).map_err(|error| node.shape_error(error)).ok()
}

fn capabilities(table: &Table<'_>) -> BTreeSet<String> {
    table.list("cap_add", |node| node.parse(shape::capability)).unwrap_or_default().into_iter().collect()
}

fn restart(node: Node<'_>) -> Option<Restart> {
    let compose = match node.as_str() {
        Some("unless-stopped") => Some("it is called \"always\": what `holdfast` stops stays stopped anyway"),
        Some("no") => Some("it is called \"never\""),
        Some("on_failure") => Some("it is called \"on-failure\""),
        _ => None,
    };
    if let Some(hint) = compose {
        node.error(format!("`restart` cannot be \"{}\"", node.as_str().unwrap_or("")), hint.to_owned());
        return None;
    }
    node.one_of(&[("always", Restart::Always), ("on-failure", Restart::OnFailure), ("never", Restart::Never)])
}

/// A time span within bounds.
pub(super) fn duration(
    table: &Table<'_>,
    key: &'static str,
    least: Duration,
    most: Duration,
) -> Option<Duration> {
    let node = table.get(key)?;
    if node.is_integer() {
        node.type_error(
            format!("`{key}` is a number where a time span belongs"),
            "write its unit: \"10s\"".to_owned(),
        );
        return None;
    }
    let duration = node.parse(shape::duration)?;
    if duration < least || duration > most {
        let (least, most) = (shape::duration_text(least), shape::duration_text(most));
        node.error(
            format!("`{key}` is not from {least} to {most}"),
            format!("write a time span such as \"{most}\""),
        );
        return None;
    }
    Some(duration)
}

fn health<'a>(reader: &mut Reader<'a>, table: &Table<'a>, item: &Item) -> Option<Health> {
    let second = Duration::from_secs(1);
    let target = |reader: &mut Reader<'a>, key| {
        table
            .get(key)
            .and_then(|node| reader.paths.template(node, item, Spot::Open).map(|template| (node, template)))
    };
    let http =
        target(reader, "http").and_then(|(node, t)| checked(&node, t, shape::http_probe)).map(Probe::Http);
    let tcp = target(reader, "tcp").and_then(|(node, t)| checked(&node, t, shape::tcp_probe)).map(Probe::Tcp);
    let words = table.has("command").then(|| Probe::Command(command(reader, table, "command", item)));
    let kinds = ["http", "tcp", "command"];
    let given = kinds.iter().filter(|key| table.has(key)).count();
    if given != 1 {
        let message =
            if given == 0 { "a health check without a probe" } else { "a health check with several probes" };
        let hint = "write one of `http = \":8080/\"`, `tcp = \":5432\"` and `command = [\"…\"]`".to_owned();
        reader.source.error(table.span(), message, Some(hint));
    }
    let health = Health {
        probe: http.or(tcp).or(words)?,
        interval: duration(table, "interval", second, DAY).unwrap_or(Duration::from_secs(10)),
        timeout: duration(table, "timeout", second, DAY).unwrap_or(Duration::from_secs(3)),
        retries: table.integer("retries", 1..=100).map_or(3, |n| n as u32),
        start_period: duration(table, "start_period", Duration::ZERO, DAY).unwrap_or(Duration::from_secs(30)),
    };
    Some(health)
}

/// Notes two things that would be at one place in the container.
fn places(table: &Table<'_>, container: &Container) {
    let files = container.files.keys().map(|path| (path.as_str(), "files"));
    let volumes = container.volumes.values().map(|mount| (mount.path.as_str(), "volumes"));
    let tmpfs = container.tmpfs.iter().map(|path| (path.as_str(), "tmpfs"));
    let mut taken = BTreeMap::new();
    for (path, key) in files.chain(volumes).chain(tmpfs) {
        if let Some(other) = taken.insert(path, key) {
            let message = match other == key {
                true => format!("`{key}` has `{}` twice", keys::clip(path)),
                false => format!("`{}` is in `{other}` and in `{key}`", keys::clip(path)),
            };
            table.source.error(
                table.key_span(key),
                message,
                Some("give one of them another path".to_owned()),
            );
        }
    }
}
