//! A Debian archive in a folder: packages, index, signed release.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use pgp::composed::{ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::types::Password;
use sha2::{Digest, Sha256};

pub(crate) const SUITE: &str = "test";

/// A package to be.
#[derive(Clone)]
pub(crate) struct Package {
    name: String,
    version: String,
    fields: String,
    files: Vec<(String, Vec<u8>)>,
}

/// A package without relations and files.
pub(crate) fn package(name: &str, version: &str) -> Package {
    Package { name: name.into(), version: version.into(), fields: String::new(), files: vec![] }
}

impl Package {
    /// Adds a field: `Depends`, `Provides` …
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push_str(&format!("{name}: {value}\n"));
        self
    }

    /// Adds a file; the path is written as it is, however wrong.
    pub(crate) fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.files.push((path.into(), content.to_vec()));
        self
    }

    fn path(&self) -> String {
        format!("pool/{}_{}_amd64.deb", self.name, self.version.replace(':', "%3a"))
    }

    /// The bytes of the `.deb`; the compression follows the package's name, so that each kind is used.
    fn deb(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1_000_000_000);
            header.set_size(content.len() as u64);
            let name = format!("./{path}");
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, content.as_slice()).unwrap();
        }
        let tar = tar.into_inner().unwrap();
        let (name, data) = match self.name.len() % 3 {
            0 => ("data.tar.xz", xz(&tar)),
            1 => ("data.tar.zst", zstd::encode_all(tar.as_slice(), 1).unwrap()),
            _ => ("data.tar.gz", gz(&tar)),
        };
        let mut deb = ar::Builder::new(Vec::new());
        for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), ("control.tar", b""), (name, &data)] {
            deb.append(&ar::Header::new(name.into(), bytes.len() as u64), bytes).unwrap();
        }
        deb.into_inner().unwrap()
    }
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a key that may sign.
pub(crate) fn key() -> SignedSecretKey {
    let mut parameters = SecretKeyParamsBuilder::default();
    parameters.key_type(KeyType::Ed25519Legacy).can_certify(true).can_sign(true);
    parameters.primary_user_id("Test archive <archive@example.org>".into());
    parameters.build().unwrap().generate(rand::thread_rng()).unwrap()
}

pub(crate) fn armored(key: &SignedSecretKey) -> String {
    key.to_public_key().to_armored_string(ArmorOptions::default()).unwrap()
}

/// When a release is made and until when it holds, in days from now.
#[derive(Clone, Copy)]
pub(crate) struct Days {
    pub(crate) made: i64,
    pub(crate) until: Option<i64>,
}

/// An archive in a folder.
pub(crate) struct Archive {
    pub(crate) folder: PathBuf,
    pub(crate) key: SignedSecretKey,
}

impl Archive {
    pub(crate) fn new(folder: &Path) -> Archive {
        Archive { folder: folder.join("debian"), key: key() }
    }

    /// Publishes these packages, and no others, in a release of today.
    pub(crate) fn publish(&self, packages: &[Package]) {
        self.publish_at(packages, Days { made: 0, until: Some(7) });
    }

    pub(crate) fn publish_at(&self, packages: &[Package], days: Days) {
        let mut index = String::new();
        let _ = fs::remove_dir_all(&self.folder);
        fs::create_dir_all(self.folder.join("pool")).unwrap();
        for package in packages {
            let deb = package.deb();
            fs::write(self.folder.join(package.path()), &deb).unwrap();
            let Package { name, version, fields, .. } = package;
            index.push_str(&format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}Filename: {}\nSize: {}\nSHA256: {}\n\n",
                package.path(),
                deb.len(),
                sha256(&deb)
            ));
        }
        let index = xz(index.as_bytes());
        fs::create_dir_all(self.index().parent().unwrap()).unwrap();
        fs::write(self.index(), &index).unwrap();
        let release = release(&index, days);
        fs::write(self.in_release(), sign(&release, &self.key)).unwrap();
    }

    pub(crate) fn in_release(&self) -> PathBuf {
        self.folder.join("dists").join(SUITE).join("InRelease")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.folder.join("dists").join(SUITE).join("main/binary-amd64/Packages.xz")
    }

    pub(crate) fn deb(&self, package: &Package) -> PathBuf {
        self.folder.join(package.path())
    }
}

/// The text of a release.
pub(crate) fn release(index: &[u8], days: Days) -> String {
    let date = |days: i64| {
        let time = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        time.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
    };
    let until = days.until.map(|until| format!("Valid-Until: {}\n", date(until))).unwrap_or_default();
    format!(
        "Origin: Test\nCodename: {SUITE}\nDate: {}\n{until}SHA256:\n {} {} main/binary-amd64/Packages.xz\n",
        date(days.made),
        sha256(index),
        index.len()
    )
}

/// Signs a text as an `InRelease`.
pub(crate) fn sign(text: &str, key: &SignedSecretKey) -> String {
    let text = text.trim_end_matches('\n');
    let message =
        CleartextSignedMessage::sign(rand::thread_rng(), text, &key.primary_key, &Password::empty());
    message.unwrap().to_armored_string(ArmorOptions::default()).unwrap()
}
