//! From a recipe and its parameters to what runs.
//!
//! First [`Recipe::resolve`] holds the given parameters against the declarations; then
//! [`ResolvedInstance::render_container`] and [`ResolvedInstance::render_step`] fill in templates, one item at a
//! time, because a step's output is known only once the step has run. Text made from a secret or from a step's
//! output is [`Text::Secret`] from the moment it is made.

pub(crate) mod fit;
pub(crate) mod params;
pub(crate) mod render;
mod rendered;
pub(crate) mod together;

use std::collections::BTreeMap;
use std::time::Duration;

pub use render::RenderError;
pub use rendered::{
    RenderedContainer, RenderedFile, RenderedHealth, RenderedOneOff, RenderedPlace, RenderedProbe,
    RenderedStep, Text,
};

use crate::Secret;
use crate::diagnostic::{Anchor, Diagnostics};
use crate::model::{BoxSettings, Generator, Given, InstanceDecl, Item, ParamValue, Recipe};
use crate::shape::Port;

/// A recipe with parameters that fit it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedInstance {
    /// The instance's name.
    pub name: String,
    /// The recipe.
    pub recipe: Recipe,
    /// A value for each parameter, but for secrets that are to be generated.
    pub params: BTreeMap<String, ParamValue>,
    /// Secret parameters without a value, and how each is made: once, and then kept.
    pub generate: BTreeMap<String, Generator>,
    /// Volumes and their quotas in bytes.
    pub volumes: BTreeMap<String, Option<u64>>,
    /// How long it may take to become healthy after an update of the box: 10 s to 1 h.
    pub health_timeout: Duration,
}

/// What templates are filled in with, beside the parameters.
#[derive(Clone, Debug, Default)]
pub struct RenderContext {
    /// Values of the secrets in [`ResolvedInstance::generate`], by parameter.
    pub secrets: BTreeMap<String, Secret>,
    /// The box's host name.
    pub box_hostname: String,
    /// Output of the steps that have succeeded, trimmed, by step.
    pub step_outputs: BTreeMap<String, Secret>,
}

impl InstanceDecl {
    /// Resolves the instance; `recipe` is its inline recipe or the one loaded from where it says.
    pub fn resolve(&self, recipe: &Recipe, settings: &BoxSettings) -> Result<ResolvedInstance, Diagnostics> {
        let resolved = recipe.resolve(self.name_for(recipe), &self.params, settings, &self.at)?;
        Ok(ResolvedInstance { health_timeout: self.health_timeout, ..resolved })
    }
}

impl Recipe {
    /// Holds the given parameters against the declarations. `at` is where the instance is declared: what is
    /// missing is told there.
    pub fn resolve(
        &self,
        instance: &str,
        given: &BTreeMap<String, Given>,
        settings: &BoxSettings,
        at: &Anchor,
    ) -> Result<ResolvedInstance, Diagnostics> {
        params::resolve(self, instance, given, settings, at)
    }
}

impl ResolvedInstance {
    /// The container with every template filled in.
    pub fn render_container(
        &self,
        name: &str,
        context: &RenderContext,
    ) -> Result<RenderedContainer, RenderError> {
        let container = self.recipe.container(name);
        let container = container.ok_or_else(|| RenderError::Unknown(Item::Container(name.to_owned())))?;
        render::Renderer::new(self, context).container(container)
    }

    /// The step with every template filled in.
    pub fn render_step(&self, name: &str, context: &RenderContext) -> Result<RenderedStep, RenderError> {
        let step = self.recipe.step(name).ok_or_else(|| RenderError::Unknown(Item::Step(name.to_owned())))?;
        render::Renderer::new(self, context).step(step)
    }

    pub(crate) fn port_count(&self) -> usize {
        self.recipe.containers.iter().map(|container| container.ports.len()).sum()
    }

    /// The ports that it publishes, as far as they can be told: what waits for a step's output cannot.
    pub fn ports(&self, context: &RenderContext) -> Vec<Port> {
        let renderer = render::Renderer::new(self, context);
        let templates = self.recipe.containers.iter().flat_map(|container| &container.ports);
        templates.filter_map(|port| renderer.port(port)).collect()
    }
}
