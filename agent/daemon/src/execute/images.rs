//! Images: fetched by `holdfast-fetch` in a unit without rights, then taken into the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_containers::fetch::{
    FetchError, FetchErrorKind, FetchRequest, FetchResult, Outcome, RegistryAccess, Source,
};
use agent_containers::store::StoreError;
use agent_core::text::{self, cut};
use agent_core::{Secret, fingerprint};
use agent_system::systemd::Text;
use anyhow::bail;
use image_layout::paths;

use crate::agent::Agent;
use crate::images;
use crate::sandbox::{self, Program};

/// The user that runs `holdfast-fetch`.
const USER: &str = "holdfast-fetch";
/// Memory that a fetch may take.
const MEMORY: u64 = 256 << 20;
/// Bytes of what a fetch says of an image.
const RESULT: u64 = 64 << 20;
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
    let id = fingerprint::fetch(reference);
    let name = format!("holdfast-fetch-{id}.service");
    agent.systemd.stop(&name).await?;
    agent.store.stage(&id, &FetchRequest::new(asked, source), Some(sandbox::user(USER)?))?;
    let program = Program {
        what: "the fetch",
        unit: &name,
        argv: vec![format!("{}/holdfast-fetch", paths::LIBEXEC), staging.display().to_string()],
        user: USER,
        network: !embedded,
        memory: MEMORY,
        time: TIME,
        folder: staging,
    };
    let fetched = run(agent, &program, reference).await;
    if fetched.is_err() {
        agent.store.set_aside(&id)?;
    }
    fetched.map(|()| true)
}

/// Runs a fetch to its end; an error is why there is no image.
async fn run(agent: &Agent, program: &Program<'_>, reference: &str) -> anyhow::Result<()> {
    let unit = program
        .unit()
        .text(Text::Description, format!("Fetch of {reference}"))
        .text(Text::SyslogIdentifier, "holdfast-fetch");
    let result: anyhow::Result<FetchResult> = program.run(agent, unit, FetchResult::FILE, RESULT).await;
    // Until now it is known why the last one failed.
    agent.live().unfetched.remove(reference);
    let result = result?;
    let Outcome::Error(error) = result.outcome else { return Ok(()) };
    if error.kind == FetchErrorKind::DiskFull {
        // What nothing uses makes room for the next try.
        agent.space.ask();
    }
    agent.live().unfetched.insert(reference.to_owned(), error.clone());
    match &error.hint {
        Some(hint) => bail!("{error}; {hint}"),
        None => bail!("{error}"),
    }
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

/// Takes a fetched image into the store. Sealing reads every byte: it is done beside the other work.
pub(crate) async fn adopt(agent: &Arc<Agent>, reference: &str) -> anyhow::Result<bool> {
    let (store, staging) = (agent.store.clone(), images::staging(agent, reference));
    let adopted = tokio::task::spawn_blocking(move || store.adopt(&staging)).await?;
    let adopted = adopted.map_err(|error| {
        let error = unstored(error);
        if error.kind == FetchErrorKind::DiskFull {
            agent.space.ask();
            agent.live().unfetched.insert(reference.to_owned(), error.clone());
        }
        error
    })?;
    agent.events.add("image", None, format!("{reference} is {}", adopted.image.digest));
    Ok(adopted.changed)
}

/// Why a fetched image is not in the store. What the fetch left may be quoted in the error.
fn unstored(error: StoreError) -> FetchError {
    let kind = if error.is_full() { FetchErrorKind::DiskFull } else { FetchErrorKind::Local };
    let message = cut(format!("{:#}", anyhow::Error::from(error)), text::ERROR);
    FetchError { kind, message, hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_has_no_room_to_be_sealed_finds_the_disk_full() {
        let error = unstored(StoreError::NoRoom { needed: 2, left: 1 });
        assert_eq!(error.kind, FetchErrorKind::DiskFull);
        assert!(error.message.contains("2 bytes"), "{error}");
        let error = unstored(StoreError::Staged("x".repeat(1 << 20)));
        assert_eq!(error.kind, FetchErrorKind::Local);
        assert!(error.message.len() < 1100);
    }
}
