//! Every document of the corpora: it is accepted or refused as its name says, and the JSON schemas agree.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use recipes::{Diagnostics, Kind, recipe, schema, user_data};

/// Documents of a corpus, with those that are refused in further ways.
fn documents(folders: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in folders {
        let entries = fs::read_dir(root.join(folder)).unwrap_or_else(|e| panic!("{folder}: {e}"));
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            found.push((path.clone(), fs::read(&path).expect("a file")));
        }
    }
    found.sort();
    found
}

fn is_good(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ok-"))
}

const RECIPES: [&str; 2] = ["fuzz/corpus/recipe", "tests/refused/recipe"];
const USER_DATA: [&str; 2] = ["fuzz/corpus/user_data", "tests/refused/user_data"];

#[test]
fn a_corpus_is_large_and_half_of_it_is_accepted() {
    for folder in [RECIPES[0], USER_DATA[0]] {
        let all = documents(&[folder]);
        let good = all.iter().filter(|(path, _)| is_good(path)).count();
        assert!(all.len() >= 50 && good * 2 >= all.len(), "{folder}: {good} of {}", all.len());
    }
}

#[test]
fn each_document_replays_and_is_accepted_as_its_name_says() {
    for (path, data) in documents(&RECIPES) {
        assert_eq!(
            bodies::recipe(&data),
            is_good(&path),
            "{}:\n{:?}",
            path.display(),
            parse_recipe(&data).err()
        );
    }
    for (path, data) in documents(&USER_DATA) {
        assert_eq!(
            bodies::user_data(&data),
            is_good(&path),
            "{}:\n{:?}",
            path.display(),
            parse_user_data(&data).err()
        );
    }
}

/// The parser of TOML says itself what it expected; all else says what would be right.
#[test]
fn every_error_has_its_place_and_a_hint() {
    let recipes = documents(&RECIPES).into_iter().map(|(path, data)| (path, parse_recipe(&data)));
    let boxes = documents(&USER_DATA).into_iter().map(|(path, data)| (path, parse_user_data(&data)));
    let mut seen = 0;
    for (path, errors) in recipes.chain(boxes).filter_map(|(path, parsed)| Some((path, parsed.err()?))) {
        for error in errors.iter().filter(|error| error.kind != Kind::Syntax) {
            assert!(error.line > 0 && error.column > 0, "{}: {error}", path.display());
            assert!(error.hint.as_ref().is_some_and(|hint| !hint.is_empty()), "{}: {error}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} errors");
}

fn parse_recipe(data: &[u8]) -> Result<(), Diagnostics> {
    recipe::parse("x", &String::from_utf8_lossy(data)).map(drop)
}

fn parse_user_data(data: &[u8]) -> Result<(), Diagnostics> {
    user_data::parse("x", &String::from_utf8_lossy(data)).map(drop)
}

/// The document as JSON, if it is TOML at all.
fn json(data: &[u8]) -> Option<serde_json::Value> {
    let text = std::str::from_utf8(data).ok()?;
    let table: toml::Table = text.strip_prefix('\u{feff}').unwrap_or(text).parse().ok()?;
    serde_json::to_value(table).ok()
}

/// The validator never refuses what the parser accepts, and refuses each wrong key and type.
fn agree(
    path: &Path,
    validator: &Validator,
    json: &serde_json::Value,
    parsed: Result<(), Diagnostics>,
) -> bool {
    match parsed {
        Ok(()) => {
            let errors: Vec<_> =
                validator.iter_errors(json).map(|e| format!("{}: {e}", e.instance_path())).collect();
            assert!(errors.is_empty(), "{} is accepted, but: {errors:#?}", path.display());
            false
        }
        Err(errors) => {
            let kinds: Vec<Kind> = errors.iter().map(|error| error.kind).collect();
            let plain = kinds.iter().any(|kind| matches!(kind, Kind::Key | Kind::Type | Kind::Newer));
            assert!(!plain || !validator.is_valid(json), "{} validates, but:\n{errors}", path.display());
            plain
        }
    }
}

#[test]
fn the_schemas_agree_with_the_parser() {
    let validator = |schema| jsonschema::validator_for(&schema).expect("a schema");
    let (recipes, boxes) = (validator(schema::recipe()), validator(schema::user_data()));
    let mut refused = 0;
    for (path, data) in documents(&RECIPES) {
        let agreed = json(&data).is_some_and(|json| agree(&path, &recipes, &json, parse_recipe(&data)));
        refused += usize::from(agreed);
    }
    for (path, data) in documents(&USER_DATA) {
        let agreed = json(&data).is_some_and(|json| agree(&path, &boxes, &json, parse_user_data(&data)));
        refused += usize::from(agreed);
    }
    assert!(refused >= 30, "only {refused} documents have a wrong key or type");
}

/// Every value of every accepted document, exchanged for one of another type, and every table with a key more:
/// whenever the parser tells of a key or a type, so does the schema.
#[test]
fn the_schemas_agree_on_every_change_of_an_accepted_document() {
    let recipes = jsonschema::validator_for(&schema::recipe()).expect("a schema");
    let boxes = jsonschema::validator_for(&schema::user_data()).expect("a schema");
    let mut refused = 0;
    for (path, data) in
        documents(&RECIPES).into_iter().chain(documents(&USER_DATA)).filter(|(p, _)| is_good(p))
    {
        if data.len() > 3000 {
            continue;
        }
        let text = String::from_utf8(data).expect("text");
        let table: toml::Table = text.strip_prefix('\u{feff}').unwrap_or(&text).parse().expect("TOML");
        for changed in changes(&toml::Value::Table(table)).into_iter().filter(toml::Value::is_table) {
            let text = toml::to_string(&changed).expect("TOML");
            let json = serde_json::to_value(&changed).expect("JSON");
            let of_a_box = path.to_string_lossy().contains("user_data");
            let agreed = match of_a_box {
                true => agree(&path, &boxes, &json, parse_user_data(text.as_bytes())),
                false => agree(&path, &recipes, &json, parse_recipe(text.as_bytes())),
            };
            refused += usize::from(agreed);
        }
    }
    assert!(refused > 1000, "only {refused} changes were refused for a key or a type");
}

/// The value with one change each.
fn changes(value: &toml::Value) -> Vec<toml::Value> {
    use toml::Value;
    let mut all = Vec::new();
    match value {
        Value::Table(table) => {
            let mut more = table.clone();
            more.insert("zebra".to_owned(), Value::Integer(1));
            all.push(Value::Table(more));
            for (key, inner) in table {
                let mut less = table.clone();
                less.remove(key);
                all.push(Value::Table(less));
                for changed in changes(inner) {
                    let mut table = table.clone();
                    table.insert(key.clone(), changed);
                    all.push(Value::Table(table));
                }
            }
        }
        Value::Array(list) => {
            for (i, inner) in list.iter().enumerate() {
                for changed in changes(inner) {
                    let mut list = list.clone();
                    list[i] = changed;
                    all.push(Value::Array(list));
                }
            }
        }
        _ => {}
    }
    let others = [
        Value::String("zebra".to_owned()),
        Value::Integer(7),
        Value::Boolean(true),
        Value::Float(0.5),
        Value::Array(vec![]),
        Value::Table(toml::Table::new()),
    ];
    all.extend(others.into_iter().filter(|other| !other.same_type(value)));
    all
}

/// A key that no accepted document has would be checked by nobody.
#[test]
fn every_key_of_the_language_is_in_an_accepted_document() {
    fn properties<'a>(schema: &'a serde_json::Value, found: &mut Vec<&'a str>) {
        let table = schema.get("properties").and_then(|properties| properties.as_object());
        found.extend(table.into_iter().flatten().map(|(key, _)| key.as_str()));
        let definitions = schema.get("$defs").and_then(|definitions| definitions.as_object());
        definitions.into_iter().flatten().for_each(|(_, table)| properties(table, found));
    }
    fn keys(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| {
                found.insert(key.clone());
                keys(value, found);
            }),
            serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    for (schema, folders) in [(schema::recipe(), RECIPES), (schema::user_data(), USER_DATA)] {
        let (mut wanted, mut found) = (Vec::new(), std::collections::BTreeSet::new());
        properties(&schema, &mut wanted);
        for (path, data) in documents(&folders).iter().chain(&documents(&RECIPES)) {
            if let Some(json) = json(data).filter(|_| is_good(path)) {
                keys(&json, &mut found);
            }
        }
        let missing: Vec<_> = wanted.into_iter().filter(|key| !found.contains(*key)).collect();
        assert!(missing.is_empty(), "no accepted document has {missing:?}");
    }
}
