//! User-data as a whole, and the instances it lists.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{BoxSettings, Recipe};
use crate::diagnostic::Anchor;

/// How long an instance may take to become healthy when it does not say.
pub const DEFAULT_HEALTH_TIMEOUT: Duration = Duration::from_secs(600);

/// A whole user-data document.
#[derive(Clone, Debug, PartialEq)]
pub struct UserData {
    /// Format of the language it was written in.
    pub format: u32,
    /// What concerns the box itself.
    pub settings: BoxSettings,
    /// The box's instances: exactly these.
    pub instances: Vec<InstanceDecl>,
}

/// One `[[recipe]]`: a recipe with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceDecl {
    /// Its name; absent only where a recipe named by path gives it. See [`InstanceDecl::name_for`].
    pub name: Option<String>,
    /// Which recipe.
    pub source: InstanceSource,
    /// Values for the recipe's parameters; empty for an inline recipe, whose defaults are the values.
    pub params: BTreeMap<String, Given>,
    /// How long it may take to become healthy after an update of the box: 10 s to 1 h.
    pub health_timeout: Duration,
    /// Where it is written.
    pub at: Anchor,
}

impl InstanceDecl {
    /// The instance's name: its own, else the recipe's.
    pub fn name_for<'a>(&'a self, recipe: &'a Recipe) -> &'a str {
        self.name.as_deref().unwrap_or(&recipe.name)
    }
}

/// Where an instance's recipe comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum InstanceSource {
    /// A recipe of the box's library, by name.
    Library(String),
    /// A recipe in a file of the box, by absolute path.
    Path(String),
    /// A recipe written in place.
    Inline(Box<Recipe>),
}

/// A parameter's value as the owner gave it, not yet held against the declaration.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The value.
    pub value: GivenValue,
    /// Where it is written, without any parameter's value in the line.
    pub at: Anchor,
}

/// A value of a type that a parameter can have. `Debug` shows nothing of it: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum GivenValue {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
}

impl GivenValue {
    /// Its type, for people.
    pub fn type_word(&self) -> &'static str {
        match self {
            GivenValue::Text(_) => "a string",
            GivenValue::Integer(_) => "an integer",
            GivenValue::Boolean(_) => "a boolean",
        }
    }
}

impl fmt::Debug for GivenValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GivenValue({}, …)", self.type_word())
    }
}
