//! Images: fetched by `holdfast-fetch` in a unit without rights, then taken into the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_containers::fetch::{FetchError, FetchRequest, FetchResult, Outcome, RegistryAccess, Source};
use agent_core::Secret;
use agent_system::files;
use agent_system::systemd::{List, Number, Span, Text, TransientUnit};
use anyhow::{Context, anyhow, bail};
use image_layout::paths;

use crate::agent::Agent;
use crate::{images, sandbox};

/// The user that runs `holdfast-fetch`.
const USER: &str = "holdfast-fetch";
/// Memory that a fetch may take.
const MEMORY: u64 = 256 << 20;
/// Time that a fetch may take.
const TIME: Duration = Duration::from_secs(3600);

/// Fetches an image into its staging folder.
pub(crate) async fn fetch(
    agent: &Arc<Agent>,
    reference: &str,
    digest: Option<&str>,
    embedded: bool,
) -> anyhow::Result<bool> {
    let staging = images::staging(agent, reference);
    let source = match embedded {
        true => Source::Layout(PathBuf::from(paths::IMAGES)),
        false => Source::Registry(access(agent, reference)),
    };
    let asked = match digest {
        Some(digest) => images::with_digest(reference, digest),
        None => reference.to_owned(),
    };
    let id = images::staging_id(reference);
    let name = format!("holdfast-fetch-{id}.service");
    agent.systemd.stop(&name).await?;
    agent.store.stage(&id, &FetchRequest::new(asked, source), Some(images::user(USER)?))?;
    let fetched = run(agent, unit(&name, reference, &staging, embedded), &name, &staging).await;
    if fetched.is_err() {
        files::remove_tree(&staging)?;
    }
    fetched.map(|()| true)
}

/// Runs a fetch to its end; an error is why there is no image.
async fn run(agent: &Agent, unit: TransientUnit, name: &str, staging: &Path) -> anyhow::Result<()> {
    agent.systemd.start_transient(unit).await?;
    let ended = agent.systemd.wait_down(name).await?;
    agent.systemd.release(name).await?;
    let ended = ended.map(|status| status.result).unwrap_or_default();
    match result(staging, &ended)? {
        Outcome::Image(_) => Ok(()),
        Outcome::Error(FetchError { hint: Some(hint), message, .. }) => bail!("{message}; {hint}"),
        Outcome::Error(error) => bail!("{error}"),
    }
}

/// Reads what a fetch left, whose unit ended so.
fn result(staging: &Path, ended: &str) -> anyhow::Result<Outcome> {
    let read = files::read_limited(staging.join(FetchResult::FILE), 64 << 20);
    let bytes = read.map_err(|error| match (error.is_not_found(), ended) {
        (true, "oom-kill") => anyhow!("the fetch took more than {} MiB of memory", MEMORY >> 20),
        (true, "timeout") => anyhow!("the fetch took longer than {} minutes", TIME.as_secs() / 60),
        (true, "signal" | "core-dump") => anyhow!("the fetch was killed"),
        _ => anyhow::Error::from(error).context("the fetch ended without a result"),
    })?;
    let result: FetchResult =
        serde_json::from_slice(&bytes).context("the fetch left a result that is none")?;
    Ok(result.outcome)
}

/// How to reach the registry of a reference, by user-data.
fn access(agent: &Agent, reference: &str) -> RegistryAccess {
    let host = reference.split('/').next().unwrap_or_default();
    let live = agent.live();
    let registry = live.document.settings.registries.iter().find(|registry| registry.host == host);
    registry.map_or_else(RegistryAccess::default, |registry| RegistryAccess {
        ca: registry.ca.clone(),
        username: registry.username.clone(),
        password: registry.password.as_ref().map(|password| Secret::new(password.expose())),
        plain_http: registry.plain_http,
    })
}

fn unit(name: &str, reference: &str, staging: &Path, embedded: bool) -> TransientUnit {
    let staging = staging.display().to_string();
    let argv = vec![format!("{}/holdfast-fetch", paths::LIBEXEC), staging.clone()];
    sandbox::unit(name, argv, USER, !embedded)
        .text(Text::Description, format!("Fetch of {reference}"))
        .text(Text::SyslogIdentifier, "holdfast-fetch")
        .number(Number::MemoryMax, MEMORY)
        .span(Span::RuntimeMaxUSec, TIME)
        .list(List::ReadWritePaths, [staging])
}

/// Takes a fetched image into the store. Sealing reads every byte: it is done beside the other work.
pub(crate) async fn adopt(agent: &Arc<Agent>, reference: &str) -> anyhow::Result<bool> {
    let (store, staging) = (agent.store.clone(), images::staging(agent, reference));
    let adopted = tokio::task::spawn_blocking(move || store.adopt(&staging)).await??;
    agent.events.add("image", None, format!("{reference} is {}", adopted.image.digest));
    Ok(adopted.changed)
}
