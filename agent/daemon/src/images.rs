//! The store, as far as the agent names things in it: staging folders, and what references mean.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use agent_containers::fetch::FetchResult;
use anyhow::Context;
use image_layout::paths;

use crate::agent::Agent;

/// What there is of images.
#[derive(Debug, Default)]
pub(crate) struct Images {
    pub(crate) digests: BTreeSet<String>,
    pub(crate) references: BTreeMap<String, String>,
    pub(crate) fetched: BTreeSet<String>,
    pub(crate) downloads: BTreeSet<String>,
    pub(crate) embedded: BTreeSet<String>,
    /// What cannot be read.
    pub(crate) complaint: Option<String>,
}

/// Reads what there is of images.
pub(crate) async fn observe(agent: &Agent) -> anyhow::Result<Images> {
    let images = agent.store.images().context("failed to read the image store")?;
    let live = agent.live();
    let wanted = live.document.instances.iter().flat_map(|instance| {
        let containers = instance.recipe.containers.iter().map(|c| c.image.to_string());
        let steps = instance.recipe.steps.iter().filter_map(|step| match &step.place {
            recipes::model::StepPlace::OneOff(one_off) => Some(one_off.image.to_string()),
            recipes::model::StepPlace::In(_) => None,
        });
        containers.chain(steps).collect::<Vec<_>>()
    });
    let wanted: BTreeSet<String> = wanted.collect();
    drop(live);
    let fetched = |reference: &&String| staging(agent, reference).join(FetchResult::FILE).exists();
    let folder = Path::new(paths::IMAGES);
    let embedded = |reference: &&String| agent_containers::fetch::offers(folder, reference);
    let (records, _) = agent.records.instances();
    let pins = records.values().flat_map(|record| &record.pins);
    let pinned = pins
        .filter(|(reference, pin)| {
            agent_containers::fetch::offers(folder, &with_digest(reference, &pin.digest))
        })
        .map(|(reference, pin)| format!("{reference}@{}", pin.digest));
    let (names, complaint) = match agent.store.names() {
        Ok(names) => (names, None),
        Err(error) => (BTreeMap::new(), Some(format!("the names of images cannot be used: {error}"))),
    };
    Ok(Images {
        digests: images.iter().map(|image| image.digest.to_string()).collect(),
        references: names.into_iter().map(|(reference, name)| (reference, name.image.to_string())).collect(),
        fetched: wanted.iter().filter(fetched).cloned().collect(),
        downloads: agent.store.downloads().context("failed to read the image store")?,
        embedded: wanted.iter().filter(embedded).cloned().chain(pinned).collect(),
        complaint,
    })
}

/// A reference's staging folder.
pub(crate) fn staging(agent: &Agent, reference: &str) -> PathBuf {
    agent.records.path("images/staging").join(agent_core::fingerprint::fetch(reference))
}

/// The reference to one digest of the same repository.
pub(crate) fn with_digest(reference: &str, digest: &str) -> String {
    let plain = reference.split('@').next().unwrap_or(reference);
    let start = plain.rfind('/').unwrap_or(0);
    let end = plain[start..].find(':').map_or(plain.len(), |at| start + at);
    format!("{}@{digest}", &plain[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_takes_the_place_of_tag_and_digest() {
        for reference in ["r.example:5000/a/b:1.4", "r.example:5000/a/b", "r.example:5000/a/b:1@sha256:00"] {
            assert_eq!(with_digest(reference, "sha256:ff"), "r.example:5000/a/b@sha256:ff");
        }
    }
}
