//! Metadata services: what the provider says of this box over HTTP on a link-local address.
//!
//! One call of [`ask`] asks each address once, with a limit on each, and gives what is there: an offer, or
//! that nothing is offered. What is silent, cut short, half filled or of another service's is an error that
//! says so, and the caller asks again when it likes: nothing waits here. Anyone on the way could answer in
//! a service's stead, so only a machine whose firmware names such a provider ([`Platform::detect`]) asks
//! at all, and a redirect is followed to the service itself alone. Deliberately absent: tokens (of the
//! providers that are asked, none gives any).

mod http;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::time::Duration;

use crate::network::Network;
use crate::providers::{self, digitalocean, openstack};
use crate::tree::{Tree, Wrong};
use crate::{Channel, DecodeError, MAX_DELIVERED, Offer, UserData, read};

use http::Service;
use hyper::body::Bytes;

/// How long the requests to one address may take together of which the box needs the answers.
const LIMIT: Duration = Duration::from_secs(20);
/// How long each of the others may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Where every metadata service is, over IPv4.
const IPV4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Where OpenStack's is, over IPv6, on the link of each NIC.
const IPV6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe);

/// A provider with a metadata service that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// One document, `/metadata/v1.json`.
    DigitalOcean,
    /// A folder, `/openstack/latest`, in which the documents lie as on a config drive.
    OpenStack,
}

/// Product names and asset tags by which Nova's machines and those of its kin are known.
const OPENSTACK: [&str; 7] = [
    "OpenStack Nova",
    "OpenStack Compute",
    "OpenStack",
    "OpenTelekomCloud",
    "SAP CCloud VM",
    "HUAWEICLOUD",
    "Samsung Cloud Platform",
];

impl Platform {
    /// The provider that the firmware names in the folder `dmi`, which is `/sys/class/dmi/id`.
    pub fn detect(dmi: &Path) -> Option<Platform> {
        let says = |name: &str| {
            let text = std::fs::read_to_string(dmi.join(name)).unwrap_or_default();
            text.trim().to_owned()
        };
        if says("sys_vendor") == "DigitalOcean" {
            return Some(Platform::DigitalOcean);
        }
        let named = ["product_name", "chassis_asset_tag"].map(says);
        named.iter().any(|name| OPENSTACK.contains(&name.as_str())).then_some(Platform::OpenStack)
    }

    /// Where its service may be; `links` are the kernel's numbers of the NICs.
    pub fn addresses(self, links: &[u32]) -> Vec<SocketAddr> {
        let mut addresses = vec![SocketAddr::from((IPV4, 80))];
        if self == Platform::OpenStack {
            addresses.extend(links.iter().map(|link| SocketAddr::V6(SocketAddrV6::new(IPV6, 80, 0, *link))));
        }
        addresses
    }
}

/// Why there is no answer yet.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no connection, or it broke.
    #[error("the metadata service at {0} cannot be reached")]
    Unreachable(SocketAddr, #[source] std::io::Error),
    /// It did not answer in time.
    #[error("the metadata service at {0} does not answer")]
    Silent(SocketAddr),
    /// The connection broke, or what came is no HTTP.
    #[error("the answer to `{0}` of the metadata service broke off")]
    Broken(String, #[source] hyper::Error),
    /// An answer with another status than 200 or 404.
    #[error("the metadata service answers `{0}` with status {1}")]
    Status(String, u16),
    /// Something else on the way answered.
    #[error("the metadata service redirects `{0}` to `{1}`, which is not its own")]
    Elsewhere(String, String),
    /// More than anything a provider says.
    #[error("the answer to `{0}` of the metadata service is larger than {1} bytes")]
    TooLarge(String, usize),
    /// Not what is to be there.
    #[error("the answer to `{0}` of the metadata service is not JSON")]
    Json(String, #[source] serde_json::Error),
    /// The box's own identity is missing: the rest may be, too.
    #[error("`{0}` of the metadata service has no `{1}` yet")]
    HalfFilled(String, &'static str),
    /// A value of what is the box's own.
    #[error("`{0}` of the metadata service: {1}")]
    Wrong(String, Wrong),
    /// There is no address to ask.
    #[error("there is no metadata service to ask")]
    Nowhere,
}

/// Asks the services at these addresses, one after another, until one offers something; `Ok(None)` where
/// all that answer say that there is nothing, and at least one does. Else the error is the first address's.
pub async fn ask(platform: Platform, addresses: &[SocketAddr]) -> Result<Option<Offer>, ServiceError> {
    let (mut first, mut nothing) = (None, false);
    for address in addresses {
        let service = Service::new(*address);
        let asked = async {
            match platform {
                Platform::DigitalOcean => droplet(&service).await,
                Platform::OpenStack => instance(&service).await,
            }
        };
        match tokio::time::timeout(LIMIT, asked).await {
            Ok(Ok(Some(mut offer))) => {
                if platform == Platform::OpenStack {
                    complete(&mut offer, &service).await;
                }
                return Ok(Some(offer));
            }
            Ok(Ok(None)) => nothing = true,
            Ok(Err(error)) => first = first.or(Some(error)),
            Err(_) => first = first.or(Some(ServiceError::Silent(*address))),
        }
    }
    if nothing { Ok(None) } else { Err(first.unwrap_or(ServiceError::Nowhere)) }
}

async fn droplet(service: &Service) -> Result<Option<Offer>, ServiceError> {
    const PATH: &str = "/metadata/v1.json";
    let Some(bytes) = service.get(PATH, read::MAX_METADATA).await? else { return Ok(None) };
    let tree = json(PATH, &bytes)?;
    let wrong = |wrong| ServiceError::Wrong(PATH.to_owned(), wrong);
    let droplet = digitalocean::droplet(&tree).map_err(wrong)?;
    let mut offer = offer();
    providers::fill(&mut offer, droplet.id, droplet.hostname, droplet.public_keys);
    if droplet.vendor_data {
        offer.notes.push(providers::vendor_note("vendor_data"));
    }
    offer.user_data = droplet.user_data.map(|text| crate::open(text.as_bytes()));
    providers::fill_network(&mut offer, digitalocean::network(&tree).map_err(wrong));
    whole(offer, PATH, "droplet_id").map(Some)
}

async fn instance(service: &Service) -> Result<Option<Offer>, ServiceError> {
    const METADATA: &str = "/openstack/latest/meta_data.json";
    const USER_DATA: &str = "/openstack/latest/user_data";
    let Some(bytes) = service.get(METADATA, read::MAX_METADATA).await? else { return Ok(None) };
    let metadata =
        serde_json::from_slice(&bytes).map_err(|error| ServiceError::Json(METADATA.to_owned(), error))?;
    let mut offer = offer();
    openstack::take(&mut offer, metadata);
    offer.user_data = match service.get(USER_DATA, MAX_DELIVERED).await {
        Ok(delivered) => delivered.filter(|bytes| !bytes.is_empty()).map(|bytes| crate::open(&bytes)),
        Err(ServiceError::TooLarge(..)) => Some(UserData::failed(DecodeError::Delivered.into())),
        Err(error) => return Err(error),
    };
    whole(offer, METADATA, "uuid").map(Some)
}

/// Adds what the box can do without, which keeps nothing else from it, however slow it is.
async fn complete(offer: &mut Offer, service: &Service) {
    const NETWORK: &str = "/openstack/latest/network_data.json";
    let bytes = spare(service, NETWORK).await;
    let described = bytes.and_then(|bytes| bytes.map_or(Ok(None), |bytes| network(NETWORK, &bytes)));
    providers::fill_network(offer, described);
    for name in openstack::VENDOR_DATA {
        let said = spare(service, &format!("/openstack/latest/{name}")).await.ok().flatten();
        if said.is_some_and(|bytes| !providers::says_nothing(&bytes)) {
            offer.notes.push(providers::vendor_note(name));
        }
    }
}

/// A document of which the box can do without.
async fn spare(service: &Service, path: &str) -> Result<Option<Bytes>, ServiceError> {
    let asked = tokio::time::timeout(PATIENCE, service.get(path, read::MAX_METADATA)).await;
    asked.unwrap_or(Err(ServiceError::Silent(service.address())))
}

fn network(path: &str, bytes: &[u8]) -> Result<Option<Network>, ServiceError> {
    openstack::described(&json(path, bytes)?).map_err(|wrong| ServiceError::Wrong(path.to_owned(), wrong))
}

/// An offer, if it has what every box has.
fn whole(offer: Offer, path: &str, identity: &'static str) -> Result<Offer, ServiceError> {
    match offer.instance_id {
        Some(_) => Ok(offer),
        None => Err(ServiceError::HalfFilled(path.to_owned(), identity)),
    }
}

fn offer() -> Offer {
    Offer::new(Channel::Service)
}

fn json(path: &str, bytes: &[u8]) -> Result<Tree, ServiceError> {
    serde_json::from_slice(bytes).map_err(|error| ServiceError::Json(path.to_owned(), error))
}
