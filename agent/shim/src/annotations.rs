//! What a bundle says beyond the OCI runtime specification, as annotations of its `config.json`.
//!
//! | Annotation | Value | Meaning |
//! |---|---|---|
//! | `org.holdfast.layers` | JSON array of paths, at least one | erofs files of the root, top layer first |
//! | `org.holdfast.upper` | path | folder on data that holds `upper` and `work`; needed unless `root.readonly` |
//! | `org.holdfast.idmap` | `BASE:SIZE` | host ids of the container's user namespace; absent: none |
//! | `org.holdfast.volumes` | JSON array of `{source, destination, read_only}` | folders bound into the container |
//! | `org.holdfast.stop-signal` | `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3` | what SIGTERM to the shim becomes; absent: SIGTERM |
//! | `org.holdfast.stop-timeout` | milliseconds | how long after that signal the container is killed; absent: never |
//!
//! A path or a plain text may also be written as a JSON string. An unknown `org.holdfast.` key is
//! an error: it may be a protection that this version would leave out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::signals;

const PREFIX: &str = "org.holdfast.";

/// The annotations of one bundle, read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Annotations {
    /// Erofs files, top layer first; never empty.
    pub(crate) layers: Vec<PathBuf>,
    /// Folder with `upper` and `work`.
    pub(crate) upper: Option<PathBuf>,
    /// Host ids of the user namespace.
    pub(crate) id_map: Option<IdMap>,
    /// Volumes.
    pub(crate) volumes: Vec<Volume>,
    /// Signal number that asks the container to stop.
    pub(crate) stop_signal: i32,
    /// From that signal to KILL.
    pub(crate) stop_timeout: Option<Duration>,
}

/// The host ids that a user namespace maps from 0 on, for users and groups alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdMap {
    /// Host id of the container's 0.
    pub(crate) base: u32,
    /// How many ids follow.
    pub(crate) size: u32,
}

impl IdMap {
    /// Whether a host id is one of the container's.
    pub(crate) fn contains(self, host: u32) -> bool {
        host.checked_sub(self.base).is_some_and(|inside| inside < self.size)
    }

    /// The host id of one inside.
    pub(crate) fn to_host(self, inside: u32) -> Option<u32> {
        (inside < self.size).then(|| self.base + inside)
    }
}

/// The host's id for one of the container's; the same where it has no user namespace.
pub(crate) fn to_host(map: Option<IdMap>, inside: u32) -> Result<u32, AnnotationError> {
    match map {
        None => Ok(inside),
        Some(map) => map.to_host(inside).ok_or(AnnotationError::Id { inside, size: map.size }),
    }
}

/// A volume to bind.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Volume {
    /// Folder on the box.
    pub(crate) source: PathBuf,
    /// Folder in the container.
    pub(crate) destination: PathBuf,
    /// Whether the container may only read it.
    #[serde(default)]
    pub(crate) read_only: bool,
}

/// An annotation that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum AnnotationError {
    #[error("annotation `org.holdfast.{0}` is missing")]
    Missing(&'static str),
    #[error("annotation `{0}` is not known to this version")]
    Unknown(String),
    #[error("annotation `org.holdfast.{name}` is not valid JSON for it")]
    Json { name: &'static str, source: serde_json::Error },
    #[error("annotation `org.holdfast.layers` names no layer")]
    NoLayers,
    #[error("annotation `org.holdfast.{name}`: `{}` is not a plain absolute path", path.display())]
    Path { name: &'static str, path: PathBuf },
    #[error("annotation `org.holdfast.idmap`: `{0}` is not BASE:SIZE with both above 0, within 32 bits")]
    IdMap(String),
    #[error("id {inside} is not among the container's {size} ids")]
    Id { inside: u32, size: u32 },
    #[error("annotation `org.holdfast.stop-timeout`: `{0}` is not a number of milliseconds")]
    StopTimeout(String),
    #[error("annotation `org.holdfast.stop-signal`: `{0}` is not a signal")]
    Signal(String),
}

/// Reads the annotations of a bundle.
pub(crate) fn parse(all: &HashMap<String, String>) -> Result<Annotations, AnnotationError> {
    const KNOWN: [&str; 6] = ["layers", "upper", "idmap", "volumes", "stop-signal", "stop-timeout"];
    for key in all.keys() {
        if key.strip_prefix(PREFIX).is_some_and(|name| !KNOWN.contains(&name)) {
            return Err(AnnotationError::Unknown(key.clone()));
        }
    }
    let get = |name: &str| all.get(&format!("{PREFIX}{name}")).map(String::as_str);

    let layers: Vec<PathBuf> = from_json("layers", get("layers").ok_or(AnnotationError::Missing("layers"))?)?;
    if layers.is_empty() {
        return Err(AnnotationError::NoLayers);
    }
    for layer in &layers {
        plain_absolute("layers", layer)?;
    }

    let upper = get("upper").map(|text| unquote("upper", text)).transpose()?.map(PathBuf::from);
    if let Some(upper) = &upper {
        plain_absolute("upper", upper)?;
    }

    let id_map = get("idmap").map(|text| id_map(&unquote("idmap", text)?)).transpose()?;

    let volumes: Vec<Volume> = match get("volumes") {
        Some(text) => from_json("volumes", text)?,
        None => Vec::new(),
    };
    for volume in &volumes {
        plain_absolute("volumes", &volume.source)?;
        plain_absolute("volumes", &volume.destination)?;
    }

    let stop_signal = match get("stop-signal") {
        Some(text) => {
            let name = unquote("stop-signal", text)?;
            signals::number(&name).ok_or(AnnotationError::Signal(name))?
        }
        None => nix::libc::SIGTERM,
    };
    let stop_timeout = get("stop-timeout")
        .map(|text| {
            let milliseconds = text.parse().map_err(|_| AnnotationError::StopTimeout(text.to_owned()))?;
            Ok(Duration::from_millis(milliseconds))
        })
        .transpose()?;

    Ok(Annotations { layers, upper, id_map, volumes, stop_signal, stop_timeout })
}

fn from_json<T: for<'a> Deserialize<'a>>(name: &'static str, text: &str) -> Result<T, AnnotationError> {
    serde_json::from_str(text).map_err(|source| AnnotationError::Json { name, source })
}

/// A text as it is, or as a JSON string.
fn unquote(name: &'static str, text: &str) -> Result<String, AnnotationError> {
    if text.starts_with('"') { from_json(name, text) } else { Ok(text.to_owned()) }
}

fn plain_absolute(name: &'static str, path: &Path) -> Result<(), AnnotationError> {
    let plain = path.is_absolute() && path.components().all(|part| part != std::path::Component::ParentDir);
    if plain { Ok(()) } else { Err(AnnotationError::Path { name, path: path.to_owned() }) }
}

/// Reads `BASE:SIZE`. Base 0 would be the host's own root and is refused.
fn id_map(text: &str) -> Result<IdMap, AnnotationError> {
    let wrong = || AnnotationError::IdMap(text.to_owned());
    let (base, size) = text.split_once(':').ok_or_else(wrong)?;
    let map = IdMap { base: base.parse().map_err(|_| wrong())?, size: size.parse().map_err(|_| wrong())? };
    // The last host id must stay below the "no id" value.
    let fits = map.base.checked_add(map.size).is_some_and(|end| end < u32::MAX);
    if map.base == 0 || map.size == 0 || !fits {
        return Err(wrong());
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Annotations, String> {
        let all = pairs.iter().map(|(k, v)| (format!("{PREFIX}{k}"), (*v).to_owned())).collect();
        parse(&all).map_err(|error| error.to_string())
    }

    const LAYERS: (&str, &str) = ("layers", r#"["/l/b.erofs","/l/a.erofs"]"#);

    #[test]
    fn everything_given() {
        let volumes = r#"[{"source":"/v/1","destination":"/data"},
                          {"source":"/v/2","destination":"/ro","read_only":true}]"#;
        let read = read(&[
            LAYERS,
            ("upper", "/c/i.c"),
            ("idmap", "131072:65536"),
            ("volumes", volumes),
            ("stop-signal", "SIGQUIT"),
            ("stop-timeout", "10000"),
        ])
        .unwrap();
        assert_eq!(read.layers, [PathBuf::from("/l/b.erofs"), PathBuf::from("/l/a.erofs")]);
        assert_eq!(read.upper, Some(PathBuf::from("/c/i.c")));
        assert_eq!(read.id_map, Some(IdMap { base: 131072, size: 65536 }));
        assert!(!read.volumes[0].read_only && read.volumes[1].read_only);
        assert_eq!(read.stop_signal, nix::libc::SIGQUIT);
        assert_eq!(read.stop_timeout, Some(Duration::from_secs(10)));
    }

    #[test]
    fn only_layers_are_required_and_texts_may_be_quoted() {
        let bare = read(&[LAYERS]).unwrap();
        assert_eq!((bare.upper, bare.id_map, bare.volumes.len()), (None, None, 0));
        assert_eq!((bare.stop_signal, bare.stop_timeout), (nix::libc::SIGTERM, None));
        let quoted = read(&[LAYERS, ("upper", r#""/c/x""#), ("idmap", r#""7:8""#)]).unwrap();
        assert_eq!(quoted.upper, Some(PathBuf::from("/c/x")));
        assert_eq!(quoted.id_map, Some(IdMap { base: 7, size: 8 }));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for (pairs, part) in [
            (vec![], "`org.holdfast.layers` is missing"),
            (vec![("layers", "[]")], "names no layer"),
            (vec![("layers", "/l/a.erofs")], "not valid JSON"),
            (vec![("layers", r#"["l/a.erofs"]"#)], "not a plain absolute path"),
            (vec![LAYERS, ("upper", "/c/../x")], "not a plain absolute path"),
            (vec![LAYERS, ("idmap", "0:65536")], "not BASE:SIZE"),
            (vec![LAYERS, ("idmap", "65536")], "not BASE:SIZE"),
            (vec![LAYERS, ("idmap", "4294967000:65536")], "not BASE:SIZE"),
            (vec![LAYERS, ("volumes", r#"[{"source":"/v","destination":"data"}]"#)], "plain absolute"),
            (
                vec![LAYERS, ("volumes", r#"[{"source":"/v","destination":"/d","ro":true}]"#)],
                "not valid JSON",
            ),
            (vec![LAYERS, ("stop-timeout", "10s")], "`10s` is not a number of milliseconds"),
            (vec![LAYERS, ("stop-signal", "SIGNONE")], "`SIGNONE` is not a signal"),
            (vec![LAYERS, ("seccomp", "x")], "`org.holdfast.seccomp` is not known"),
        ] {
            let error = read(&pairs).unwrap_err();
            assert!(error.contains(part), "{pairs:?}: {error}");
        }
    }

    #[test]
    fn ids_are_mapped_within_the_range_only() {
        let map = IdMap { base: 1000, size: 10 };
        assert_eq!((map.to_host(0), map.to_host(9), map.to_host(10)), (Some(1000), Some(1009), None));
        assert!(map.contains(1000) && map.contains(1009) && !map.contains(999) && !map.contains(1010));
    }
}
