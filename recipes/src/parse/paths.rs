//! Whether template paths lead somewhere, checked once the whole recipe is known.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::document::Node;
use crate::keys;
use crate::model::{Item, Param};
use crate::shape::{Template, TemplatePath, Templated};

/// A path in a value of the document.
pub(super) struct PathUse<'a> {
    node: Node<'a>,
    path: TemplatePath,
    at: Range<usize>,
    /// The container or step whose `require` counts.
    item: Option<Item>,
    spot: Spot,
}

/// What may be filled in at a place.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Spot {
    /// Text that may be shown.
    Open,
    /// Text that may hold a secret.
    Secret,
    /// A whole value made from a parameter of one of these types.
    Whole(&'static [&'static str]),
}

/// Collects the paths of a recipe.
#[derive(Default)]
pub(super) struct Paths<'a> {
    uses: Vec<PathUse<'a>>,
}

impl<'a> Paths<'a> {
    /// A template of this item.
    pub(super) fn template(&mut self, node: Node<'a>, item: &Item, spot: Spot) -> Option<Template> {
        let template = node.template()?;
        for (path, at) in template.paths() {
            self.uses.push(PathUse { node, path: path.clone(), at, item: Some(item.clone()), spot });
        }
        Some(template)
    }

    /// A value that may be one template as a whole.
    pub(super) fn whole<T>(
        &mut self,
        node: Node<'a>,
        item: Option<&Item>,
        types: &'static [&'static str],
        read: impl FnOnce(&Node<'a>) -> Option<T>,
    ) -> Option<Templated<T>> {
        let value = node.or_template(read)?;
        if let Templated::Path(path) = &value {
            let at = 0..node.as_str().map_or(0, str::len);
            self.uses.push(PathUse {
                node,
                path: path.clone(),
                at,
                item: item.cloned(),
                spot: Spot::Whole(types),
            });
        }
        Some(value)
    }

    /// Notes every path that leads nowhere, or to what may not be shown there. `known` are all declared parameters,
    /// `params` those that could be read.
    pub(super) fn check(
        &self,
        known: &BTreeSet<String>,
        params: &BTreeMap<String, Param>,
        steps: &BTreeSet<String>,
        require: &BTreeMap<Item, Vec<Item>>,
    ) {
        for used in &self.uses {
            if used.node.source.is_full() {
                break;
            }
            match &used.path {
                TemplatePath::Param(name) => match params.get(name) {
                    Some(param) => used.param(param),
                    None if known.contains(name) => {}
                    None => {
                        let near = keys::nearest(name, known.iter().map(String::as_str));
                        let hint = match near {
                            Some(near) => format!("did you mean `params.{near}`?"),
                            None => format!("declare it: `[params.{name}]`"),
                        };
                        used.error("leads to no parameter", Some(hint));
                    }
                },
                TemplatePath::StepOutput(name) => used.step(name, steps, require),
                TemplatePath::InstanceName | TemplatePath::BoxHostname => {
                    if let Spot::Whole(types) = used.spot
                        && !types.contains(&"string")
                    {
                        used.error("does not fit here", Some(fits(types)));
                    }
                }
            }
        }
    }
}

fn fits(types: &[&str]) -> String {
    format!("what fits is a parameter of one of the types {}", keys::listed(types.iter().copied()))
}

impl PathUse<'_> {
    fn error(&self, why: &str, hint: Option<String>) {
        self.node.path_error(&self.path, self.at.clone(), why, hint);
    }

    fn param(&self, param: &Param) {
        let word = param.kind.word();
        match self.spot {
            Spot::Open | Spot::Whole(_) if param.kind.is_secret() => {
                let hint =
                    "a secret goes into `env`, `files` or `secrets`: nothing else keeps it from being seen";
                self.error("is a secret, which cannot stand here", Some(hint.to_owned()));
            }
            Spot::Whole(types) if !types.contains(&word) => {
                self.error(&format!("is of type `{word}`, which does not fit here"), Some(fits(types)));
            }
            _ => {}
        }
    }

    fn step(&self, name: &str, steps: &BTreeSet<String>, require: &BTreeMap<Item, Vec<Item>>) {
        if !steps.contains(name) {
            let hint = match keys::nearest(name, steps.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `steps.{near}.output`?"),
                None => format!("declare it: `[steps.{name}]`"),
            };
            return self.error("leads to no step", Some(hint));
        }
        let Some(item) = &self.item else {
            return self
                .error("cannot be known here", Some("a volume is made before any step runs".to_owned()));
        };
        let step = Item::Step(name.to_owned());
        if !require.get(item).is_some_and(|required| required.contains(&step)) {
            let hint = format!("add it to {item}: `require = [\"{step}\"]`");
            self.error("is not known without a `require` on its step", Some(hint));
        }
    }
}
