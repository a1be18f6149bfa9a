//! Keystone: a token, and where the other services are.

use serde::Deserialize;
use serde_json::{Value, json};

use super::OpenStackError;
use super::config::{Cloud, Credentials, Domain, Name};
use crate::Secret;
use crate::http::Http;

/// What Keystone gives.
pub(super) struct Access {
    pub(super) token: Secret,
    catalog: Vec<Service>,
    interface: String,
    region: Option<String>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    url: String,
    region: Option<String>,
}

/// Asks for a token (Identity API 3, `POST /v3/auth/tokens`).
pub(super) fn authenticate(http: &Http, cloud: &Cloud) -> Result<Access, OpenStackError> {
    let answer = http.post("/auth/tokens", &request(&cloud.credentials))?;
    let token = answer.headers.get("x-subject-token").and_then(|value| value.to_str().ok());
    let token = token.map(Secret::new).ok_or(OpenStackError::Token)?;
    Ok(Access {
        token,
        // Who has no project has no catalog.
        catalog: answer.read(&["token", "catalog"]).unwrap_or_default(),
        interface: cloud.interface.clone(),
        region: cloud.region.clone(),
    })
}

fn request(credentials: &Credentials) -> Value {
    match credentials {
        Credentials::Password { user, password, project } => {
            let mut who = named(user);
            who["password"] = json!(password.expose());
            let identity = json!({ "methods": ["password"], "password": { "user": who } });
            let mut auth = json!({ "identity": identity });
            if let Some(project) = project {
                auth["scope"] = json!({ "project": named(project) });
            }
            json!({ "auth": auth })
        }
        Credentials::Application { id, name, user, secret } => {
            let mut credential = json!({ "secret": secret.expose() });
            match (id, name, user) {
                (Some(id), _, _) => credential["id"] = json!(id),
                (None, name, user) => {
                    credential["name"] = json!(name);
                    credential["user"] = user.as_ref().map_or(Value::Null, named);
                }
            }
            let identity =
                json!({ "methods": ["application_credential"], "application_credential": credential });
            json!({ "auth": { "identity": identity } })
        }
    }
}

fn named(name: &Name) -> Value {
    match name {
        Name::Id(id) => json!({ "id": id }),
        Name::Named { name, domain: Domain::Id(id) } => json!({ "name": name, "domain": { "id": id } }),
        Name::Named { name, domain: Domain::Name(domain) } => {
            json!({ "name": name, "domain": { "name": domain } })
        }
    }
}

impl Access {
    /// Where a service is. Of several regions one must be named.
    pub(super) fn endpoint(&self, kind: &'static str) -> Result<&str, OpenStackError> {
        let services = self.catalog.iter().filter(|service| service.kind == kind);
        let found: Vec<&Endpoint> = services
            .flat_map(|service| &service.endpoints)
            .filter(|endpoint| endpoint.interface == self.interface)
            .filter(|endpoint| self.region.is_none() || endpoint.region == self.region)
            .collect();
        match found.as_slice() {
            [] => Err(OpenStackError::Service { kind, region: self.region.clone() }),
            [only] => Ok(&only.url),
            several => {
                let mut regions: Vec<String> = several.iter().filter_map(|e| e.region.clone()).collect();
                regions.dedup();
                // Two addresses of one region are two ways to the same.
                if regions.len() == 1 { Ok(&several[0].url) } else { Err(OpenStackError::Region(regions)) }
            }
        }
    }
}
