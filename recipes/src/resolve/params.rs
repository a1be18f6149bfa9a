//! Holding given parameters against a recipe's declarations.

use std::collections::BTreeMap;

use super::render::Renderer;
use super::{RenderContext, RenderError, ResolvedInstance, fit};
use crate::diagnostic::{Anchor, Diagnostics};
use crate::keys;
use crate::model::{BoxSettings, Given, ParamKind, ParamValue, Recipe};
use crate::shape::{self, TemplatePath, Templated};

pub(super) fn resolve(
    recipe: &Recipe,
    instance: &str,
    given: &BTreeMap<String, Given>,
    settings: &BoxSettings,
    at: &Anchor,
) -> Result<ResolvedInstance, Diagnostics> {
    let mut errors = Diagnostics::new();
    if let Err(error) = shape::name(instance) {
        errors.push(at.error(format!("`{instance}` is {error}"), error.hint));
    }
    unknown(recipe, given, &mut errors);
    let mut params = BTreeMap::new();
    let mut generate = BTreeMap::new();
    for param in recipe.params.values() {
        match (given.get(&param.name), &param.default, &param.kind) {
            (Some(given), _, kind) => match fit::fit(kind, &given.value) {
                Ok(value) => drop(params.insert(param.name.clone(), value)),
                Err(error) => errors.push(given.at.error(format!("`{}` is {error}", param.name), error.hint)),
            },
            (None, Some(default), _) => drop(params.insert(param.name.clone(), default.clone())),
            (None, None, ParamKind::Secret { generate: Some(generator) }) => {
                generate.insert(param.name.clone(), *generator);
            }
            (None, None, kind) => {
                let what = param.description.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
                let hint =
                    format!("add `{} = …` to `params`; it is of type {}{what}", param.name, kind.word());
                let message = format!("`{}` of recipe `{}` has no value", param.name, recipe.name);
                errors.push(at.error(message, Some(hint)));
            }
        }
    }
    if !settings.allow_privileged {
        for container in recipe.containers.iter().filter(|c| c.privileged) {
            let message =
                format!("container `{}` is privileged, which this box does not allow", container.name);
            let hint = "`allow_privileged = true` under `[box]` allows it: such a container can do anything to the box";
            let place = if container.at.line == 0 { at } else { &container.at };
            errors.push(place.error(message, Some(hint.to_owned())));
        }
    }
    let mut instance = ResolvedInstance {
        name: instance.to_owned(),
        recipe: recipe.clone(),
        params,
        generate,
        volumes: BTreeMap::new(),
    };
    if errors.is_empty() {
        instance.volumes = volumes(&instance, at, &mut errors);
        filled_in(&instance, at, &mut errors);
    }
    errors.finish(instance)
}

fn unknown(recipe: &Recipe, given: &BTreeMap<String, Given>, errors: &mut Diagnostics) {
    for (name, value) in given.iter().filter(|(name, _)| !recipe.params.contains_key(*name)) {
        let hint = match keys::nearest(name, recipe.params.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if recipe.params.is_empty() => "it has no parameters".to_owned(),
            None => format!("it has {}", keys::listed(recipe.params.keys().map(String::as_str))),
        };
        errors
            .push(value.at.error(format!("recipe `{}` has no parameter `{name}`", recipe.name), Some(hint)));
    }
}

fn volumes(
    instance: &ResolvedInstance,
    at: &Anchor,
    errors: &mut Diagnostics,
) -> BTreeMap<String, Option<u64>> {
    let mut sizes = BTreeMap::new();
    for (name, volume) in &instance.recipe.volumes {
        let size = match &volume.size {
            None => None,
            Some(Templated::Value(size)) => Some(*size),
            Some(Templated::Path(TemplatePath::Param(param))) => match instance.params.get(param) {
                Some(ParamValue::Size(size)) => Some(*size),
                Some(ParamValue::Integer(size)) if *size > 0 => Some(*size as u64),
                _ => {
                    errors.push(at.error(format!("`{param}` is not a size for volume `{name}`"), None));
                    None
                }
            },
            Some(Templated::Path(path)) => {
                errors.push(at.error(format!("`{path}` is not a size for volume `{name}`"), None));
                None
            }
        };
        sizes.insert(name.clone(), size);
    }
    sizes
}

/// Tells, before anything runs, of parameters that do not make a port, a probe, a limit or a user. What waits
/// for a step's output is checked when it is rendered.
fn filled_in(instance: &ResolvedInstance, at: &Anchor, errors: &mut Diagnostics) {
    let context = RenderContext {
        secrets: instance.generate.keys().map(|name| (name.clone(), crate::Secret::new("x"))).collect(),
        box_hostname: "localhost".to_owned(),
        step_outputs: BTreeMap::new(),
    };
    let renderer = Renderer::new(instance, &context);
    let mut problems = Vec::new();
    let mut published: Vec<(String, shape::Port)> = Vec::new();
    for container in &instance.recipe.containers {
        problems.extend(renderer.problems(container));
        for port in container.ports.iter().filter_map(|port| renderer.port(port)) {
            let other =
                published.iter().find(|(_, other)| other.conflicts_with(&port)).map(|(name, _)| name.clone());
            if let Some(other) = other {
                let message =
                    format!("`{}` and `{other}` publish port {} of the box both", container.name, port.host);
                errors.push(at.error(message, Some("publish it on another port or address".to_owned())));
            }
            published.push((container.name.clone(), port));
        }
    }
    problems.extend(instance.recipe.steps.iter().filter_map(|step| renderer.step(step).err()));
    for problem in problems.iter().filter(|problem| !matches!(problem, RenderError::NoOutput(_))) {
        errors.push(at.error(problem.to_string(), None));
    }
}
