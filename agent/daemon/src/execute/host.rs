//! The box itself.

use std::path::Path;
use std::sync::Arc;

use agent_core::Desired;
use agent_net::{Outcome, nft};
use agent_system::files::{self, Access};
use anyhow::Context;
use image_layout::paths;

use crate::agent::Agent;

/// What timesyncd reads beside its own configuration.
const TIME_SERVERS: &str = "/run/systemd/timesyncd.conf.d/holdfast.conf";

pub(super) fn hostname(name: &str) -> anyhow::Result<bool> {
    if rustix::system::uname().nodename().to_bytes() == name.as_bytes() {
        return Ok(false);
    }
    rustix::system::sethostname(name.as_bytes()).context("failed to set the host name")?;
    Ok(true)
}

/// The file of the keys that may log in as `admin`: root's, and readable for sshd alone.
pub(super) fn admin_keys(keys: &[String]) -> anyhow::Result<bool> {
    let path = Path::new(paths::ADMIN_KEYS);
    if let Some(folder) = path.parent() {
        files::create_dir_all(folder, Access::mode(0o755))?;
    }
    let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
    Ok(files::write_if_changed(path, text, 0o644)?)
}

pub(super) async fn time(agent: &Arc<Agent>, servers: &[String]) -> anyhow::Result<bool> {
    let path = Path::new(TIME_SERVERS);
    let changed = if servers.is_empty() {
        files::remove(path)?
    } else {
        if let Some(folder) = path.parent() {
            files::create_dir_all(folder, Access::mode(0o755))?;
        }
        files::write_if_changed(path, format!("[Time]\nNTP={}\n", servers.join(" ")), 0o644)?
    };
    if changed {
        agent.systemd.try_restart("systemd-timesyncd.service").await?;
    }
    agent.live().time_servers = Some(servers.to_vec());
    Ok(changed)
}

pub(super) async fn firewall(agent: &Arc<Agent>, desired: &Desired) -> anyhow::Result<bool> {
    let observed = agent.live().observed.clone();
    let (text, fingerprint) = agent_core::plan::firewall(desired, &observed);
    let outcome = nft::apply_if_changed(&text).await?;
    agent.live().firewall = Some(fingerprint);
    Ok(outcome == Outcome::Changed)
}
