//! What is mounted in the container, and the bundle's files that are bound there.

use std::path::{Path, PathBuf};

use agent_core::Secret;
use agent_core::network::resolver;
use serde_json::{Value, json};

use super::{BundleFile, Input, Owners, SpecError, User};

/// Where secrets are in the container.
const SECRETS: &str = "/run/secrets";

/// Mounts and files, the mounts sorted so that each comes after those above it.
pub(super) fn build(
    input: &Input<'_>,
    bundle: &Path,
    user: &User,
    owners: &Owners<'_>,
) -> Result<(Vec<Value>, Vec<BundleFile>), SpecError> {
    let config = input.config;
    let root = (owners.host(0)?, owners.host(0)?);
    let mut mounts = system();
    let mut given = Vec::new();

    let own = [
        ("hosts", input.allocation.hosts_file(&config.name.container)),
        ("hostname", format!("{}\n", config.name.container)),
        ("resolv.conf", resolver(input.dns)),
    ];
    for (name, content) in own {
        mounts.push(bind(&bundle.join(name), &format!("/etc/{name}"), &["ro", "noexec"]));
        given.push(BundleFile { path: name.into(), content: Secret::new(content), mode: 0o644, owner: root });
    }
    for path in &config.tmpfs {
        plain(input, path)?;
        mounts.push(mount("tmpfs", "tmpfs", path, &["nosuid", "nodev", "mode=1777"]));
    }
    if !config.secrets.is_empty() {
        mounts.push(bind(&bundle.join("secrets"), SECRETS, &["ro", "noexec"]));
    }
    for (name, content) in &config.secrets {
        given.push(BundleFile {
            path: Path::new("secrets").join(name),
            content: content.clone(),
            mode: 0o400,
            owner: (owners.host(user.uid)?, owners.host(user.gid)?),
        });
    }
    for (index, (path, file)) in config.files.iter().enumerate() {
        plain(input, path)?;
        let source = PathBuf::from("files").join(index.to_string());
        let options: &[&str] = if config.read_only { &["ro"] } else { &[] };
        mounts.push(bind(&bundle.join(&source), path, options));
        given.push(BundleFile {
            path: source,
            content: file.content.clone(),
            mode: file.mode,
            owner: (owners.host(file.uid)?, owners.host(file.gid)?),
        });
    }
    for path in config.volumes.keys() {
        plain(input, path)?;
    }
    mounts.sort_by_key(|mount| {
        Path::new(mount["destination"].as_str().unwrap_or_default()).components().count()
    });
    Ok((mounts, given))
}

/// What every container has.
fn system() -> Vec<Value> {
    let inert = ["nosuid", "noexec", "nodev"];
    let with = |options: &[&'static str]| [&inert, options].concat();
    vec![
        mount("proc", "proc", "/proc", &inert),
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
        // The shim puts the sysfs of the container's network namespace here.
        mount("sysfs", "sysfs", "/sys", &with(&["ro"])),
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("tmpfs", "shm", "/dev/shm", &with(&["mode=1777", "size=65536k"])),
        mount("mqueue", "mqueue", "/dev/mqueue", &inert),
        mount("cgroup", "cgroup", "/sys/fs/cgroup", &with(&["relatime", "ro"])),
    ]
}

fn mount(kind: &str, source: &str, destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn bind(source: &Path, destination: &str, options: &[&str]) -> Value {
    let options = [&["bind", "nosuid", "nodev"], options].concat();
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}

/// Refuses a path that is not plainly below the root.
fn plain(input: &Input<'_>, path: &str) -> Result<(), SpecError> {
    let mut parts = Path::new(path).components();
    let absolute = parts.next() == Some(std::path::Component::RootDir);
    let rest: Vec<_> = parts.collect();
    if absolute && !rest.is_empty() && rest.iter().all(|part| matches!(part, std::path::Component::Normal(_)))
    {
        return Ok(());
    }
    Err(SpecError::Mount { name: input.config.name.clone(), path: path.to_owned() })
}
