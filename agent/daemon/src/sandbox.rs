//! Programs that handle foreign bytes: each in a unit without rights, as its own user, with one folder to write.
//!
//! A request lies in the folder before; what comes of it is a file there. Deliberately absent: what they do.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use agent_core::text::{self, cut};
use agent_system::files;
use agent_system::systemd::{Filter, Flag, List, Number, Span, SystemdError, Text, TransientUnit};
use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;

use crate::agent::Agent;

/// The provider's metadata service, which nobody may lead such a program to.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A program, and what it may take.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// What it is, for messages: `the fetch`.
    pub(crate) what: &'a str,
    /// Its unit.
    pub(crate) unit: &'a str,
    /// It, and its arguments.
    pub(crate) argv: Vec<String>,
    /// Who it runs as.
    pub(crate) user: &'a str,
    /// Whether it reaches the network.
    pub(crate) network: bool,
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// How long it may run.
    pub(crate) time: Duration,
    /// The folder that it may write.
    pub(crate) folder: PathBuf,
}

impl Program<'_> {
    /// Its unit, to which more may be added. Not `IPAddressDeny` of all: a registry, an update source or a receiver of
    /// messages may be anywhere.
    pub(crate) fn unit(&self) -> TransientUnit {
        let families: &[&str] = if self.network { &["AF_UNIX", "AF_INET", "AF_INET6"] } else { &["AF_UNIX"] };
        TransientUnit::service(self.unit, self.argv.clone())
            .text(Text::Type, "exec")
            .text(Text::User, self.user)
            .text(Text::ProtectSystem, "strict")
            .text(Text::ProtectHome, "yes")
            .text(Text::ProtectProc, "invisible")
            .text(Text::ProcSubset, "pid")
            .text(Text::KeyringMode, "private")
            .flag(Flag::AddRef, true)
            .flag(Flag::NoNewPrivileges, true)
            .flag(Flag::PrivateDevices, true)
            .flag(Flag::PrivateTmp, true)
            .flag(Flag::PrivateUsers, true)
            .flag(Flag::PrivateIPC, true)
            .flag(Flag::PrivateNetwork, !self.network)
            .flag(Flag::ProtectClock, true)
            .flag(Flag::ProtectControlGroups, true)
            .flag(Flag::ProtectHostname, true)
            .flag(Flag::ProtectKernelLogs, true)
            .flag(Flag::ProtectKernelModules, true)
            .flag(Flag::ProtectKernelTunables, true)
            .flag(Flag::LockPersonality, true)
            .flag(Flag::RestrictRealtime, true)
            .flag(Flag::RestrictSUIDSGID, true)
            .flag(Flag::MemoryDenyWriteExecute, true)
            .number(Number::CapabilityBoundingSet, 0)
            .number(Number::RestrictNamespaces, 0)
            .number(Number::TasksMax, 64)
            .number(Number::MemoryMax, self.memory)
            .span(Span::RuntimeMaxUSec, self.time)
            .list(List::ReadWritePaths, [self.folder.display().to_string()])
            .list(List::InaccessiblePaths, ["-/run/holdfast", "-/run/dbus"])
            .list(List::SystemCallArchitectures, ["native"])
            .allow(Filter::SystemCallFilter, ["@system-service"])
            .allow(Filter::RestrictAddressFamilies, families.iter().copied())
            .deny_address(METADATA)
            .umask(0o077)
    }

    /// Runs it to its end in `unit`, which is [`Program::unit`] with what was added, and reads the JSON of at
    /// most `limit` bytes that it leaves in the file `result` of its folder.
    pub(crate) async fn run<T: DeserializeOwned>(
        &self,
        agent: &Agent,
        unit: TransientUnit,
        result: &str,
        limit: u64,
    ) -> anyhow::Result<T> {
        agent.systemd.stop(self.unit).await?;
        match agent.systemd.start_transient(unit).await {
            // It ended while it was being started: the unit knows how.
            Ok(()) | Err(SystemdError::Job { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = agent.systemd.wait_down(self.unit).await?;
        agent.systemd.release(self.unit).await?;
        let ended = ended.map(|status| status.result).unwrap_or_default();
        let what = self.what;
        let read = files::read_foreign(self.folder.join(result), limit);
        let bytes = read.map_err(|error| match (error.is_not_found(), ended.as_str()) {
            (true, "oom-kill") => anyhow!("{what} took more than {} MiB of memory", self.memory >> 20),
            (true, "timeout") => anyhow!("{what} took longer than {} minutes", self.time.as_secs() / 60),
            (true, "signal" | "core-dump") => anyhow!("{what} was killed"),
            (_, ended) => anyhow::Error::from(error).context(format!("{what} left no result ({ended})")),
        })?;
        serde_json::from_slice(&bytes).map_err(|error| {
            anyhow!("{what} left a result that is none: {}", cut(error.to_string(), text::ERROR))
        })
    }
}

/// The ids of a user of the image, and of its group.
pub(crate) fn user(name: &str) -> anyhow::Result<(u32, u32)> {
    let text = files::read_text("/etc/passwd", 1 << 20)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let mut fields = line.with_context(|| format!("there is no user {name}"))?.split(':').skip(1);
    let mut id = || fields.next()?.parse::<u32>().ok();
    id().zip(id()).with_context(|| format!("the ids of {name} cannot be read"))
}
