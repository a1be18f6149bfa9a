//! Where the box's document comes from: the newest accepted one, or what the provider offers.
//!
//! An offered document is taken at the first boot and when the provider's identity of the box changed. One
//! that is not valid never stops anything: what ran before runs, the provider's keys and those of
//! `[box] admins` let their owner in, and the error is told.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_core::state::{Accepted, Generation, Provider};
use agent_metadata::network::Network;
use agent_metadata::service::Platform;
use agent_metadata::{Found, Offer, Sources, UserData};
use agent_system::volumes::{self, Mounted, VolumeError};
use image_layout::paths;
use recipes::model::BoxSettings;
use recipes::shape::AdminKey;
use recipes::{Diagnostic, Diagnostics, Secret};

use crate::agent::Agent;
use crate::document::{self, Document};
use crate::provider_network::{self, Kept};
use crate::{clock, host_keys, network, service};

/// Volumes appear late: on a new box they are looked for this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Puts the newest generation that can be used in force.
pub(crate) fn restore(agent: &Agent) {
    let usable = |generation: &Generation| {
        let text = generation.document.expose();
        let parsed = document::parse(text, &generation.source.file, &agent.library);
        parsed.map(drop).map_err(|errors| first(&errors))
    };
    let (generation, complaints) = agent.records.newest_generation(usable);
    for complaint in &complaints {
        agent.events.add("generation-unusable", None, complaint.clone());
    }
    if let Some(generation) = generation {
        let text = generation.document.expose();
        if let Ok(document) = document::parse(text, &generation.source.file, &agent.library) {
            put_in_force(agent, document, &generation);
        }
    }
    agent.live().unusable = complaints;
}

fn first(errors: &Diagnostics) -> String {
    let error = errors.iter().next();
    error.map_or_else(String::new, |d| format!("{}:{}:{}: {}", d.file, d.line, d.column, d.message))
}

/// Makes a document the one that the loop works towards.
pub(crate) fn put_in_force(agent: &Agent, document: Document, generation: &Generation) {
    let mut live = agent.live();
    live.document = document;
    live.generation = generation.number;
    live.channel = Some(generation.source.channel.clone());
    live.errors.clear();
    live.unusable.clear();
    live.offered_admins.clear();
    drop(live);
    agent.updates.wake.notify_one();
}

/// Puts in force what the provider said in an earlier boot: it is asked only later, may not answer, and on some
/// nothing else leads to the box or lets its owner in.
pub(crate) fn restore_provider(agent: &Agent) {
    let kept = agent.records.provider_network().unwrap_or_default();
    let mut live = agent.live();
    live.provider_network = kept.network;
    live.provider_keys = kept.keys;
    live.provider_hostname = kept.hostname;
}

/// Asks the local channels and acts on the answer; then, where the provider has one, the metadata service in the
/// background.
pub(crate) async fn ask(agent: &Arc<Agent>) {
    let patient = agent.live().generation == 0;
    let found = tokio::task::spawn_blocking(move || look(patient)).await.unwrap_or_default();
    for problem in &found.problems {
        let message = format!("{problem}: {}", problem.source);
        agent.events.add("metadata", None, message.clone());
        agent.live().notes.push(message);
    }
    let platform = Platform::detect(Path::new("/sys/class/dmi/id"));
    let lacks = service::lacks(found.offer.as_ref());
    if let Some(offer) = found.offer {
        act(agent, offer).await;
    }
    if let Some((platform, lacks)) = platform.zip(lacks) {
        tokio::spawn(service::ask(agent.clone(), platform, lacks));
    }
    agent.wake.notify_one();
}

/// Acts on what is offered.
pub(crate) async fn act(agent: &Agent, offer: Offer) {
    if take(agent, offer) {
        // It reads its host key when it starts, which may have been before there was a new one. Open
        // sessions stay.
        if let Err(error) = agent.systemd.try_restart("sshd.service").await {
            tracing::error!("sshd was not told of its new host key: {error}");
        }
    }
    agent.wake.notify_one();
}

/// Takes what the provider describes of the network of the box that it calls `id`; its keys and name stay.
pub(crate) fn take_network(agent: &Agent, id: Option<&str>, described: Option<&Network>) {
    let (keys, hostname) = {
        let live = agent.live();
        (live.provider_keys.clone(), live.provider_hostname.clone())
    };
    put_said(agent, said(id, described, keys, hostname));
}

/// What the provider says of the box that it calls `id`.
fn said(id: Option<&str>, described: Option<&Network>, keys: Vec<String>, hostname: Option<String>) -> Kept {
    let network = described.and_then(provider_network::convert).unwrap_or_default();
    Kept { format: provider_network::FORMAT, instance_id: id.map(str::to_owned), network, keys, hostname }
}

/// Puts in force what the provider says, and keeps it.
fn put_said(agent: &Agent, said: Kept) {
    let (now, keep) = known(agent.records.provider_network().as_ref(), said);
    if keep && let Err(error) = agent.records.put_provider_network(&now) {
        tracing::error!("what the provider says was not kept: {error}");
    }
    let mut live = agent.live();
    live.provider_network = now.network;
    live.provider_keys = now.keys;
    live.provider_hostname = now.hostname;
}

/// What is known of the box once the provider says this, and whether that is to be kept. What is left out where the
/// same box is meant, or none is named, stays as it was: it may not be there yet, or cannot be read. So a provider
/// takes no key away by giving none, even where all it says was read: nobody is locked out, and who wants none of its
/// keys says `provider_keys = false`. What is said without a name is not kept in place of what was said with one.
fn known(kept: Option<&Kept>, said: Kept) -> (Kept, bool) {
    let same = |kept: &&Kept| said.instance_id.is_none() || kept.instance_id == said.instance_id;
    let Some(kept) = kept.filter(same) else { return (said, true) };
    let now = Kept {
        network: if said.network.is_empty() { kept.network.clone() } else { said.network },
        keys: if said.keys.is_empty() { kept.keys.clone() } else { said.keys },
        hostname: said.hostname.or_else(|| kept.hostname.clone()),
        ..said
    };
    let keep = now != *kept && now.instance_id == kept.instance_id;
    (now, keep)
}

/// Acts on what is offered; says whether the box is another one now.
fn take(agent: &Agent, offer: Offer) -> bool {
    agent.live().notes.extend(offer.notes);
    let id = offer.instance_id.as_deref();
    put_said(agent, said(id, offer.network.as_ref(), offer.public_keys, offer.hostname));
    let known = agent.records.provider().unwrap_or_else(|error| {
        agent.events.add("state-damaged", None, format!("{error}; it is written anew"));
        None
    });
    let new = agent.live().generation == 0;
    let moved = Provider::moved(known.as_ref(), id);
    if moved {
        new_identity(agent);
        network::forget(agent);
        // Before the document is looked at, so that this is done once whatever comes of that.
        record(agent, &offer.instance_id, false);
    }
    if !Provider::wants(known.as_ref(), id, new) {
        if known.is_none() {
            record(agent, &offer.instance_id, true);
        }
        return moved;
    }
    let channel = offer.channel.to_string();
    let accepted = offer.user_data.is_none_or(|user_data| accept(agent, &channel, user_data));
    // One that is not named now is still the one that it was.
    let instance_id = offer.instance_id.or_else(|| known.and_then(|known| known.instance_id));
    record(agent, &instance_id, accepted);
    moved
}

fn record(agent: &Agent, instance_id: &Option<String>, taken: bool) {
    let provider = Provider { instance_id: instance_id.clone(), taken };
    if let Err(error) = agent.records.put_provider(&provider) {
        tracing::error!("the provider's identity was not recorded: {error}");
    }
}

/// A document was accepted by another way: the provider's, if it was no good, is not asked for again.
pub(crate) fn taken_otherwise(agent: &Agent) {
    if let Ok(Some(known)) = agent.records.provider()
        && !known.taken
    {
        record(agent, &known.instance_id, true);
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// The box is another one now, as after cloning: what identifies it is made anew.
fn new_identity(agent: &Agent) {
    let folder = Path::new(paths::IDENTITY);
    let renewed = agent_system::identity::renew(folder).map_err(anyhow::Error::from);
    match renewed.and_then(|()| host_keys::renew(folder)) {
        Ok(()) => agent.events.add(
            "identity",
            None,
            "the provider's identity of the box changed; its host key is new",
        ),
        Err(error) => tracing::error!("the identity was not made anew: {error:#}"),
    }
}

fn accept(agent: &Agent, channel: &str, user_data: UserData) -> bool {
    let UserData { document, keys, notes } = user_data;
    agent.live().notes.extend(notes);
    let unreadable = |message: String| vec![recipes::Anchor::elsewhere(channel).error(message, None)];
    let bytes = match document {
        Ok(bytes) => bytes,
        Err(error) => {
            reject(agent, channel, unreadable(chain(&error)), None, &keys);
            return false;
        }
    };
    let text = match str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("not UTF-8 from byte {} on", error.valid_up_to());
            reject(agent, channel, unreadable(message), None, &keys);
            return false;
        }
    };
    let document = match document::parse(text, channel, &agent.library) {
        Ok(document) => document,
        Err(errors) => {
            reject(agent, channel, errors.iter().cloned().collect(), Some(text), &keys);
            return false;
        }
    };
    let source = Accepted { channel: channel.to_owned(), file: channel.to_owned() };
    match agent.records.accept(Secret::new(text), source, clock::epoch()) {
        Ok(generation) => {
            put_in_force(agent, document, &generation);
            let message = format!("generation {} was accepted from {channel}", generation.number);
            agent.events.add("applied", None, message);
            true
        }
        Err(error) => {
            tracing::error!("the document was not kept: {error}");
            false
        }
    }
}

/// Tells of a document that is not used, and lets its admins in, as well as who holds one of the `keys` of a
/// cloud-config in its place. Where nothing ran before, as much of `[box]` as can be read is used.
fn reject(agent: &Agent, channel: &str, errors: Vec<Diagnostic>, text: Option<&str>, keys: &[String]) {
    let mut all = Diagnostics::new();
    errors.into_iter().for_each(|error| all.push(error));
    agent.events.add("rejected", None, format!("user-data from {channel} is not valid: {}", first(&all)));
    let settings = text.and_then(recipes::user_data::settings_only);
    let keys = keys.iter().filter_map(|key| AdminKey::parse(key).ok());
    let mut admins = text.map(recipes::user_data::admins_only).unwrap_or_default();
    admins.extend(keys);
    let mut live = agent.live();
    live.errors = document::diagnostics(&all);
    live.channel = Some(channel.to_owned());
    if live.generation == 0 {
        live.document.settings = BoxSettings { admins, ..settings.unwrap_or_default() };
    } else {
        live.offered_admins = admins.iter().map(|key| key.as_str().to_owned()).collect();
    }
}

/// Reads the channels, and again while none is there and the box is new.
fn look(patient: bool) -> Found {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = look_once();
        let done = found.offer.is_some() || !patient || Instant::now() >= deadline;
        if done {
            return found;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn look_once() -> Found {
    let mut problems = Vec::new();
    let mut mounted = |label: &str, name: &str| match mount(label, name) {
        Ok(mounted) => mounted,
        Err(error) => {
            problems.push(error);
            None
        }
    };
    let nocloud = mounted("cidata", "nocloud");
    let config_drive = mounted("config-2", "config-drive");
    for problem in problems {
        tracing::warn!("a volume of the provider cannot be read: {}", chain(&problem));
    }
    let root = |mounted: &Option<Mounted>| mounted.as_ref().map(|mounted| mounted.path().to_owned());
    agent_metadata::find(&Sources {
        nocloud: root(&nocloud),
        config_drive: root(&config_drive),
        ..Sources::standard()
    })
}

/// Mounts the volume with this label, if there is one.
fn mount(label: &str, name: &str) -> Result<Option<Mounted>, VolumeError> {
    let Some(volume) = volumes::find(&[label])? else { return Ok(None) };
    volume.mount(Path::new(paths::RUN).join("metadata").join(name)).map(Some)
}

#[cfg(test)]
mod tests {
    use agent_core::network::ProviderNetwork;

    use super::*;

    /// What the provider says of a box, with a name server for its network.
    fn of(id: Option<&str>, dns: &[[u8; 4]], keys: &[&str], hostname: Option<&str>) -> Kept {
        let dns = dns.iter().map(|address| (*address).into()).collect();
        Kept {
            format: provider_network::FORMAT,
            instance_id: id.map(str::to_owned),
            network: ProviderNetwork { dns, ..ProviderNetwork::default() },
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            hostname: hostname.map(str::to_owned),
        }
    }

    #[test]
    fn what_the_provider_leaves_out_of_the_same_box_stays() {
        const DNS: [[u8; 4]; 1] = [[192, 0, 2, 53]];
        const OTHER: [[u8; 4]; 1] = [[192, 0, 2, 54]];
        let (one, two) = (Some("i-1"), Some("i-2"));
        let box_of = |id| of(id, &DNS, &["key"], Some("box"));
        let nothing = |id| of(id, &[], &[], None);
        let check = |before: Option<Kept>, said: Kept, now: Kept, keep: bool| {
            assert_eq!(known(before.as_ref(), said), (now, keep), "{before:?}");
        };
        check(None, box_of(one), box_of(one), true);
        check(None, nothing(None), nothing(None), true);
        check(Some(box_of(one)), box_of(one), box_of(one), false);
        // The box's metadata cannot be read.
        check(Some(box_of(one)), nothing(None), box_of(None), false);
        check(Some(box_of(None)), nothing(None), box_of(None), false);
        // It is read, and has no keys.
        check(Some(box_of(one)), nothing(one), box_of(one), false);
        // What is said counts, and is kept with the name that it is said of.
        let other = |id| of(id, &OTHER, &["other"], Some("other"));
        check(Some(box_of(one)), other(one), other(one), true);
        check(Some(box_of(one)), other(None), other(None), false);
        check(Some(box_of(None)), other(None), other(None), true);
        check(Some(box_of(one)), of(one, &OTHER, &[], None), of(one, &OTHER, &["key"], Some("box")), true);
        // Another box has nothing of the one before.
        check(Some(box_of(one)), nothing(two), nothing(two), true);
        check(Some(box_of(None)), nothing(two), nothing(two), true);
    }
}
