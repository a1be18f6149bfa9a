use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::fetch::{
    FetchErrorKind, FetchRequest, FetchResult, FetchedImage, FetchedLayer, Outcome, RegistryAccess, Source,
};

/// Measures a file by its content, once it was sealed: what fs-verity does, without a kernel.
#[derive(Default)]
struct ByContent {
    sealed: RefCell<BTreeSet<(u64, u64)>>,
    broken: bool,
}

fn identity(file: &File) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata().unwrap();
    (metadata.dev(), metadata.ino())
}

fn content(file: &File) -> Digest {
    use std::io::Read;
    use std::io::Seek;
    let mut bytes = Vec::new();
    let mut file = file;
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    Digest::of(&bytes)
}

impl Seal for ByContent {
    fn seal(&self, file: &File) -> Result<Digest, SealError> {
        if self.broken {
            return Err(SealError::Unsupported);
        }
        self.sealed.borrow_mut().insert(identity(file));
        Ok(content(file))
    }

    fn measure(&self, file: &File) -> Result<Digest, SealError> {
        match self.sealed.borrow().contains(&identity(file)) {
            true => Ok(content(file)),
            false => Err(SealError::NotSealed),
        }
    }
}

struct Box {
    _folder: tempfile::TempDir,
    root: PathBuf,
    store: Store<ByContent>,
}

fn store() -> Box {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("images");
    let store = Store::open_with(&root, ByContent::default()).unwrap();
    Box { _folder: folder, root, store }
}

const REFERENCE: &str = "r.example/app:1";

fn request() -> FetchRequest {
    FetchRequest::new(REFERENCE, Source::Registry(RegistryAccess::default()))
}

fn diff_id(layer: &str) -> Digest {
    Digest::of(layer.as_bytes())
}

/// What `holdfast-fetch` leaves: an image whose layers are named by their content.
fn leave(staging: &Path, image: &str, layers: &[&str]) {
    let known = |layer: &str| staging.join("known").join(format!("{}.meta", diff_id(layer).hex())).exists();
    let fetched = FetchedImage {
        reference: REFERENCE.into(),
        resolved: Digest::of(b"index"),
        digest: Digest::of(image.as_bytes()),
        config_digest: Digest::of(b"config"),
        config: Default::default(),
        layers: layers
            .iter()
            .map(|layer| FetchedLayer {
                diff_id: diff_id(layer),
                name: diff_id(layer).hex(),
                bytes: 100,
                opaque_root: false,
                staged: !known(layer),
            })
            .collect(),
        passwd: None,
        group: None,
    };
    fs::create_dir(staging.join("layers")).unwrap();
    for layer in layers.iter().filter(|layer| !known(layer)) {
        let path = staging.join("layers").join(diff_id(layer).hex());
        fs::write(path.with_extension("erofs"), layer).unwrap();
        fs::write(path.with_extension("meta"), "meta").unwrap();
    }
    result(staging, Outcome::Image(std::boxed::Box::new(fetched)));
}

fn result(staging: &Path, outcome: Outcome) {
    let result = FetchResult { format: FetchResult::FORMAT, outcome };
    fs::write(staging.join("result.json"), to_json(&result)).unwrap();
}

fn pull(at: &Box, image: &str, layers: &[&str]) -> Adopted {
    let staging = at.store.stage("fetch-1", &request(), None).unwrap();
    leave(&staging, image, layers);
    at.store.adopt(&staging).unwrap()
}

#[test]
fn an_image_comes_in() {
    let at = store();
    let adopted = pull(&at, "one", &["low", "high"]);
    assert!(adopted.changed);
    assert_eq!(adopted.before, None);
    assert_eq!(at.store.images().unwrap(), std::slice::from_ref(&adopted.image));
    assert_eq!(at.store.image_by_reference(REFERENCE).unwrap(), Some(adopted.image.clone()));
    assert_eq!(at.store.image_by_reference("r.example/other:1").unwrap(), None);
    at.store.verify(&adopted.image).unwrap();
    let layer = &adopted.image.layers[0];
    assert_eq!(layer.verity, Digest::of(b"low"));
    let file = at.store.layers().join(format!("{}.erofs", layer.name));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o400);
    assert_eq!(fs::read_dir(at.root.join("staging")).unwrap().count(), 0);
}

#[test]
fn the_same_again_changes_nothing_and_fetches_nothing() {
    let at = store();
    let first = pull(&at, "one", &["low", "high"]);
    let again = pull(&at, "one", &["low", "high"]);
    assert!(!again.changed);
    assert_eq!(again.image, first.image);
}

#[test]
fn a_tag_that_moved_says_what_it_was() {
    let at = store();
    let first = pull(&at, "one", &["low"]);
    let second = pull(&at, "two", &["low", "new"]);
    let before = second.before.clone().unwrap();
    assert!(second.changed);
    assert_eq!(before.image, first.image.digest);
    // And back.
    at.store.set_name(REFERENCE, before).unwrap();
    assert_eq!(at.store.image_by_reference(REFERENCE).unwrap(), Some(first.image));
}

#[test]
fn a_failed_fetch_leaves_nothing() {
    let at = store();
    let staging = at.store.stage("fetch-1", &request(), None).unwrap();
    let error: FetchError =
        serde_json::from_value(serde_json::json!({ "kind": "not-found", "message": "no such image" }))
            .unwrap();
    result(&staging, Outcome::Error(error));
    match at.store.adopt(&staging) {
        Err(StoreError::Fetch(error)) => assert_eq!(error.kind, FetchErrorKind::NotFound),
        other => panic!("{other:?}"),
    }
    assert!(!staging.exists());
    assert_eq!(at.store.images().unwrap(), []);
}

fn make_pipe(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR).unwrap();
}

#[test]
fn what_a_fetch_leaves_is_not_trusted() {
    let at = store();
    let outside = at.root.join("secret");
    fs::write(&outside, "mine").unwrap();
    let refused = |change: &dyn Fn(&Path)| {
        let staging = at.store.stage("fetch-1", &request(), None).unwrap();
        leave(&staging, "one", &["low"]);
        change(&staging);
        at.store.adopt(&staging).unwrap_err().to_string()
    };
    let file = |staging: &Path| staging.join("layers").join(diff_id("low").hex()).with_extension("erofs");
    let linked = refused(&|staging| {
        fs::remove_file(file(staging)).unwrap();
        std::os::unix::fs::symlink(&outside, file(staging)).unwrap();
    });
    assert!(linked.starts_with("failed to open"), "{linked}");
    let folder = refused(&|staging| {
        fs::remove_file(file(staging)).unwrap();
        fs::create_dir(file(staging)).unwrap();
    });
    assert!(folder.contains("is no file"), "{folder}");
    let edit = |from: &str, to: &str| {
        refused(&|staging| {
            let path = staging.join("result.json");
            let text = fs::read_to_string(&path).unwrap().replace(from, to);
            fs::write(path, text).unwrap();
        })
    };
    let hex = diff_id("low").hex();
    let name = edit(&format!("\"name\": \"{hex}\""), "\"name\": \"../../secret\"");
    assert!(name.contains("is no name of a layer"), "{name}");
    let format = edit("\"format\": 1", "\"format\": 2");
    assert!(format.contains("format 2"), "{format}");
    let missing = refused(&|staging| fs::remove_file(file(staging)).unwrap());
    assert!(missing.starts_with("failed to open"), "{missing}");
    let none = refused(&|staging| fs::remove_file(staging.join("result.json")).unwrap());
    assert!(none.contains("no result.json"), "{none}");
    let pipe = refused(&|staging| {
        fs::remove_file(staging.join("result.json")).unwrap();
        make_pipe(&staging.join("result.json"));
    });
    assert!(pipe.contains("is no file"), "{pipe}");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
    assert_eq!(at.store.images().unwrap(), []);
    for id in ["", "..", "a/b", ".x"] {
        assert!(matches!(at.store.stage(id, &request(), None), Err(StoreError::StagingName(_))), "{id}");
    }
}

#[test]
fn a_swapped_or_lost_layer_is_seen_and_fetched_again() {
    let at = store();
    let image = pull(&at, "one", &["low", "high"]).image;
    let path = at.store.layer(&image.layers[0].name);
    // Another sealed file under the same name.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "other").unwrap();
    at.store.seal.seal(&File::open(&path).unwrap()).unwrap();
    assert!(matches!(at.store.verify(&image), Err(StoreError::Swapped { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(at.store.verify(&image), Err(StoreError::NoLayer { .. })));
    fs::write(&path, "low").unwrap();
    // The inode may be one that was sealed before.
    at.store.seal.sealed.borrow_mut().remove(&identity(&File::open(&path).unwrap()));
    assert!(matches!(at.store.verify(&image), Err(StoreError::Seal { source: SealError::NotSealed, .. })));
    let again = pull(&at, "one", &["low", "high"]).image;
    assert_eq!(again, image);
    at.store.verify(&again).unwrap();
}

#[test]
fn a_damaged_image_is_discarded_and_had_again() {
    let at = store();
    let image = pull(&at, "one", &["low", "high"]).image;
    let other = pull(&at, "two", &["low"]).image;
    assert!(at.store.discard_damaged(&image).unwrap().is_none());
    let path = at.store.layer(&image.layers[0].name);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "swapped").unwrap();
    at.store.seal.seal(&File::open(&path).unwrap()).unwrap();
    let damage = at.store.discard_damaged(&image).unwrap().unwrap();
    assert!(matches!(damage, StoreError::Swapped { .. }), "{damage}");
    assert!(!path.exists() && at.store.layer(&image.layers[1].name).exists());
    assert!(matches!(at.store.image(&image.digest), Err(StoreError::NoImage(_))));
    assert!(matches!(at.store.verify(&other), Err(StoreError::NoLayer { .. })), "shared layers too");
    // Only what is damaged is fetched again.
    let staging = at.store.stage("fetch-1", &request(), None).unwrap();
    assert_eq!(fs::read_dir(staging.join("known")).unwrap().count(), 0);
    leave(&staging, "one", &["low", "high"]);
    let again = at.store.adopt(&staging).unwrap().image;
    assert_eq!(again, image);
    at.store.check(&again).unwrap();
    at.store.verify(&other).unwrap();
}

/// A newer mkfs.erofs may make other bytes of the same layer.
#[test]
fn a_layer_that_was_made_anew_counts_for_every_image() {
    let at = store();
    let image = pull(&at, "one", &["low", "high"]).image;
    fs::remove_file(at.store.layer(&image.layers[0].name)).unwrap();
    let staging = at.store.stage("fetch-1", &request(), None).unwrap();
    leave(&staging, "two", &["low"]);
    let file = staging.join("layers").join(diff_id("low").hex()).with_extension("erofs");
    fs::write(file, "low, other bytes").unwrap();
    at.store.adopt(&staging).unwrap();
    let image = at.store.image(&image.digest).unwrap();
    assert_eq!(image.layers[0].verity, Digest::of(b"low, other bytes"));
    at.store.verify(&image).unwrap();
}

#[test]
fn a_filesystem_without_seals_is_said() {
    let mut at = store();
    at.store.seal.broken = true;
    let staging = at.store.stage("fetch-1", &request(), None).unwrap();
    leave(&staging, "one", &["low"]);
    let error = at.store.adopt(&staging).unwrap_err();
    assert!(matches!(error, StoreError::Seal { source: SealError::Unsupported, .. }));
    assert_eq!(at.store.images().unwrap(), []);
    assert_eq!(fs::read_dir(at.store.layers()).unwrap().count(), 0);
}

#[test]
fn pruning_keeps_what_is_used() {
    let at = store();
    let one = pull(&at, "one", &["low", "old"]).image;
    let two = pull(&at, "two", &["low", "new"]).image;
    let pruned = at.store.prune(&BTreeSet::from([two.digest])).unwrap();
    assert_eq!((pruned.images, pruned.layers), (vec![one.digest], 1));
    assert_eq!(pruned.bytes, "old".len() as u64 + "meta".len() as u64);
    at.store.verify(&two).unwrap();
    assert_eq!(at.store.images().unwrap(), [two]);
    let all = at.store.prune(&BTreeSet::new()).unwrap();
    assert_eq!((all.images.len(), all.layers), (1, 2));
    assert_eq!(fs::read_dir(at.store.layers()).unwrap().count(), 0);
    assert_eq!(at.store.names().unwrap().len(), 0);
    assert_eq!(at.store.prune(&BTreeSet::new()).unwrap(), Pruned::default());
}

#[test]
fn unused_images_are_known_by_age() {
    let at = store();
    let mut images = ["one", "two", "three"].map(|name| pull(&at, name, &["low", name]).image.digest);
    images.rotate_left(1);
    for (age, digest) in images.iter().enumerate() {
        let record = File::open(at.store.record(digest)).unwrap();
        let came = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age as u64);
        record.set_modified(came).unwrap();
    }
    let unused = |keep: &[Digest]| at.store.unused(&keep.iter().copied().collect()).unwrap();
    assert_eq!(unused(&[]), images);
    assert_eq!(unused(&images[1..2]), [images[0], images[2]]);
}

/// Without room on the disk a folder that was removed could not be made again.
#[test]
fn opening_keeps_the_folder_of_fetches_and_empties_it() {
    let at = store();
    let folder = at.root.join("staging");
    // Held, so that its number is not given to another.
    let held = File::open(&folder).unwrap();
    fs::create_dir_all(folder.join("fetch-1/layers")).unwrap();
    fs::write(folder.join("fetch-1/layers/half"), "x").unwrap();
    fs::write(folder.join("file"), "x").unwrap();
    Store::open_with(&at.root, ByContent::default()).unwrap().tidy().unwrap();
    assert_eq!(identity(&File::open(&folder).unwrap()), identity(&held));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn what_was_cut_is_removed_and_keeps_nobody_from_the_images() {
    let at = store();
    let image = pull(&at, "one", &["low"]).image;
    let staging = at.store.stage("fetch-2", &request(), None).unwrap();
    leave(&staging, "two", &["new"]);
    // A layer whose image was never written.
    fs::write(at.store.layer(&diff_id("orphan").hex()), "orphan").unwrap();
    let again =
        Store::open_with(&at.root, ByContent { sealed: at.store.seal.sealed, broken: false }).unwrap();
    // A file where a folder of downloads should be: it cannot be swept.
    fs::write(at.root.join("downloads"), "").unwrap();
    again.tidy().unwrap_err();
    assert_eq!(again.images().unwrap(), std::slice::from_ref(&image));
    fs::remove_file(at.root.join("downloads")).unwrap();
    again.tidy().unwrap();
    assert!(!staging.exists());
    assert_eq!(again.images().unwrap(), std::slice::from_ref(&image));
    again.verify(&image).unwrap();
    assert_eq!(again.prune(&BTreeSet::from([image.digest])).unwrap().layers, 1);
}

/// Every state that a cut can leave between two steps of taking an image in: listed images are whole.
#[test]
fn a_cut_at_any_step_leaves_garbage_only() {
    let count = |at: &Box| {
        for image in at.store.images().unwrap() {
            at.store.verify(&image).unwrap();
        }
        at.store.images().unwrap().len()
    };
    let at = store();
    let staging = at.store.stage("fetch-1", &request(), None).unwrap();
    leave(&staging, "one", &["low", "high"]);
    let hex = diff_id("low").hex();
    // Meta in place, layer not; then the layer too; then all layers but no record.
    fs::copy(staging.join(format!("layers/{hex}.meta")), at.store.meta(&hex)).unwrap();
    assert_eq!(count(&at), 0);
    at.store.seal_layer_for_test(&staging, &hex);
    assert_eq!(count(&at), 0);
    // Nothing of it counts as known, so the next fetch brings it again.
    let next = at.store.stage("fetch-2", &request(), None).unwrap();
    assert_eq!(fs::read_dir(next.join("known")).unwrap().count(), 0);
    leave(&next, "one", &["low", "high"]);
    let image = at.store.adopt(&next).unwrap().image;
    assert_eq!(count(&at), 1);
    // A record without a name: there, and to be pruned.
    fs::remove_file(at.root.join("names.json")).unwrap();
    assert_eq!(at.store.image_by_reference(REFERENCE).unwrap(), None);
    assert_eq!(at.store.images().unwrap(), [image]);
}

impl Store<ByContent> {
    fn seal_layer_for_test(&self, staging: &Path, name: &str) {
        let path = staging.join(format!("layers/{name}.erofs"));
        self.seal.seal(&File::open(&path).unwrap()).unwrap();
        fs::rename(path, self.layer(name)).unwrap();
    }
}

#[test]
fn damaged_and_newer_records_are_told_apart() {
    let at = store();
    let image = pull(&at, "one", &["low"]).image;
    let path = at.store.record(&image.digest);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"format\": 1", "\"format\": 7")).unwrap();
    assert!(matches!(at.store.image(&image.digest), Err(StoreError::Newer { format: 7, .. })));
    // The version that wrote it may come back and want its layers.
    assert!(matches!(at.store.prune(&BTreeSet::new()), Err(StoreError::Newer { format: 7, .. })));
    assert!(at.store.layer(&image.layers[0].name).exists());
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert!(matches!(at.store.image(&image.digest), Err(StoreError::Json { .. })));
    assert_eq!(at.store.images().unwrap(), []);
    let fetched_again = pull(&at, "one", &["low"]).image;
    assert_eq!(fetched_again, image);
}

#[test]
fn damaged_names_are_resolved_again_and_newer_ones_are_left_alone() {
    let b = store();
    let path = b.root.join("names.json");
    for bad in [&b""[..], b"{\"format\":1,\"na", &[0xa5; 3000], b"{\"format\":1,\"names\":7}"] {
        std::fs::write(&path, bad).unwrap();
        assert!(b.store.names().unwrap().is_empty(), "{bad:?}");
    }
    std::fs::write(&path, "{\"format\":2}").unwrap();
    assert!(matches!(b.store.names(), Err(StoreError::Newer { format: 2, .. })));
}

/// What a fetch had downloaded when it was cut.
fn downloaded(at: &Box, id: &str) -> Vec<u8> {
    let staging = at.store.stage(id, &request(), None).unwrap();
    fs::create_dir_all(staging.join("blobs")).unwrap();
    fs::write(staging.join("blobs/aa"), b"half").unwrap();
    fs::create_dir(staging.join("layers")).unwrap();
    fs::write(staging.join("layers/x"), b"x").unwrap();
    b"half".to_vec()
}

fn ids(at: &Box) -> Vec<String> {
    at.store.downloads().unwrap().into_iter().collect()
}

#[test]
fn what_was_downloaded_is_there_for_the_next_fetch() {
    let mut at = store();
    for restarted in [false, true] {
        let half = downloaded(&at, "fetch-1");
        match restarted {
            false => at.store.set_aside("fetch-1").unwrap(),
            true => {
                at.store = Store::open_with(&at.root, ByContent::default()).unwrap();
                at.store.tidy().unwrap();
            }
        }
        assert_eq!(fs::read_dir(at.root.join("staging")).unwrap().count(), 0);
        assert_eq!(ids(&at), ["fetch-1"]);
        assert_eq!(at.root.join("downloads").metadata().unwrap().permissions().mode() & 0o7777, 0o700);
        let other = at.store.stage("fetch-2", &request(), None).unwrap();
        assert!(!other.join("blobs").exists());
        let staging = at.store.stage("fetch-1", &request(), None).unwrap();
        assert_eq!(fs::read(staging.join("blobs/aa")).unwrap(), half);
        assert!(!staging.join("layers").exists());
        assert_eq!(ids(&at), [""; 0]);
    }
    // Staged twice: as when the agent was cut in between.
    let staging = at.store.stage("fetch-1", &request(), None).unwrap();
    assert!(staging.join("blobs/aa").exists());
    leave(&staging, "one", &["low"]);
    at.store.adopt(&staging).unwrap();
    assert_eq!(ids(&at), [""; 0]);
}

#[test]
fn what_was_downloaded_can_be_forgotten() {
    let at = store();
    downloaded(&at, "fetch-1");
    at.store.set_aside("fetch-1").unwrap();
    assert!(at.store.forget_download("fetch-1").unwrap());
    assert!(!at.store.forget_download("fetch-1").unwrap());
    assert!(at.store.forget_download("../layers").is_err());
    for id in ["fetch-1", "fetch-2", "fetch-3"] {
        downloaded(&at, id);
    }
    at.store.set_aside("fetch-1").unwrap();
    at.store.set_aside("fetch-2").unwrap();
    assert_eq!(at.store.forget_downloads(&BTreeSet::from(["fetch-2".into()])).unwrap(), 4);
    assert_eq!(ids(&at), ["fetch-2"]);
    // One that runs keeps its own.
    assert_eq!(at.store.forget_downloads(&BTreeSet::new()).unwrap(), 4);
    assert_eq!(at.store.forget_downloads(&BTreeSet::new()).unwrap(), 0);
    assert!(at.root.join("staging/fetch-3/blobs/aa").exists());
    // Nothing was downloaded: nothing is kept.
    let staging = at.store.stage("fetch-1", &request(), None).unwrap();
    fs::create_dir(staging.join("blobs")).unwrap();
    at.store.set_aside("fetch-1").unwrap();
    at.store.set_aside("fetch-1").unwrap();
    assert_eq!(ids(&at), [""; 0]);
}

/// Whoever wrote the staging folder may have put anything there.
#[test]
fn nothing_outside_is_taken_for_a_download() {
    let at = store();
    let outside = at.root.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), b"x").unwrap();
    let staging = at.store.stage("fetch-1", &request(), None).unwrap();
    std::os::unix::fs::symlink(&outside, staging.join("blobs")).unwrap();
    at.store.set_aside("fetch-1").unwrap();
    assert_eq!(ids(&at), [""; 0]);
    let staging = at.store.stage("fetch-1", &request(), None).unwrap();
    fs::write(staging.join("blobs"), b"a file").unwrap();
    at.store.set_aside("fetch-1").unwrap();
    assert_eq!(ids(&at), [""; 0]);
    downloaded(&at, "fetch-1");
    let blobs = at.root.join("staging/fetch-1/blobs");
    fs::create_dir_all(blobs.join("folder/more")).unwrap();
    std::os::unix::fs::symlink(&outside, blobs.join("link")).unwrap();
    make_pipe(&blobs.join("pipe"));
    at.store.set_aside("fetch-1").unwrap();
    let kept = fs::read_dir(at.root.join("downloads/fetch-1")).unwrap();
    assert_eq!(kept.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), ["aa"]);
    assert!(outside.join("secret").exists());
}

/// The bytes of what a fetch says may be foreign: a message that quotes them is short.
#[test]
fn what_a_fetch_leaves_is_quoted_in_short() {
    let at = store();
    let staging = at.store.stage("fetch-1", &request(), None).unwrap();
    leave(&staging, "one", &["low"]);
    let path = staging.join("result.json");
    let name = format!("\"name\": \"{}\"", diff_id("low").hex());
    let long = format!("\"name\": \"{}\"", "x".repeat(1 << 20));
    fs::write(&path, fs::read_to_string(&path).unwrap().replace(&name, &long)).unwrap();
    let error = at.store.adopt(&staging).unwrap_err().to_string();
    assert!(error.contains("is no name of a layer") && error.len() < 300, "{error}");
}

#[test]
fn a_full_disk_is_known_however_it_shows() {
    let path = || PathBuf::from("x");
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    for error in [
        StoreError::NoRoom { needed: 2, left: 1 },
        StoreError::Path { path: path(), source: full() },
        StoreError::File(FileError::Write { path: path(), source: full() }),
        StoreError::Seal { path: path(), source: SealError::Kernel(full()) },
    ] {
        assert!(error.is_full(), "{error}");
    }
    assert!(!StoreError::Staged("x".into()).is_full());
    assert!(!StoreError::Path { path: path(), source: io::Error::other("x") }.is_full());
}
