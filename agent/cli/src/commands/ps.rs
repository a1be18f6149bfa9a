//! `ps`: containers.

use agent_api::routes;
use agent_api::types::{Container, ContainerState};

use super::{Outcome, print};
use crate::cli::Reach;
use crate::connect::connect;
use crate::error::DONE;
use crate::text;

const AFTER: &str = "\
Examples:
  holdfast ps
  holdfast ps --json";

/// Arguments of `ps`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `ps`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let containers: Vec<Container> = connect(reach).await?.get(routes::CONTAINERS).await?;
    print(&if args.json { text::json(&containers)? } else { page(&containers) })?;
    Ok(DONE)
}

fn page(containers: &[Container]) -> String {
    if containers.is_empty() {
        return "no containers\n".to_owned();
    }
    let row = |container: &Container| {
        vec![
            container.name.clone(),
            word(container.state).to_owned(),
            container.uptime.map(text::duration).unwrap_or_default(),
            container.restarts.to_string(),
            container.memory.map(text::size).unwrap_or_default(),
            container.ports.join(" "),
            why(container),
        ]
    };
    let rows: Vec<_> = containers.iter().map(row).collect();
    text::table(&["CONTAINER", "STATE", "UP", "RESTARTS", "MEMORY", "PORTS", "WHY"], &rows)
}

/// Why it is in its state, or how it last ended.
fn why(container: &Container) -> String {
    if let Some(reason) = &container.reason {
        return reason.clone();
    }
    match &container.last_exit {
        None => String::new(),
        Some(exit) => match (exit.cause.as_str(), &exit.signal) {
            ("oom", _) => "last ended for want of memory".to_owned(),
            (_, Some(signal)) => format!("last ended by {signal}"),
            _ => format!("last ended with code {}", exit.code),
        },
    }
}

fn word(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Waiting => "waiting",
        ContainerState::Starting => "starting",
        ContainerState::Running => "running",
        ContainerState::Healthy => "healthy",
        ContainerState::Unhealthy => "unhealthy",
        ContainerState::Restarting => "restarting",
        ContainerState::Exited => "exited",
    }
}

#[cfg(test)]
mod tests {
    use agent_api::types::Exit;

    use super::super::samples;
    use super::*;

    #[test]
    fn containers_in_their_states() {
        let exit = |cause: &str, code, signal: Option<&str>| {
            Some(Exit { cause: cause.into(), code, signal: signal.map(str::to_owned) })
        };
        let down = |name: &str, state, last_exit| Container {
            name: name.into(),
            state,
            uptime: None,
            memory: None,
            ports: vec![],
            restarts: 4,
            last_exit,
            ..samples::container()
        };
        let waiting = Container {
            reason: Some("waits for site.db".into()),
            ..down("site.app", ContainerState::Waiting, None)
        };
        insta::assert_snapshot!(page(&[
            samples::container(),
            waiting,
            down("site.a", ContainerState::Restarting, exit("exited", 1, None)),
            down("site.b", ContainerState::Restarting, exit("signal", 139, Some("SIGSEGV"))),
            down("site.c", ContainerState::Restarting, exit("oom", 137, Some("SIGKILL"))),
        ]));
        assert_eq!(page(&[]), "no containers\n");
    }
}
