//! Images and boxes of a project.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::config::Cloud;
use super::identity::{self, Access};
use crate::http::{Answer, Http, HttpError, encoded};
use crate::{Image, Launch, MARK, PERHAPS_MADE, Patience, Secret, Server, WaitError, same_key};

/// Most bytes of user-data, in base64.
pub const MAX_USER_DATA: usize = 65_535;

/// A request to OpenStack that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum OpenStackError {
    /// A request failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Waiting ended.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A box was asked for, and no answer says what became of it.
    #[error(transparent)]
    Unanswered(HttpError),
    /// Keystone gave none.
    #[error("the identity service gave no token")]
    Token,
    /// The cloud has no such service.
    #[error("the cloud has no service `{kind}`{}", region.as_ref().map(|r| format!(" in the region `{r}`")).unwrap_or_default())]
    Service {
        /// As the catalog calls it.
        kind: &'static str,
        /// Where it was looked for.
        region: Option<String>,
    },
    /// The cloud has several regions and none is named.
    #[error("the cloud has several regions: {}", .0.join(", "))]
    Region(Vec<String>),
    /// There is no such thing.
    #[error("there is no {what} `{name}`")]
    Unknown {
        /// Which kind.
        what: &'static str,
        /// The name that was given.
        name: String,
    },
    /// A file cannot be read.
    #[error("failed to read `{0}`")]
    File(PathBuf, #[source] std::io::Error),
    /// What the cloud stored is not what was sent.
    #[error("the cloud stored another image than was sent: {what} {found} instead of {expected}")]
    Stored {
        /// What was compared.
        what: &'static str,
        /// What was sent.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An image or a box failed.
    #[error("{what} failed: {reason}")]
    Failed {
        /// An image or a box.
        what: &'static str,
        /// What the cloud says.
        reason: String,
    },
}

impl OpenStackError {
    /// What would help.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            OpenStackError::Http(error) if error.status() == Some(401) => {
                "check user, password and project, or make a new application credential".to_owned()
            }
            // Nova's answer where it cannot choose; others of this status are about other things.
            OpenStackError::Http(HttpError::Status { status: 409, told, .. }) if told.contains("network") => {
                "of several networks one must be named: --network NAME".to_owned()
            }
            OpenStackError::Unanswered(_) => PERHAPS_MADE.to_owned(),
            OpenStackError::Region(_) => "name one with --region or OS_REGION_NAME".to_owned(),
            OpenStackError::Unknown { what: "size", .. } => {
                "`openstack flavor list` shows what there is".to_owned()
            }
            _ => return None,
        })
    }
}

type Result<T> = std::result::Result<T, OpenStackError>;

/// How the disk and the firmware of a box are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// A SCSI disk (`/dev/sda`), which most clouds can enlarge and detach best; else virtio (`/dev/vda`).
    pub scsi: bool,
    /// Started by UEFI; else by BIOS.
    pub uefi: bool,
}

#[derive(Deserialize)]
struct ImageDocument {
    id: String,
    name: Option<String>,
    status: String,
    created_at: String,
    size: Option<u64>,
    os_hash_algo: Option<String>,
    os_hash_value: Option<String>,
}

#[derive(Deserialize)]
struct ServerDocument {
    id: String,
    name: String,
    status: String,
    created: String,
    #[serde(default)]
    addresses: std::collections::BTreeMap<String, Vec<Address>>,
    #[serde(default)]
    metadata: std::collections::BTreeMap<String, String>,
    fault: Option<Fault>,
}

#[derive(Deserialize)]
struct Address {
    addr: IpAddr,
}

#[derive(Deserialize)]
struct Fault {
    message: String,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
}

impl From<ImageDocument> for Image {
    fn from(document: ImageDocument) -> Image {
        let ImageDocument { id, name, status, created_at, .. } = document;
        Image { id, name: name.unwrap_or_default(), state: status, created: created_at }
    }
}

impl From<ServerDocument> for Server {
    fn from(document: ServerDocument) -> Server {
        let ServerDocument { id, name, status, created, addresses, .. } = document;
        let mut addresses: Vec<IpAddr> = addresses.into_values().flatten().map(|a| a.addr).collect();
        addresses.sort_by_key(rank);
        Server {
            id,
            name,
            state: status,
            addresses: addresses.iter().map(IpAddr::to_string).collect(),
            created,
        }
    }
}

/// Public IPv4 first, then public IPv6, then private ones.
fn rank(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() || v4.is_loopback() => 2,
        IpAddr::V4(_) => 0,
        IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => 3,
        IpAddr::V6(_) => 1,
    }
}

/// A project of a cloud.
pub struct OpenStack {
    http: Http,
    access: Access,
}

impl OpenStack {
    /// Logs in.
    pub fn open(cloud: &Cloud) -> Result<OpenStack> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|e| OpenStackError::File(path.clone(), e));
        let ca = cloud.ca.as_ref().map(read).transpose()?;
        let base = cloud.auth_url.trim_end_matches('/');
        let base = if base.ends_with("/v3") { base.to_owned() } else { format!("{base}/v3") };
        let http = Http::new(&base, ca.as_deref());
        let access = identity::authenticate(&http, cloud)?;
        Ok(OpenStack { http, access })
    }

    /// A service of the cloud; `version` is added to its address where the catalog leaves it out.
    fn service(&self, kind: &'static str, version: &str) -> Result<Http> {
        let url = self.access.endpoint(kind)?.trim_end_matches('/');
        let url = if url.ends_with(version) { url.to_owned() } else { format!("{url}{version}") };
        Ok(self.http.of(&url).header("x-auth-token", self.access.token.clone()))
    }

    fn image(&self) -> Result<Http> {
        self.service("image", "/v2")
    }

    fn compute(&self) -> Result<Http> {
        self.service("compute", "")
    }

    /// The project's images that came from here.
    pub fn images(&self) -> Result<Vec<Image>> {
        self.find_images(&format!("tag={MARK}"))
    }

    /// The image or snapshot with this identity, else all of exactly this name. It may lack the tag: Nova gives its
    /// snapshots none.
    pub fn named(&self, named: &str) -> Result<Vec<Image>> {
        // What could be no identity is not looked for as one.
        if named.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            match self.image()?.get(&format!("/images/{named}")) {
                Ok(answer) => return Ok(vec![answer.read::<ImageDocument>(&[])?.into()]),
                Err(error) if error.status() == Some(404) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Without the operator, Glance takes what stands before a colon in the name for one.
        let mut found = self.find_images(&format!("name=eq:{}", encoded(named)))?;
        // Not every database tells upper from lower case.
        found.retain(|image| image.name == named);
        Ok(found)
    }

    /// The images that a query finds, on all pages.
    fn find_images(&self, query: &str) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        let mut next = Some(format!("/images?{query}&limit=100"));
        while let Some(path) = next {
            let answer = self.image()?.get(&path)?;
            images.extend(answer.read::<Vec<ImageDocument>>(&["images"])?.into_iter().map(Image::from));
            next = answer
                .at(&["next"])
                .ok()
                .and_then(Value::as_str)
                .map(|path| path.trim_start_matches("/v2").to_owned());
        }
        Ok(images)
    }

    /// Sends an image, whose format is `raw` or `qcow2`, and compares what is stored with what was sent.
    /// `sent` is told how many bytes went.
    pub fn upload(
        &self,
        name: &str,
        file: &Path,
        format: &str,
        disk: Disk,
        sent: &mut dyn FnMut(u64),
        patience: &Patience<'_>,
    ) -> Result<Image> {
        patience.check()?;
        let mut body = json!({
            "name": name,
            "disk_format": format,
            "container_format": "bare",
            "visibility": "private",
            "tags": [MARK],
            "os_type": "linux",
            "hw_disk_bus": if disk.scsi { "scsi" } else { "virtio" },
            "hw_firmware_type": if disk.uefi { "uefi" } else { "bios" },
        });
        if disk.scsi {
            body["hw_scsi_model"] = json!("virtio-scsi");
        }
        let id: String = self.image()?.post("/images", &body)?.read(&["id"])?;
        let stored = self.content(&id, file, sent, patience);
        if stored.is_err() {
            // What led here is told; a second error would hide it.
            let _ = self.destroy_image(&id);
        }
        stored
    }

    fn content(
        &self,
        id: &str,
        file: &Path,
        sent: &mut dyn FnMut(u64),
        patience: &Patience<'_>,
    ) -> Result<Image> {
        let unreadable = |error| OpenStackError::File(file.to_owned(), error);
        let content = File::open(file).map_err(unreadable)?;
        let length = content.metadata().map_err(unreadable)?.len();
        let mut content = Hashed { content, hash: Sha512::new(), sent, cancelled: patience.cancelled };
        let answer = self.image()?.put(&format!("/images/{id}/file"), &mut content, length);
        let hash = content.hash.finalize();
        patience.check()?;
        answer?;
        let image = patience.until("storing the image", || {
            let answer: Answer = self.image()?.get(&format!("/images/{id}"))?;
            let image: ImageDocument = answer.read(&[])?;
            match image.status.as_str() {
                "active" => Ok(Some(image)),
                "queued" | "saving" | "uploading" | "importing" => Ok(None),
                other => Err(OpenStackError::Failed {
                    what: "the image",
                    reason: format!("its state is `{other}`"),
                }),
            }
        })?;
        let sha512: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        compare(&image, length, &sha512)?;
        Ok(image.into())
    }

    /// Removes an image; says whether it was there.
    pub fn destroy_image(&self, id: &str) -> Result<bool> {
        Ok(self.image()?.delete(&format!("/images/{id}"))?)
    }

    /// The boxes.
    pub fn servers(&self) -> Result<Vec<Server>> {
        let servers: Vec<ServerDocument> = all(&self.compute()?, "/servers/detail", "servers")?;
        let ours = |server: &ServerDocument| server.metadata.contains_key(MARK) && server.status != "DELETED";
        Ok(servers.into_iter().filter(ours).map(Server::from).collect())
    }

    /// Has a box made; gives its identity. `network`: name or id of the one that it is on, where the
    /// project has several.
    pub fn launch(&self, launch: &Launch, network: Option<&str>) -> Result<String> {
        let flavor = pick(all(&self.compute()?, "/flavors", "flavors")?, "size", &launch.size)?;
        let mut server = json!({
            "name": launch.name,
            "imageRef": launch.image,
            "flavorRef": flavor,
            "user_data": STANDARD.encode(launch.user_data.expose()),
            "config_drive": true,
            "metadata": { MARK: "1" },
        });
        if let Some(key) = &launch.ssh_key {
            server["key_name"] = json!(self.key(key)?);
        }
        if let Some(name) = network {
            server["networks"] = json!([{ "uuid": self.network_id(name)? }]);
        }
        let answer = self.compute()?.post("/servers", &json!({ "server": server }));
        answer.and_then(|answer| answer.read(&["server", "id"])).map_err(not_made)
    }

    /// Waits until a box runs and has an address.
    pub fn ready(&self, id: &str, patience: &Patience<'_>) -> Result<Server> {
        patience.until("making the box", || {
            let server: ServerDocument = self.compute()?.get(&format!("/servers/{id}"))?.read(&["server"])?;
            match server.status.as_str() {
                "ACTIVE" if server.addresses.values().any(|list| !list.is_empty()) => {
                    Ok(Some(Server::from(server)))
                }
                "ACTIVE" | "BUILD" => Ok(None),
                other => {
                    let reason = format!("its state is `{other}`");
                    let reason = server.fault.map_or(reason, |fault| fault.message.trim().to_owned());
                    Err(OpenStackError::Failed { what: "the box", reason })
                }
            }
        })
    }

    /// Removes a box; says whether it was there.
    pub fn destroy_server(&self, id: &str) -> Result<bool> {
        Ok(self.compute()?.delete(&format!("/servers/{id}"))?)
    }

    /// The name of a public key at Nova, which is given it where it does not know it.
    fn key(&self, public_key: &str) -> Result<String> {
        let answer = self.compute()?.get("/os-keypairs")?;
        let known = answer.at(&["keypairs"])?.as_array().cloned().unwrap_or_default();
        let same = |text: &Value| text.as_str().is_some_and(|text| same_key(text, public_key));
        if let Some(key) = known.iter().map(|pair| &pair["keypair"]).find(|key| same(&key["public_key"])) {
            return Ok(key["name"].as_str().unwrap_or_default().to_owned());
        }
        let name = key_name(public_key);
        let body = json!({ "keypair": { "name": name, "public_key": public_key } });
        match self.compute()?.post("/os-keypairs", &body) {
            // Another launch at the same time has brought it.
            Err(error) if error.status() == Some(409) => Ok(name),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(name),
        }
    }

    fn network_id(&self, name: &str) -> Result<String> {
        let networks = all(&self.service("network", "/v2.0")?, "/networks", "networks")?;
        pick(networks, "network", name)
    }
}

/// Why no box was made, or none is known of.
fn not_made(error: HttpError) -> OpenStackError {
    if error.is_refusal() { OpenStackError::Http(error) } else { OpenStackError::Unanswered(error) }
}

/// Whether what is stored is what was sent: as many bytes, and the same hash where the cloud has one of this kind.
fn compare(image: &ImageDocument, length: u64, sha512: &str) -> Result<()> {
    let stored = |what, expected: String, found: String| {
        if expected == found { Ok(()) } else { Err(OpenStackError::Stored { what, expected, found }) }
    };
    stored("size", length.to_string(), image.size.unwrap_or_default().to_string())?;
    if image.os_hash_algo.as_deref() == Some("sha512") {
        stored("SHA-512", sha512.to_owned(), image.os_hash_value.clone().unwrap_or_default())?;
    }
    Ok(())
}

/// All that a service has at `path` under `key`; Nova and Neutron give as much at once as their operator allows, and
/// where the rest is.
fn all<T: DeserializeOwned>(service: &Http, path: &str, key: &str) -> Result<Vec<T>> {
    let mut found = Vec::new();
    let mut page = path.to_owned();
    loop {
        let answer = service.get(&page)?;
        let some: Vec<T> = answer.read(&[key])?;
        let rest = next(&answer.json, key).filter(|_| !some.is_empty());
        found.extend(some);
        let Some(query) = rest else { return Ok(found) };
        page = format!("{path}?{query}");
    }
}

/// The query for the page after this one. A service that stands behind another may not know its own address, so
/// that the rest of the link counts for nothing.
fn next<'a>(page: &'a Value, key: &str) -> Option<&'a str> {
    let links = page.get(format!("{key}_links"))?.as_array()?;
    let link = links.iter().find(|link| link["rel"] == "next")?;
    link["href"].as_str()?.split_once('?').map(|(_, query)| query)
}

/// What a public key is called at Nova, by its content: two boxes of one name may have two keys, and not every box's
/// name could be a key's.
fn key_name(public_key: &str) -> String {
    let content = public_key.split_whitespace().nth(1).unwrap_or(public_key);
    let hash: String =
        Sha512::digest(content.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{MARK} {hash}")
}

/// The id of the thing with this name or id.
fn pick(all: Vec<Named>, what: &'static str, name: &str) -> Result<String> {
    let found = all.into_iter().find(|item| item.id == name || item.name == name);
    found.map(|item| item.id).ok_or_else(|| OpenStackError::Unknown { what, name: name.to_owned() })
}

/// A file that is hashed while it is read, and ends with an error when the user wants to stop.
struct Hashed<'a> {
    content: File,
    hash: Sha512,
    sent: &'a mut dyn FnMut(u64),
    cancelled: &'a dyn Fn() -> bool,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if (self.cancelled)() {
            return Err(std::io::Error::other("interrupted"));
        }
        let count = self.content.read(buffer)?;
        self.hash.update(&buffer[..count]);
        (self.sent)(count as u64);
        Ok(count)
    }
}

/// User-data as Nova takes it, for its limit.
pub fn fits(user_data: &Secret) -> bool {
    STANDARD.encode(user_data.expose()).len() <= MAX_USER_DATA
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_asked_for_where_this_one_was() {
        let page = |rel: &str, href: &str| json!({ "servers_links": [{ "rel": rel, "href": href }] });
        for (page, expect) in [
            (page("next", "http://10.0.0.1/v2.1/servers/detail?limit=2&marker=7"), Some("limit=2&marker=7")),
            (page("next", "http://10.0.0.1/v2.1/servers/detail"), None),
            (page("previous", "http://10.0.0.1/v2.1/servers/detail?marker=7"), None),
            (json!({ "servers": [] }), None),
        ] {
            assert_eq!(next(&page, "servers"), expect, "{page}");
        }
    }

    #[test]
    fn what_is_stored_is_compared_with_what_was_sent() {
        let sent = json!({
            "id": "1", "name": "a", "status": "active", "created_at": "2026-11-29T09:00:00Z", "size": 3,
            "os_hash_algo": "sha512", "os_hash_value": "abc",
        });
        for (stored, expect) in [
            (json!({}), None),
            (json!({ "size": 2 }), Some("size 2 instead of 3")),
            (json!({ "size": null }), Some("size 0 instead of 3")),
            (json!({ "os_hash_value": "abd" }), Some("SHA-512 abd instead of abc")),
            (json!({ "os_hash_value": null }), Some("SHA-512  instead of abc")),
            // Of another kind, it says nothing; the size still does.
            (json!({ "os_hash_algo": "sha256", "os_hash_value": "abd" }), None),
            (json!({ "os_hash_algo": "sha256", "size": 4 }), Some("size 4 instead of 3")),
            (json!({ "os_hash_algo": null, "os_hash_value": null }), None),
        ] {
            let mut document = sent.clone();
            for (key, value) in stored.as_object().unwrap() {
                document[key] = value.clone();
            }
            let image: ImageDocument = serde_json::from_value(document).unwrap();
            let told = compare(&image, 3, "abc").err().map(|error| error.to_string());
            let expect = expect.map(|what| format!("the cloud stored another image than was sent: {what}"));
            assert_eq!(told, expect, "{stored}");
        }
    }

    #[test]
    fn a_key_is_named_by_its_content() {
        let name = key_name("ssh-ed25519 AAAAC3Nza ops");
        assert_eq!(name, key_name("ssh-ed25519 AAAAC3Nza another comment"));
        assert_ne!(name, key_name("ssh-ed25519 AAAAC3Nzb ops"));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == ' '), "Nova takes {name}");
    }

    #[test]
    fn hints_are_of_what_nova_says_of_a_box() {
        let hint = |status: u16, told: &str| {
            let url = "https://nova.example.org/servers".to_owned();
            let method = ureq::http::Method::POST;
            not_made(HttpError::Status { method, url, status, told: told.to_owned() }).hint()
        };
        let network = hint(409, "More than one possible network found. Specify network ID(s)");
        assert_eq!(network.as_deref(), Some("of several networks one must be named: --network NAME"));
        assert_eq!(hint(409, "Key pair 'ops' already exists."), None);
        assert_eq!(hint(504, "Gateway Time-out").as_deref(), Some(PERHAPS_MADE));
    }
}
