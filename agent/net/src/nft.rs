//! The ruleset, given to `nft` whole.

use std::io;
use std::process::Stdio;

use agent_core::network::ruleset::TABLE;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::Outcome;

/// The program.
const NFT: &str = "nft";
/// At most this many characters of its complaint is kept.
const COMPLAINT: usize = 2000;

/// A ruleset that was not taken; what was in force before still is.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program did not run.
    #[error("failed to run `{NFT}`")]
    Run(#[source] io::Error),
    /// It refused.
    #[error("`{NFT}` refused the ruleset: {complaint}")]
    Refused {
        /// What it wrote, cut.
        complaint: String,
    },
}

/// Puts a ruleset into force, as one batch, which the kernel takes whole or not at all.
pub async fn apply(ruleset: &str) -> Result<(), NftError> {
    run(&["-f", "-"], ruleset).await.map(drop)
}

/// As [`apply`], unless a ruleset of the same digest is in force already.
///
/// The digest is the comment of the table, so that it is the kernel that is asked and not our
/// memory. What someone did to single rules by hand is not seen.
pub async fn apply_if_changed(ruleset: &str) -> Result<Outcome, NftError> {
    let wanted = comment_of(ruleset);
    let present = run(&["-t", "list", "table", "inet", TABLE], "").await;
    let same = wanted.is_some() && present.is_ok_and(|listing| comment_of(&listing) == wanted);
    if same {
        return Ok(Outcome::Unchanged);
    }
    apply(ruleset).await?;
    Ok(Outcome::Changed)
}

/// The text of the first `comment "…"` line.
fn comment_of(text: &str) -> Option<&str> {
    let line = text.lines().map(str::trim).find(|line| line.starts_with("comment \""))?;
    line.strip_prefix("comment \"")?.strip_suffix('"')
}

async fn run(arguments: &[&str], input: &str) -> Result<String, NftError> {
    let mut child = Command::new(NFT)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(NftError::Run)?;
    let mut stdin = child.stdin.take();
    let feed = async {
        if let Some(pipe) = &mut stdin {
            // It may refuse before it has read all: the complaint says why, not the broken pipe.
            let _ = pipe.write_all(input.as_bytes()).await;
        }
        drop(stdin.take());
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    let output = output.map_err(NftError::Run)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().chars().take(COMPLAINT).collect();
    Err(NftError::Refused { complaint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_found_in_what_we_write_and_in_what_nft_lists() {
        let written = agent_core::network::ruleset(&[]);
        let digest = comment_of(&written).unwrap();
        assert_eq!(digest.len(), 16);
        let listed =
            format!("table inet holdfast {{\n\tcomment \"{digest}\"\n\n\tchain guard {{\n\t}}\n}}\n");
        assert_eq!(comment_of(&listed), Some(digest));
        assert_eq!(comment_of("table inet holdfast {\n\tchain guard {\n\t}\n}\n"), None);
    }
}
