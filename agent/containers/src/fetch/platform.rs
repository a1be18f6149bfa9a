//! Which part of an index is for this machine.
//!
//! OCI image specification, `image-index.md`, "platform"; the levels of amd64 are those of the x86-64 psABI,
//! which Go calls GOAMD64. The lowest level wins that there is: the same image on every box, whatever its
//! processor can do.

use serde::Deserialize;

use super::error::{FetchError, FetchErrorKind, told};
use super::manifest::{Descriptor, MANIFESTS};
use crate::image::or_default;

const OS: &str = "linux";
const ARCHITECTURE: &str = "amd64";

/// Marks what BuildKit says of another manifest of the index.
const ATTESTATION: &str = "vnd.docker.reference.type";
/// Machines that a message names.
const NAMED: usize = 20;

/// What machine something is for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Platform {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) os: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) variant: String,
    #[serde(default, rename = "os.version", deserialize_with = "or_default")]
    pub(super) version: String,
    #[serde(default, rename = "os.features", deserialize_with = "or_default")]
    pub(super) features: Vec<String>,
}

impl Platform {
    /// Whether it says nothing.
    fn is_open(&self) -> bool {
        self.os.is_empty() && self.architecture.is_empty()
    }

    /// The level of the processor that it needs; `None` for another machine.
    pub(super) fn level(&self) -> Option<u8> {
        if self.os != OS || self.architecture != ARCHITECTURE || !self.features.is_empty() {
            return None;
        }
        match self.variant.as_str() {
            "" | "v1" => Some(1),
            "v2" => Some(2),
            "v3" => Some(3),
            "v4" => Some(4),
            _ => None,
        }
    }

    /// As tools write it.
    pub(super) fn name(&self) -> String {
        let mut name = format!("{}/{}", self.os, self.architecture);
        if !self.variant.is_empty() {
            name.push_str(&format!("/{}", self.variant));
        }
        if !self.version.is_empty() {
            name.push_str(&format!(" ({})", self.version));
        }
        for feature in &self.features {
            name.push_str(&format!(" +{feature}"));
        }
        told(&name)
    }
}

/// The level of this machine's processor.
pub(super) fn level() -> u8 {
    macro_rules! all {
        ($($feature:tt)*) => { $(is_x86_feature_detected!($feature))&&* };
    }
    if !all!("cmpxchg16b" "popcnt" "sse3" "sse4.1" "sse4.2" "ssse3") {
        1
    } else if !all!("avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe") {
        2
    } else if !all!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl") {
        3
    } else {
        4
    }
}

/// The part of an index for a machine whose processor is of this level: the lowest that is named for it, else
/// the only one that is named for none.
pub(super) fn choose(entries: &[Descriptor], level: u8) -> Result<&Descriptor, FetchError> {
    let parts: Vec<(&Descriptor, Platform)> = entries
        .iter()
        .filter(|entry| is_image(entry))
        .map(|entry| (entry, entry.platform.clone().unwrap_or_default()))
        .collect();
    let fitting = parts.iter().filter(|(_, platform)| platform.level().is_some_and(|needs| needs <= level));
    if let Some((found, _)) =
        fitting.min_by_key(|(_, platform)| (platform.level(), !platform.version.is_empty()))
    {
        return Ok(found);
    }
    let mut open = parts.iter().filter(|(_, platform)| platform.is_open());
    if let (Some((found, _)), None) = (open.next(), open.next()) {
        return Ok(found);
    }
    let parts: Vec<Platform> = parts.into_iter().map(|(_, platform)| platform).collect();
    Err(none(&parts, level))
}

/// Refuses an image for another machine.
pub(super) fn check(image: &Platform) -> Result<(), FetchError> {
    let (needs, level) = (image.level(), level());
    if needs.is_some_and(|needs| needs <= level) {
        return Ok(());
    }
    let message = format!("the image is made for {}", image.name());
    let hint = match needs {
        Some(_) => format!("this machine's processor is v{level}"),
        None => format!("this machine is {OS}/{ARCHITECTURE}"),
    };
    Err(FetchError::new(FetchErrorKind::Platform, message).hint(hint))
}

/// Whether an entry may be an image or an index of such, and not what is said of one.
fn is_image(entry: &Descriptor) -> bool {
    let kind = entry.media_type.as_str();
    let foreign = |platform: &Platform| platform.os == "unknown" || platform.architecture == "unknown";
    (kind.is_empty() || MANIFESTS.contains(&kind))
        && entry.artifact_type.is_empty()
        && !entry.annotations.contains_key(ATTESTATION)
        && !entry.platform.as_ref().is_some_and(foreign)
}

fn none(parts: &[Platform], level: u8) -> FetchError {
    let mut names = Vec::new();
    for platform in parts {
        let name =
            if platform.is_open() { "a machine that it does not name".into() } else { platform.name() };
        if !names.contains(&name) && names.len() < NAMED {
            names.push(name);
        }
    }
    let mut hint = match names.is_empty() {
        true => "it has no part that is an image of a container".to_owned(),
        false => format!("it is made for: {}", names.join(", ")),
    };
    if parts.iter().any(|platform| platform.level().is_some()) {
        hint.push_str(&format!("; this machine's processor is v{level}"));
    }
    FetchError::new(FetchErrorKind::Platform, format!("the image has no part for {OS}/{ARCHITECTURE}"))
        .hint(hint)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Digest;

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    /// Chooses from entries that have this beside digest and size; gives the number of the one, or the error.
    fn chosen(entries: &[Value], level: u8) -> Result<u64, String> {
        let entry = |(number, entry): (usize, &Value)| {
            let mut whole = json!({ "digest": Digest::of(b"").to_string(), "size": number });
            whole.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
            serde_json::from_value(whole).unwrap()
        };
        let entries: Vec<Descriptor> = entries.iter().enumerate().map(entry).collect();
        choose(&entries, level)
            .map(|found| found.size)
            .map_err(|error| format!("{}; {}", error.message, error.hint.unwrap_or_default()))
    }

    fn on(text: &str) -> Value {
        let (os, rest) = text.split_once('/').unwrap();
        let (architecture, variant) = rest.split_once('/').unwrap_or((rest, ""));
        let mut platform = json!({ "os": os, "architecture": architecture });
        if !variant.is_empty() {
            platform["variant"] = json!(variant);
        }
        json!({ "mediaType": MANIFEST, "platform": platform })
    }

    fn with(mut entry: Value, key: &str, value: Value) -> Value {
        entry[key] = value;
        entry
    }

    #[test]
    fn the_lowest_level_of_this_machine() {
        for (names, level, expect) in [
            (&["linux/arm64", "linux/amd64"][..], 1, 1),
            (&["windows/amd64", "linux/arm/v7", "linux/amd64"], 4, 2),
            (&["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"], 4, 2),
            (&["linux/amd64/v3", "linux/amd64/v1"], 4, 1),
            (&["linux/amd64/v3", "linux/amd64/v2"], 3, 1),
            (&["linux/amd64/v4", "linux/amd64/v2"], 3, 1),
            (&["linux/amd64", "linux/amd64"], 1, 0),
        ] {
            let entries: Vec<Value> = names.iter().map(|name| on(name)).collect();
            assert_eq!(chosen(&entries, level), Ok(expect), "{names:?}");
        }
    }

    #[test]
    fn what_is_no_part_is_passed_over() {
        let here = || on("linux/amd64");
        let features = json!({ "os": "linux", "architecture": "amd64", "os.features": ["x"] });
        let version = json!({ "os": "linux", "architecture": "amd64", "os.version": "6.1" });
        for entry in [
            on("unknown/unknown"),
            with(here(), "annotations", json!({ "vnd.docker.reference.type": "attestation-manifest" })),
            with(here(), "artifactType", json!("application/spdx+json")),
            with(here(), "mediaType", json!("application/vnd.oci.image.config.v1+json")),
            with(here(), "platform", features),
            with(here(), "platform", version),
            with(here(), "platform", Value::Null),
            json!({}),
        ] {
            assert_eq!(chosen(&[entry.clone(), here()], 4), Ok(1), "{entry}");
        }
    }

    #[test]
    fn one_that_names_no_machine_has_to_do() {
        let open = || json!({ "mediaType": MANIFEST });
        assert_eq!(chosen(&[on("linux/arm64"), open()], 1), Ok(1));
        assert_eq!(chosen(&[with(open(), "platform", json!({ "os": null })), on("a/b")], 1), Ok(0));
        let two = chosen(&[open(), open()], 1).unwrap_err();
        insta::assert_snapshot!(two, @"the image has no part for linux/amd64; it is made for: a machine that it does not name");
    }

    #[test]
    fn what_there_is_instead_is_told() {
        let windows = json!({ "platform": { "os": "windows", "architecture": "amd64", "os.version": "10.0.17763", "os.features": ["win32k"] } });
        let entries =
            [on("linux/arm/v7"), windows, on("unknown/unknown"), on("linux/arm/v7"), on("linux/amd64/v3")];
        insta::assert_snapshot!(chosen(&entries, 2).unwrap_err(), @"the image has no part for linux/amd64; it is made for: linux/arm/v7, windows/amd64 (10.0.17763) +win32k, linux/amd64/v3; this machine's processor is v2");
        insta::assert_snapshot!(chosen(&[on("unknown/unknown")], 1).unwrap_err(), @"the image has no part for linux/amd64; it has no part that is an image of a container");
        let long = chosen(&[on(&format!("{}\n/x", "o".repeat(10_000)))], 1).unwrap_err();
        assert!(long.len() < 1000 && !long.contains('\n'), "{long}");
    }
}
