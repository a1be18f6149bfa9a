//! `logs`: what containers, or the agent, wrote.

use std::io::Write;

use agent_api::routes;
use agent_api::types::LogLine;

use super::lines::{Lines, parse};
use super::{Outcome, print};
use crate::cli::Reach;
use crate::connect::{connect, path};
use crate::error::DONE;
use crate::text;

const AFTER: &str = "\
Examples:
  holdfast logs site.web
  holdfast logs -f -n 20 site
  holdfast logs --since 10m site.web
  holdfast logs --since 2026-11-21T06:00:00Z --json

What a container wrote to its standard error goes to standard error.";

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// An instance or INSTANCE.CONTAINER; without it, the agent itself
    name: Option<String>,
    /// Stay and show what comes
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many lines
    #[arg(short = 'n', long, value_name = "NUMBER")]
    lines: Option<u32>,
    /// Only what is younger: a duration (10m) or a time (2026-11-21T06:00:00Z)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Print each line as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `logs`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let query = [
        ("name", args.name.unwrap_or_default()),
        ("lines", args.lines.map(|lines| lines.to_string()).unwrap_or_default()),
        ("since", args.since.unwrap_or_default()),
        ("follow", if args.follow { "true".to_owned() } else { String::new() }),
    ];
    // The connection lives as long as the client.
    let mut client = connect(reach).await?;
    let stream = client.stream(&path(routes::LOGS, &[], &query)).await?;
    let mut lines = Lines::of(stream);
    while let Some(line) = lines.next().await? {
        if args.json {
            if !print(&(line + "\n"))? {
                break;
            }
            continue;
        }
        let line: LogLine = parse(&line)?;
        // Each where its container wrote it.
        if line.stream == "stderr" {
            // One that is closed has nobody to tell.
            let _ = std::io::stderr().write_all(show(&line).as_bytes());
        } else if !print(&show(&line))? {
            break;
        }
    }
    Ok(DONE)
}

/// Seconds are enough to read; what a terminal would obey is not passed on.
fn show(line: &LogLine) -> String {
    let time = line.time.split_once('.').map_or(line.time.as_str(), |(seconds, _)| seconds);
    format!(
        "{} {}: {}\n",
        text::plain(time.trim_end_matches('Z')),
        text::plain(&line.source),
        text::plain(&line.text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line() {
        let line = LogLine {
            time: "2026-11-21T06:00:00.123456Z".into(),
            source: "site.web".into(),
            stream: "stdout".into(),
            text: "GET /\x1b[2J 200\u{7}".into(),
        };
        assert_eq!(show(&line), "2026-11-21T06:00:00 site.web: GET /?[2J 200?\n");
        let line = LogLine { time: "2026-11-21T06:00:00Z".into(), ..line };
        assert!(show(&line).starts_with("2026-11-21T06:00:00 site.web"));
    }
}
