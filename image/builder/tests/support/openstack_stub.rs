//! Keystone, Glance and Nova as far as an image and a box go. Unlike the real ones they need nothing, and say
//! what is wrong where a test wants it.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::http::{Request, respond};

pub(crate) const PASSWORD: &str = "sesame of the user";
/// An application credential's.
pub(crate) const SECRET: &str = "sesame of the application";
pub(crate) const TOKEN: &str = "gAAAAABsesame";
/// The only image's identity.
pub(crate) const IMAGE: &str = "71c675ab-d94f-49cd-a114-e12490b328d9";
/// The only box's identity.
pub(crate) const SERVER: &str = "9168b536-cd40-4630-b43f-b259807c6e87";
const MADE: &str = "2026-11-29T09:00:00Z";

/// What is there, and how it behaves.
#[derive(Default)]
pub(crate) struct State {
    /// The image, as Glance describes it.
    pub(crate) image: Option<Value>,
    /// What Glance says of images that come in place of what they are.
    pub(crate) says: Value,
    /// Methods and paths of all requests.
    pub(crate) asked: Vec<String>,
}

/// A running cloud.
pub(crate) struct Stub {
    pub(crate) auth_url: String,
    state: Arc<Mutex<State>>,
}

impl Stub {
    /// Starts one on loopback, for as long as the test runs.
    pub(crate) fn start() -> Stub {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let auth_url = format!("{url}/v3");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            let answer = |stream: TcpStream| serve(&stream, &url, &mut shared.lock().unwrap());
            listener.incoming().flatten().for_each(answer);
        });
        Stub { auth_url, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn serve(stream: &TcpStream, url: &str, state: &mut State) {
    let request = Request::read(stream);
    let path = request.target.split('?').next().unwrap();
    let asked = format!("{} {path}", request.method);
    state.asked.push(asked.clone());
    if asked == "POST /v3/auth/tokens" && knows_a_secret(&request.document()) {
        let token = format!("X-Subject-Token: {TOKEN}\r\n");
        respond(stream, 201, &token, &json!({ "token": { "catalog": catalog(url) } }));
        return;
    }
    let (status, document) = if request.header("x-auth-token") == Some(TOKEN) {
        answer(&asked, &request, state)
    } else {
        (401, json!({ "error": { "message": "The request you have made requires authentication." } }))
    };
    respond(stream, status, "", &document);
}

/// Whether who asks for a token may have it.
fn knows_a_secret(document: &Value) -> bool {
    let identity = &document["auth"]["identity"];
    identity["password"]["user"]["password"] == PASSWORD
        || identity["application_credential"]["secret"] == SECRET
}

fn catalog(url: &str) -> Value {
    let service = |kind: &str, path: &str| {
        let endpoint = json!({ "interface": "public", "region": "RegionOne", "url": format!("{url}{path}") });
        json!({ "type": kind, "endpoints": [endpoint] })
    };
    json!([service("image", ""), service("compute", "/v2.1")])
}

fn answer(asked: &str, request: &Request, state: &mut State) -> (u16, Value) {
    match asked.replace(IMAGE, "{id}").replace(SERVER, "{id}").as_str() {
        "GET /v2/images" => (200, json!({ "images": Vec::from_iter(&state.image) })),
        "POST /v2/images" => {
            let name = request.document()["name"].clone();
            state.image = Some(json!({ "id": IMAGE, "name": name, "status": "queued", "created_at": MADE }));
            (201, json!(state.image))
        }
        "PUT /v2/images/{id}/file" => {
            store(&request.body, state);
            (204, Value::Null)
        }
        "GET /v2/images/{id}" => (200, json!(state.image)),
        "DELETE /v2/images/{id}" => {
            state.image = None;
            (204, Value::Null)
        }
        "GET /v2.1/flavors" => (200, json!({ "flavors": [{ "id": "1", "name": "m1.tiny" }] })),
        "GET /v2.1/os-keypairs" => (200, json!({ "keypairs": [] })),
        "POST /v2.1/os-keypairs" => (200, request.document()),
        "POST /v2.1/servers" => (202, json!({ "server": { "id": SERVER } })),
        "GET /v2.1/servers/{id}" => (200, json!({ "server": server() })),
        other => panic!("nobody asks the cloud for `{other}`"),
    }
}

/// Stores an image's content, and what is to be said of it.
fn store(content: &[u8], state: &mut State) {
    let hash: String = Sha512::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    let is = json!({
        "status": "active", "size": content.len(), "os_hash_algo": "sha512", "os_hash_value": hash,
    });
    let image = state.image.as_mut().unwrap();
    for (key, value) in [&is, &state.says].into_iter().filter_map(Value::as_object).flatten() {
        image[key] = value.clone();
    }
}

fn server() -> Value {
    let addresses = json!({ "net": [{ "addr": "127.0.0.1" }] });
    json!({ "id": SERVER, "name": "hub1", "status": "ACTIVE", "created": MADE, "addresses": addresses })
}
