//! `notify`: messages to the box's owner.

use agent_api::routes;
use agent_api::types::{NotifyAttempt, NotifyStatus, NotifyTested, StandingCondition, WaitingMessage};

use super::{Outcome, print};
use crate::cli::Reach;
use crate::connect::connect;
use crate::error::{DEGRADED, DONE};
use crate::text;

const AFTER: &str = "\
Messages go to `url` in [box.notify] of user-data, as JSON by POST, and are kept until the
server takes them. The address itself is not shown.

Exit codes: 0 done, 1 the test was not taken, 3 the last message was not, 6 no box.

Examples:
  holdfast notify
  holdfast notify test
  holdfast notify status --json";

/// Arguments of `notify`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<NotifyCommand>,
    /// Print everything as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum NotifyCommand {
    /// What stands, what waits, and how the last attempt went
    Status,
    /// Send a message now, and tell what the server answers
    Test,
}

/// Runs `notify`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let mut client = connect(reach).await?;
    match args.command.unwrap_or(NotifyCommand::Status) {
        NotifyCommand::Status => {
            let status: NotifyStatus = client.get(routes::NOTIFY).await?;
            print(&if args.json { text::json(&status)? } else { page(&status) })?;
            let failing = status.last.is_some_and(|last| !last.delivered);
            Ok(if failing { DEGRADED } else { DONE })
        }
        NotifyCommand::Test => {
            let tested: NotifyTested = client.post(routes::NOTIFY_TEST).await?;
            print(&if args.json { text::json(&tested)? } else { sent(&tested) })?;
            Ok(DONE)
        }
    }
}

fn sent(tested: &NotifyTested) -> String {
    format!("delivered: {}\n", text::plain(&tested.answer))
}

fn page(status: &NotifyStatus) -> String {
    let mut lines = Vec::new();
    if !status.enabled {
        lines.push("messages   off: [box.notify] has no url".to_owned());
    }
    lines.extend(status.last.iter().map(last));
    lines.extend(status.next.iter().map(|next| format!("next       {next}")));
    match status.dropped {
        0 => {}
        1 => lines.push("dropped    1 message: too many wait".to_owned()),
        dropped => lines.push(format!("dropped    {dropped} messages: too many wait")),
    }
    lines.extend(status.standing.iter().map(stands));
    lines.extend(status.waiting.iter().map(waits));
    if status.enabled && status.standing.is_empty() && status.waiting.is_empty() {
        lines.push("nothing stands and nothing waits".to_owned());
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn last(last: &NotifyAttempt) -> String {
    let how = if last.delivered { "delivered" } else { "not delivered" };
    format!("last       {how}, {}: {}", last.time, text::plain(&last.answer))
}

fn stands(condition: &StandingCondition) -> String {
    let since = condition.raised.as_ref().map(|raised| format!(", raised {raised}"));
    let topic = topic(&condition.kind, condition.subject.as_deref());
    format!("stands     {topic}{}: {}", since.unwrap_or_default(), text::plain(&condition.message))
}

fn waits(message: &WaitingMessage) -> String {
    let tried = match (message.attempts, message.refused) {
        (0, _) => String::new(),
        (1, false) => ", tried once".to_owned(),
        (times, false) => format!(", tried {times} times"),
        (1, true) => ", refused".to_owned(),
        (times, true) => format!(", refused; tried {times} times"),
    };
    let topic = topic(&message.kind, message.subject.as_deref());
    let (state, time) = (text::plain(&message.state), &message.time);
    format!("waits      {topic} {state} {time}{tried}: {}", text::plain(&message.message))
}

fn topic(kind: &str, subject: Option<&str>) -> String {
    text::plain(&subject.map_or_else(|| kind.to_owned(), |subject| format!("{kind} {subject}")))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_box_that_tells_nobody() {
        insta::assert_snapshot!(page(&samples::notify()), @"messages   off: [box.notify] has no url");
    }

    #[test]
    fn a_box_with_nothing_to_say() {
        let last = NotifyAttempt {
            time: "2026-11-28T03:12:01Z".into(),
            delivered: true,
            answer: "the server answers 204 No Content".into(),
        };
        let status = NotifyStatus { enabled: true, last: Some(last), ..samples::notify() };
        insta::assert_snapshot!(page(&status), @r"
        last       delivered, 2026-11-28T03:12:01Z: the server answers 204 No Content
        nothing stands and nothing waits
        ");
    }

    #[test]
    fn a_box_whose_messages_are_refused() {
        let standing =
            |kind: &str, subject: Option<&str>, message: &str, raised: Option<&str>| StandingCondition {
                kind: kind.into(),
                subject: subject.map(str::to_owned),
                message: message.into(),
                raised: raised.map(str::to_owned),
            };
        let waiting =
            |number: u32, kind: &str, state: &str, subject: Option<&str>, attempts: u32| WaitingMessage {
                id: format!("8c1f0a6be2d3475e-{number}"),
                kind: kind.into(),
                state: state.into(),
                subject: subject.map(str::to_owned),
                message: "site.web is unhealthy: no\x1banswer".into(),
                time: "2026-11-28T03:12:00Z".into(),
                attempts,
                refused: attempts > 1,
            };
        let status = NotifyStatus {
            enabled: true,
            standing: vec![
                standing("degraded", Some("site"), "site.web is unhealthy", Some("2026-11-28T03:12:00Z")),
                standing("box-degraded", Some("ens3"), "ens3: no carrier", None),
            ],
            waiting: vec![
                waiting(4, "degraded", "raised", Some("site"), 3),
                waiting(5, "rolled-back", "event", None, 1),
                waiting(6, "update-blocked", "raised", None, 0),
            ],
            dropped: 2,
            last: Some(NotifyAttempt {
                time: "2026-11-28T03:14:00Z".into(),
                delivered: false,
                answer: "the server answers 410 Gone".into(),
            }),
            next: Some("2026-11-28T04:14:00Z".into()),
        };
        insta::assert_snapshot!(page(&status), @r"
        last       not delivered, 2026-11-28T03:14:00Z: the server answers 410 Gone
        next       2026-11-28T04:14:00Z
        dropped    2 messages: too many wait
        stands     degraded site, raised 2026-11-28T03:12:00Z: site.web is unhealthy
        stands     box-degraded ens3: ens3: no carrier
        waits      degraded site raised 2026-11-28T03:12:00Z, refused; tried 3 times: site.web is unhealthy: no?answer
        waits      rolled-back event 2026-11-28T03:12:00Z, tried once: site.web is unhealthy: no?answer
        waits      update-blocked raised 2026-11-28T03:12:00Z: site.web is unhealthy: no?answer
        ");
    }

    #[test]
    fn a_test_that_was_taken() {
        let tested = NotifyTested { answer: "the server answers 200 OK".into() };
        insta::assert_snapshot!(sent(&tested), @"delivered: the server answers 200 OK");
    }
}
