//! Units for programs that handle foreign bytes: their own user, no rights, one folder.

use agent_system::systemd::{Filter, Flag, List, Number, Text, TransientUnit};

/// A unit `name` that runs `argv` as `user`. What it may write, and how much it may take, is added by whoever
/// needs it.
pub(crate) fn unit(name: &str, argv: Vec<String>, user: &str, network: bool) -> TransientUnit {
    let families: &[&str] = if network { &["AF_UNIX", "AF_INET", "AF_INET6"] } else { &["AF_UNIX"] };
    TransientUnit::service(name, argv)
        .text(Text::Type, "exec")
        .text(Text::User, user)
        .text(Text::ProtectSystem, "strict")
        .text(Text::ProtectHome, "yes")
        .text(Text::ProtectProc, "invisible")
        .text(Text::KeyringMode, "private")
        .flag(Flag::AddRef, true)
        .flag(Flag::NoNewPrivileges, true)
        .flag(Flag::PrivateDevices, true)
        .flag(Flag::PrivateTmp, true)
        .flag(Flag::PrivateIPC, true)
        .flag(Flag::PrivateNetwork, !network)
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
        .list(List::InaccessiblePaths, ["-/run/holdfast", "-/run/dbus"])
        .list(List::SystemCallArchitectures, ["native"])
        .allow(Filter::SystemCallFilter, ["@system-service"])
        .allow(Filter::RestrictAddressFamilies, families.iter().copied())
}
