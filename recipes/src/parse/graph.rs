//! What waits for what: `require`, `require_in`, the container a step runs in, and `order = "declared"`, as one
//! graph without cycles.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{Node, Source};
use crate::keys;
use crate::model::{Item, Order};
use crate::shape::{self, ShapeError};

/// An edge as written.
pub(super) struct Edge<'a> {
    /// What waits.
    pub(super) from: Item,
    /// For what.
    pub(super) to: Item,
    /// Where it is written.
    pub(super) node: Node<'a>,
    /// Which of the two `node` names.
    pub(super) named: Named,
}

/// Which end of an edge its node names.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Named {
    /// What waits, as in `require_in`.
    From,
    /// What is waited for, as in `require`.
    To,
}

/// Reads `containers.NAME` or `steps.NAME`.
pub(super) fn item(text: &str) -> Result<Item, ShapeError> {
    let hint = "write \"containers.NAME\" or \"steps.NAME\"";
    let (kind, name) = text.split_once('.').unwrap_or(("", text));
    match kind {
        "needs" => Err(ShapeError {
            message: "of `needs`, which needs Holdfast 0.4".to_owned(),
            hint: Some("until then, put both into one recipe".to_owned()),
            at: None,
        }),
        "containers" => shape::name(name).map(Item::Container),
        "steps" => shape::name(name).map(Item::Step),
        "" if shape::name(name).is_ok() => {
            let hint = format!("write \"containers.{name}\" or \"steps.{name}\"");
            Err(ShapeError::new("a name without its kind", hint))
        }
        _ => Err(ShapeError::new("neither a container nor a step", hint)),
    }
}

/// All that each item waits for, sorted; edges that lead nowhere and cycles are noted.
pub(super) fn requirements(
    source: &Source<'_>,
    edges: &[Edge<'_>],
    known: &BTreeSet<Item>,
    declared: &[Item],
    order: Order,
) -> BTreeMap<Item, Vec<Item>> {
    let mut graph: BTreeMap<Item, BTreeSet<Item>> = BTreeMap::new();
    for edge in edges {
        if source.is_full() {
            break;
        }
        let named = if edge.named == Named::From { &edge.from } else { &edge.to };
        match known.contains(named) {
            false => unknown(edge, named, known),
            true if edge.from == edge.to => edge
                .node
                .error(format!("`{named}` waits for itself"), "take this requirement away".to_owned()),
            true => drop(graph.entry(edge.from.clone()).or_default().insert(edge.to.clone())),
        }
    }
    if order == Order::Declared {
        for (i, item) in declared.iter().enumerate() {
            graph.entry(item.clone()).or_default().extend(declared[..i].iter().cloned());
        }
    }
    if let Some(cycle) = cycle(&graph) {
        let names: Vec<String> = cycle.iter().chain(cycle.first()).map(|item| format!("`{item}`")).collect();
        let on = |edge: &&Edge<'_>| {
            let from = cycle.iter().position(|item| *item == edge.from);
            from.is_some_and(|i| cycle[(i + 1) % cycle.len()] == edge.to)
        };
        let hint = match order {
            Order::Declared => "with `order = \"declared\"` each also waits for those written before it",
            Order::Parallel => "take one of these requirements away",
        };
        let span = edges.iter().find(on).map_or(0..0, |edge| edge.node.span());
        source.error(span, format!("a circle: {}", names.join(" waits for ")), Some(hint.to_owned()));
    }
    graph.into_iter().map(|(item, required)| (item, required.into_iter().collect())).collect()
}

fn unknown(edge: &Edge<'_>, named: &Item, known: &BTreeSet<Item>) {
    let names: Vec<String> = known.iter().map(Item::to_string).collect();
    let same = known.iter().find(|item| item.name() == named.name()).map(Item::to_string);
    let near = same
        .or_else(|| keys::nearest(&named.to_string(), names.iter().map(String::as_str)).map(str::to_owned));
    let hint = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", keys::listed(names.iter().map(String::as_str))),
    };
    edge.node.error(format!("`{named}` does not exist"), hint);
}

/// The items of some cycle, in the order they wait, if there is one.
fn cycle(graph: &BTreeMap<Item, BTreeSet<Item>>) -> Option<Vec<Item>> {
    let mut done: BTreeSet<&Item> = BTreeSet::new();
    for start in graph.keys() {
        let mut path: Vec<(&Item, Vec<&Item>)> = vec![(start, next(graph, start))];
        while let Some((item, rest)) = path.last_mut() {
            let item = *item;
            match rest.pop() {
                None => {
                    done.insert(item);
                    path.pop();
                }
                Some(to) => {
                    if let Some(at) = path.iter().position(|(on, _)| *on == to) {
                        return Some(path[at..].iter().map(|(item, _)| (*item).clone()).collect());
                    }
                    if !done.contains(to) {
                        path.push((to, next(graph, to)));
                    }
                }
            }
        }
    }
    None
}

fn next<'a>(graph: &'a BTreeMap<Item, BTreeSet<Item>>, item: &Item) -> Vec<&'a Item> {
    graph.get(item).map(|to| to.iter().collect()).unwrap_or_default()
}
