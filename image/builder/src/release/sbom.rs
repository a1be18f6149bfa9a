//! The bill of materials of an image: SPDX 2.3 as JSON, of the Debian packages, the Rust crates and the app
//! images in it. The same image gives the same text.

use std::collections::BTreeSet;

use image_layout::manifest::Manifest;
use serde_json::{Value, json};

use crate::steps::table::derived_uuid;

/// What the file is called, beside the image.
pub(crate) const FILE: &str = "sbom.spdx.json";

/// A crate that is compiled into a program of the box.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What its manifest says, an SPDX expression.
    pub licence: Option<String>,
    /// SHA-256 of its package, hex; one of this repository has none.
    pub sha256: Option<String>,
}

/// The text of the document.
pub(crate) fn document(manifest: &Manifest, crates: &BTreeSet<Crate>) -> Result<String, serde_json::Error> {
    const IMAGE: &str = "SPDXRef-image";
    let mut image = package(IMAGE, "holdfast", &manifest.version);
    image["primaryPackagePurpose"] = "OPERATING-SYSTEM".into();
    let mut packages = vec![image];
    packages.extend(manifest.packages.iter().map(|deb| {
        let mut found = package(&id("deb", &[&deb.name, &deb.architecture]), &deb.name, &deb.version);
        found["checksums"] = checksum(&deb.sha256);
        let version = deb.version.replace('+', "%2B").replace(':', "%3A").replace('~', "%7E");
        let (name, architecture) = (deb.name.replace('+', "%2B"), &deb.architecture);
        let purl = format!("pkg:deb/debian/{name}@{version}?arch={architecture}&distro=trixie");
        found["externalRefs"] = reference(&purl);
        found
    }));
    packages.extend(crates.iter().map(|found| {
        let Crate { name, version, licence, sha256 } = found;
        let mut found = package(&id("crate", &[name, version]), name, version);
        if let Some(licence) = licence {
            // Cargo's older form of "or".
            found["licenseDeclared"] = licence.replace('/', " OR ").into();
        }
        if let Some(sha256) = sha256 {
            found["checksums"] = checksum(sha256);
            found["downloadLocation"] =
                format!("https://crates.io/api/v1/crates/{name}/{version}/download").into();
            found["externalRefs"] = reference(&format!("pkg:cargo/{name}@{}", version.replace('+', "%2B")));
        }
        found
    }));
    packages.extend(manifest.images.iter().map(|image| {
        let mut found = package(&id("oci", &[&image.reference]), &image.reference, &image.digest);
        found["checksums"] = checksum(image.digest.trim_start_matches("sha256:"));
        found
    }));
    let contains = packages[1..].iter().map(|part| relation(IMAGE, "CONTAINS", &part["SPDXID"]));
    let describes = relation("SPDXRef-DOCUMENT", "DESCRIBES", &IMAGE.into());
    let relations: Vec<Value> = std::iter::once(describes).chain(contains).collect();
    let seed = serde_json::to_vec(&packages)?;
    let uuid = derived_uuid(&[manifest.root_hash.as_bytes(), &seed].concat(), "bill of materials");
    let created = jiff::Timestamp::from_second(manifest.epoch as i64).unwrap_or_default();
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("holdfast-{}", manifest.version),
        "documentNamespace": format!("https://spdx.org/spdxdocs/holdfast-{}-{uuid}", manifest.version),
        "creationInfo": {
            "created": created.to_string(),
            "creators": [format!("Tool: holdfast-image-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relations,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// An identifier: letters, digits, dots and dashes (SPDX 2.3, 7.2).
fn id(kind: &str, words: &[&str]) -> String {
    let text = words.join("-");
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    // `+` and `-` both become a dash: what was said is told apart by its letters' sum.
    let sum = crc32fast::hash(text.as_bytes());
    let text: String = text.chars().map(plain).collect();
    format!("SPDXRef-{kind}-{text}-{sum:08x}")
}

fn package(id: &str, name: &str, version: &str) -> Value {
    json!({
        "SPDXID": id,
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    })
}

fn checksum(sha256: &str) -> Value {
    json!([{ "algorithm": "SHA256", "checksumValue": sha256 }])
}

fn reference(purl: &str) -> Value {
    json!([{ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl }])
}

fn relation(from: &str, kind: &str, to: &Value) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

#[cfg(test)]
mod tests {
    use image_layout::manifest::{EmbeddedImage, Package};

    use super::*;

    #[test]
    fn every_part_is_named_once_and_told_apart() {
        let package = |name: &str| Package {
            name: name.to_owned(),
            version: "1:2.3+b~1".to_owned(),
            architecture: "amd64".to_owned(),
            sha256: "ab".to_owned(),
            size: 1,
        };
        let image = EmbeddedImage { reference: "localhost/web:1".to_owned(), digest: "sha256:cd".to_owned() };
        let manifest = Manifest {
            format: 1,
            version: "1.2".to_owned(),
            epoch: 1_700_000_000,
            root_hash: "ef".to_owned(),
            root_size: 0,
            packages: vec![package("libstdc++6"), package("libstdc--6")],
            images: vec![image],
            outputs: vec![],
        };
        let found = Crate {
            name: "ar".to_owned(),
            version: "0.9.0".to_owned(),
            licence: Some("MIT/Apache-2.0".to_owned()),
            sha256: Some("12".to_owned()),
        };
        let own = Crate { name: "agent-cli".to_owned(), sha256: None, licence: None, ..found.clone() };
        let text = document(&manifest, &BTreeSet::from([found, own])).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let packages = value["packages"].as_array().unwrap();
        let ids: BTreeSet<&str> =
            packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
        assert_eq!((packages.len(), ids.len()), (6, 6));
        assert!(
            ids.iter().all(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))),
            "{ids:?}"
        );
        let related: BTreeSet<&str> = value["relationships"]
            .as_array()
            .unwrap()
            .iter()
            .map(|relation| relation["relatedSpdxElement"].as_str().unwrap())
            .collect();
        assert_eq!(related, ids);
        let purl = |at: usize| packages[at]["externalRefs"][0]["referenceLocator"].as_str().unwrap();
        assert_eq!(purl(1), "pkg:deb/debian/libstdc%2B%2B6@1%3A2.3%2Bb%7E1?arch=amd64&distro=trixie");
        assert_eq!(purl(4), "pkg:cargo/ar@0.9.0");
        assert_eq!(packages[4]["licenseDeclared"], "MIT OR Apache-2.0");
        assert_eq!(value["creationInfo"]["created"], "2023-11-14T22:13:20Z");
    }
}
