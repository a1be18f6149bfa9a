//! Replies of the API, judged by the document that the box serves.
//!
//! Stricter than the document: what it does not name may not be in a reply, and a field that may be null
//! must be there, unless the document lets it be left out by being neither.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// A box's OpenAPI document.
#[derive(Clone, Debug)]
pub struct Schema {
    paths: Value,
    components: Value,
}

impl Schema {
    /// Takes the document as it is served.
    pub fn new(mut document: Value) -> Result<Schema> {
        ensure!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")), "no OpenAPI 3.1");
        let mut components = document["components"].take();
        let schemas = components["schemas"].as_object_mut().context("the document has no schemas")?;
        schemas.values_mut().for_each(tighten);
        Ok(Schema { paths: document["paths"].take(), components })
    }

    /// All paths that can be read, as templates.
    pub fn readable(&self) -> Vec<String> {
        let paths = self.paths.as_object().into_iter().flatten();
        paths
            .filter(|(_, operations)| operations.get("get").is_some())
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// The media type and schema of what `method` on `path` answers with `status`.
    fn reply(&self, method: &str, path: &str, status: u16) -> Result<(&str, &Value)> {
        let path = path.split('?').next().unwrap_or(path);
        let paths = self.paths.as_object().context("the document has no paths")?;
        let operation = paths
            .iter()
            .filter(|(template, _)| matches(template, path))
            .find_map(|(_, operations)| operations.get(method.to_ascii_lowercase()))
            .with_context(|| format!("{method} {path} is not in the document"))?;
        let responses = &operation["responses"];
        let response = responses.get(status.to_string()).unwrap_or(&responses["default"]);
        let content = response["content"].as_object().context("the reply has no content")?;
        let (kind, content) = content.iter().next().context("the reply has no content")?;
        Ok((kind, &content["schema"]))
    }

    /// Fails unless a reply is what the document says: its media type, and its value or each of its lines.
    pub fn check(&self, method: &str, path: &str, status: u16, kind: &str, body: &[u8]) -> Result<()> {
        let (wanted, schema) = self.reply(method, path, status)?;
        ensure!(kind == wanted, "{method} {path} answers with {kind}, not {wanted}");
        let values: Vec<Value> = match wanted {
            "application/json" => vec![serde_json::from_slice(body)?],
            "application/jsonl" => {
                let lines = body.split(|b| *b == b'\n').filter(|line| !line.is_empty());
                lines.map(serde_json::from_slice).collect::<Result<_, _>>()?
            }
            _ => vec![],
        };
        for value in values {
            self.check_value(schema, &value).with_context(|| format!("{method} {path} ({status})"))?;
        }
        Ok(())
    }

    fn check_value(&self, schema: &Value, value: &Value) -> Result<()> {
        if schema.is_null() {
            return Ok(());
        }
        let whole = json!({ "allOf": [schema], "components": self.components });
        let validator = jsonschema::validator_for(&whole)?;
        let wrong: Vec<String> =
            validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        if !wrong.is_empty() {
            bail!("not as documented: {}\n{value:#}", wrong.join("; "));
        }
        Ok(())
    }
}

/// Refuses what is not named, and wants what may be null: the box always sends it.
fn tighten(schema: &mut Value) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object).cloned() else { return };
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let nullable = properties.iter().filter(|(_, schema)| may_be_null(schema)).map(|(name, _)| json!(name));
    let optional = |name: &Value| OPTIONAL.iter().any(|optional| name == optional);
    let more = nullable.filter(|name| !required.contains(name) && !optional(name));
    let required: Vec<Value> = required.iter().cloned().chain(more).collect();
    let object: &mut Map<String, Value> = match schema.as_object_mut() {
        Some(object) => object,
        None => return,
    };
    object.insert("required".into(), required.into());
    object.entry("additionalProperties").or_insert(false.into());
}

/// Left out where there is none.
const OPTIONAL: [&str; 1] = ["hint"];

fn may_be_null(schema: &Value) -> bool {
    let null = |kind: &Value| kind == "null";
    let kinds = schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(null));
    let choices = schema["oneOf"].as_array();
    kinds || choices.is_some_and(|choices| choices.iter().any(|choice| null(&choice["type"])))
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    let same = |(a, b): (&&str, &&str)| a == b || (a.starts_with('{') && !b.is_empty());
    template.len() == path.len() && template.iter().zip(&path).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        Schema::new(serde_json::to_value(agent_api::openapi()).unwrap()).unwrap()
    }

    fn container() -> Value {
        json!([{
            "name": "site.web", "state": "healthy", "reason": null, "image": "r/web:1", "digest": null,
            "pid": 7, "uptime": 3, "restarts": 0, "memory": null, "addresses": [], "ports": ["80:80/tcp"],
            "last_exit": { "cause": "exited", "code": 1, "signal": null },
        }])
    }

    fn check(path: &str, status: u16, value: &Value) -> Result<()> {
        schema().check("GET", path, status, "application/json", value.to_string().as_bytes())
    }

    #[test]
    fn a_reply_that_differs_in_anything_fails() {
        check("/v1/containers", 200, &container()).unwrap();
        for field in container()[0].as_object().unwrap().keys() {
            let mut without = container();
            without[0].as_object_mut().unwrap().remove(field);
            assert!(check("/v1/containers", 200, &without).is_err(), "without {field}");
            let mut other = container();
            other[0][field] = json!({ "no": "such type" });
            assert!(check("/v1/containers", 200, &other).is_err(), "{field} of another type");
        }
        let mut more = container();
        more[0]["surprise"] = json!(1);
        assert!(check("/v1/containers", 200, &more).is_err(), "an undocumented field");
        let mut deep = container();
        deep[0]["last_exit"]["code"] = json!("1");
        assert!(check("/v1/containers", 200, &deep).is_err(), "a wrong type further in");
        assert!(check("/v1/containers", 200, &json!({})).is_err());
        assert!(check("/v1/nothing", 200, &container()).is_err(), "an undocumented path");
    }

    #[test]
    fn errors_lines_and_media_types_are_judged_too() {
        let error = json!({ "error": { "kind": "not-found", "message": "no", "hints": ["x"] } });
        check("/v1/containers", 404, &error).unwrap();
        assert!(check("/v1/containers", 404, &json!({ "error": "no" })).is_err());
        let line = r#"{"number":1,"time":"t","kind":"k","subject":null,"message":"m"}"#;
        let lines = |text: &str| {
            schema().check("GET", "/v1/events?after=0", 200, "application/jsonl", text.as_bytes())
        };
        lines("").unwrap();
        lines(&format!("{line}\n{line}\n")).unwrap();
        assert!(lines(&format!("{line}\n{}\n", r#"{"number":"1"}"#)).is_err());
        assert!(schema().check("GET", "/v1/version", 200, "text/plain", b"{}").is_err());
    }

    #[test]
    fn paths_with_names_are_found() {
        assert!(matches("/v1/volumes/{instance}/{volume}", "/v1/volumes/a/b"));
        assert!(!matches("/v1/volumes/{instance}/{volume}", "/v1/volumes/a"));
        assert!(!matches("/v1/volumes/{instance}/{volume}", "/v1/volumes//b"));
        assert!(schema().readable().contains(&"/v1/status".to_owned()));
    }
}
