//! The journal, read by `journalctl`: the last lines of what matches, and never more than is asked for.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// The program.
pub(crate) const JOURNALCTL: &str = "/usr/bin/journalctl";
/// What takes longer does not end.
const LONGEST: Duration = Duration::from_secs(60);

/// The end of what matches: at most so many lines and bytes. Nothing matching is nothing, and no error.
pub(crate) async fn read(arguments: &[&str], lines: usize, bytes: usize) -> anyhow::Result<String> {
    let mut command = Command::new(JOURNALCTL);
    command
        .env_clear()
        .args(["--no-pager", "--quiet", "--all"])
        .arg(format!("--lines={lines}"))
        .args(arguments);
    run(command, bytes).await
}

/// The end of what a program says, in whole lines; it has to end well, or with 1 and nothing said.
pub(crate) async fn run(mut command: Command, bytes: usize) -> anyhow::Result<String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("failed to run `{name}`"))?;
    let mut from = child.stdout.take().with_context(|| format!("`{name}` says nothing"))?;
    let work = async {
        let (mut said, mut cut) = (Vec::new(), false);
        let mut chunk = vec![0; 64 << 10];
        loop {
            match from.read(&mut chunk).await? {
                0 => break,
                count => said.extend_from_slice(&chunk[..count]),
            }
            if said.len() > 2 * bytes {
                said.drain(..said.len() - bytes);
                cut = true;
            }
        }
        anyhow::Ok((said, cut, child.wait().await?))
    };
    let ended = tokio::time::timeout(LONGEST, work).await;
    let (mut said, cut, status) = ended.with_context(|| format!("`{name}` took longer than a minute"))??;
    if !status.success() && !(status.code() == Some(1) && said.is_empty()) {
        bail!("`{name}` ended with {status}");
    }
    let surplus = said.len().saturating_sub(bytes);
    said.drain(..surplus);
    if cut || surplus > 0 {
        // Half a line may hold half a secret, which nobody knows again.
        let whole = said.iter().position(|byte| *byte == b'\n').map_or(said.len(), |end| end + 1);
        said.drain(..whole);
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_what_is_said_is_kept() {
        let shell = |line: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", line]);
            command
        };
        let said = run(shell("seq 1 100000"), 12).await.unwrap();
        assert_eq!(said, "100000\n");
        assert_eq!(run(shell("printf 'hunter2 word'"), 4).await.unwrap(), "");
        assert_eq!(run(shell("seq 1 4"), 8).await.unwrap(), "1\n2\n3\n4\n");
        assert_eq!(run(shell("exit 1"), 10).await.unwrap(), "");
        assert!(run(shell("echo x; exit 1"), 10).await.is_err());
        assert!(run(Command::new("/nonexistent"), 10).await.is_err());
    }
}
