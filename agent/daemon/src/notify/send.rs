//! One message, sent by `holdfast-update` in a unit without rights.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_core::Secret;
use agent_core::notify::{Answer, Body, Kind, Message, Origin, State, Topic};
use agent_system::files::{self, Access};
use agent_system::systemd::{List, Text, TransientUnit};
use agent_update::notify::{Delivery, NotifyRequest, NotifyResult};
use anyhow::{Context, anyhow};
use image_layout::paths;

use crate::agent::Agent;
use crate::sandbox::{self, Program};
use crate::{clock, server};

/// The user that runs it.
const USER: &str = "holdfast-update";
const UNIT: &str = "holdfast-notify.service";
/// Memory that it may take.
const MEMORY: u64 = 64 << 20;
/// Bytes of what it says.
const RESULT: u64 = 1 << 20;
/// Time that it may take, redirects and all.
const TIME: Duration = Duration::from_secs(120);

/// Why a test message told nobody anything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untold {
    /// There is nobody to tell.
    #[error("nobody is told of anything: [box.notify] has no `url`")]
    NoAddress,
    /// It will not be taken as it is.
    #[error("{0}")]
    Refused(String),
    /// It was not taken this time.
    #[error("{0}")]
    Failed(String),
}

impl Untold {
    /// What may help.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Untold::NoAddress => "give one in [box.notify] of user-data, and `holdfast apply` it",
            Untold::Refused(_) => "compare `url` in [box.notify] with what the receiver says it should be",
            Untold::Failed(_) => {
                "see that the box's network and the host and port of `url` are right: `holdfast status`; where \
                 the server answers, its log may say more"
            }
        }
    }
}

/// Sends a message now that says nothing. What the server answers, or why it was not taken.
pub(crate) async fn test(agent: &Arc<Agent>) -> Result<String, Untold> {
    let url = agent.live().document.settings.notify.as_ref().map(|notify| notify.url.clone());
    let url = url.ok_or(Untold::NoAddress)?;
    let message = Message {
        id: format!("{:016x}-test", u64::from_ne_bytes(clock::random())),
        topic: Topic::of(Kind::Test),
        state: State::Test,
        text: "an admin asked for this message".to_owned(),
        at: clock::epoch(),
        attempts: 0,
        refused: false,
    };
    match send(agent, &url, &body(agent, &message, 0)).await {
        Answer::Delivered(said) => {
            // Whatever it did not take before it may take now.
            let mut guard = agent.notices.live();
            let live = &mut *guard;
            if let Some(record) = &mut live.record {
                record.retry(&mut live.watch);
            }
            agent.notices.wake.notify_one();
            Ok(said)
        }
        Answer::Refused(reason) => Err(Untold::Refused(reason)),
        Answer::Failed(reason) => Err(Untold::Failed(reason)),
    }
}

/// What is sent of a message.
pub(super) fn body(agent: &Agent, message: &Message, dropped: u64) -> Body {
    let hostname = agent.live().observed.hostname.clone();
    Body::new(message, Origin { hostname, version: server::image_version() }, dropped)
}

/// Sends, when no other message is being sent.
pub(super) async fn send(agent: &Arc<Agent>, url: &Secret, body: &Body) -> Answer {
    let _alone = agent.notices.work.lock().await;
    match run(agent, url, body).await {
        Ok(Delivery::Delivered(said)) => Answer::Delivered(said),
        Ok(Delivery::Refused(reason)) => Answer::Refused(reason),
        Ok(Delivery::Failed(reason)) => Answer::Failed(reason),
        Err(error) => Answer::Failed(format!("{error:#}")),
    }
}

async fn run(agent: &Agent, url: &Secret, body: &Body) -> anyhow::Result<Delivery> {
    let folder = agent.records.path("notify");
    let (uid, gid) = sandbox::user(USER)?;
    files::create_dir(&folder, Access::owned(0o700, uid, gid))?;
    files::remove(folder.join(NotifyResult::FILE))?;
    let body = serde_json::to_string(body).context("the message cannot be written")?;
    let request = serde_json::to_vec(&NotifyRequest::new(url.expose(), body));
    let request = request.map_err(|_| anyhow!("the request cannot be written"))?;
    files::write_atomic_as(folder.join(NotifyRequest::FILE), request, Access::owned(0o600, uid, gid))?;
    let sent = program(&folder).run(agent, unit(agent, &folder), NotifyResult::FILE, RESULT).await;
    // The address stays there no longer than it is needed.
    files::remove(folder.join(NotifyRequest::FILE))?;
    sent.map(|result: NotifyResult| result.delivery)
}

fn program(folder: &Path) -> Program<'static> {
    let argv =
        [format!("{}/holdfast-update", paths::LIBEXEC), "notify".to_owned(), folder.display().to_string()];
    Program {
        what: "the sender",
        unit: UNIT,
        argv: argv.into(),
        user: USER,
        network: true,
        memory: MEMORY,
        time: TIME,
        folder: folder.to_owned(),
    }
}

fn unit(agent: &Agent, folder: &Path) -> TransientUnit {
    let updates = format!("-{}", agent.records.path("update").display());
    program(folder)
        .unit()
        .text(Text::Description, "Message to the box's owner")
        .text(Text::SyslogIdentifier, "holdfast-notify")
        .list(List::InaccessiblePaths, [updates])
}
