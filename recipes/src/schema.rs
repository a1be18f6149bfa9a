//! JSON schemas of the two documents, and the tables of the README: made from the same descriptions of the
//! language that the parser reads its keys from.
//!
//! A schema knows keys, types and most forms. What it cannot know (whether a volume is declared, whether a pattern
//! is one) is the parser's alone: a document that validates can still be refused, never the other way round.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::spec::forms::SIZE;
use crate::spec::{self, Form, Shape, Spec};

/// The schema of a recipe's file.
pub fn recipe() -> Value {
    document(&spec::recipe::DOCUMENT, "Holdfast recipe")
}

/// The schema of user-data.
pub fn user_data() -> Value {
    document(&spec::user_data::DOCUMENT, "Holdfast user-data")
}

/// The generated files of this crate: path from the repository's root, and content. `readme` is the README as it
/// is, of which the part between the marks is made anew.
pub fn files(readme: &str) -> Vec<(&'static str, String)> {
    let text = |schema: Value| format!("{:#}\n", sorted(schema));
    vec![
        ("recipes/schema/recipe.json", text(recipe())),
        ("recipes/schema/user-data.json", text(user_data())),
        ("recipes/README.md", with_tables(readme)),
    ]
}

/// The same with the keys of every object in order, however `serde_json` was built.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: std::collections::BTreeMap<_, _> =
                map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn document(spec: &'static Spec, title: &str) -> Value {
    let mut root = table(spec);
    let mut definitions = Map::new();
    let mut seen = BTreeSet::new();
    let mut found = children(spec);
    while let Some(spec) = found.pop() {
        if seen.insert(spec.title) {
            definitions.insert(spec.title.to_owned(), table(spec));
            found.extend(children(spec));
        }
    }
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!(title);
    root["$defs"] = Value::Object(definitions);
    root
}

fn table(spec: &Spec) -> Value {
    let properties = spec.keys.iter().map(|key| {
        let mut value = shape(&key.shape);
        value["description"] = json!(key.doc);
        (key.name.to_owned(), value)
    });
    let required: Vec<&str> =
        spec.keys.iter().filter(|key| key.default.is_none()).map(|key| key.name).collect();
    let mut table = json!({
        "type": "object",
        "description": spec.about,
        "properties": properties.collect::<Map<_, _>>(),
        "additionalProperties": false,
    });
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    if spec.title == spec::recipe::PARAM.title {
        table["allOf"] = bounds();
    }
    table
}

/// The types of `min`, `max` and `default` follow `type`.
fn bounds() -> Value {
    let integer = || json!({ "type": "integer" });
    let text = || json!({ "type": "string" });
    let rule = |word: &str, value: Value| {
        let properties = json!({ "min": value, "max": value, "default": value });
        json!({
            "if": { "required": ["type"], "properties": { "type": { "const": word } } },
            "then": { "properties": properties },
        })
    };
    json!([
        rule("integer", integer()),
        rule("port", integer()),
        rule("size", shape(&SIZE)),
        rule("duration", text()),
        rule("boolean", json!({ "type": "boolean" })),
        {
            "if": { "required": ["type"], "properties": { "type": { "const": "enum" } } },
            "then": { "required": ["values"] },
        },
    ])
}

fn form(form: &Form) -> Value {
    json!({ "type": "string", "pattern": form.pattern, "examples": [form.example] })
}

fn shape(of: &Shape) -> Value {
    match of {
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Integer(min, max) => {
            let mut value = json!({ "type": "integer" });
            if *min != i64::MIN {
                value["minimum"] = json!(min);
            }
            if *max != i64::MAX {
                value["maximum"] = json!(max);
            }
            value
        }
        Shape::Number(min, max) => json!({ "type": "number", "minimum": min, "maximum": max }),
        Shape::Text => json!({ "type": "string" }),
        Shape::Template => json!({ "type": "string" }),
        Shape::Form(of) => form(of),
        Shape::OneOf(words) => json!({ "enum": words }),
        Shape::OrTemplate(inner) => {
            json!({ "anyOf": [shape(inner), { "type": "string", "pattern": "^\\{\\{[^{}]*\\}\\}$" }] })
        }
        Shape::List(inner) => json!({ "type": "array", "items": shape(inner) }),
        Shape::SomeOf(inner) => json!({ "type": "array", "items": shape(inner), "minItems": 1 }),
        Shape::Map(key, inner) => json!({
            "type": "object",
            "propertyNames": { "pattern": key.pattern },
            "additionalProperties": shape(inner),
        }),
        Shape::Table(spec) => json!({ "$ref": format!("#/$defs/{}", pointer(spec.title)) }),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(shape).collect::<Vec<_>>() }),
    }
}

/// A key in a JSON pointer that is the fragment of a URI (RFC 6901, section 6).
fn pointer(title: &str) -> String {
    let mut out = String::new();
    for byte in title.replace('~', "~0").replace('/', "~1").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Tables that a table's values are.
fn children(spec: &'static Spec) -> Vec<&'static Spec> {
    fn of(shape: &'static Shape, found: &mut Vec<&'static Spec>) {
        match shape {
            Shape::Table(spec) => found.push(spec),
            Shape::OrTemplate(inner) | Shape::List(inner) | Shape::SomeOf(inner) | Shape::Map(_, inner) => {
                of(inner, found);
            }
            Shape::Either(shapes) => shapes.iter().for_each(|shape| of(shape, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    spec.keys.iter().for_each(|key| of(&key.shape, &mut found));
    found
}

const BEGIN: &str = "<!-- generated: keys -->";
const END: &str = "<!-- end of generated keys -->";

/// The README with its tables of keys made anew.
fn with_tables(readme: &str) -> String {
    let Some((before, rest)) = readme.split_once(BEGIN) else { return readme.to_owned() };
    let Some((_, after)) = rest.split_once(END) else { return readme.to_owned() };
    let mut tables = String::new();
    for (heading, root) in [("Recipe", &spec::recipe::DOCUMENT), ("User-data", &spec::user_data::DOCUMENT)] {
        let _ = write!(tables, "\n### {heading}\n");
        let mut waiting = vec![root];
        let mut seen = BTreeSet::new();
        while let Some(spec) = waiting.pop() {
            let elsewhere = heading == "User-data" && spec::recipe::DOCUMENT.reaches(spec);
            if elsewhere || !seen.insert(spec.title) {
                continue;
            }
            keys(spec, &mut tables);
            waiting.extend(children(spec).into_iter().rev());
        }
    }
    format!("{before}{BEGIN}\n{tables}\n{END}{after}")
}

fn keys(spec: &Spec, out: &mut String) {
    let title = match spec.title {
        title if title.starts_with("the ") || title.starts_with("an ") => capital(title),
        title => format!("`{}`", title.replace('`', "")),
    };
    let _ = write!(out, "\n**{title}**: {}\n\n| Key | Value | Default | |\n|---|---|---|---|\n", spec.about);
    for key in spec.keys {
        let default = key.default.unwrap_or("**required**");
        let value = words(&key.shape).replace('|', "\\|");
        let _ = writeln!(out, "| `{}` | {value} | {default} | {} |", key.name, key.doc.replace('|', "\\|"));
    }
    for (word, release) in spec.reserved {
        let _ = writeln!(out, "| `{word}` | | | needs Holdfast {release} |");
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// A shape for people.
fn words(shape: &Shape) -> String {
    match shape {
        Shape::Boolean => "boolean".to_owned(),
        Shape::Integer(min, max) if *min == i64::MIN && *max == i64::MAX => "integer".to_owned(),
        Shape::Integer(min, max) if *max == i64::MAX => format!("integer from {min}"),
        Shape::Integer(min, max) if min == max => format!("`{min}`"),
        Shape::Integer(min, max) => format!("integer {min}–{max}"),
        Shape::Number(min, max) => format!("number {min}–{max}"),
        Shape::Text => "string".to_owned(),
        Shape::Template => "template".to_owned(),
        Shape::Form(form) => format!("{}, `\"{}\"`", form.word, form.example),
        Shape::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Shape::OrTemplate(inner) => format!("{}; or one template", words(inner)),
        Shape::List(inner) | Shape::SomeOf(inner) => format!("list of {}", words(inner)),
        Shape::Map(form, inner) => format!("table: {} = {}", form.word, words(inner)),
        Shape::Table(spec) => spec.title.replace('`', "").to_string(),
        Shape::Either(shapes) => shapes.iter().map(words).collect::<Vec<_>>().join(" or "),
    }
}

impl Spec {
    /// Whether another table is somewhere below this one.
    fn reaches(&'static self, other: &Spec) -> bool {
        let mut waiting = children(self);
        while let Some(spec) = waiting.pop() {
            if spec.title == other.title {
                return true;
            }
            waiting.extend(children(spec));
        }
        false
    }
}
