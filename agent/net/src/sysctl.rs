//! The few kernel settings under `/proc/sys/net` that networks need.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::Outcome;

/// A kernel setting that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("failed to set `{path}` to `{value}`")]
pub struct SysctlError {
    path: PathBuf,
    value: String,
    #[source]
    source: io::Error,
}

/// Sets `/proc/sys/net/KEY` in the network namespace of the calling thread.
pub fn set(key: &str, value: &str) -> Result<Outcome, SysctlError> {
    let path = PathBuf::from("/proc/sys/net").join(key);
    let changed = fs::read_to_string(&path).and_then(|now| {
        let same = now.split_whitespace().eq(value.split_whitespace());
        if same { Ok(false) } else { fs::write(&path, value).map(|()| true) }
    });
    let changed = changed.map_err(|source| SysctlError { path, value: value.to_owned(), source })?;
    Ok(Outcome::from_changed(changed))
}

/// Sets whether the kernel takes router advertisements on a link: 2, so that it also does while the
/// box forwards for its containers. To be called before the link comes up, when the kernel asks for
/// routers. Without IPv6 in the kernel there is nothing to set.
pub fn set_accept_ra(link: &str, accept: bool) -> Result<Outcome, SysctlError> {
    set_v6(link, "accept_ra", if accept { "2" } else { "0" })
}

/// Sets what a NIC needs: router advertisements taken or not, and no use of its routes while its other
/// end is gone, so that another NIC's default route takes over.
pub fn set_nic(link: &str, accept_ra: bool) -> Result<Outcome, SysctlError> {
    const LINKDOWN: &str = "ignore_routes_with_linkdown";
    Ok(set_accept_ra(link, accept_ra)?
        .or(set(&format!("ipv4/conf/{link}/{LINKDOWN}"), "1")?)
        .or(set_v6(link, LINKDOWN, "1")?))
}

/// Sets `net.ipv6.conf.LINK.KEY`; without IPv6 in the kernel there is nothing to set.
pub(crate) fn set_v6(link: &str, key: &str, value: &str) -> Result<Outcome, SysctlError> {
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return Ok(Outcome::Unchanged);
    }
    set(&format!("ipv6/conf/{link}/{key}"), value)
}

/// Makes the box forward packets between its links; what may pass is the ruleset's to say.
///
/// To be called after every NIC that is up takes router advertisements while forwarding: turning
/// forwarding on drops the routes of those that do not.
pub fn set_forwarding() -> Result<Outcome, SysctlError> {
    let mut outcome = set("ipv4/ip_forward", "1")?.or(set_v6("all", "forwarding", "1")?);
    // Where the kernel shows bridged packets to IP rules, a container could not call itself.
    for key in ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"] {
        if Path::new("/proc/sys/net").join(key).exists() {
            outcome = outcome.or(set(key, "0")?);
        }
    }
    Ok(outcome)
}
