//! What people read when a document is wrong: tables of documents, each with the whole text.

use recipes::{recipe, user_data};

mod boxes;
mod keys;
mod secrets;
mod shapes;
mod together;
mod updates;

fn of_recipe(text: &str) -> String {
    recipe::parse("x.toml", text).map_or_else(|errors| errors.to_string(), |_| "accepted".to_owned())
}

fn of_user_data(text: &str) -> String {
    user_data::parse("x.toml", text).map_or_else(|errors| errors.to_string(), |_| "accepted".to_owned())
}
