//! Staging folders and fetches, with a stand-in for `mkfs.erofs` that keeps the normalised stream.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_containers::Limits;
use agent_containers::fetch::{
    self, FetchError, FetchErrorKind, FetchRequest, FetchResult, FetchedImage, Outcome, RegistryAccess,
    Source,
};
use tempfile::TempDir;

use super::listing::{self, Facts};

/// A staging folder.
pub struct Staging {
    pub folder: TempDir,
    pub mkfs: PathBuf,
    pub limits: Limits,
}

impl Staging {
    pub fn new() -> Staging {
        let folder = tempfile::tempdir().unwrap();
        let mkfs = folder.path().join("mkfs");
        fs::write(&mkfs, "#!/bin/sh\nfor out; do :; done\nexec cat > \"$out\"\n").unwrap();
        fs::set_permissions(&mkfs, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(folder.path().join("staging/known")).unwrap();
        let limits = Limits { attempts: 3, pause: Duration::from_millis(10), ..super::limits() };
        Staging { folder, mkfs, limits }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("staging")
    }

    /// Runs a fetch; checks that an error leaves nothing but the result, and at most what the next can use.
    pub fn fetch(&self, reference: &str, source: Source) -> Result<FetchedImage, FetchError> {
        self.request(reference, source);
        let path = self.path();
        let outcome = fetch::run(&path, &self.limits, &mut |_| {}).unwrap();
        let written: FetchResult =
            serde_json::from_slice(&fs::read(path.join(FetchResult::FILE)).unwrap()).unwrap();
        assert_eq!(written.outcome, outcome);
        let mut left: Vec<_> = names(&path);
        left.retain(|name| name != "known" && name != "request.json" && name != "result.json");
        match outcome {
            Outcome::Image(image) => {
                assert_eq!(left, ["layers"]);
                Ok(*image)
            }
            Outcome::Error(error) => {
                let useful =
                    [FetchErrorKind::Unreachable, FetchErrorKind::Certificate, FetchErrorKind::Unauthorized];
                left.retain(|name| name != "blobs" || !useful.contains(&error.kind));
                assert_eq!(left, Vec::<String>::new());
                Err(error)
            }
        }
    }

    /// Writes the request of a fetch.
    pub fn request(&self, reference: &str, source: Source) {
        let request = FetchRequest { mkfs: self.mkfs.clone(), ..FetchRequest::new(reference, source) };
        fs::write(self.path().join(FetchResult::REQUEST), serde_json::to_vec(&request).unwrap()).unwrap();
    }

    /// Makes each conversion take so long.
    pub fn slow(&self, time: Duration) {
        let text =
            format!("#!/bin/sh\nsleep {}\nfor out; do :; done\nexec cat > \"$out\"\n", time.as_secs_f64());
        fs::write(&self.mkfs, text).unwrap();
    }

    pub fn plain(&self, host: &str, rest: &str) -> Result<FetchedImage, FetchError> {
        let access = RegistryAccess { plain_http: true, ..RegistryAccess::default() };
        self.fetch(&format!("{host}/{rest}"), Source::Registry(access))
    }

    /// What a layer holds.
    pub fn layer(&self, name: &str) -> BTreeMap<Vec<u8>, Facts> {
        listing::read(&fs::read(self.path().join(format!("layers/{name}.erofs"))).unwrap())
    }

    /// Makes the layers of the last fetch known to the next, as the store does.
    pub fn keep(&self) {
        let layers = self.path().join("layers");
        for name in names(&layers) {
            if name.ends_with(".meta") {
                fs::rename(layers.join(&name), self.path().join("known").join(&name)).unwrap();
            }
        }
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
