//! The container's first process.

use std::collections::BTreeSet;

use agent_core::CAPABILITIES;
use serde_json::{Value, json};

use super::{Input, SpecError, User};

/// Capabilities that a container has unless it asks for more: Podman's list.
const DEFAULT: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Open files: as many as systemd gives to services, and enough from the start.
const FILES: (u64, u64) = (65_536, 524_288);

pub(super) fn build(input: &Input<'_>, user: &User) -> Result<Value, SpecError> {
    Ok(json!({
        "terminal": false,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
        "args": args(input)?,
        "env": env(input),
        "cwd": working_dir(input)?,
        "capabilities": capabilities(input, user)?,
        "rlimits": [
            { "type": "RLIMIT_NOFILE", "soft": FILES.0, "hard": FILES.1 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        ],
        // Without this the seccomp profile could not be loaded, and setuid files would count.
        "noNewPrivileges": !input.config.privileged,
    }))
}

/// The recipe's entrypoint drops the image's command; the recipe's command replaces it.
fn args(input: &Input<'_>) -> Result<Vec<String>, SpecError> {
    let (config, image) = (input.config, &input.image.config);
    let (entrypoint, image_command) = match &config.entrypoint {
        Some(entrypoint) => (entrypoint, &[][..]),
        None => (&image.entrypoint, image.cmd.as_slice()),
    };
    let command = config.command.as_deref().unwrap_or(image_command);
    let args: Vec<String> = entrypoint.iter().chain(command).cloned().collect();
    if args.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand(config.name.clone()));
    }
    Ok(args)
}

/// The image's variables in its order, with the recipe's in place of those of the same name.
fn env(input: &Input<'_>) -> Vec<String> {
    let ours = &input.config.env;
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut seen = BTreeSet::new();
    let mut variables = Vec::new();
    for variable in &input.image.config.env {
        if variable.contains('=') && !ours.contains_key(&name(variable)) && seen.insert(name(variable)) {
            variables.push(variable.clone());
        }
    }
    // systemd's Container Interface: by this programs know where they are.
    for (name, value) in [("HOSTNAME", input.config.name.container.as_str()), ("container", "oci")] {
        if !ours.contains_key(name) && seen.insert(name.to_owned()) {
            variables.push(format!("{name}={value}"));
        }
    }
    variables.extend(ours.iter().map(|(name, value)| format!("{name}={}", value.expose())));
    variables
}

fn working_dir(input: &Input<'_>) -> Result<String, SpecError> {
    let path = match &input.config.working_dir {
        Some(path) => path.as_str(),
        None => match input.image.config.working_dir.as_str() {
            "" => "/",
            path => path,
        },
    };
    if !path.starts_with('/') {
        return Err(SpecError::WorkingDir { name: input.config.name.clone(), path: path.to_owned() });
    }
    Ok(path.to_owned())
}

/// All that the container's processes can ever have: the default ones and those that the recipe adds.
pub(super) fn bounding(input: &Input<'_>) -> Result<BTreeSet<&'static str>, SpecError> {
    let added = added(input)?;
    Ok(match input.config.privileged {
        true => CAPABILITIES.into_iter().collect(),
        false => added.into_iter().chain(DEFAULT).collect(),
    })
}

fn added(input: &Input<'_>) -> Result<BTreeSet<&'static str>, SpecError> {
    let config = input.config;
    let known = |capability: &String| match CAPABILITIES.into_iter().find(|known| known == capability) {
        Some(known) => Ok(known),
        None => Err(SpecError::Capability { name: config.name.clone(), capability: capability.clone() }),
    };
    config.cap_add.iter().map(known).collect()
}

/// Capabilities as the OCI runtime specification names them.
pub(super) fn named(capabilities: &BTreeSet<&str>) -> Vec<String> {
    capabilities.iter().map(|name| format!("CAP_{name}")).collect()
}

/// Root has its capabilities at once. Another user has only those that the recipe adds, kept across the
/// start of programs; the default ones remain within its reach through setuid programs where those count.
fn capabilities(input: &Input<'_>, user: &User) -> Result<Value, SpecError> {
    let (bounding, added, none) = (bounding(input)?, added(input)?, BTreeSet::new());
    let (held, kept) = match (user.uid, input.config.privileged) {
        (0, _) => (&bounding, &none),
        (_, true) => (&bounding, &bounding),
        (_, false) => (&added, &added),
    };
    Ok(json!({
        "bounding": named(&bounding),
        "effective": named(held),
        "permitted": named(held),
        "inheritable": named(kept),
        "ambient": named(kept),
    }))
}
