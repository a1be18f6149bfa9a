//! What the agent's parts share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use agent_api::types::Diagnostic;
use agent_containers::fetch::FetchError;
use agent_containers::store::Store;
use agent_core::network::{HostConfig, NetworkRecord, NetworkStatus, NetworkTrial, ProviderNetwork};
use agent_core::standing::{self, Standing};
use agent_core::{ContainerName, Desired, Memory, Observed, Plan};
use agent_net::containers::ContainerNetworks;
use agent_net::host::HostNetwork;
use agent_system::systemd::Systemd;
use tokio::sync::{Notify, watch};

use crate::boot::Boot;
use crate::console::Console;
use crate::disk::Failed;
use crate::document::{Document, Library};
use crate::notify::Notices;
use crate::records::{Events, Records};
use crate::space::Space;
use crate::starts::Starts;
use crate::update::Updates;

/// Everything that lives as long as the agent.
pub(crate) struct Agent {
    /// How this boot went so far.
    pub(crate) boot: Boot,
    /// Files on data.
    pub(crate) records: Records,
    /// Events on data.
    pub(crate) events: Arc<Events>,
    /// The consoles.
    pub(crate) console: Arc<Console>,
    /// Library recipes.
    pub(crate) library: Library,
    /// Updates of the box.
    pub(crate) updates: Updates,
    /// Messages to the box's owner.
    pub(crate) notices: Notices,
    /// Images.
    pub(crate) store: Arc<Store>,
    /// Room on data.
    pub(crate) space: Space,
    /// Room for what starts while there is none.
    pub(crate) starts: Starts,
    /// systemd.
    pub(crate) systemd: Systemd,
    /// The system bus, for what is no unit.
    pub(crate) bus: Option<zbus::Connection>,
    /// Networks of instances. One request at a time: the kernel lists for one asker on a socket.
    pub(crate) networks: tokio::sync::Mutex<ContainerNetworks>,
    /// The box's own network.
    pub(crate) network: HostNetwork,
    /// Whether data failed.
    pub(crate) data_failed: Failed,
    /// Everything that changes.
    live: Mutex<Live>,
    /// Asks for another round.
    pub(crate) wake: Notify,
    /// Counts rounds, for those that wait for the box to settle.
    pub(crate) rounds: watch::Sender<u64>,
}

/// Everything that changes. Held for moments only, never across an await.
#[derive(Default)]
pub(crate) struct Live {
    /// The document in force.
    pub(crate) document: Document,
    /// Its generation; 0 for none.
    pub(crate) generation: u64,
    /// The generation that the last round was planned for.
    pub(crate) planned: u64,
    /// Where it came from.
    pub(crate) channel: Option<String>,
    /// Why the newest document was not accepted.
    pub(crate) errors: Vec<Diagnostic>,
    /// Why documents newer than the one in force are not used.
    pub(crate) unusable: Vec<String>,
    /// What was offered and is not used.
    pub(crate) notes: Vec<String>,
    /// Records that could not be read.
    pub(crate) complaints: Vec<String>,
    /// That data is full.
    pub(crate) full: Option<String>,
    /// What last went wrong with keeping room.
    pub(crate) space_problem: Option<String>,
    /// Keys that the provider gives.
    pub(crate) provider_keys: Vec<String>,
    /// Admins of a newer document that is not used.
    pub(crate) offered_admins: Vec<String>,
    /// Host name that the provider gives.
    pub(crate) provider_hostname: Option<String>,
    /// What the provider describes of the network.
    pub(crate) provider_network: ProviderNetwork,
    /// Why the provider's metadata service has not answered yet.
    pub(crate) service_note: Option<String>,
    /// What the owner chose for the network beside the document.
    pub(crate) network_record: NetworkRecord,
    /// Network settings that are being tried.
    pub(crate) network_trial: Option<NetworkTrial>,
    /// Settings that the network was given.
    pub(crate) network_given: Option<HostConfig>,
    /// The network as it was last told.
    pub(crate) network: NetworkStatus,
    /// Time servers that were given.
    pub(crate) time_servers: Option<Vec<String>>,
    /// Ruleset in force.
    pub(crate) firewall: Option<String>,
    /// Bridges that this agent has made what they should be.
    pub(crate) bridges: BTreeSet<u32>,
    /// Containers whose network this agent has made what it should be.
    pub(crate) attached: BTreeSet<ContainerName>,
    /// The last round's desired state.
    pub(crate) desired: Arc<Desired>,
    /// The last round's observations.
    pub(crate) observed: Arc<Observed>,
    /// What is remembered between rounds.
    pub(crate) memory: Memory,
    /// Why images could not be had, by reference.
    pub(crate) unfetched: BTreeMap<String, FetchError>,
    /// Counts the actions that ended.
    pub(crate) ended: u64,
    /// The last round's plan.
    pub(crate) plan: Plan,
    /// Whether this boot's slot was told that it is healthy.
    pub(crate) slot_confirmed: bool,
}

/// The parts of a new [`Agent`].
pub(crate) struct Parts {
    pub(crate) boot: Boot,
    pub(crate) records: Records,
    pub(crate) events: Arc<Events>,
    pub(crate) console: Arc<Console>,
    pub(crate) library: Library,
    pub(crate) updates: Updates,
    pub(crate) notices: Notices,
    pub(crate) store: Arc<Store>,
    pub(crate) systemd: Systemd,
    pub(crate) bus: Option<zbus::Connection>,
    pub(crate) networks: ContainerNetworks,
    pub(crate) network: HostNetwork,
}

impl Live {
    /// Whether the document in force was planned and nothing is left to do or to wait for.
    pub(crate) fn settled(&self) -> bool {
        let waits = self.desired.instances.values().any(|wanted| {
            let standing = standing::instance(wanted, &self.observed, &self.memory, &self.plan);
            matches!(standing, Standing::Settling(_))
        });
        self.planned == self.generation && self.plan.is_empty() && self.memory.running.is_empty() && !waits
    }
}

impl Agent {
    pub(crate) fn new(parts: Parts) -> Agent {
        Agent {
            boot: parts.boot,
            records: parts.records,
            events: parts.events,
            console: parts.console,
            library: parts.library,
            updates: parts.updates,
            notices: parts.notices,
            store: parts.store,
            space: Space::default(),
            starts: Starts::default(),
            systemd: parts.systemd,
            bus: parts.bus,
            networks: tokio::sync::Mutex::new(parts.networks),
            network: parts.network,
            data_failed: Failed::default(),
            live: Mutex::default(),
            wake: Notify::new(),
            rounds: watch::channel(0).0,
        }
    }

    /// What changes.
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A container's bundle.
    pub(crate) fn bundle(&self, name: &ContainerName) -> PathBuf {
        bundles().join(name.to_string())
    }

    /// The folder of a container's writable layer.
    pub(crate) fn layer(&self, name: &ContainerName) -> PathBuf {
        self.records.path("containers").join(name.to_string())
    }
}

/// Where bundles lie.
pub(crate) fn bundles() -> PathBuf {
    PathBuf::from(image_layout::paths::RUN).join("bundles")
}

/// Where the shim keeps its state.
pub(crate) fn shim_state() -> PathBuf {
    PathBuf::from(image_layout::paths::RUN).join("state")
}
