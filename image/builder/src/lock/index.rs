//! The packages that the suites offer together, and what each name stands for.

use std::collections::HashMap;
use std::io::Read;

use crate::lock::control::{Paragraph, Relation, paragraphs, relations};
use crate::lock::version::Version;

/// The most that an index may unpack to.
const LIMIT: u64 = 512 << 20;

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// The compressed file is broken.
    #[error("it cannot be decompressed")]
    Decompress(#[source] std::io::Error),
    /// It unpacks to too much.
    #[error("it unpacks to more than {} MiB", LIMIT >> 20)]
    TooLarge,
    /// A paragraph lacks a field, or it cannot be read.
    #[error("no valid `{field}` of package `{package}`")]
    Field {
        /// The package, as far as known.
        package: String,
        /// The field.
        field: &'static str,
    },
}

/// A version of a package in a suite.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: Version,
    /// `amd64` or `all`.
    pub arch: String,
    /// Index of its suite.
    pub suite: usize,
    /// Within the archive.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Hex.
    pub sha256: String,
    /// `Pre-Depends` and `Depends`, each group needing one alternative.
    pub depends: Vec<Vec<Relation>>,
    /// `Conflicts` and `Breaks`.
    pub conflicts: Vec<Relation>,
    /// `Provides`.
    pub provides: Vec<Relation>,
}

/// All packages of all suites.
#[derive(Debug, Default)]
pub(crate) struct Index {
    packages: Vec<Package>,
    by_name: HashMap<String, Vec<usize>>,
    providers: HashMap<String, Vec<(usize, Option<Version>)>>,
}

impl Index {
    /// Adds the `Packages.xz` of a suite. The same version in two suites counts once, from the first.
    pub(crate) fn add(&mut self, suite: usize, compressed: &[u8]) -> Result<(), IndexError> {
        let mut text = String::new();
        let reader = liblzma::read::XzDecoder::new_multi_decoder(compressed);
        reader.take(LIMIT + 1).read_to_string(&mut text).map_err(IndexError::Decompress)?;
        if text.len() as u64 > LIMIT {
            return Err(IndexError::TooLarge);
        }
        for paragraph in paragraphs(&text) {
            self.insert(package(paragraph, suite)?);
        }
        Ok(())
    }

    fn insert(&mut self, package: Package) {
        let versions = self.by_name.entry(package.name.clone()).or_default();
        if versions.iter().any(|&i| self.packages[i].version == package.version) {
            return;
        }
        let id = self.packages.len();
        versions.push(id);
        for provided in &package.provides {
            let version = provided.version.as_ref().map(|(_, version)| version.clone());
            self.providers.entry(provided.name.clone()).or_default().push((id, version));
        }
        self.packages.push(package);
    }

    /// A package by its number.
    pub(crate) fn package(&self, id: usize) -> &Package {
        &self.packages[id]
    }

    /// The versions of a real package.
    pub(crate) fn versions(&self, name: &str) -> &[usize] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Packages that satisfy a relation: real ones, then providers; grouped by name, providers' names
    /// in order.
    pub(crate) fn candidates(&self, relation: &Relation) -> Vec<(&str, Vec<usize>)> {
        let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
        let real = self.versions(&relation.name).iter().copied();
        let real: Vec<usize> = real.filter(|&id| relation.admits(&self.packages[id].version)).collect();
        if let Some(&first) = real.first() {
            groups.push((&self.packages[first].name, real));
        }
        let providers = self.providers.get(&relation.name).map_or(&[][..], Vec::as_slice);
        let mut named: Vec<(&str, usize)> = providers
            .iter()
            .filter(|(_, version)| relation.admits_provided(version.as_ref()))
            .map(|(id, _)| (self.packages[*id].name.as_str(), *id))
            .collect();
        named.sort();
        for (name, id) in named {
            match groups.iter_mut().find(|(group, _)| *group == name) {
                Some((_, ids)) if ids.contains(&id) => {}
                Some((_, ids)) => ids.push(id),
                None => groups.push((name, vec![id])),
            }
        }
        groups
    }
}

fn package(paragraph: Paragraph<'_>, suite: usize) -> Result<Package, IndexError> {
    let mut raw = Raw::default();
    for (name, value) in paragraph.fields() {
        match name {
            "Package" => raw.name = value,
            "Version" => raw.version = value,
            "Architecture" => raw.arch = value,
            "Filename" => raw.path = value,
            "Size" => raw.size = value,
            "SHA256" => raw.sha256 = value,
            "Pre-Depends" => raw.pre_depends = value,
            "Depends" => raw.depends = value,
            "Conflicts" => raw.conflicts = value,
            "Breaks" => raw.breaks = value,
            "Provides" => raw.provides = value,
            _ => {}
        }
    }
    let fail = |field| IndexError::Field { package: raw.name.to_owned(), field };
    let required =
        |value: &str, field| if value.is_empty() { Err(fail(field)) } else { Ok(value.to_owned()) };
    let groups = |value, field| relations(value).ok_or_else(|| fail(field));
    let mut depends = groups(raw.pre_depends, "Pre-Depends")?;
    depends.extend(groups(raw.depends, "Depends")?);
    let mut conflicts = groups(raw.conflicts, "Conflicts")?;
    conflicts.extend(groups(raw.breaks, "Breaks")?);
    let sha256 = required(raw.sha256, "SHA256")?.to_ascii_lowercase();
    if sha256.len() != 64 || !sha256.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(fail("SHA256"));
    }
    let path = required(raw.path, "Filename")?;
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(fail("Filename"));
    }
    Ok(Package {
        name: required(raw.name, "Package")?,
        version: Version::new(required(raw.version, "Version")?),
        arch: required(raw.arch, "Architecture")?,
        suite,
        path,
        size: raw.size.parse().map_err(|_| fail("Size"))?,
        sha256,
        depends,
        conflicts: conflicts.into_iter().flatten().collect(),
        provides: groups(raw.provides, "Provides")?.into_iter().flatten().collect(),
    })
}

#[derive(Default)]
struct Raw<'a> {
    name: &'a str,
    version: &'a str,
    arch: &'a str,
    path: &'a str,
    size: &'a str,
    sha256: &'a str,
    pre_depends: &'a str,
    depends: &'a str,
    conflicts: &'a str,
    breaks: &'a str,
    provides: &'a str,
}
