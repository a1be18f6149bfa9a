//! What the fuzz targets do with an input. Ordinary tests replay the corpus through the same functions.
#![allow(dead_code)]

use std::collections::BTreeMap;

use recipes::model::{BoxSettings, InstanceSource, Recipe};
use recipes::resolve::RenderContext;
use recipes::{Anchor, Diagnostics, Secret, recipe as recipe_file, user_data as user_data_file};

/// Reads a recipe, and renders all of it when it can be; whether it was accepted.
pub(crate) fn recipe(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    match recipe_file::parse("fuzz.toml", text) {
        Ok(recipe) => {
            render(&recipe, false);
            true
        }
        Err(errors) => {
            inside(&errors, text);
            false
        }
    }
}

/// Reads user-data, and what is saved of it when it is invalid; whether it was accepted.
pub(crate) fn user_data(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let settings = user_data_file::settings_only(text);
    let admins = user_data_file::admins_only(text);
    match user_data_file::parse("fuzz.toml", text) {
        Ok(data) => {
            assert_eq!(
                settings.unwrap_or_default(),
                data.settings,
                "settings alone are those of the document"
            );
            assert_eq!(admins, data.settings.admins, "admins alone are those of the document");
            for instance in &data.instances {
                if let InstanceSource::Inline(recipe) = &instance.source {
                    render(recipe, true);
                }
            }
            true
        }
        Err(errors) => {
            inside(&errors, text);
            false
        }
    }
}

/// Every error is in the text, and can be shown.
fn inside(errors: &Diagnostics, text: &str) {
    assert!(!errors.is_empty(), "a refusal says why");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.split('\n').collect();
    for error in errors {
        assert!(error.line as usize <= lines.len(), "line {} of {}", error.line, lines.len());
        if error.line > 0 {
            let length = lines[error.line as usize - 1].chars().count();
            assert!(
                (1..=length + 1).contains(&(error.column as usize)),
                "column {} of {length}",
                error.column
            );
            let shown = error.text.chars().count();
            assert!(error.offset as usize <= shown && shown <= 130, "offset {} in {shown}", error.offset);
            assert!((error.offset + error.width) as usize <= shown.max(1) + 1, "{error:?}");
            assert!(error.width >= 1 && !error.message.is_empty());
        }
    }
    let shown = errors.to_string();
    let odd = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!shown.contains(odd), "{shown:?}");
}

/// Resolves and renders a recipe. One in place has all its values, so nothing but a step's output can be missing.
fn render(recipe: &Recipe, in_place: bool) {
    let settings = BoxSettings { allow_privileged: true, ..BoxSettings::default() };
    let resolved = recipe.resolve("fuzz", &BTreeMap::new(), &settings, &Anchor::default());
    let instance = match resolved {
        Ok(instance) => instance,
        Err(errors) => return assert!(!in_place, "{errors}"),
    };
    let make = |generator: &recipes::model::Generator| generator.make(&vec![7; generator.random_bytes()]);
    let secrets: BTreeMap<String, Secret> = instance
        .generate
        .iter()
        .map(|(name, generator)| (name.clone(), make(generator).expect("enough bytes")))
        .collect();
    let outputs = recipe.steps.iter().map(|step| (step.name.clone(), Secret::new("80"))).collect();
    let context = RenderContext { secrets, box_hostname: "fuzz".to_owned(), step_outputs: outputs };
    for container in &recipe.containers {
        let _ =
            instance.render_container(&container.name, &context).map(|container| format!("{container:?}"));
    }
    for step in &recipe.steps {
        let _ = instance.render_step(&step.name, &context).map(|step| format!("{step:?}"));
    }
}
