//! `[steps.NAME]`.

use std::time::Duration;

use super::body::Reader;
use super::container::{command, duration, env, files, mounts, requirements, secrets, user};
use super::graph::{Edge, Named};
use crate::document::{Entry, Table};
use crate::model::{DEFAULT_STEP_RETRIES, DEFAULT_STEP_TIMEOUT, Item, OneOff, Step, StepPlace, When};
use crate::shape::{self, ImageRef};
use crate::spec;

/// Keys that only a step with its own image takes.
const ONE_OFF: [&str; 5] = ["env", "secrets", "files", "volumes", "user"];

/// Reads one step; its `require` is filled in when the whole graph is known.
pub(super) fn step<'a>(reader: &mut Reader<'a>, entry: &Entry<'a>) -> Option<Step> {
    let name = entry.key(shape::name);
    let table = entry.node.table(&spec::recipe::STEP)?;
    let item = Item::Step(entry.key.to_owned());
    requirements(reader, &table, "require", |edge| Edge { from: item.clone(), ..edge });
    requirements(reader, &table, "require_in", |edge| Edge { to: item.clone(), ..edge });
    let run = table.need("run").map(|_| command(reader, &table, "run", &item));
    let place = place(reader, &table, &item);
    let when = [("once", When::Once), ("change", When::Change), ("boot", When::Boot)];
    let most = Duration::from_secs(7 * 86_400);
    Some(Step {
        when: table.one_of("when", &when).unwrap_or_default(),
        timeout: duration(&table, "timeout", Duration::from_secs(1), most).unwrap_or(DEFAULT_STEP_TIMEOUT),
        retries: table.integer("retries", 0..=100).map_or(DEFAULT_STEP_RETRIES, |n| n as u32),
        name: name?,
        run: run?,
        place: place?,
        require: Vec::new(),
        at: entry.anchor(),
    })
}

fn place<'a>(reader: &mut Reader<'a>, table: &Table<'a>, item: &Item) -> Option<StepPlace> {
    let one_off = OneOff {
        image: match table.get("image") {
            Some(node) => node.parse(ImageRef::parse)?,
            None => return in_container(reader, table, item),
        },
        env: env(reader, table, item),
        secrets: secrets(reader, table),
        files: files(reader, table, item),
        volumes: mounts(reader, table),
        user: user(reader, table, item),
    };
    if table.has("in") {
        let hint = "`in` runs it in a container, `image` as a container of its own: keep one".to_owned();
        reader.source.error(table.key_span("in"), "a step with both `in` and `image`", Some(hint));
        return None;
    }
    Some(StepPlace::OneOff(one_off))
}

fn in_container<'a>(reader: &mut Reader<'a>, table: &Table<'a>, item: &Item) -> Option<StepPlace> {
    let Some(node) = table.get("in") else {
        let hint =
            "add `in = \"CONTAINER\"`, or `image = \"…\"` to run it as a container of its own".to_owned();
        reader.source.error(table.span(), "a step without `in` or `image`", Some(hint));
        return None;
    };
    for key in ONE_OFF.into_iter().filter(|key| table.has(key)) {
        let hint =
            "a step in a container has what that container has; with `image` it takes its own".to_owned();
        reader.source.error(table.key_span(key), format!("`{key}` in a step with `in`"), Some(hint));
    }
    let container = node.parse(shape::name)?;
    let to = Item::Container(container.clone());
    reader.edges.push(Edge { from: item.clone(), to, node, named: Named::To });
    Some(StepPlace::In(container))
}
