//! Filling templates in.

use std::collections::BTreeMap;

use super::{
    RenderContext, RenderedContainer, RenderedFile, RenderedHealth, RenderedOneOff, RenderedPlace,
    RenderedProbe, RenderedStep, ResolvedInstance, Text,
};
use crate::Secret;
use crate::model::{Container, File, Health, Item, OneOff, ParamValue, Probe, Step, StepPlace};
use crate::shape::{self, Port, Segment, ShapeError, Template, TemplatePath, Templated};

/// Why a container or step cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// There is no such container or step.
    #[error("{0} is not in the recipe")]
    Unknown(Item),
    /// A secret has not been made yet.
    #[error("the secret `{0}` has no value")]
    NoSecret(String),
    /// A step has not run yet.
    #[error("the step `{0}` has no output yet")]
    NoOutput(String),
    /// What was filled in does not have the form it should.
    #[error("`{key}` of {item} is filled in with something that is {problem}")]
    Shape {
        /// The container or step.
        item: Item,
        /// Its key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// Renders the items of one instance.
pub(super) struct Renderer<'a> {
    instance: &'a ResolvedInstance,
    context: &'a RenderContext,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(instance: &'a ResolvedInstance, context: &'a RenderContext) -> Renderer<'a> {
        Renderer { instance, context }
    }

    pub(super) fn container(&self, c: &Container) -> Result<RenderedContainer, RenderError> {
        let item = Item::Container(c.name.clone());
        let ports =
            c.ports.iter().map(|p| self.parsed(&item, "ports", p, Port::parse)).collect::<Result<_, _>>()?;
        Ok(RenderedContainer {
            name: c.name.clone(),
            image: c.image.clone(),
            entrypoint: c.entrypoint.as_deref().map(|words| self.words(words)).transpose()?,
            command: c.command.as_deref().map(|words| self.words(words)).transpose()?,
            env: self.env(&c.env)?,
            secrets: self.secrets(&c.secrets)?,
            files: self.files(&c.files)?,
            volumes: c.volumes.clone(),
            tmpfs: c.tmpfs.clone(),
            ports,
            user: self.optional(&item, "user", c.user.as_ref(), shape::User::parse)?,
            working_dir: c.working_dir.clone(),
            read_only: self.whole(&item, "read_only", &c.read_only, boolean)?,
            memory: self.optional(&item, "memory", c.memory.as_ref(), shape::size)?,
            cpus: self.optional(&item, "cpus", c.cpus.as_ref(), shape::Cpus::parse)?,
            pids: self.whole(&item, "pids", &c.pids, pids)?,
            cap_add: c.cap_add.clone(),
            userns: c.userns,
            privileged: c.privileged,
            stop_signal: c.stop_signal.clone(),
            stop_timeout: c.stop_timeout,
            restart: c.restart,
            require: c.require.clone(),
            health: c.health.as_ref().map(|health| self.health(&item, health)).transpose()?,
        })
    }

    /// Everything in the container that is filled in with what it cannot have.
    pub(super) fn problems(&self, c: &Container) -> Vec<RenderError> {
        let item = Item::Container(c.name.clone());
        let mut problems = Vec::new();
        problems.extend(c.ports.iter().filter_map(|p| self.parsed(&item, "ports", p, Port::parse).err()));
        problems.extend(self.optional(&item, "user", c.user.as_ref(), shape::User::parse).err());
        problems.extend(self.whole(&item, "read_only", &c.read_only, boolean).err());
        problems.extend(self.optional(&item, "memory", c.memory.as_ref(), shape::size).err());
        problems.extend(self.optional(&item, "cpus", c.cpus.as_ref(), shape::Cpus::parse).err());
        problems.extend(self.whole(&item, "pids", &c.pids, pids).err());
        problems.extend(c.health.as_ref().and_then(|health| self.health(&item, health).err()));
        problems
    }

    /// The port, when it can be told already.
    pub(super) fn port(&self, port: &Template) -> Option<Port> {
        self.text(port).ok().and_then(|text| Port::parse(text.expose()).ok())
    }

    pub(super) fn step(&self, step: &Step) -> Result<RenderedStep, RenderError> {
        let item = Item::Step(step.name.clone());
        Ok(RenderedStep {
            name: step.name.clone(),
            run: self.words(&step.run)?,
            place: match &step.place {
                StepPlace::In(container) => RenderedPlace::In(container.clone()),
                StepPlace::OneOff(one_off) => RenderedPlace::OneOff(self.one_off(&item, one_off)?),
            },
            require: step.require.clone(),
            when: step.when,
            timeout: step.timeout,
            retries: step.retries,
        })
    }

    fn one_off(&self, item: &Item, one_off: &OneOff) -> Result<RenderedOneOff, RenderError> {
        Ok(RenderedOneOff {
            image: one_off.image.clone(),
            env: self.env(&one_off.env)?,
            secrets: self.secrets(&one_off.secrets)?,
            files: self.files(&one_off.files)?,
            volumes: one_off.volumes.clone(),
            user: self.optional(item, "user", one_off.user.as_ref(), shape::User::parse)?,
        })
    }

    fn health(&self, item: &Item, health: &Health) -> Result<RenderedHealth, RenderError> {
        let probe = match &health.probe {
            Probe::Http(target) => {
                RenderedProbe::Http(self.parsed(item, "health.http", target, shape::http_probe)?)
            }
            Probe::Tcp(target) => {
                RenderedProbe::Tcp(self.parsed(item, "health.tcp", target, shape::tcp_probe)?)
            }
            Probe::Command(words) => RenderedProbe::Command(self.words(words)?),
        };
        Ok(RenderedHealth {
            probe,
            interval: health.interval,
            timeout: health.timeout,
            retries: health.retries,
            start_period: health.start_period,
        })
    }

    fn words(&self, words: &[Template]) -> Result<Vec<Text>, RenderError> {
        words.iter().map(|word| self.text(word)).collect()
    }

    fn env(&self, env: &BTreeMap<String, Template>) -> Result<BTreeMap<String, Text>, RenderError> {
        env.iter().map(|(name, value)| Ok((name.clone(), self.text(value)?))).collect()
    }

    fn secrets(&self, names: &[String]) -> Result<BTreeMap<String, Secret>, RenderError> {
        names.iter().map(|name| Ok((name.clone(), self.secret(name)?))).collect()
    }

    fn files(&self, files: &BTreeMap<String, File>) -> Result<BTreeMap<String, RenderedFile>, RenderError> {
        let file = |file: &File| {
            Ok(RenderedFile { content: self.text(&file.content)?, mode: file.mode, owner: file.owner })
        };
        files.iter().map(|(path, f)| Ok((path.clone(), file(f)?))).collect()
    }

    /// The text of a template, secret as soon as one of its parts is.
    pub(super) fn text(&self, template: &Template) -> Result<Text, RenderError> {
        let mut out = String::new();
        let mut secret = false;
        for segment in template.segments() {
            let part = match segment {
                Segment::Literal(text) => Text::Plain(text.clone()),
                Segment::Path(path, _) => self.path(path)?,
            };
            secret |= part.is_secret();
            out.push_str(part.expose());
        }
        Ok(if secret { Text::Secret(Secret::new(out)) } else { Text::Plain(out) })
    }

    fn path(&self, path: &TemplatePath) -> Result<Text, RenderError> {
        Ok(match path {
            TemplatePath::InstanceName => Text::Plain(self.instance.name.clone()),
            TemplatePath::BoxHostname => Text::Plain(self.context.box_hostname.clone()),
            TemplatePath::StepOutput(step) => match self.context.step_outputs.get(step) {
                Some(output) => Text::Secret(output.clone()),
                None => return Err(RenderError::NoOutput(step.clone())),
            },
            TemplatePath::Param(name) => match self.instance.params.get(name).and_then(ParamValue::text) {
                Some(text) => Text::Plain(text),
                None => Text::Secret(self.secret(name)?),
            },
        })
    }

    fn secret(&self, name: &str) -> Result<Secret, RenderError> {
        match (self.instance.params.get(name), self.context.secrets.get(name)) {
            (Some(ParamValue::Secret(secret)), _) | (_, Some(secret)) => Ok(secret.clone()),
            _ => Err(RenderError::NoSecret(name.to_owned())),
        }
    }

    fn parsed<T>(
        &self,
        item: &Item,
        key: &'static str,
        template: &Template,
        parse: impl Fn(&str) -> Result<T, ShapeError>,
    ) -> Result<T, RenderError> {
        let text = self.text(template)?;
        let wrong =
            |error: ShapeError| RenderError::Shape { item: item.clone(), key, problem: error.message };
        parse(text.expose()).map_err(wrong)
    }

    fn whole<T: Clone>(
        &self,
        item: &Item,
        key: &'static str,
        value: &Templated<T>,
        parse: impl Fn(&str) -> Result<T, ShapeError>,
    ) -> Result<T, RenderError> {
        match value {
            Templated::Value(value) => Ok(value.clone()),
            Templated::Path(path) => {
                let wrong = |error: ShapeError| RenderError::Shape {
                    item: item.clone(),
                    key,
                    problem: error.message,
                };
                parse(self.path(path)?.expose()).map_err(wrong)
            }
        }
    }

    fn optional<T: Clone>(
        &self,
        item: &Item,
        key: &'static str,
        value: Option<&Templated<T>>,
        parse: impl Fn(&str) -> Result<T, ShapeError>,
    ) -> Result<Option<T>, RenderError> {
        value.map(|value| self.whole(item, key, value, parse)).transpose()
    }
}

fn boolean(text: &str) -> Result<bool, ShapeError> {
    text.parse().map_err(|_| ShapeError::new("not `true` or `false`", "write true or false"))
}

/// A limit of tasks, from 1 to the kernel's own greatest.
pub(crate) fn pids(text: &str) -> Result<u32, ShapeError> {
    let hint = "write a number from 1 to 4194304";
    text.parse()
        .ok()
        .filter(|n| (1..=4_194_304).contains(n))
        .ok_or_else(|| ShapeError::new("not a limit of tasks", hint))
}
