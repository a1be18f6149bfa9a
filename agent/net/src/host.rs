//! The box's own network, kept as its owner wants it.
//!
//! One task owns all NICs: it hears of links, addresses and routes by netlink, of leases by each NIC's
//! client, and makes every link what it should be after each word. A NIC that appears late is served
//! like one that was there; what someone else takes away from a NIC is put back.
//!
//! **Safe settings.** Static settings whose gateways are all silent for 30 seconds while there is a
//! carrier give way to the last ones whose gateway answered, else to DHCP, and it is said. Settings
//! that were good before are the last good themselves: they stay, and it is said too. After a change
//! to DHCP that brings no address either, the settings are tried again. A restart of the agent
//! disturbs nothing: a lease in use stays in use, and settings found wrong in this boot are not tried
//! again by themselves. Where only a part is wrong (the gateway of one family, all name servers, or no
//! gateway is named and no NIC leads out) and no last good ones exist, what works stays and DHCP is asked
//! for the rest. Settings that their owner tries ([`HostConfig::tried`]) are left alone, since they
//! end by themselves: they become the last good when they are confirmed.

mod advert;
mod manager;
mod nic;
mod probe;
mod resolver;
mod serve;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use agent_core::network::{HostConfig, NetworkEvent, NetworkStatus};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::links::Link;
use crate::netlink::NetlinkError;

pub use resolver::resolv_conf;

/// Waits until a gateway on this NIC answers ARP or NDP, for ever if it must.
pub async fn answers(nic: &str, gateway: std::net::IpAddr) -> Result<std::net::IpAddr, NetlinkError> {
    let path = format!("/sys/class/net/{nic}/ifindex");
    let index = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    match index {
        Some(index) => probe::answers(index, [gateway].into()).await,
        // The link is gone, and what was behind it.
        None => std::future::pending().await,
    }
}

/// How long all gateways of static settings may be silent.
pub const GATEWAY_WAIT: Duration = Duration::from_secs(30);

/// Where the task keeps things, and which links are its own.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Directory for leases and the last good settings, on data; made if it is missing.
    pub state: PathBuf,
    /// Directory for what was found out in this boot; made if it is missing.
    pub volatile: PathBuf,
    /// The resolver's file.
    pub resolv_conf: PathBuf,
    /// Host name told to DHCP servers.
    pub hostname: Option<String>,
    /// Which links are served.
    pub is_nic: fn(&Link) -> bool,
}

impl HostOptions {
    /// Those of a box, but for the host name.
    pub fn standard() -> HostOptions {
        HostOptions {
            state: "/var/lib/holdfast/network".into(),
            volatile: "/run/holdfast/network".into(),
            // To which /etc/resolv.conf leads. Not among the agent's own files, which nothing without rights may see.
            resolv_conf: "/run/holdfast-resolver/resolv.conf".into(),
            hostname: None,
            is_nic: Link::is_nic,
        }
    }
}

/// The running task. Dropped, it ends and leaves the links as they are.
#[derive(Debug)]
pub struct HostNetwork {
    commands: mpsc::UnboundedSender<HostConfig>,
    status: watch::Receiver<NetworkStatus>,
    task: JoinHandle<()>,
}

impl HostNetwork {
    /// Starts the task. It touches nothing before the first [`HostNetwork::configure`]; events are
    /// those worth telling people. Needs a tokio runtime, and CAP_NET_ADMIN and CAP_NET_RAW.
    pub fn start(
        options: HostOptions,
    ) -> Result<(HostNetwork, mpsc::UnboundedReceiver<NetworkEvent>), NetlinkError> {
        let (commands, wanted) = mpsc::unbounded_channel();
        let (publish, status) = watch::channel(NetworkStatus::default());
        let (report, events) = mpsc::unbounded_channel();
        let manager = manager::Manager::new(options, publish, report)?;
        let task = tokio::spawn(manager.run(wanted));
        Ok((HostNetwork { commands, status, task }, events))
    }

    /// Says what the network should be. Returns at once; the status tells how far it is. NICs for
    /// which nothing changes are not disturbed.
    pub fn configure(&self, config: HostConfig) {
        // The task ends only with this handle.
        let _ = self.commands.send(config);
    }

    /// What the network is, and a way to wait for changes.
    pub fn status(&self) -> watch::Receiver<NetworkStatus> {
        self.status.clone()
    }
}

impl Drop for HostNetwork {
    fn drop(&mut self) {
        self.task.abort();
    }
}
