//! The state folder: every finished file in it can be read, and every image that is listed is whole.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use agent_core::notify::NotifyRecord;
use agent_core::state::{
    self, Counters, Format, Generation, InstanceRecord, Provider, SecretsRecord, VolumeId, VolumeRecord,
};
use agent_core::update::{ScrubRecord, UpdateRecord};
use anyhow::{Context, Result};
use serde_json::Value;

use super::verity;

/// A file's content; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// What is wrong in the folder. One that is not there is a box that has not come so far.
pub(super) fn problems(root: &Path) -> Result<Vec<String>> {
    let mut problems = vec![];
    for path in files(root)? {
        problems.extend(decoded::<Counters>(&path, "counters.json")?);
        problems.extend(decoded::<Provider>(&path, "provider.json")?);
        problems.extend(decoded::<UpdateRecord>(&path, "update.json")?);
        problems.extend(decoded::<ScrubRecord>(&path, "scrub.json")?);
        problems.extend(decoded::<NotifyRecord>(&path, "notify.json")?);
    }
    for path in files(&root.join("generations"))? {
        problems.extend(decoded::<Generation>(&path, ".json")?);
    }
    for path in files(&root.join("instances"))? {
        problems.extend(decoded::<InstanceRecord>(&path, ".json")?);
    }
    for path in files(&root.join("secrets"))? {
        problems.extend(decoded::<SecretsRecord>(&path, ".json")?);
    }
    for path in files(&root.join("volumes"))? {
        problems.extend(volume(&path)?);
    }
    problems.extend(images(&root.join("images"))?);
    Ok(problems)
}

/// The finished entries of a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(vec![]);
    }
    let mut found = vec![];
    for entry in fs::read_dir(folder)? {
        found.push(entry?.path());
    }
    found.retain(|path| !name(path).starts_with('.') && !name(path).contains(".hf-new"));
    found.sort();
    Ok(found)
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// What is wrong with a file whose name ends so.
fn decoded<T: Format>(path: &Path, end: &str) -> Result<Option<String>> {
    if !name(path).ends_with(end) {
        return Ok(None);
    }
    let text = fs::read(path)?;
    let text = String::from_utf8_lossy(&text);
    Ok(state::decode::<T>(&text).err().map(|error| format!("{}: {error}", path.display())))
}

fn volume(path: &Path) -> Result<Option<String>> {
    if VolumeId::parse(name(path)).is_none() {
        return Ok(None);
    }
    let Some(bytes) = read(&path.join("volume.json"))? else {
        return Ok(Some(format!("{} has no record", path.display())));
    };
    Ok(match state::decode::<VolumeRecord>(&String::from_utf8_lossy(&bytes)) {
        Ok(record) if !path.join(record.folder()).is_dir() => {
            Some(format!("{} has no folder `{}`", path.display(), record.folder()))
        }
        Ok(record) if record.id.as_str() != name(path) => Some(format!("{} has another id", path.display())),
        Ok(_) => None,
        Err(error) => Some(format!("{}: {error}", path.display())),
    })
}

/// Every image that has a record has its layers, as they were sealed, and every name has an image.
fn images(folder: &Path) -> Result<Vec<String>> {
    let mut problems = vec![];
    for path in files(folder)?.iter().filter(|path| name(path).ends_with(".json")) {
        let json: Value = match serde_json::from_slice(&fs::read(path)?) {
            Ok(json) => json,
            Err(error) => {
                problems.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        if json["format"].as_u64().is_none() {
            problems.push(format!("{} has no format", path.display()));
        }
        for layer in json["layers"].as_array().into_iter().flatten() {
            problems.extend(self::layer(folder, layer)?);
        }
        for (reference, named) in json["names"].as_object().into_iter().flatten() {
            let digest = named["image"].as_str().unwrap_or_default();
            let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
            if !folder.join(format!("{hex}.json")).exists() {
                problems.push(format!("`{reference}` names image {digest}, which is not there"));
            }
        }
    }
    Ok(problems)
}

fn layer(folder: &Path, layer: &Value) -> Result<Option<String>> {
    let name = layer["name"].as_str().unwrap_or_default();
    let Ok(file) = File::open(folder.join("layers").join(format!("{name}.erofs"))) else {
        return Ok(Some(format!("layer {name} is not there")));
    };
    let measured = verity::measure(BufReader::new(file))?;
    let recorded = layer["verity"].as_str().unwrap_or_default();
    Ok((measured != recorded).then(|| format!("layer {name} measures {measured}, not {recorded}")))
}
