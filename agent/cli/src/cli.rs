//! The command line as a whole; each command's own arguments are with the command.

use clap::{Parser, Subcommand};

use crate::commands::{
    apply, check, completions, data, doctor, events, exec, images, logs, man, metadata, network, notify,
    plan, ps, pull, report, restart, status, stdio, update, version, volumes,
};
use crate::error;

const AFTER: &str = "\
Exit codes: 0 done or healthy, 1 failed, 2 usage or invalid document, 3 degraded,
4 no such thing, 5 not allowed, 6 box not reachable, 130 interrupted.

Examples:
  holdfast status
  holdfast --host admin@203.0.113.7 apply box.toml
  HOLDFAST_HOST=admin@203.0.113.7 holdfast logs -f site.web";

/// Looks after a Holdfast box.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// What to do; without one, the state of the box and this help.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Which box.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Reach {
    /// The box, as ssh takes it: `admin@ADDRESS` or `ssh://admin@ADDRESS:PORT`; without it, this one.
    #[arg(long, global = true, env = "HOLDFAST_HOST", hide_env_values = true, value_name = "DESTINATION")]
    pub(crate) host: Option<String>,
    /// An option for ssh, as after its `-o`; may be repeated.
    #[arg(long = "ssh-option", global = true, value_name = "OPTION")]
    pub(crate) ssh_options: Vec<String>,
    /// Where the agent listens.
    #[arg(long, global = true, hide = true, value_name = "PATH", default_value = agent_api::SOCKET)]
    pub(crate) socket: std::path::PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What runs, what does not and why, addresses, disk, slots
    Status(status::Args),
    /// What is wrong, the worst first, and what to do about it
    Doctor(doctor::Args),
    /// List containers
    Ps(ps::Args),
    /// What the agent would do now, or with a document
    Plan(plan::Args),
    /// Make the box what a document says, or retry what failed
    Apply(apply::Args),
    /// Check recipes and user-data with the box's own parser, here
    Check(check::Args),
    /// Explain what a provider gives a box: a config drive, a NoCloud volume, a document
    Metadata(metadata::Args),
    /// Read the output of containers
    Logs(logs::Args),
    /// Run a command in a container
    Exec(exec::Args),
    /// What happened on the box
    Events(events::Args),
    /// List images, or remove unused ones
    Images(images::Args),
    /// Resolve an instance's image tags again and replace its containers
    Pull(pull::Args),
    /// List, export, import or remove volumes
    Volumes(volumes::Args),
    /// The data partition: how it is, check it, make it anew
    Data(data::Args),
    /// The box's own network: show it, try a change that ends by itself, confirm it
    Network(network::Args),
    /// The box's own system: look for, fetch, restart into or go back from a release
    Update(update::Args),
    /// Messages to the box's owner: what stands, what waits, send a test
    Notify(notify::Args),
    /// Collect what someone who helps needs to know, without secrets
    Report(report::Args),
    /// Restart an instance or a container
    Restart(restart::Args),
    /// Reboot the box
    Reboot(restart::PowerArgs),
    /// Switch the box off
    Poweroff(restart::PowerArgs),
    /// Versions of this program, the agent and the image
    Version(version::Args),
    /// Write completions for a shell
    Completions(completions::Args),
    /// Write manual pages
    Man(man::Args),
    /// Join standard input and output to the agent's socket
    #[command(name = agent_api::STDIO_COMMAND, hide = true)]
    Stdio(stdio::Args),
}

/// The exit code of a command line that is not understood, or that asks for help.
pub(crate) fn exit_code_of(error: &clap::Error, args: &[String]) -> u8 {
    if !error.use_stderr() {
        return error::DONE;
    }
    // Only what can stand before a command is skipped.
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--host" | "--ssh-option" | "--socket" => drop(rest.next()),
            "exec" => return error::NOT_RUN,
            option if option.starts_with('-') => {}
            _ => break,
        }
    }
    2
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    impl Cli {
        /// Every command that people see, by its words.
        pub(crate) fn all() -> Vec<Vec<String>> {
            all(&Cli::command(), &[])
        }
    }

    fn all(command: &clap::Command, words: &[String]) -> Vec<Vec<String>> {
        let seen = command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help");
        seen.flat_map(|command| {
            let words = [words, &[command.get_name().to_owned()]].concat();
            let below = all(command, &words);
            std::iter::once(words).chain(below)
        })
        .collect()
    }

    /// Lines that people copy: `target/tool/holdfast …`, and what they say through ssh.
    #[test]
    fn command_lines_of_the_documents_are_understood() {
        let text = include_str!("../../../README.md");
        let mut seen = 0;
        for line in text.split("```").skip(1).step_by(2).flat_map(str::lines) {
            let line = line.split(" # ").next().unwrap_or_default().split(" < ").next().unwrap_or_default();
            let line = line.split(" > ").next().unwrap_or_default().trim_end();
            let ssh = line.strip_prefix("ssh admin@BOX");
            let Some(rest) = line.strip_prefix("target/tool/holdfast ").or(ssh) else { continue };
            let words = std::iter::once("holdfast").chain(rest.split_whitespace());
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            seen += 1;
        }
        assert!(seen >= 5, "{seen}");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples_and_json() {
        let mut cli = Cli::command();
        cli.build();
        for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            if name == "help" {
                continue;
            }
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Examples:"), "{name} has no examples");
            if !["completions", "man"].contains(&name) {
                let nested = command
                    .get_subcommands()
                    .any(|nested| nested.get_arguments().any(|argument| argument.get_id() == "json"));
                let own = command.get_arguments().any(|argument| argument.get_id() == "json");
                assert!(own || nested, "{name} has no --json");
            }
        }
    }

    #[test]
    fn examples_are_command_lines() {
        let mut cli = Cli::command();
        cli.build();
        let mut seen = 0;
        for command in cli.get_subcommands() {
            let Some(help) = command.get_after_help() else { continue };
            for line in help.to_string().lines().filter_map(|line| line.trim().strip_prefix("holdfast ")) {
                let line = line.split(" > ").next().unwrap().split(" < ").next().unwrap();
                let words = std::iter::once("holdfast").chain(line.split_whitespace());
                Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
                seen += 1;
            }
        }
        assert!(seen >= 17, "{seen}");
    }

    #[test]
    fn wrong_lines_give_2_but_125_for_exec() {
        for (line, expect) in [
            ("holdfast sttus", 2),
            ("holdfast logs --lines many", 2),
            ("holdfast exec", 125),
            ("holdfast --host admin@x exec site.web --nope", 125),
            ("holdfast --host exec logs --nope", 2),
            ("holdfast --help", 0),
            ("holdfast exec --help", 0),
        ] {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let error = Cli::try_parse_from(&args).unwrap_err();
            assert_eq!(exit_code_of(&error, &args), expect, "{line}");
        }
    }

    #[test]
    fn help_of_the_whole() {
        insta::assert_snapshot!(Cli::command().term_width(100).render_help());
    }
}
