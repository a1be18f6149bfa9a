//! `events`: what happened on the box.

use agent_api::routes;
use agent_api::types::Event;

use super::lines::{Lines, parse};
use super::{Outcome, print};
use crate::cli::Reach;
use crate::connect::{connect, path};
use crate::error::DONE;
use crate::text;

const AFTER: &str = "\
Events are numbered over reboots; --after goes on where an earlier call ended.

Examples:
  holdfast events
  holdfast events -f
  holdfast events --after 120 --json";

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// Stay and show what comes
    #[arg(short, long)]
    follow: bool,
    /// Only those with a higher number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    /// Print each event as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `events`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let query = [
        ("after", args.after.to_string()),
        ("follow", if args.follow { "true".to_owned() } else { String::new() }),
    ];
    // The connection lives as long as the client.
    let mut client = connect(reach).await?;
    let stream = client.stream(&path(routes::EVENTS, &[], &query)).await?;
    let mut lines = Lines::of(stream);
    while let Some(line) = lines.next().await? {
        if !print(&if args.json { line + "\n" } else { show(&parse(&line)?) })? {
            break;
        }
    }
    Ok(DONE)
}

fn show(event: &Event) -> String {
    let subject = event.subject.as_deref().map(|subject| format!(" {subject}")).unwrap_or_default();
    let line = format!("{} #{} {}{subject}: {}", event.time, event.number, event.kind, event.message);
    text::plain(&line) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event() {
        let event = Event {
            number: 7,
            time: "2026-11-21T06:00:00Z".into(),
            kind: "degraded".into(),
            subject: Some("site.web".into()),
            message: "exited with code 1".into(),
        };
        assert_eq!(show(&event), "2026-11-21T06:00:00Z #7 degraded site.web: exited with code 1\n");
        let event = Event { subject: None, ..event };
        assert_eq!(show(&event), "2026-11-21T06:00:00Z #7 degraded: exited with code 1\n");
    }
}
