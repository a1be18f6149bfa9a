//! Holding given parameters against a recipe's declarations.

use std::collections::BTreeMap;

use super::render::Renderer;
use super::together::MAX_PORTS;
use super::{RenderContext, RenderError, ResolvedInstance, fit};
use crate::diagnostic::{Anchor, Diagnostics};
use crate::model::{BoxSettings, DEFAULT_HEALTH_TIMEOUT, Generator, Given, ParamKind, ParamValue, Recipe};
use crate::shape::{self, TemplatePath, Templated};
use crate::{Secret, keys};

const SIZE: &str = "give a size such as \"10G\"";
const FILLED: &str = "see what the parameters in it can be, and their defaults";

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
    let (params, generate) = values(recipe, given, at, &mut errors);
    privileged(recipe, settings, at, &mut errors);
    let mut instance = instance_of(recipe, instance, (params, generate));
    if errors.is_empty() {
        instance.volumes = volumes_of(&instance, at, &mut errors);
        ports(&instance, at, &mut errors);
        filled_in(&instance, at, &mut errors);
    }
    errors.finish(instance)
}

/// What can be said of a recipe before it has an owner: with the values it has itself. Of one that is `in_doubt`,
/// because it has errors already, only what these do not cause.
pub(crate) fn try_out(recipe: &Recipe, settings: &BoxSettings, in_doubt: bool) -> Diagnostics {
    let (mut errors, mut missing) = (Diagnostics::new(), Diagnostics::new());
    let at = &recipe.at;
    privileged(recipe, settings, at, &mut errors);
    let (params, generate) = values(recipe, &BTreeMap::new(), at, &mut missing);
    if missing.is_empty() {
        let instance = instance_of(recipe, &recipe.name, (params, generate));
        ports(&instance, at, &mut errors);
        if !in_doubt {
            volumes_of(&instance, at, &mut errors);
            filled_in(&instance, at, &mut errors);
        }
    }
    errors
}

/// The instance before its volumes are known, with what holds where its declaration says nothing.
fn instance_of(recipe: &Recipe, name: &str, (params, generate): Values) -> ResolvedInstance {
    ResolvedInstance {
        name: name.to_owned(),
        recipe: recipe.clone(),
        params,
        generate,
        volumes: BTreeMap::new(),
        health_timeout: DEFAULT_HEALTH_TIMEOUT,
    }
}

type Values = (BTreeMap<String, ParamValue>, BTreeMap<String, Generator>);

/// A value for each parameter, or how it is made.
fn values(recipe: &Recipe, given: &BTreeMap<String, Given>, at: &Anchor, errors: &mut Diagnostics) -> Values {
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
    (params, generate)
}

fn privileged(recipe: &Recipe, settings: &BoxSettings, at: &Anchor, errors: &mut Diagnostics) {
    for container in recipe.containers.iter().filter(|c| c.privileged && !settings.allow_privileged) {
        let message = format!("container `{}` is privileged, which this box does not allow", container.name);
        let hint =
            "`allow_privileged = true` under `[box]` allows it: such a container can do anything to the box";
        errors.push(place(at, recipe, &container.at).error(message, Some(hint.to_owned())));
    }
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

fn volumes_of(
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
                    errors.push(at.error(
                        format!("`{param}` is not a size for volume `{name}`"),
                        Some(SIZE.to_owned()),
                    ));
                    None
                }
            },
            Some(Templated::Path(path)) => {
                errors.push(
                    at.error(format!("`{path}` is not a size for volume `{name}`"), Some(SIZE.to_owned())),
                );
                None
            }
        };
        sizes.insert(name.clone(), size);
    }
    sizes
}

/// What the instance can be tried with before anything has run.
fn trial(instance: &ResolvedInstance) -> RenderContext {
    let secrets = instance.generate.keys().map(|name| (name.clone(), Secret::new("x"))).collect();
    RenderContext { secrets, box_hostname: "localhost".to_owned(), step_outputs: BTreeMap::new() }
}

/// Notes ports of the box that the instance publishes twice.
fn ports(instance: &ResolvedInstance, at: &Anchor, errors: &mut Diagnostics) {
    let context = trial(instance);
    let renderer = Renderer::new(instance, &context);
    let mut published: Vec<(&str, shape::Port)> = Vec::new();
    if instance.port_count() > MAX_PORTS {
        return errors.push(at.error(format!("a recipe that publishes more than {MAX_PORTS} ports"), None));
    }
    for container in &instance.recipe.containers {
        for port in container.ports.iter().filter_map(|port| renderer.port(port)) {
            if let Some((other, _)) = published.iter().find(|(_, other)| other.conflicts_with(&port)) {
                let message = match *other == container.name {
                    true => format!("`{other}` publishes port {} of the box twice", port.host),
                    false => format!(
                        "`{}` and `{other}` both publish port {} of the box",
                        container.name, port.host
                    ),
                };
                let hint = "publish it on another port or address".to_owned();
                errors.push(place(at, &instance.recipe, &container.at).error(message, Some(hint)));
            }
            published.push((&container.name, port));
        }
    }
}

/// Tells, before anything runs, of parameters that do not make a port, a probe, a limit or a user. What waits
/// for a step's output is checked when it is rendered.
fn filled_in(instance: &ResolvedInstance, at: &Anchor, errors: &mut Diagnostics) {
    let context = trial(instance);
    let renderer = Renderer::new(instance, &context);
    let recipe = &instance.recipe;
    let of_containers = recipe.containers.iter().map(|c| (&c.at, renderer.problems(c)));
    let of_steps = recipe.steps.iter().map(|s| (&s.at, renderer.step(s).err().into_iter().collect()));
    for (item, problems) in of_containers.chain(of_steps) {
        for problem in problems.iter().filter(|problem| !matches!(problem, RenderError::NoOutput(_))) {
            errors.push(place(at, recipe, item).error(problem.to_string(), Some(FILLED.to_owned())));
        }
    }
}

/// Where to tell of an item: itself while its recipe is read alone, else where the instance is declared.
fn place<'a>(at: &'a Anchor, recipe: &Recipe, item: &'a Anchor) -> &'a Anchor {
    if *at == recipe.at { item } else { at }
}
