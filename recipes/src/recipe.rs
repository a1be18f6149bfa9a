//! Recipes from text.

use crate::diagnostic::Diagnostics;
use crate::document::with_document;
use crate::model::Recipe;
use crate::parse;
use crate::spec;

/// Parses a recipe's own file. `name` is what errors call it.
pub fn parse(name: &str, text: &str) -> Result<Recipe, Diagnostics> {
    with_document(name, text, &spec::recipe::DOCUMENT, parse::recipe)
}
