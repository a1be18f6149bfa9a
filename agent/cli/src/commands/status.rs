//! `status`: the box on one screen, at most 80 columns and 24 lines; what is cut says where the rest is.

use agent_api::routes;
use agent_api::types::{Container, ContainerState, Interface, Status};

use super::{Outcome, code_of, print, update, word};
use crate::cli::Reach;
use crate::connect::connect;
use crate::text;

const WIDTH: usize = 80;
/// Lines that one problem may take.
const LINES: usize = 3;

const AFTER: &str = "\
Exit codes: 0 healthy or settling, 3 degraded, 6 the box cannot be reached.

Examples:
  holdfast status
  holdfast status --json
  holdfast --host admin@203.0.113.7 status";

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs `status`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let status: Status = connect(reach).await?.get(routes::STATUS).await?;
    print(&if args.json { text::json(&status)? } else { page(&status) })?;
    Ok(code_of(status.health))
}

/// The page.
pub(crate) fn page(status: &Status) -> String {
    let mut lines = vec![format!(
        "{}: {}   Holdfast {}, up {}",
        status.hostname,
        word(status.health).to_uppercase(),
        status.version,
        text::duration(status.uptime)
    )];
    lines.extend(text::at_most(trouble(status), 5, " (`holdfast status --json`)"));
    if !status.problems.is_empty() {
        lines.push("  > `holdfast doctor` says what to do".to_owned());
    }
    lines.extend(text::at_most(instances(status), 6, " (`holdfast ps`)"));
    lines.extend(text::at_most(interfaces(&status.interfaces), 3, " interfaces"));
    lines.extend(open_ports(status));
    lines.extend(machine(status));
    lines.iter().map(|line| text::fit(line, WIDTH) + "\n").collect()
}

/// What is wrong, then what deserves a look.
fn trouble(status: &Status) -> Vec<String> {
    // Errors of user-data are among the problems.
    let problems = status
        .problems
        .iter()
        .flat_map(|problem| text::at_most(text::wrap(&format!("  ! {problem}"), WIDTH, "    "), LINES, ""));
    let warnings = status.warnings.iter().map(|warning| format!("  * {warning}"));
    let notes = status.user_data.notes.iter().map(|note| format!("  * {note}"));
    problems.chain(warnings).chain(notes).collect()
}

fn instances(status: &Status) -> Vec<String> {
    if status.instances.is_empty() {
        return vec!["instances  none: `holdfast apply FILE` brings some".to_owned()];
    }
    let rows: Vec<Vec<String>> = status
        .instances
        .iter()
        .map(|instance| {
            let prefix = format!("{}.", instance.name);
            let all: Vec<&Container> =
                status.containers.iter().filter(|c| c.name.starts_with(&prefix)).collect();
            let running = all.iter().filter(|container| runs(container.state)).count();
            vec![
                instance.name.clone(),
                word(instance.health).to_owned(),
                format!("{running}/{}", all.len()),
                instance.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let table = text::table(&["instances", "state", "running", "why"], &rows);
    table.lines().map(|line| line.trim_end_matches(" -").trim_end().to_owned()).collect()
}

fn runs(state: ContainerState) -> bool {
    matches!(
        state,
        ContainerState::Running
            | ContainerState::Healthy
            | ContainerState::Unhealthy
            | ContainerState::Starting
    )
}

fn interfaces(interfaces: &[Interface]) -> Vec<String> {
    interfaces
        .iter()
        .map(|interface| {
            let mut line =
                format!("network    {} {}", interface.name, if interface.up { "up" } else { "down" });
            if !interface.addresses.is_empty() {
                line += &format!(" {}", interface.addresses.join(" "));
            }
            if !interface.gateways.is_empty() {
                line += &format!(" via {}", interface.gateways.join(" "));
            }
            line += &format!(" ({})", interface.source);
            match &interface.problem {
                Some(problem) => line + &format!(": {problem}"),
                None => line,
            }
        })
        .collect()
}

fn open_ports(status: &Status) -> Option<String> {
    let mut open: Vec<String> = status
        .ports
        .iter()
        .filter(|port| port.open)
        .map(|port| format!("{}/{} {}", port.host, port.protocol, port.container))
        .collect();
    open.dedup();
    let open = text::at_most(open, 4, "");
    (!open.is_empty()).then(|| format!("open       to the internet: {}", open.join(", ")))
}

fn machine(status: &Status) -> Vec<String> {
    let (disk, memory, time, slots) = (&status.disk, &status.memory, &status.time, &status.slots);
    let source = match (&status.user_data.channel, status.user_data.generation) {
        (None, 0) => "none was offered".to_owned(),
        (None, generation) => format!("generation {generation}"),
        (Some(channel), 0) => format!("{channel}, not accepted"),
        (Some(channel), generation) => format!("{channel}, generation {generation}"),
    };
    let tries: Vec<String> = slots.tries.iter().map(|(slot, tries)| format!("{slot} {tries}")).collect();
    let clock = match (&time.server, time.synchronized) {
        (Some(server), true) => format!("set by {server}"),
        (None, true) => "set by a time server".to_owned(),
        (_, false) => "NOT set by a time server".to_owned(),
    };
    let mut lines = vec![
        format!(
            "disk       {} used of {}, {} free",
            text::size(disk.used),
            text::size(disk.size),
            text::size(disk.available)
        ),
        format!("memory     {} free of {}", text::size(memory.available), text::size(memory.total)),
        format!("time       {}, {clock}", time.now),
        format!(
            "slots      {} runs, {} next, {} good; tries left: {}",
            slots.running,
            slots.next,
            slots.good,
            tries.join(", ")
        ),
        format!("updates    {}", update::line(&status.update)),
        format!("user-data  {source}"),
    ];
    lines.extend(status.host_keys.first().map(|key| format!("host key   {key}")));
    lines
}

#[cfg(test)]
mod tests {
    use agent_api::types::Health;

    use super::super::samples;
    use super::*;

    #[test]
    fn a_healthy_box() {
        insta::assert_snapshot!(page(&samples::status()));
    }

    #[test]
    fn a_degraded_box() {
        let mut status = samples::status();
        status.health = Health::Degraded;
        status.problems = vec!["site.web: exited with code 1 five times in a row".into()];
        status.warnings = vec!["80/tcp of site.web is open to the internet".into()];
        status.instances[0].health = Health::Degraded;
        status.instances[0].reason = Some("web: exited with code 1".into());
        status.containers[0].state = ContainerState::Restarting;
        status.time.synchronized = false;
        insta::assert_snapshot!(page(&status));
    }

    #[test]
    fn an_error_of_user_data_is_said_once_and_whole() {
        let mut status = samples::status();
        status.health = Health::Degraded;
        let message = "nocloud:3:1: unknown key `hostnam`; did you mean `hostname`?";
        status.problems = vec![format!("user-data is not valid: {message}")];
        status.user_data.errors = vec![agent_api::types::Diagnostic {
            file: "nocloud".into(),
            line: 3,
            column: 1,
            message: "unknown key `hostnam`".into(),
            hint: Some("did you mean `hostname`?".into()),
            rendered: String::new(),
        }];
        let page = page(&status);
        assert_eq!(page.matches("hostnam`").count(), 1, "{page}");
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(message), "{page}");
    }

    #[test]
    fn an_empty_box() {
        let mut status = samples::status();
        status.instances.clear();
        status.containers.clear();
        status.ports.clear();
        status.user_data.channel = None;
        status.user_data.generation = 0;
        insta::assert_snapshot!(page(&status));
    }

    #[test]
    fn a_full_box_still_fits_a_screen() {
        let mut status = samples::status();
        status.health = Health::Degraded;
        status.problems = (0..50).map(|n| format!("problem {n} {}", "x".repeat(200))).collect();
        status.instances = vec![status.instances[0].clone(); 50];
        status.interfaces = vec![status.interfaces[0].clone(); 20];
        status.interfaces[0].addresses = vec!["2001:db8::1/64".into(); 20];
        let page = page(&status);
        assert!(page.lines().count() <= 24, "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
        assert!(page.contains("problem 0") && page.contains("host key"), "{page}");
    }
}
