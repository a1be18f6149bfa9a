//! `apply`: hands a document to the box and waits for it to hold.
//!
//! The box answers when the new state is durable; what follows is only watching. Ctrl-C while watching
//! stops the watching, not the box.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent_api::types::{Applied, Waited};
use agent_api::{Client, routes};
use serde::Serialize;

use super::{Outcome, code_of, plan, print, word};
use crate::cli::Reach;
use crate::connect::{connect, path};
use crate::error::{self, DEGRADED, DONE, Failure};
use crate::text;

pub(super) const CONTENT_TYPE: &str = "application/toml";
/// How long the box is asked to wait at a time; in between, progress is shown.
const TURN: Duration = Duration::from_secs(2);

const AFTER: &str = "\
FILE is a whole user-data document: afterwards the box's instances are exactly those it
lists. Plain text, or packed as a provider delivers it (gzip, base64). Without FILE,
what failed is tried again now.

Exit codes: 0 it holds, 2 the document is not valid, 3 it holds only in part, or not
within the timeout, 5 it would remove instances, or all keys that may log in now, and --remove
or --force was not given. A change of the network settings is tried for two minutes: see `network`.

Examples:
  holdfast apply box.toml
  holdfast apply --remove --timeout 10m box.toml
  holdfast apply --no-wait - < box.toml
  holdfast apply";

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// A user-data document; `-` is stdin
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Instances that the document does not list may be removed; their volumes stay
    #[arg(long)]
    remove: bool,
    /// All keys that may log in now may be taken away
    #[arg(long)]
    force: bool,
    /// Do not wait for the new state to hold
    #[arg(long)]
    no_wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// A document as it is sent.
pub(super) struct Document {
    /// Its name in errors.
    pub(super) name: String,
    /// Unpacked.
    pub(super) text: String,
    /// Bytes of it before it was unpacked.
    pub(super) delivered: usize,
}

impl Document {
    /// Reads a file, or standard input for `-`.
    pub(super) fn read(file: &Path) -> Result<Document, Failure> {
        let stdin = file == Path::new("-");
        let name = if stdin { "stdin".to_owned() } else { file.display().to_string() };
        let limit = recipes::MAX_DOCUMENT as u64 + 1;
        let mut bytes = Vec::new();
        let result = if stdin {
            std::io::stdin().take(limit).read_to_end(&mut bytes)
        } else {
            std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
        };
        result.map_err(|error| Failure::failed(format!("failed to read `{name}`: {error}")))?;
        Document::unpack(name, bytes)
    }

    fn unpack(name: String, bytes: Vec<u8>) -> Result<Document, Failure> {
        let fail = |what: String| Failure::invalid(format!("`{name}`: {what}"));
        if bytes.len() > recipes::MAX_DOCUMENT {
            return Err(fail("larger than 1 MiB".to_owned()));
        }
        let delivered = bytes.len();
        let bytes = if delivered <= agent_metadata::MAX_DELIVERED {
            agent_metadata::document(&bytes).map_err(|error| fail(error.to_string()))?
        } else {
            bytes
        };
        let text = String::from_utf8(bytes).map_err(|_| fail("not UTF-8 text".to_owned()))?;
        if text.trim().is_empty() {
            return Err(
                fail("empty".to_owned()).hint("`holdfast apply` without FILE tries again what failed")
            );
        }
        Ok(Document { name, text, delivered })
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    recipes::shape::duration(text).map_err(|_| "write `10s`, `5m` or `1h 30m`".to_owned())
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    applied: Applied,
    waited: Option<Waited>,
}

/// Runs `apply`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let document = args.file.as_deref().map(Document::read).transpose()?;
    let mut client = connect(reach).await?;
    let (name, body) = document.map_or_else(Default::default, |document| (document.name, document.text));
    let remove = if args.remove { "true".to_owned() } else { String::new() };
    let force = if args.force { "true".to_owned() } else { String::new() };
    let path = path(routes::APPLY, &[], &[("remove", remove), ("force", force), ("file", name)]);
    let applied: Applied = client.post_text(&path, CONTENT_TYPE, body).await?;
    if !args.json {
        print(&accepted(&applied))?;
    }

    if args.no_wait {
        if args.json {
            print(&text::json(&Report { applied, waited: None })?)?;
        }
        return Ok(DONE);
    }
    let waited = wait(&mut client, args.timeout, !args.json).await?;
    let code = if waited.settled { code_of(waited.status.health) } else { DEGRADED };
    print(&if args.json {
        text::json(&Report { applied, waited: Some(waited) })?
    } else {
        ended(&waited, args.timeout)
    })?;
    Ok(code)
}

/// Waits for the box to settle, telling what it is waiting for.
async fn wait(client: &mut Client, timeout: Duration, tell: bool) -> Result<Waited, Failure> {
    let end = Instant::now() + timeout;
    let live = tell && std::io::stderr().is_terminal();
    let mut last = String::new();
    loop {
        let turn = TURN.min(end.saturating_duration_since(Instant::now()));
        let path = path(routes::WAIT, &[], &[("timeout_ms", turn.as_millis().to_string())]);
        let waited: Waited = client.get(&path).await?;
        if waited.settled || Instant::now() >= end {
            if live && !last.is_empty() {
                rewrite("");
            }
            return Ok(waited);
        }
        let now = progress(&waited);
        if tell && now != last {
            // On a terminal one line that changes, elsewhere a line for each change.
            if live {
                rewrite(&text::fit(&now, 79));
            } else {
                error::tell(&now);
            }
            last = now;
        }
    }
}

/// Writes over the terminal's last line. It may be gone: then nobody is told.
fn rewrite(line: &str) {
    let mut terminal = std::io::stderr().lock();
    let _ = write!(terminal, "\r\x1b[K{line}").and_then(|()| terminal.flush());
}

/// What it waits for, in a line.
fn progress(waited: &Waited) -> String {
    let waiting: Vec<String> = waited
        .status
        .instances
        .iter()
        .filter(|instance| instance.health != agent_api::types::Health::Healthy)
        .map(|instance| match &instance.reason {
            Some(reason) => format!("{} ({reason})", instance.name),
            None => instance.name.clone(),
        })
        .collect();
    text::plain(&match waiting.as_slice() {
        [] => "waiting for the box to settle".to_owned(),
        waiting => format!("waiting for {}", waiting.join(", ")),
    })
}

fn accepted(applied: &Applied) -> String {
    let mut text = if applied.changed {
        format!("accepted as generation {}\n", applied.generation)
    } else {
        format!("unchanged: generation {}\n", applied.generation)
    };
    for name in &applied.removed {
        text += &format!("- instance {} is removed; its volumes stay\n", text::plain(name));
    }
    for note in &applied.notes {
        text += &format!("! {}\n", text::plain(note));
    }
    if !applied.plan.actions.is_empty() {
        let actions = agent_api::types::Plan { removes: vec![], ..applied.plan.clone() };
        text += &plan::page(&actions);
    }
    text
}

fn ended(waited: &Waited, timeout: Duration) -> String {
    let mut text = if waited.settled {
        format!("the box is {}\n", word(waited.status.health))
    } else {
        format!("not settled within {}; the box goes on\n", text::duration(timeout.as_secs()))
    };
    for problem in &waited.status.problems {
        text += &format!("  ! {}\n", text::plain(problem));
    }
    text
}

#[cfg(test)]
mod tests {
    use agent_api::types::{Health, Plan};

    use super::super::samples;
    use super::*;

    #[test]
    fn what_was_accepted_and_how_it_ended() {
        let mut applied = Applied {
            generation: 4,
            changed: true,
            removed: vec!["old".into()],
            plan: samples::plan(),
            notes: vec![],
        };
        insta::assert_snapshot!(accepted(&applied), @r"
        accepted as generation 4
        - instance old is removed; its volumes stay
        + fetch image registry.example.org/nginx:1: not in the store
        + start container site.web: not running
        ");
        applied = Applied {
            changed: false,
            removed: vec![],
            plan: Plan { actions: vec![], removes: vec![] },
            ..applied
        };
        assert_eq!(accepted(&applied), "unchanged: generation 4\n");

        let mut waited = Waited { settled: true, status: samples::status() };
        assert_eq!(ended(&waited, Duration::from_secs(300)), "the box is healthy\n");
        waited.settled = false;
        waited.status.problems = vec!["site.web: no such image".into()];
        insta::assert_snapshot!(ended(&waited, Duration::from_secs(300)), @r"
        not settled within 5m; the box goes on
          ! site.web: no such image
        ");
        waited.status.instances[0].health = Health::Settling;
        waited.status.instances[0].reason = Some("fetching".into());
        assert_eq!(progress(&waited), "waiting for site (fetching)");
    }

    #[test]
    fn documents_are_unpacked_and_bounded() {
        let read = |bytes: &[u8]| Document::unpack("d".into(), bytes.to_vec()).map(|document| document.text);
        assert_eq!(read(b"format = 1\n").unwrap(), "format = 1\n");
        // `format = 1`, packed by gzip and then by base64.
        assert_eq!(read(b"H4sIAAAAAAACA0vLL8pNLFGwVTDkAgDhQ4YGCwAAAA==").unwrap(), "format = 1\n");
        let large = vec![b'#'; recipes::MAX_DOCUMENT];
        assert_eq!(read(&large).unwrap().len(), large.len());
        for (bytes, part) in [
            (vec![b'#'; recipes::MAX_DOCUMENT + 1], "larger than 1 MiB"),
            (b"\xff\xfe".to_vec(), "not UTF-8"),
            (b"\x1f\x8bgarbage".to_vec(), "gzip"),
            (b" \n".to_vec(), "empty"),
        ] {
            let error = Document::unpack("d".into(), bytes).err().unwrap();
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }
}
