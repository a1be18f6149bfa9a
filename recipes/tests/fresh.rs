//! The generated files are those that the code makes now. `HOLDFAST_WRITE_GENERATED=1` writes them anew.

use std::fs;
use std::path::Path;

#[test]
fn schemas_and_tables_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(root.join("recipes/README.md")).expect("the README");
    assert!(readme.contains("<!-- generated: keys -->"), "the README has no place for its tables");
    for (path, fresh) in recipes::schema::files(&readme) {
        let kept = fs::read_to_string(root.join(path)).unwrap_or_default();
        if std::env::var_os("HOLDFAST_WRITE_GENERATED").is_some() {
            fs::write(root.join(path), &fresh).expect("a file written");
            continue;
        }
        assert!(
            kept == fresh,
            "{path} is stale: HOLDFAST_WRITE_GENERATED=1 cargo test -p recipes --test fresh"
        );
    }
}
