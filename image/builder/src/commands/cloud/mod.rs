//! Providers from the workstation: which one, who asks, and what their answers have in common.

pub(crate) mod destroy;
pub(crate) mod launch;
pub(crate) mod list;
pub(crate) mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use image_cloud::digitalocean::{self, DigitalOcean, DigitalOceanError};
use image_cloud::openstack::{self, OpenStack, OpenStackError};
use image_cloud::s3::S3Error;
use image_cloud::{Image, Patience, Server, WaitError};
use signal_hook::consts::SIGINT;
use signal_hook::flag::{register, register_conditional_shutdown};

use crate::error::INTERRUPTED;
use crate::steps::guest;

/// A provider that refuses, fails or cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloudError {
    /// DigitalOcean.
    #[error(transparent)]
    DigitalOcean(#[from] DigitalOceanError),
    /// No token of DigitalOcean's is known.
    #[error(transparent)]
    Token(#[from] digitalocean::CredentialsError),
    /// OpenStack.
    #[error(transparent)]
    OpenStack(#[from] OpenStackError),
    /// No cloud of OpenStack's is known.
    #[error(transparent)]
    Config(#[from] openstack::ConfigError),
    /// S3.
    #[error(transparent)]
    S3(#[from] S3Error),
}

impl CloudError {
    /// Whether the user stopped it.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(
            self,
            CloudError::DigitalOcean(DigitalOceanError::Wait(WaitError::Cancelled))
                | CloudError::OpenStack(OpenStackError::Wait(WaitError::Cancelled))
        )
    }

    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            CloudError::DigitalOcean(error) => error.hint(),
            CloudError::Token(_) => Some("`doctl auth init` writes one, or set the variable".to_owned()),
            CloudError::OpenStack(error) => error.hint(),
            CloudError::Config(error) => error.hint(),
            CloudError::S3(error) => error.hint(),
        }
    }
}

type Result<T> = std::result::Result<T, CloudError>;

/// A provider with images and boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// DigitalOcean.
    #[value(name = "digitalocean")]
    DigitalOcean,
    /// OVHcloud's Public Cloud.
    Ovh,
    /// Any OpenStack.
    #[value(name = "openstack")]
    OpenStack,
}

/// Where a provider is, and who asks.
#[derive(Clone, clap::Args)]
pub(crate) struct Access {
    /// DigitalOcean: where its API is.
    #[arg(long, env = "DIGITALOCEAN_API_URL", value_name = "URL", default_value = digitalocean::API)]
    api_url: String,
    /// OpenStack: a cloud of `clouds.yaml` [default: OS_CLOUD, else the other OS_ variables].
    #[arg(long, value_name = "NAME")]
    cloud: Option<String>,
    /// Where images and boxes are.
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
}

/// A provider that is asked.
pub(crate) enum Session {
    /// DigitalOcean.
    DigitalOcean(DigitalOcean),
    /// OpenStack.
    OpenStack(Box<OpenStack>),
}

impl Session {
    /// Opens it with the credentials that the provider's own programs use.
    pub(crate) fn open(provider: Provider, access: &Access) -> Result<Session> {
        Ok(match provider {
            Provider::DigitalOcean => Session::DigitalOcean(digitalocean(access)?),
            Provider::Ovh | Provider::OpenStack => {
                Session::OpenStack(Box::new(openstack(provider == Provider::Ovh, access)?))
            }
        })
    }

    /// Images, the newest first.
    pub(crate) fn images(&self) -> Result<Vec<Image>> {
        let mut images = match self {
            Session::DigitalOcean(account) => account.images()?,
            Session::OpenStack(project) => project.images()?,
        };
        images.sort_by(|a, b| b.created.cmp(&a.created));
        Ok(images)
    }

    /// The image or the snapshot of a box with this identity, else all of exactly this name.
    pub(crate) fn named(&self, named: &str) -> Result<Vec<Image>> {
        Ok(match self {
            Session::DigitalOcean(account) => account.named(named)?,
            Session::OpenStack(project) => project.named(named)?,
        })
    }

    /// Boxes, the newest first.
    pub(crate) fn servers(&self) -> Result<Vec<Server>> {
        let mut servers = match self {
            Session::DigitalOcean(account) => account.servers()?,
            Session::OpenStack(project) => project.servers()?,
        };
        servers.sort_by(|a, b| b.created.cmp(&a.created));
        Ok(servers)
    }

    /// Waits until a box runs and has an address.
    pub(crate) fn ready(&self, id: &str, patience: &Patience<'_>) -> Result<Server> {
        Ok(match self {
            Session::DigitalOcean(account) => account.ready(id, patience)?,
            Session::OpenStack(project) => project.ready(id, patience)?,
        })
    }

    /// Removes an image; says whether it was there.
    pub(crate) fn destroy_image(&self, id: &str) -> Result<bool> {
        Ok(match self {
            Session::DigitalOcean(account) => account.destroy_image(id)?,
            Session::OpenStack(project) => project.destroy_image(id)?,
        })
    }

    /// Removes a box; says whether it was there.
    pub(crate) fn destroy_server(&self, id: &str) -> Result<bool> {
        Ok(match self {
            Session::DigitalOcean(account) => account.destroy_server(id)?,
            Session::OpenStack(project) => project.destroy_server(id)?,
        })
    }
}

/// Opens the account at DigitalOcean.
fn digitalocean(access: &Access) -> Result<DigitalOcean> {
    let token = digitalocean::token(|name| std::env::var(name).ok())?;
    Ok(DigitalOcean::new(&token, &access.api_url))
}

/// Opens the project in OpenStack; `ovh`: in OVHcloud's, where nothing else is said.
fn openstack(ovh: bool, access: &Access) -> Result<OpenStack> {
    let mut cloud = openstack::Cloud::find(access.cloud.as_deref(), ovh, |name| std::env::var(name).ok())?;
    cloud.region = access.region.clone().or(cloud.region);
    Ok(OpenStack::open(&cloud)?)
}

/// Waits as long as the user allows, looking every few seconds.
fn patience<'a>(timeout: Duration, cancelled: &'a dyn Fn() -> bool) -> Patience<'a> {
    let every = Duration::from_secs(5).min(timeout / 100).max(Duration::from_millis(100));
    Patience { timeout, every, cancelled }
}

/// As [`guest::interrupted`]; a second Ctrl-C ends the process at once, whatever it waits for. Of the other signals a
/// terminal that goes, or `timeout`, sends two for one.
fn interrupted() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = guest::interrupted()?;
    let again = Arc::new(AtomicBool::new(false));
    // They run in this order: the first time it is not raised yet.
    register_conditional_shutdown(SIGINT, INTERRUPTED.into(), Arc::clone(&again))?;
    register(SIGINT, again)?;
    Ok(flag)
}

/// Whether the user wants to stop.
fn raised(flag: &AtomicBool) -> impl Fn() -> bool + '_ {
    || flag.load(Ordering::Relaxed)
}

/// Reads `30s`, `10m`, `1h`.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    recipes::shape::duration(text).map_err(|_| "write `30s`, `10m` or `1h`".to_owned())
}
