//! Namespaces, limits, devices and hidden paths.

use serde_json::{Value, json};

use super::{IDS, Input, SpecError, base, process};

/// Microseconds over which the share of CPU is measured.
const CPU_PERIOD: u64 = 100_000;
/// The least share that the kernel takes, in the same unit.
const CPU_LEAST: u64 = 1_000;

/// What of /proc and /sys tells of the host, or reaches into it: Podman's and Docker's list.
const MASKED: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub(super) fn build(input: &Input<'_>) -> Result<Value, SpecError> {
    let config = input.config;
    let mut namespaces = vec!["mount", "pid", "ipc", "uts", "cgroup"];
    let mut linux = json!({
        "cgroupsPath": format!("{}/ctr", config.name.cgroup()),
        "resources": resources(input),
    });
    if let Some(base) = base(input) {
        namespaces.push("user");
        let mapping = json!([{ "containerID": 0, "hostID": base, "size": IDS }]);
        linux["uidMappings"] = mapping.clone();
        linux["gidMappings"] = mapping;
    }
    linux["namespaces"] = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    if !config.privileged {
        let bounding = process::named(&process::bounding(input)?);
        linux["seccomp"] = input.seccomp.for_capabilities(&bounding);
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    Ok(linux)
}

fn resources(input: &Input<'_>) -> Value {
    let config = input.config;
    let mut resources = json!({
        "devices": devices(config.privileged),
        "pids": { "limit": config.pids },
        // `memory.swap` would be the sum of both in OCI's words, and equal values leave swap unlimited.
        "unified": { "memory.oom.group": "1", "memory.swap.max": "0" },
    });
    if let Some(bytes) = config.memory {
        resources["memory"] = json!({ "limit": bytes });
    }
    if let Some(thousandths) = config.millicpus {
        let quota = (thousandths.saturating_mul(CPU_PERIOD) / 1000).max(CPU_LEAST);
        resources["cpu"] = json!({ "period": CPU_PERIOD, "quota": quota });
    }
    resources
}

/// Nothing but what every program expects: making nodes (not opening them), null, zero, full, random,
/// urandom, tty, console, pseudo-terminals.
fn devices(privileged: bool) -> Value {
    if privileged {
        return json!([{ "allow": true, "access": "rwm" }]);
    }
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    rules.extend(["c", "b"].map(|kind| json!({ "allow": true, "type": kind, "access": "m" })));
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm" }));
    }
    rules.push(json!({ "allow": true, "type": "c", "major": 136, "access": "rwm" }));
    Value::Array(rules)
}
