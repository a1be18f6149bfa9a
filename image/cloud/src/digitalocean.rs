//! DigitalOcean's API, version 2.
//!
//! An image is fetched by the provider from a URL, in its own time, and may be refused long after the
//! request was accepted. Boxes carry a tag by which they are found again.

mod credentials;

pub use credentials::{CredentialsError, token};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{Answer, Http, HttpError};
use crate::{Image, Launch, MARK, PERHAPS_MADE, Patience, Secret, Server, WaitError, same_key};

/// Where the API is.
pub const API: &str = "https://api.digitalocean.com";
/// Most bytes of user-data.
pub const MAX_USER_DATA: usize = 64 * 1024;
/// Items a page.
const PAGE: usize = 200;

/// A request to DigitalOcean that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum DigitalOceanError {
    /// A request failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Waiting ended.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A box was asked for, and no answer says what became of it.
    #[error(transparent)]
    Unanswered(HttpError),
    /// The image was accepted and could not be imported.
    #[error("the image was not imported: {0}")]
    Import(String),
    /// The box was accepted and could not be made.
    #[error("the box was not made: its state is `{0}`")]
    Launch(String),
}

impl DigitalOceanError {
    /// What would help.
    pub fn hint(&self) -> Option<String> {
        match self {
            DigitalOceanError::Http(error) if error.status() == Some(401) => {
                Some("make a token with write access, and set DIGITALOCEAN_ACCESS_TOKEN".to_owned())
            }
            DigitalOceanError::Unanswered(_) => Some(PERHAPS_MADE.to_owned()),
            DigitalOceanError::Import(_) => {
                Some("the provider's reason is all that there is; a second attempt costs nothing".to_owned())
            }
            _ => None,
        }
    }
}

type Result<T> = std::result::Result<T, DigitalOceanError>;

#[derive(Deserialize)]
struct ImageDocument {
    id: u64,
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    status: Option<String>,
    error_message: Option<String>,
    created_at: Option<String>,
    tags: Option<Vec<String>>,
}

impl From<ImageDocument> for Image {
    fn from(document: ImageDocument) -> Image {
        Image {
            id: document.id.to_string(),
            name: document.name.unwrap_or_default(),
            state: document.status.unwrap_or_default(),
            created: document.created_at.unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
struct DropletDocument {
    id: u64,
    name: String,
    status: String,
    created_at: String,
    #[serde(default)]
    networks: Networks,
}

#[derive(Default, Deserialize)]
struct Networks {
    #[serde(default)]
    v4: Vec<Address>,
    #[serde(default)]
    v6: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    ip_address: String,
    #[serde(rename = "type")]
    kind: String,
}

impl From<DropletDocument> for Server {
    fn from(document: DropletDocument) -> Server {
        let Networks { v4, v6 } = document.networks;
        let (public, private): (Vec<_>, Vec<_>) =
            v4.into_iter().chain(v6).partition(|address| address.kind == "public");
        Server {
            id: document.id.to_string(),
            name: document.name,
            state: document.status,
            addresses: public.into_iter().chain(private).map(|address| address.ip_address).collect(),
            created: document.created_at,
        }
    }
}

#[derive(Deserialize)]
struct KeyDocument {
    id: u64,
    public_key: String,
}

/// An account at DigitalOcean.
pub struct DigitalOcean {
    http: Http,
}

impl DigitalOcean {
    /// Opens it; nothing is asked yet. `api`: [`API`], or what stands in for it.
    pub fn new(token: &Secret, api: &str) -> DigitalOcean {
        let authorization = Secret::new(format!("Bearer {}", token.expose()));
        DigitalOcean { http: Http::new(api, None).header("authorization", authorization) }
    }

    /// The account's images that came from here, without the snapshots of boxes.
    pub fn images(&self) -> Result<Vec<Image>> {
        let ours = |image: &ImageDocument| {
            image.kind.as_deref() == Some("custom") && image.tags.iter().flatten().any(|tag| tag == MARK)
        };
        Ok(self.private()?.into_iter().filter(ours).map(Image::from).collect())
    }

    /// The account's own image or snapshot with this identity, else all of exactly this name. It may lack the tag.
    pub fn named(&self, named: &str) -> Result<Vec<Image>> {
        let all: Vec<Image> = self.private()?.into_iter().map(Image::from).collect();
        if let Some(image) = all.iter().find(|image| image.id == named) {
            return Ok(vec![image.clone()]);
        }
        Ok(all.into_iter().filter(|image| image.name == named).collect())
    }

    /// Images that were brought there, snapshots and backups.
    fn private(&self) -> Result<Vec<ImageDocument>> {
        self.pages("/v2/images", "&private=true", "images")
    }

    /// Has an image fetched from `url`, and waits until boxes can be made of it.
    pub fn import(&self, name: &str, url: &str, region: &str, patience: &Patience<'_>) -> Result<Image> {
        patience.check()?;
        let body = json!({
            "name": name,
            "url": url,
            "region": region,
            "distribution": "Unknown",
            "description": "Holdfast",
            "tags": [MARK],
        });
        let id: u64 = self.http.post("/v2/images", &body)?.read(&["image", "id"])?;
        let waited = patience.until("the import of the image", || {
            let image: ImageDocument = self.http.get(&format!("/v2/images/{id}"))?.read(&["image"])?;
            match image.status.as_deref() {
                Some("available") => Ok(Some(image.into())),
                Some("deleted" | "retired") => {
                    let reason = image.error_message.filter(|reason| !reason.trim().is_empty());
                    let reason = reason.unwrap_or_else(|| "no reason is given".to_owned());
                    Err(DigitalOceanError::Import(reason.trim().to_owned()))
                }
                _ => Ok(None),
            }
        });
        // What is not waited for any more would fail when its source is gone; a refused one is gone already.
        if !matches!(waited, Ok(_) | Err(DigitalOceanError::Import(_))) {
            let _ = self.destroy_image(&id.to_string());
        }
        waited
    }

    /// Removes an image; says whether it was there.
    pub fn destroy_image(&self, id: &str) -> Result<bool> {
        Ok(self.http.delete(&format!("/v2/images/{id}"))?)
    }

    /// The boxes.
    pub fn servers(&self) -> Result<Vec<Server>> {
        let all: Vec<DropletDocument> =
            self.pages("/v2/droplets", &format!("&tag_name={MARK}"), "droplets")?;
        Ok(all.into_iter().map(Server::from).collect())
    }

    /// Has a box made; gives its identity.
    pub fn launch(&self, launch: &Launch, region: &str) -> Result<String> {
        let keys = launch.ssh_key.as_deref().map(|key| self.key(key, &launch.name)).transpose()?;
        // An image of one's own is named by number.
        let image = launch.image.parse::<u64>().map_or_else(|_| json!(launch.image), |id| json!(id));
        let body = json!({
            "name": launch.name,
            "region": region,
            "size": launch.size,
            "image": image,
            "ssh_keys": keys.into_iter().collect::<Vec<_>>(),
            "user_data": launch.user_data.expose(),
            "with_droplet_agent": false,
            "tags": [MARK],
        });
        let answer = self.http.post("/v2/droplets", &body);
        let id = answer.and_then(|answer| answer.read::<u64>(&["droplet", "id"])).map_err(not_made)?;
        Ok(id.to_string())
    }

    /// Waits until a box runs and has an address.
    pub fn ready(&self, id: &str, patience: &Patience<'_>) -> Result<Server> {
        patience.until("making the box", || {
            let droplet: DropletDocument =
                self.http.get(&format!("/v2/droplets/{id}"))?.read(&["droplet"])?;
            let server = Server::from(droplet);
            match server.state.as_str() {
                "active" if !server.addresses.is_empty() => Ok(Some(server)),
                "new" | "active" => Ok(None),
                _ => Err(DigitalOceanError::Launch(server.state)),
            }
        })
    }

    /// Removes a box; says whether it was there.
    pub fn destroy_server(&self, id: &str) -> Result<bool> {
        Ok(self.http.delete(&format!("/v2/droplets/{id}"))?)
    }

    /// The account's number of a public key, which is added where it is not known.
    fn key(&self, public_key: &str, name: &str) -> Result<u64> {
        let known: Vec<KeyDocument> = self.pages("/v2/account/keys", "", "ssh_keys")?;
        if let Some(key) = known.iter().find(|key| same_key(&key.public_key, public_key)) {
            return Ok(key.id);
        }
        let body = json!({ "name": format!("holdfast {name}"), "public_key": public_key });
        Ok(self.http.post("/v2/account/keys", &body)?.read(&["ssh_key", "id"])?)
    }

    /// The items of all pages of a list; `filter`: `&NAME=VALUE`, or nothing.
    fn pages<T: serde::de::DeserializeOwned>(&self, path: &str, filter: &str, key: &str) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for page in 1.. {
            let answer = self.http.get(&format!("{path}?per_page={PAGE}&page={page}{filter}"))?;
            let mut items: Vec<T> = answer.read(&[key])?;
            let last = items.is_empty() || !has_next(&answer);
            all.append(&mut items);
            if last {
                break;
            }
        }
        Ok(all)
    }
}

/// Why no box was made, or none is known of.
fn not_made(error: HttpError) -> DigitalOceanError {
    if error.is_refusal() { DigitalOceanError::Http(error) } else { DigitalOceanError::Unanswered(error) }
}

fn has_next(answer: &Answer) -> bool {
    answer.at(&["links", "pages", "next"]).is_ok_and(Value::is_string)
}
