//! What an instance has beside its containers: ids, addresses, images' digests, volumes, secrets, network.

use std::sync::Arc;

use agent_core::desired::InstanceDesired;
use agent_core::network::InstanceNetwork;
use agent_core::state::{Pin, VolumeId, VolumeRecord};
use agent_net::Outcome;
use agent_system::quota;
use anyhow::Context;
use recipes::model::Generator;

use crate::agent::Agent;
use crate::{clock, space};

pub(super) fn pin(agent: &Agent, instance: &str, reference: &str, digest: &str) -> anyhow::Result<bool> {
    Ok(agent.records.change_instance(instance, |record| {
        let pin = Pin { digest: digest.to_owned(), previous: None };
        record.pins.insert(reference.to_owned(), pin);
    })?)
}

pub(super) fn revert(agent: &Agent, instance: &str, reference: &str) -> anyhow::Result<bool> {
    let changed = agent.records.change_instance(instance, |record| {
        if let Some(pin) = record.pins.get_mut(reference)
            && let Some(previous) = pin.previous.take()
        {
            pin.digest = previous;
        }
    })?;
    if changed {
        let message = format!("{reference} was not healthy; {instance} is back on the image before");
        agent.events.add("pull-reverted", Some(instance), message);
    }
    Ok(changed)
}

pub(super) fn confirm(agent: &Agent, instance: &str, reference: &str) -> anyhow::Result<bool> {
    Ok(agent.records.change_instance(instance, |record| {
        if let Some(pin) = record.pins.get_mut(reference) {
            pin.previous = None;
        }
    })?)
}

pub(super) async fn allocate(agent: &Arc<Agent>, wanted: &InstanceDesired) -> anyhow::Result<bool> {
    let routes = agent.networks.lock().await.host_subnets().await;
    let routes = routes.context("failed to read the host's routes")?;
    let v4 = |cidr: &agent_core::network::Cidr| match cidr.address() {
        std::net::IpAddr::V4(address) => Some((address, cidr.prefix())),
        std::net::IpAddr::V6(_) => None,
    };
    let routed = routes.iter().filter_map(v4).collect();
    let random = u64::from_ne_bytes(clock::random());
    let damaged = agent.records.instance(&wanted.name).err();
    let changed = agent.records.allocate(&wanted.name, &wanted.addressed(), routed, random)?;
    if let Some(error) = damaged {
        let message = format!("{error}; it is set aside, and the instance has new ids and addresses");
        agent.events.add("state-damaged", Some(&wanted.name), message);
    }
    Ok(changed)
}

pub(super) async fn create_volume(
    agent: &Arc<Agent>,
    instance: &str,
    name: &str,
    size: Option<u64>,
) -> anyhow::Result<bool> {
    let record = VolumeRecord {
        id: VolumeId::from_random(u64::from_ne_bytes(clock::random())),
        instance: instance.to_owned(),
        name: name.to_owned(),
        size,
        project: agent.records.free_project(),
        created_at: clock::epoch(),
        replaced: 0,
    };
    agent.records.create_volume(&record)?;
    limit(agent, &record)?;
    agent.events.add("volume-created", Some(instance), format!("volume {instance}.{name} is {}", record.id));
    Ok(true)
}

pub(super) async fn resize_volume(
    agent: &Arc<Agent>,
    instance: &str,
    name: &str,
    size: Option<u64>,
) -> anyhow::Result<bool> {
    let mut record = agent.records.volume(instance, name)?;
    record.size = size;
    limit(agent, &record)?;
    agent.records.put_volume(&record)?;
    Ok(true)
}

/// Has the file system count the volume's blocks, and limit them where it has a size.
pub(crate) fn limit(agent: &Agent, record: &VolumeRecord) -> anyhow::Result<()> {
    let data = agent.records.volume_data(record);
    quota::set_project(&data, record.project).context("failed to count the volume's blocks")?;
    quota::set_limit(&data, record.project, record.size).context("failed to limit the volume")?;
    space::divide(agent).context("failed to limit the volume's files")
}

pub(super) fn generate_secret(
    agent: &Agent,
    instance: &str,
    name: &str,
    generator: Generator,
) -> anyhow::Result<bool> {
    let mut random = vec![0; generator.random_bytes()];
    clock::random_into(&mut random);
    let value = generator.make(&random).context("the generator wants other randomness")?;
    let damaged = agent.records.secrets(instance).err();
    let added = agent.records.add_secret(instance, name, value)?;
    if let Some(error) = damaged {
        let message = format!("{error}; it is set aside, and the instance has new secrets");
        agent.events.add("state-damaged", Some(instance), message);
    }
    Ok(added)
}

pub(super) async fn network(agent: &Arc<Agent>, wanted: &InstanceDesired) -> anyhow::Result<bool> {
    let record = agent.records.instance(&wanted.name)?.context("the instance has no addresses yet")?;
    let network = InstanceNetwork::new(&record.allocation, []);
    let outcome = agent.networks.lock().await.ensure_bridge(&network).await?;
    agent.live().bridges.insert(network.index);
    Ok(outcome == Outcome::Changed)
}

pub(super) async fn remove(agent: &Arc<Agent>, name: &str) -> anyhow::Result<bool> {
    if let Some(record) = agent.records.instance(name)? {
        let _ = agent.networks.lock().await.remove_bridge(record.allocation.index).await?;
        agent.live().bridges.remove(&record.allocation.index);
    }
    agent.records.retire_instance(name)?;
    agent.events.add("removed", Some(name), format!("instance {name} is removed; its volumes are kept"));
    Ok(true)
}
