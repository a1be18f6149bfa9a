//! `destroy`: images and boxes at a provider go away, after a question.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::{Access, Provider, Session};
use crate::error::{HintExt, Invalid};
use crate::output;

const EXAMPLES: &str = "\
What is named must be one of those that `images` or `boxes` shows, by its identity, or by its name where only one
has it. A box takes its disk along, with all volumes on it.

Examples:
  holdfast-image destroy digitalocean box hub1
  holdfast-image destroy openstack image 0f7b… --cloud work --yes

Exit codes: 0 removed, 1 failed, or the answer was no, 2 no such thing, or nobody can be asked.";

/// Arguments of `destroy`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where.
    #[arg(value_enum)]
    provider: Provider,
    /// What kind.
    #[arg(value_enum)]
    what: What,
    /// Identity or name.
    #[arg(required = true, value_name = "ID")]
    names: Vec<String>,
    #[command(flatten)]
    access: Access,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Print what was removed as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// A box, with its disk.
    Box,
    /// An image.
    Image,
}

/// Runs `destroy`.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let session = Session::open(args.provider, &args.access)?;
    let there: Vec<(String, String)> = match args.what {
        What::Box => session.servers()?.into_iter().map(|server| (server.id, server.name)).collect(),
        What::Image => session.images()?.into_iter().map(|image| (image.id, image.name)).collect(),
    };
    let kind = if args.what == What::Box { "box" } else { "image" };
    // All are looked for before the first goes.
    let found = args.names.iter().map(|name| find(&there, name, kind)).collect::<Result<Vec<_>>>()?;
    if !args.yes {
        ask(kind, &found)?;
    }
    for (id, _) in &found {
        match args.what {
            What::Box => session.destroy_server(id)?,
            What::Image => session.destroy_image(id)?,
        };
    }
    output::print(&if args.json {
        let ids: Vec<&String> = found.iter().map(|(id, _)| id).collect();
        serde_json::to_string_pretty(&ids)? + "\n"
    } else {
        found.iter().map(|(id, name)| format!("removed {kind} {id} {name}\n")).collect()
    })?;
    Ok(ExitCode::SUCCESS)
}

fn find<'a>(there: &'a [(String, String)], name: &str, kind: &str) -> Result<&'a (String, String)> {
    if let Some(found) = there.iter().find(|(id, _)| id == name) {
        return Ok(found);
    }
    let named: Vec<&(String, String)> = there.iter().filter(|(_, own)| own == name).collect();
    match named.as_slice() {
        [only] => Ok(only),
        [] => Err(Invalid(format!("there is no {kind} `{name}`")).into()),
        several => {
            let ids: Vec<&str> = several.iter().map(|(id, _)| id.as_str()).collect();
            Err(Invalid(format!("there are {} of the name `{name}`", several.len())))
                .hint(format!("name one by its identity: {}", ids.join(", ")))
        }
    }
}

/// Asks on the terminal; without one, nothing is removed.
fn ask(kind: &str, found: &[&(String, String)]) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Invalid("nobody can be asked".to_owned())).hint("--yes removes without asking");
    }
    let names: Vec<String> = found.iter().map(|(id, name)| format!("{name} ({id})")).collect();
    let mut err = std::io::stderr().lock();
    write!(err, "remove {kind} {}? [y/N] ", names.join(", "))?;
    err.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if !matches!(line.trim(), "y" | "Y" | "yes") {
        bail!("nothing was removed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_must_be_of_one_thing() {
        let there: Vec<(String, String)> = [("1", "a"), ("2", "b"), ("3", "b"), ("4", "1")]
            .map(|(id, name)| (id.into(), name.into()))
            .into();
        let found = |name: &str| find(&there, name, "box").map(|(id, _)| id.clone()).ok();
        assert_eq!(found("a").as_deref(), Some("1"));
        assert_eq!(found("1").as_deref(), Some("1"), "an identity counts before a name");
        assert_eq!((found("b"), found("c")), (None, None));
    }
}
