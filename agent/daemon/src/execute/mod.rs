//! Does what a plan says. Nothing is decided here: every value comes from the desired state that the
//! action was planned from, and every function says whether it changed anything.

mod containers;
mod host;
mod images;
mod instances;
mod steps;

use std::sync::Arc;

use agent_core::desired::{ContainerDesired, InstanceDesired};
use agent_core::{Action, ContainerName, Desired};
use anyhow::Context;

use crate::agent::Agent;
use crate::network;

pub(crate) use containers::made_from;
pub(crate) use images::{adopt, fetch};
pub(crate) use instances::limit;

/// Does one action; says whether it changed anything.
pub(crate) async fn execute(agent: &Arc<Agent>, action: &Action, desired: &Desired) -> anyhow::Result<bool> {
    match action {
        Action::SetHostname(name) => host::hostname(name),
        Action::WriteAdminKeys => host::admin_keys(&desired.host.admin_keys),
        Action::ConfigureTime => host::time(agent, &desired.host.time_servers).await,
        Action::ConfigureNetwork => Ok(network::give(agent)),
        Action::ApplyFirewall => host::firewall(agent, desired).await,
        Action::FetchImage { reference, digest, embedded } => {
            images::fetch(agent, reference, digest.as_deref(), *embedded).await
        }
        Action::AdoptImage { reference } => images::adopt(agent, reference).await,
        Action::RemoveDownload(id) => Ok(agent.store.forget_download(id)?),
        Action::PinImage { instance, reference, digest } => {
            instances::pin(agent, instance, reference, digest)
        }
        Action::RevertImage { instance, reference } => instances::revert(agent, instance, reference),
        Action::ConfirmImage { instance, reference } => instances::confirm(agent, instance, reference),
        Action::Allocate(name) => instances::allocate(agent, instance(desired, name)?).await,
        Action::CreateVolume { instance: of, volume } => {
            let size = instance(desired, of)?.volumes.get(volume).copied().flatten();
            instances::create_volume(agent, of, volume, size).await
        }
        Action::ResizeVolume { instance: of, volume } => {
            let size = instance(desired, of)?.volumes.get(volume).copied().flatten();
            instances::resize_volume(agent, of, volume, size).await
        }
        Action::GenerateSecret { instance: of, secret } => {
            let generator =
                instance(desired, of)?.secrets.get(secret).context("the secret is not asked for")?;
            instances::generate_secret(agent, of, secret, *generator)
        }
        Action::SetupNetwork(name) => instances::network(agent, instance(desired, name)?).await,
        Action::AttachContainer(name) => containers::attach(agent, name).await,
        Action::WriteBundle(name) => containers::write_bundle(agent, name, container(desired, name)?).await,
        Action::WriteHosts(name) => containers::write_hosts(agent, name),
        Action::StartContainer(name) => containers::start(agent, name, container(desired, name)?).await,
        Action::StopContainer(name) => containers::stop(agent, name).await,
        Action::RemoveContainer(name) => containers::remove(agent, name).await,
        Action::RunStep { instance: of, step } => steps::run(agent, instance(desired, of)?, step).await,
        Action::RemoveInstance(name) => instances::remove(agent, name).await,
    }
}

fn instance<'a>(desired: &'a Desired, name: &str) -> anyhow::Result<&'a InstanceDesired> {
    desired.instances.get(name).with_context(|| format!("instance {name} is not listed"))
}

fn container<'a>(desired: &'a Desired, name: &ContainerName) -> anyhow::Result<&'a ContainerDesired> {
    let instance = instance(desired, &name.instance)?;
    instance.containers.get(&name.container).with_context(|| format!("container {name} is not listed"))
}
