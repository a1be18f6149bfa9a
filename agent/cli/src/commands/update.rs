//! `update`: the box's own system, from a signed source.

use agent_api::routes;
use agent_api::types::{Changed, DamagedSlot, FailedUpdate, LastUpdate, Scrub, UpdateState, UpdateStatus};

use super::{Outcome, print, restart};
use crate::cli::Reach;
use crate::connect::connect;
use crate::error::{DEGRADED, DONE};
use crate::text;

const AFTER: &str = "\
Releases come from `url` in [box.update] of user-data, signed by the publisher that the
image was built for. A new version has one try: it stays when the box is healthy by its
own measure, else the box goes back by itself, and `status` says why.

The box compares its slots with what they should be in each update window and after it was
not stopped cleanly; `scrub` does it now. Damaged blocks come from the other slot or the
release.

Exit codes: 0 done, 1 failed, 3 blocked, a slot is damaged, or the last version did not
stay, 6 no box.

Examples:
  holdfast update
  holdfast update check
  holdfast update apply
  holdfast update rollback
  holdfast update scrub";

/// Arguments of `update`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<UpdateCommand>,
    /// Print everything as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum UpdateCommand {
    /// Where updates stand, and how the last one went
    Status,
    /// Look for a newer release
    Check,
    /// Fetch it into the slot that does not run
    Stage,
    /// Compare both slots with what they should be, and repair what is damaged
    Scrub,
    /// Fetch it, and restart into it
    Apply,
    /// Restart into the version before
    Rollback,
}

/// Runs `update`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let mut client = connect(reach).await?;
    let status: UpdateStatus = match args.command.unwrap_or(UpdateCommand::Status) {
        UpdateCommand::Status => client.get(routes::UPDATE).await?,
        UpdateCommand::Check => client.post(routes::UPDATE_CHECK).await?,
        UpdateCommand::Stage => client.post(routes::UPDATE_STAGE).await?,
        UpdateCommand::Scrub => client.post(routes::UPDATE_SCRUB).await?,
        UpdateCommand::Apply => {
            let changed: Changed = client.post(routes::UPDATE_APPLY).await?;
            return restart::finish(&changed, args.json);
        }
        UpdateCommand::Rollback => {
            let changed: Changed = client.post(routes::UPDATE_ROLLBACK).await?;
            return restart::finish(&changed, args.json);
        }
    };
    print(&if args.json { text::json(&status)? } else { page(&status) })?;
    let went_back = status.last.as_ref().is_some_and(|last| !last.kept);
    let bad = status.state == UpdateState::Blocked || went_back || !status.damaged.is_empty();
    Ok(if bad { DEGRADED } else { DONE })
}

/// Where updates stand, in a line.
pub(super) fn line(status: &UpdateStatus) -> String {
    let version = |version: &Option<String>| version.clone().unwrap_or_default();
    match status.state {
        UpdateState::Off => "off: [box.update] has no url".to_owned(),
        UpdateState::Unknown => "not looked for yet".to_owned(),
        UpdateState::Current => "up to date".to_owned(),
        UpdateState::Available => format!("{} is available", version(&status.available)),
        UpdateState::Staging => "a release is being staged".to_owned(),
        UpdateState::Staged => {
            let staged = status.staged.as_ref().map(|staged| staged.version.as_str()).unwrap_or_default();
            format!("{staged} is staged: `holdfast update apply` restarts into it")
        }
        UpdateState::OnTrial => format!("{} has to prove itself", status.running),
        UpdateState::Blocked => {
            format!("blocked: {}", text::plain(status.problem.as_deref().unwrap_or_default()))
        }
    }
}

fn page(status: &UpdateStatus) -> String {
    let mut lines = vec![format!("runs       {}", status.running), format!("updates    {}", line(status))];
    if let (Some(url), Some(channel)) = (&status.url, &status.channel) {
        lines.push(format!("source     {} ({channel})", text::plain(url)));
    }
    if let (Some(policy), Some(window)) = (&status.policy, &status.window) {
        lines.push(format!("policy     {policy}, {window}"));
    }
    lines.extend(status.next.iter().map(|next| format!("next       {next}")));
    if let (Some(checked), Some(expires)) = (&status.checked, &status.expires) {
        lines.push(format!("looked     {checked}; metadata expires {expires}"));
    }
    lines.extend(status.problem.iter().map(|problem| format!("problem    {}", text::plain(problem))));
    lines.extend(status.lacking.iter().map(|lacking| format!("lacks      {}", text::plain(lacking))));
    if let Some(progress) = &status.progress {
        let (fetched, needed) = (text::size(progress.fetched), text::size(progress.needed));
        lines.push(format!("staging    {fetched} of {needed}"));
    }
    if let Some(staged) = &status.staged {
        let (fetched, needed) = (text::size(staged.fetched), text::size(staged.needed));
        lines.push(format!(
            "staged     {} at {}; fetched {fetched} of {needed} needed",
            staged.version, staged.at
        ));
    }
    lines.extend(status.last.iter().map(last));
    lines.extend(status.failed.iter().map(failed));
    lines.extend(
        status.previous.iter().map(|previous| format!("previous   {previous}: `holdfast update rollback`")),
    );
    lines.extend(status.scrub.iter().map(scrub));
    lines.extend(status.damaged.iter().map(damaged));
    lines.into_iter().map(|line| line + "\n").collect()
}

fn scrub(scrub: &Scrub) -> String {
    match scrub.damaged {
        0 => format!("scrubbed   {}; no damage", scrub.at),
        damaged => format!("scrubbed   {}; {damaged} blocks damaged, {} repaired", scrub.at, scrub.repaired),
    }
}

fn damaged(slot: &DamagedSlot) -> String {
    let reason = text::plain(&slot.reason);
    format!("damaged    slot {} ({}), since {}: {reason}", slot.slot, slot.version, slot.since)
}

fn last(last: &LastUpdate) -> String {
    match (&last.reason, last.kept) {
        (_, true) => format!("last       {} from {} stayed, {}", last.version, last.from, last.at),
        (reason, false) => format!(
            "last       went back from {} to {}, {}: {}",
            last.version,
            last.from,
            last.at,
            text::plain(reason.as_deref().unwrap_or_default())
        ),
    }
}

fn failed(failed: &FailedUpdate) -> String {
    let what = if failed.held { "is left until it is applied by hand" } else { "is tried again" };
    let times = if failed.attempts == 1 { "once".to_owned() } else { format!("{} times", failed.attempts) };
    format!("failed     {}, {times}, {what}: {}", failed.version, text::plain(&failed.reason))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_box_without_a_source() {
        insta::assert_snapshot!(page(&samples::update()), @r"
        runs       0.1.0
        updates    off: [box.update] has no url
        ");
    }

    #[test]
    fn a_box_with_a_damaged_slot() {
        let scrub = |damaged, repaired| Scrub { at: "2026-11-28T03:12:00Z".into(), damaged, repaired };
        let damaged = DamagedSlot {
            slot: "a".into(),
            version: "0.1.0".into(),
            blocks: 1,
            since: "2026-11-28T03:12:00Z".into(),
            reason: "1 of 900 blocks of the root are damaged\x1b".into(),
        };
        let status = UpdateStatus { scrub: Some(scrub(3, 2)), damaged: vec![damaged], ..samples::update() };
        insta::assert_snapshot!(page(&status), @r"
        runs       0.1.0
        updates    off: [box.update] has no url
        scrubbed   2026-11-28T03:12:00Z; 3 blocks damaged, 2 repaired
        damaged    slot a (0.1.0), since 2026-11-28T03:12:00Z: 1 of 900 blocks of the root are damaged?
        ");
        let status = UpdateStatus { scrub: Some(scrub(0, 0)), ..samples::update() };
        insta::assert_snapshot!(page(&status), @r"
        runs       0.1.0
        updates    off: [box.update] has no url
        scrubbed   2026-11-28T03:12:00Z; no damage
        ");
    }

    #[test]
    fn a_box_that_went_back() {
        let status = UpdateStatus {
            state: UpdateState::Blocked,
            url: Some("https://updates.example.org".into()),
            channel: Some("stable".into()),
            policy: Some("auto".into()),
            window: Some("03:00-05:00 UTC".into()),
            next: Some("2026-11-29T03:12:00Z".into()),
            available: Some("0.1.1".into()),
            checked: Some("2026-11-28T03:12:00Z".into()),
            expires: Some("2026-12-10T00:00:00Z".into()),
            problem: Some("0.1.1 is tried again in the next window: no\x1bnetwork".into()),
            last: Some(LastUpdate {
                version: "0.1.1".into(),
                from: "0.1.0".into(),
                kept: false,
                reason: Some("the gateway 203.0.113.1 does not answer".into()),
                at: "2026-11-28T03:25:00Z".into(),
            }),
            failed: vec![FailedUpdate {
                version: "0.1.1".into(),
                attempts: 1,
                reason: "the gateway 203.0.113.1 does not answer".into(),
                held: false,
            }],
            previous: Some("0.0.9".into()),
            ..samples::update()
        };
        insta::assert_snapshot!(page(&status), @r"
        runs       0.1.0
        updates    blocked: 0.1.1 is tried again in the next window: no?network
        source     https://updates.example.org (stable)
        policy     auto, 03:00-05:00 UTC
        next       2026-11-29T03:12:00Z
        looked     2026-11-28T03:12:00Z; metadata expires 2026-12-10T00:00:00Z
        problem    0.1.1 is tried again in the next window: no?network
        last       went back from 0.1.1 to 0.1.0, 2026-11-28T03:25:00Z: the gateway 203.0.113.1 does not answer
        failed     0.1.1, once, is tried again: the gateway 203.0.113.1 does not answer
        previous   0.0.9: `holdfast update rollback`
        ");
    }
}
