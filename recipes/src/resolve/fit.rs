//! Whether a value fits a parameter: the same for a default and for what an owner gives.

use std::fmt::Display;

use crate::Secret;
use crate::model::{GivenValue, ParamKind, ParamValue};
use crate::shape::{self, ShapeError};

/// Bytes of the longest text a parameter can have.
const MAX_TEXT: usize = 64 * 1024;

/// The value as the kind has it, or what is wrong with it. No message holds the value.
pub(crate) fn fit(kind: &ParamKind, value: &GivenValue) -> Result<ParamValue, ShapeError> {
    match (kind, value) {
        (ParamKind::Boolean, GivenValue::Boolean(b)) => Ok(ParamValue::Boolean(*b)),
        (ParamKind::Integer { min, max }, GivenValue::Integer(n)) => {
            within(*n, *min, *max, |n| n.to_string()).map(ParamValue::Integer)
        }
        (ParamKind::Port { min, max }, GivenValue::Integer(n)) => {
            let hint = "write a port from 1 to 65535";
            let port = u16::try_from(*n)
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| ShapeError::new("not a port", hint))?;
            within(port, *min, *max, |n| n.to_string()).map(ParamValue::Port)
        }
        (ParamKind::Size { min, max }, GivenValue::Integer(n)) => {
            let hint = "write bytes as an integer, or a text such as \"256M\"";
            let size = u64::try_from(*n).map_err(|_| ShapeError::new("not a size", hint))?;
            within(size, *min, *max, shape::size_text).map(ParamValue::Size)
        }
        (ParamKind::Size { min, max }, GivenValue::Text(text)) => {
            within(shape::size(text)?, *min, *max, shape::size_text).map(ParamValue::Size)
        }
        (ParamKind::Duration { min, max }, GivenValue::Text(text)) => {
            within(shape::duration(text)?, *min, *max, shape::duration_text).map(ParamValue::Duration)
        }
        (ParamKind::Hostname, GivenValue::Text(text)) => shape::hostname(text).map(ParamValue::Text),
        (ParamKind::Enum { values }, GivenValue::Text(text)) if values.contains(text) => {
            Ok(ParamValue::Text(text.clone()))
        }
        (ParamKind::Enum { values }, GivenValue::Text(text)) => Err(not_among(text, values)),
        (ParamKind::String { pattern }, GivenValue::Text(text)) => {
            let text = bounded(text)?;
            match pattern {
                Some(pattern) if !pattern.matches(text) => {
                    let hint = format!("it must match `{}`", pattern.as_str());
                    Err(ShapeError::new("a text that does not match its pattern", hint))
                }
                _ => Ok(ParamValue::Text(text.to_owned())),
            }
        }
        (ParamKind::Secret { .. }, GivenValue::Text(text)) => match bounded(text)? {
            "" => Err(ShapeError::new(
                "an empty secret",
                "give it a value, or leave it out where it is generated",
            )),
            text => Ok(ParamValue::Secret(Secret::new(text))),
        },
        (kind, value) => Err(wrong_type(kind, value)),
    }
}

/// `among` must be given in the message of an enum: its texts, as the language writes them.
fn not_among(text: &str, values: &[String]) -> ShapeError {
    let list = values.iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(", ");
    let hint = match crate::keys::nearest(text, values.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}? It is one of {list}"),
        None => format!("it is one of {list}"),
    };
    ShapeError::new("not one of the values it can have", hint)
}

fn bounded(text: &str) -> Result<&str, ShapeError> {
    if text.len() > MAX_TEXT {
        return Err(ShapeError::new("a text of more than 64 KiB", "give at most 64 KiB"));
    }
    if text.contains('\0') {
        return Err(ShapeError::new(
            "a text with a NUL in it",
            "no program takes a NUL in an argument or a variable",
        ));
    }
    Ok(text)
}

fn within<T: PartialOrd + Copy, D: Display>(
    value: T,
    min: Option<T>,
    max: Option<T>,
    show: impl Fn(T) -> D,
) -> Result<T, ShapeError> {
    if min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max) {
        return Ok(value);
    }
    let hint = match (min, max) {
        (Some(min), Some(max)) => format!("it is from {} to {}", show(min), show(max)),
        (Some(min), None) => format!("it is at least {}", show(min)),
        (None, Some(max)) => format!("it is at most {}", show(max)),
        (None, None) => String::new(),
    };
    Err(ShapeError::new("out of its range", hint))
}

fn wrong_type(kind: &ParamKind, value: &GivenValue) -> ShapeError {
    let (wanted, example) = match kind {
        ParamKind::String { .. } => ("a string", "\"text\""),
        ParamKind::Integer { .. } => ("an integer", "3"),
        ParamKind::Boolean => ("a boolean", "true"),
        ParamKind::Hostname => ("a host name in quotes", "\"a.example.org\""),
        ParamKind::Port { .. } => ("a port as an integer", "8080"),
        ParamKind::Enum { .. } => ("one of its values in quotes", "\"value\""),
        ParamKind::Size { .. } => ("a size", "\"256M\""),
        ParamKind::Duration { .. } => ("a time span in quotes", "\"10s\""),
        ParamKind::Secret { .. } => ("a string", "\"text\""),
    };
    ShapeError::new(format!("{} where {wanted} belongs", value.type_word()), format!("write it as {example}"))
}
