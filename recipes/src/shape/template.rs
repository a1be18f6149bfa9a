//! `{{ path }}` in text, and nothing more: no filters, no logic.

use std::fmt;

use super::ShapeError;
use crate::keys::clip;

/// What a `{{ path }}` stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TemplatePath {
    /// `params.NAME`
    Param(String),
    /// `steps.NAME.output`
    StepOutput(String),
    /// `instance.name`
    InstanceName,
    /// `box.hostname`
    BoxHostname,
}

impl fmt::Display for TemplatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplatePath::Param(name) => write!(f, "params.{name}"),
            TemplatePath::StepOutput(name) => write!(f, "steps.{name}.output"),
            TemplatePath::InstanceName => f.write_str("instance.name"),
            TemplatePath::BoxHostname => f.write_str("box.hostname"),
        }
    }
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Text that stands for itself.
    Literal(String),
    /// A path, and the bytes of the template's source it was written in.
    Path(TemplatePath, std::ops::Range<usize>),
}

/// Text with paths to fill in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Template {
    segments: Vec<Segment>,
}

const FORM: &str = "a template is `{{ params.NAME }}`, `{{ instance.name }}`, `{{ box.hostname }}` or \
                    `{{ steps.NAME.output }}`; write `{{{{` for a literal `{{`";

impl Template {
    /// Reads a template. Whether its paths lead anywhere is checked where the recipe is known.
    pub fn parse(text: &str) -> Result<Template, ShapeError> {
        let mut segments = Vec::new();
        let mut literal = String::new();
        let mut rest = 0;
        while let Some(found) = text[rest..].find("{{") {
            let start = rest + found;
            literal.push_str(&text[rest..start]);
            if text[start + 2..].starts_with("{{") {
                literal.push_str("{{");
                rest = start + 4;
                continue;
            }
            let Some(length) = text[start + 2..].find("}}") else {
                return Err(ShapeError::new("a text with `{{` and without `}}`", FORM).at(start..text.len()));
            };
            let end = start + 2 + length + 2;
            let path = parse_path(text[start + 2..end - 2].trim()).map_err(|e| e.at(start..end))?;
            if !literal.is_empty() {
                segments.push(Segment::Literal(std::mem::take(&mut literal)));
            }
            segments.push(Segment::Path(path, start..end));
            rest = end;
        }
        literal.push_str(&text[rest..]);
        if !literal.is_empty() {
            segments.push(Segment::Literal(literal));
        }
        Ok(Template { segments })
    }

    /// A template that is this text and nothing else.
    pub fn literal(text: impl Into<String>) -> Template {
        let text = text.into();
        Template { segments: if text.is_empty() { Vec::new() } else { vec![Segment::Literal(text)] } }
    }

    /// Its pieces.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The paths in it, each with the bytes of the source it was written in.
    pub fn paths(&self) -> impl Iterator<Item = (&TemplatePath, std::ops::Range<usize>)> {
        self.segments.iter().filter_map(|s| match s {
            Segment::Path(path, range) => Some((path, range.clone())),
            Segment::Literal(_) => None,
        })
    }

    /// Its text when there is nothing to fill in.
    pub fn as_literal(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [] => Some(""),
            [Segment::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Its path when it is one path and nothing else.
    pub fn as_single_path(&self) -> Option<&TemplatePath> {
        match self.segments.as_slice() {
            [Segment::Path(path, _)] => Some(path),
            _ => None,
        }
    }
}

/// Writes the template as the language has it; parsing that again gives the same segments, but for their
/// places.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => f.write_str(&text.replace("{{", "{{{{"))?,
                Segment::Path(path, _) => write!(f, "{{{{ {path} }}}}")?,
            }
        }
        Ok(())
    }
}

fn parse_path(path: &str) -> Result<TemplatePath, ShapeError> {
    let words: Vec<&str> = path.split('.').collect();
    match words.as_slice() {
        ["params", name] if super::identifier(name).is_ok() => Ok(TemplatePath::Param((*name).to_owned())),
        ["steps", name, "output"] if super::name(name).is_ok() => {
            Ok(TemplatePath::StepOutput((*name).to_owned()))
        }
        ["instance", "name"] => Ok(TemplatePath::InstanceName),
        ["box", "hostname"] => Ok(TemplatePath::BoxHostname),
        ["needs" | "consumer", ..] | ["host"] => {
            let word = words[0];
            Err(ShapeError {
                message: format!("a template with `{word}`, which needs Holdfast 0.4"),
                hint: Some("until then, a value that the owner gives is `{{ params.NAME }}`".to_owned()),
                at: None,
            })
        }
        _ if path.contains(['|', '(', ' ']) => {
            Err(ShapeError::new(format!("a template with more than a path in it: `{}`", clip(path)), FORM))
        }
        _ => Err(ShapeError::new(format!("a template with the unknown path `{}`", clip(path)), FORM)),
    }
}

/// A value that is either written down or filled in as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Templated<T> {
    /// Written down.
    Value(T),
    /// Filled in from this path.
    Path(TemplatePath),
}

impl<T> Templated<T> {
    /// The value when it is written down.
    pub fn value(&self) -> Option<&T> {
        match self {
            Templated::Value(value) => Some(value),
            Templated::Path(_) => None,
        }
    }
}
