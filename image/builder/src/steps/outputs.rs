//! Outputs get their names when all of them are whole.
//!
//! They are written into a folder of their own beside the final names, and renamed at the end: a build that
//! fails, is killed, or finds the disk full leaves nothing under a final name, and what an earlier build
//! left there stays.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The manifest, which is written beside an image.
pub(crate) const MANIFEST: &str = "manifest.json";

/// Lets `write` put files into a staging folder and say their names; then renames them into `output`.
pub(crate) fn publish(
    output: &Path,
    write: impl FnOnce(&Path) -> Result<Vec<String>>,
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(output).with_context(|| format!("failed to create `{}`", output.display()))?;
    let staging = tempfile::Builder::new()
        .prefix(".part-")
        .tempdir_in(output)
        .with_context(|| format!("failed to write into `{}`", output.display()))?;
    let mut published = Vec::new();
    for name in write(staging.path())? {
        let to = output.join(&name);
        fs::rename(staging.path().join(&name), &to)
            .with_context(|| format!("failed to write `{}`", to.display()))?;
        published.push(to);
    }
    Ok(published)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CHILD: &str = "HOLDFAST_TEST_OUTPUT";

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_build_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &'static str| {
            publish(folder.path(), move |staging| {
                fs::write(staging.join("a"), text)?;
                anyhow::ensure!(text != "bad", "no");
                Ok(vec!["a".to_owned()])
            })
        };
        assert!(write("bad").is_err());
        assert_eq!(names(folder.path()), Vec::<String>::new());
        assert_eq!(write("good").unwrap(), [folder.path().join("a")]);
        assert!(write("bad").is_err());
        assert_eq!(names(folder.path()), ["a"]);
        assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "good");
    }

    /// Runs itself with a limit on the size of files, which the disk is larger than.
    #[test]
    fn a_full_disk_leaves_nothing_under_a_final_name() {
        if let Some(output) = std::env::var_os(CHILD) {
            let written = publish(Path::new(&output), |staging| {
                fs::write(staging.join("small"), "small")?;
                fs::write(staging.join("large"), vec![1u8; 4 << 20])?;
                Ok(vec!["small".to_owned(), "large".to_owned()])
            });
            assert!(written.is_ok(), "{written:?}");
            return;
        }
        let run = |limit: &str| {
            let folder = tempfile::tempdir().unwrap();
            let test = "steps::outputs::tests::a_full_disk_leaves_nothing_under_a_final_name";
            let mut command = Command::new("prlimit");
            command.arg(format!("--fsize={limit}")).arg(std::env::current_exe().unwrap());
            command.args(["--exact", test]).env(CHILD, folder.path());
            let status = command.output().unwrap().status;
            let found: Vec<String> =
                names(folder.path()).into_iter().filter(|name| !name.starts_with(".part-")).collect();
            (status.success(), found)
        };
        assert_eq!(run("1048576"), (false, vec![]));
        assert_eq!(run("unlimited"), (true, vec!["large".to_owned(), "small".to_owned()]));
    }
}
