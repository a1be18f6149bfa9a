//! Files that are made from code and kept in the repository.

use anyhow::{Context, Result, ensure};

/// Path and content of each.
fn files() -> Result<Vec<(&'static str, String)>> {
    let openapi = serde_json::to_string_pretty(&agent_api::openapi())? + "\n";
    let readme =
        std::fs::read_to_string(crate::root().join("recipes/README.md")).context("no recipes/README.md")?;
    let mut files = recipes::schema::files(&readme);
    files.push(("agent/api/openapi.json", openapi));
    Ok(files)
}

/// Fails on a stale file, or writes it anew with `fix`.
pub(crate) fn check(fix: bool) -> Result<()> {
    for (path, fresh) in files()? {
        if std::fs::read_to_string(crate::root().join(path)).is_ok_and(|kept| kept == fresh) {
            continue;
        }
        ensure!(fix, "{path} is stale: run `cargo run -p scripts-xtask -- check --fix`");
        std::fs::write(crate::root().join(path), fresh).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_stale() {
        check(false).unwrap();
    }
}
