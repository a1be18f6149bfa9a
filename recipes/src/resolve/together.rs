//! The instances of one box together.

use super::{RenderContext, ResolvedInstance};
use crate::diagnostic::{Anchor, Diagnostics};
use crate::model::{InstanceDecl, InstanceSource, Recipe, UserData};
use crate::shape::Port;

impl UserData {
    /// Resolves every instance, in the order they are listed. `load` gives the recipe of one that names it; what is
    /// written in place needs no loading. All errors are told, those of loading too.
    pub fn resolve(
        &self,
        mut load: impl FnMut(&InstanceDecl) -> Result<Recipe, Diagnostics>,
    ) -> Result<Vec<ResolvedInstance>, Diagnostics> {
        let mut errors = Diagnostics::new();
        let mut resolved = Vec::new();
        for instance in &self.instances {
            let found = match &instance.source {
                InstanceSource::Inline(recipe) => instance.resolve(recipe, &self.settings),
                _ => load(instance).and_then(|recipe| instance.resolve(&recipe, &self.settings)),
            };
            match found {
                Ok(found) => resolved.push((found, &instance.at)),
                Err(found) => errors.extend(found),
            }
        }
        errors.extend(conflicts(&resolved));
        let instances = resolved.into_iter().map(|(instance, _)| instance).collect();
        errors.finish(instances)
    }
}

/// Ports that a box can publish.
pub(crate) const MAX_PORTS: usize = 2048;

/// Names that two instances have, and ports of the box that two of them publish.
pub(crate) fn conflicts(instances: &[(ResolvedInstance, &Anchor)]) -> Diagnostics {
    let mut errors = Diagnostics::new();
    let mut published: Vec<(usize, Port)> = Vec::new();
    let count: usize = instances.iter().map(|(instance, _)| instance.port_count()).sum();
    if count > MAX_PORTS {
        let at = instances.first().map(|(_, at)| *at).cloned().unwrap_or_default();
        errors.push(at.error(format!("a box that publishes {count} ports: {MAX_PORTS} are possible"), None));
        return errors;
    }
    for (i, (instance, at)) in instances.iter().enumerate() {
        if let Some((_, other)) = instances[..i].iter().find(|(other, _)| other.name == instance.name) {
            errors.push(same_name(&instance.name, at, other.line));
        }
        for port in instance.ports(&RenderContext::default()) {
            let other = published.iter().find(|(owner, other)| *owner != i && other.conflicts_with(&port));
            if let Some((owner, _)) = other {
                let other = &instances[*owner].0.name;
                let message =
                    format!("`{}` and `{other}` both publish port {} of the box", instance.name, port.host);
                errors.push(at.error(message, Some("publish it on another port or address".to_owned())));
            }
            published.push((i, port));
        }
    }
    errors
}

/// The error of a second instance of one name.
pub(crate) fn same_name(name: &str, at: &Anchor, line: u32) -> crate::Diagnostic {
    let hint = "give this one another `name`".to_owned();
    at.error(format!("there is an instance `{name}` on line {line} already"), Some(hint))
}
