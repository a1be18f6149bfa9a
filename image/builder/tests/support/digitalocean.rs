//! DigitalOcean's control plane, as far as images, boxes and keys go, held against the provider's own
//! specification: what is asked and answered must be what it says, and no operation or key is taken that it
//! does not name. It fetches images from their URL like the real one, without credentials, HEAD first.
//!
//! That specification is an excerpt. Where `HOLDFAST_PRISM` is the address of a prism that was started with the whole
//! of it, each request must be right to that one, too.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use super::http::{Request, respond};

const SPECIFICATION: &str = include_str!("../specification/digitalocean.json");
pub(crate) const TOKEN: &str = "dop_v1_sesame";

/// What is there, and how it behaves.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) images: Vec<Value>,
    /// The bytes of images, as they were fetched.
    pub(crate) contents: Vec<Vec<u8>>,
    pub(crate) droplets: Vec<Value>,
    pub(crate) keys: Vec<Value>,
    /// Bodies of the requests that make boxes.
    pub(crate) launched: Vec<Value>,
    /// Why each import ends late, if it does.
    pub(crate) refuse: Option<String>,
    /// How many looks it takes until something is ready.
    pub(crate) slow: u64,
    /// Requests that are answered with 500 first.
    pub(crate) failing: usize,
    /// Looks at one thing that are answered with 500 first.
    pub(crate) failing_looks: usize,
    /// Items a page, at most.
    pub(crate) page: usize,
    /// Whether those who have a box made are cut off before they hear of it.
    pub(crate) cuts_launches: bool,
}

/// A running control plane.
pub(crate) struct ControlPlane {
    pub(crate) url: String,
    pub(crate) state: Arc<Mutex<State>>,
}

impl ControlPlane {
    /// Starts one on loopback, for as long as the test runs.
    pub(crate) fn start() -> ControlPlane {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { slow: 2, page: 200, ..State::default() }));
        let shared = state.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| serve(&stream, &shared)));
        ControlPlane { url, state }
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds a snapshot of a box.
    pub(crate) fn add_snapshot(&self, id: u64, name: &str) {
        self.add("snapshot", id, name);
    }

    /// Adds an image that was brought there by something else, newer than all that were imported.
    pub(crate) fn add_foreign(&self, id: u64, name: &str) {
        self.add("custom", id, name);
    }

    fn add(&self, kind: &str, id: u64, name: &str) {
        self.state().images.push(json!({
            "id": id,
            "name": name,
            "type": kind,
            "distribution": "Unknown",
            "slug": null,
            "public": false,
            "regions": ["fra1"],
            "created_at": "2026-11-29T09:00:00Z",
            "min_disk_size": 25,
            "size_gigabytes": 1.5,
            "description": "",
            "tags": [],
            "status": "available",
            "error_message": ""
        }));
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let request = Request::read(stream);
    let (method, target) = (request.method.as_str(), request.target.as_str());
    let authorized = request.header("authorization").is_some_and(|value| value == format!("Bearer {TOKEN}"));
    let (status, answer) = if let Some(violation) = prism(method, target, &request.body) {
        (422, error("unprocessable_entity", &format!("prism: {violation}")))
    } else if authorized {
        answer(method, target, request.document(), &mut state.lock().unwrap())
    } else {
        (401, error("unauthorized", "Unable to authenticate you"))
    };
    if state.lock().unwrap().cuts_launches && (method, target) == ("POST", "/v2/droplets") {
        return;
    }
    respond(stream, status, "", &answer);
}

/// What is wrong with a request to a prism that was started with the provider's specification, if there is one. It
/// knows nothing of what is there, so its answer is of no use.
fn prism(method: &str, target: &str, body: &[u8]) -> Option<String> {
    let prism = std::env::var("HOLDFAST_PRISM").ok()?;
    let mut request = ureq::http::Request::builder().method(method).uri(format!("{prism}{target}"));
    request = request.header("authorization", format!("Bearer {TOKEN}"));
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    let agent =
        ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let answer = agent.run(request.body(body).unwrap()).unwrap();
    let violations = answer.headers().get("sl-violations");
    let violations = violations.map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned());
    violations.or_else(|| (answer.status() == 404).then(|| format!("{method} {target} is unknown")))
}

fn error(id: &str, message: &str) -> Value {
    json!({ "id": id, "message": message })
}

fn answer(method: &str, target: &str, body: Value, state: &mut State) -> (u16, Value) {
    if state.failing > 0 {
        state.failing -= 1;
        return (500, error("server_error", "Unexpected server-side error"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let id = path.rsplit('/').next().and_then(|last| last.parse::<u64>().ok());
    let operation = match id {
        Some(id) => format!("{method} {}", path.replace(&format!("/{id}"), "/{id}")),
        None => format!("{method} {path}"),
    };
    if let Err(problem) = check(&operation, "request", &body) {
        return (422, error("unprocessable_entity", &problem));
    }
    if operation.starts_with("GET") && id.is_some() && state.failing_looks > 0 {
        state.failing_looks -= 1;
        return (500, error("server_error", "Unexpected server-side error"));
    }
    let (status, answer) = match operation.as_str() {
        "GET /v2/images" => (200, page(&state.images, "images", target, query, state.page)),
        "POST /v2/images" => (202, json!({ "image": import(&body, state) })),
        "GET /v2/images/{id}" => one(&mut state.images, id, "image"),
        "DELETE /v2/images/{id}" => remove(&mut state.images, id),
        "GET /v2/droplets" => (200, page(&state.droplets, "droplets", target, query, state.page)),
        "POST /v2/droplets" => (202, json!({ "droplet": launch(&body, state), "links": {} })),
        "GET /v2/droplets/{id}" => one(&mut state.droplets, id, "droplet"),
        "DELETE /v2/droplets/{id}" => remove(&mut state.droplets, id),
        "GET /v2/account/keys" => (200, page(&state.keys, "ssh_keys", target, query, state.page)),
        "POST /v2/account/keys" => {
            let mut key = body;
            key["id"] = json!(state.keys.len() + 1);
            key["fingerprint"] = json!("3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa");
            state.keys.push(key.clone());
            (201, json!({ "ssh_key": key }))
        }
        other => panic!("nobody asks the provider for `{other}`"),
    };
    if status < 300
        && let Err(problem) = check(&operation, "response", &answer)
    {
        panic!("{operation} is not answered as the provider does: {problem}");
    }
    (status, answer)
}

/// Holds a document against what the provider says of it.
fn check(operation: &str, part: &str, document: &Value) -> Result<(), String> {
    let specification: Value = serde_json::from_str(SPECIFICATION).unwrap();
    let Some(said) = specification["operations"].get(operation) else {
        return Err(format!("{operation} is unknown"));
    };
    let Some(schema) = said.get(part) else {
        return if document.is_null() { Ok(()) } else { Err(format!("{operation} takes no body")) };
    };
    let mut schema = schema.clone();
    if part == "request" {
        let mut known = Vec::new();
        properties(&schema, &specification, &mut known);
        let keys = document.as_object().into_iter().flat_map(Map::keys);
        if let Some(key) = keys.into_iter().find(|key| !known.contains(key)) {
            return Err(format!("`{key}` is unknown"));
        }
    }
    schema["definitions"] = specification["definitions"].clone();
    jsonschema::draft4::validate(&schema, document)
        .map_err(|error| format!("{}: {error}", error.instance_path()))
}

/// Names of all properties that a schema has, in whatever it is made of.
fn properties(schema: &Value, specification: &Value, known: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        properties(&specification["definitions"][name], specification, known);
    }
    known.extend(schema["properties"].as_object().into_iter().flat_map(Map::keys).cloned());
    for parts in ["allOf", "anyOf", "oneOf"] {
        schema[parts]
            .as_array()
            .into_iter()
            .flatten()
            .for_each(|part| properties(part, specification, known));
    }
}

/// A page of a list, newest first or not: as it is.
fn page(all: &[Value], key: &str, target: &str, query: &str, most: usize) -> Value {
    let number = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        found.and_then(|value| value.parse::<usize>().ok())
    };
    let (page, size) = (number("page").unwrap_or(1), number("per_page").unwrap_or(20).min(most));
    let items: Vec<&Value> = all.iter().skip((page - 1) * size).take(size).collect();
    let more = page * size < all.len();
    let next = format!("https://api.digitalocean.com{target}");
    let links = if more { json!({ "pages": { "next": next } }) } else { json!({}) };
    json!({ key: items, "links": links, "meta": { "total": all.len() } })
}

/// One item, which changes as it is looked at.
fn one(all: &mut [Value], id: Option<u64>, key: &str) -> (u16, Value) {
    let Some(item) = all.iter_mut().find(|item| item["id"].as_u64() == id) else {
        return (404, error("not_found", "The resource you were accessing could not be found."));
    };
    let left = item["looks"].as_u64().unwrap();
    if left > 0 {
        item["looks"] = json!(left - 1);
    } else {
        for (name, value) in item["then"].as_object().unwrap().clone() {
            item[name] = value;
        }
    }
    (200, json!({ key: item }))
}

fn remove(all: &mut Vec<Value>, id: Option<u64>) -> (u16, Value) {
    let before = all.len();
    all.retain(|item| item["id"].as_u64() != id);
    if all.len() < before { (204, Value::Null) } else { (404, error("not_found", "not found")) }
}

fn import(body: &Value, state: &mut State) -> Value {
    let url = body["url"].as_str().unwrap();
    let there = ureq::head(url).call().map(|answer| answer.status().as_u16());
    let content = ureq::get(url)
        .call()
        .and_then(|mut answer| answer.body_mut().with_config().limit(1 << 30).read_to_vec());
    let refused = match (there, content) {
        (Ok(200), Ok(content)) => {
            state.contents.push(content);
            state.refuse.clone()
        }
        _ => Some("the URL cannot be read".to_owned()),
    };
    let then = match refused {
        Some(reason) => json!({ "status": "deleted", "error_message": reason }),
        None => json!({ "status": "available", "regions": [body["region"]] }),
    };
    let image = json!({
        "id": 7_555_620 + state.images.len(),
        "name": body["name"],
        "type": "custom",
        "distribution": "Unknown",
        "slug": null,
        "public": false,
        "regions": [],
        "created_at": format!("2026-11-2{}T09:00:00Z", state.images.len()),
        "tags": body["tags"],
        "status": "NEW",
        "error_message": "",
        "looks": state.slow,
        "then": then,
    });
    state.images.push(image.clone());
    image
}

fn launch(body: &Value, state: &mut State) -> Value {
    state.launched.push(body.clone());
    let address = |kind: &str, address: &str| json!({ "ip_address": address, "netmask": "255.255.240.0", "gateway": "203.0.113.1", "type": kind });
    let networks =
        json!({ "v4": [address("private", "10.110.0.7"), address("public", "127.0.0.1")], "v6": [] });
    let region = json!({
        "name": "Frankfurt 1", "slug": body["region"], "sizes": [], "available": true, "features": [],
    });
    let size = json!({
        "slug": body["size"], "memory": 1024, "vcpus": 1, "disk": 25, "transfer": 1.0, "price_monthly": 6.0,
        "price_hourly": 0.00893, "regions": [], "available": true, "description": "Basic",
    });
    let droplet = json!({
        "id": 3_164_444 + state.droplets.len(),
        "name": body["name"],
        "memory": 1024,
        "vcpus": 1,
        "disk": 25,
        "locked": false,
        "status": "new",
        "kernel": { "id": 7515, "name": "x", "version": "1" },
        "created_at": format!("2026-11-2{}T10:00:00Z", state.droplets.len()),
        "features": [],
        "backup_ids": [],
        "next_backup_window": { "start": "2026-11-29T00:00:00Z", "end": "2026-11-29T23:00:00Z" },
        "snapshot_ids": [],
        "image": { "id": body["image"] },
        "volume_ids": [],
        "size": size,
        "size_slug": body["size"],
        "networks": { "v4": [], "v6": [] },
        "region": region,
        "tags": body["tags"],
        "looks": state.slow,
        "then": { "status": "active", "networks": networks },
    });
    state.droplets.push(droplet.clone());
    droplet
}
