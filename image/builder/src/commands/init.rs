//! `init`: a first user-data document, by asking.
//!
//! What is answered is checked at once, by the parser that the box has; what is written is a document that it
//! accepts.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::check;
use crate::context::Context;
use crate::error::{HintExt, Invalid};
use crate::output;

const EXAMPLES: &str = "\
What an option gives is not asked for; without a terminal all must be given, or have a default in brackets.

Examples:
  holdfast-image init
  holdfast-image init site.toml --hostname hub1 --image registry.example.org/site:1 --port 80:8080
  holdfast-image init - --key ~/.ssh/id_ed25519.pub --image registry.example.org/site:1

Exit codes: 0 written, 1 failed, 2 an answer cannot be used.";

/// Arguments of `init`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file; `-` is standard output.
    #[arg(value_name = "FILE", default_value = "box.toml")]
    file: PathBuf,
    /// The box's name.
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Public key of the admin.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// What the box is to run.
    #[arg(long, value_name = "REFERENCE")]
    image: Option<String>,
    /// A port of the box, and the container's that it leads to.
    #[arg(long, value_name = "HOST:CONTAINER")]
    port: Option<String>,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
}

/// Runs `init`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let stdout = args.file == Path::new("-");
    if !stdout && !args.force && args.file.exists() {
        let error: Result<()> = Err(Invalid(format!("`{}` is there already", args.file.display())).into());
        error.hint("give another name, or --force to write over it")?;
    }
    let ask = std::io::stdin().is_terminal();
    let text = document(context, &args, &mut |question| if ask { answer(question) } else { Ok(None) })?;
    if stdout {
        output::print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    write(&args.file, &text)?;
    let file = args.file.display();
    context.progress.note(format!("wrote {file}; try it on a box of your own machine:"));
    let port = port_of(&text);
    output::print(&format!(
        "holdfast-image run target/image/holdfast.raw --user-data {file} --forward 8080:{port}\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// A question, and what an empty answer means.
struct Question<'a> {
    text: &'a str,
    default: Option<String>,
}

/// Asks on the terminal.
fn answer(question: &Question<'_>) -> Result<Option<String>> {
    let mut err = std::io::stderr().lock();
    let default = question.default.as_ref().map(|default| format!(" [{default}]")).unwrap_or_default();
    write!(err, "{}{default}: ", question.text)?;
    err.flush()?;
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        bail!("nothing was written");
    }
    Ok(Some(line.trim().to_owned()).filter(|line| !line.is_empty()))
}

/// The document. An answer that the box would not take is told and asked for again.
fn document(
    context: &Context,
    args: &Args,
    ask: &mut dyn FnMut(&Question<'_>) -> Result<Option<String>>,
) -> Result<String> {
    let mut text = "format = 1\n\n[box]\n".to_owned();
    let hostname = Question { text: "Name of the box", default: Some("hub1".to_owned()) };
    let line = |answer: &str| Ok(format!("hostname = {}\n", quoted(answer)));
    add(context, &mut text, args.hostname.as_deref(), &hostname, ask, &line)?;

    let key = Question { text: "File with your public ssh key", default: own_key() };
    let given = args.key.as_ref().map(|path| path.display().to_string());
    let line = |answer: &str| {
        Ok(format!("admins = [{}]\n", quoted(&super::cloud::launch::public_key(&expanded(answer))?)))
    };
    add(context, &mut text, given.as_deref(), &key, ask, &line)?;

    let image = Question { text: "Image to run, with its registry and tag", default: None };
    let line = |answer: &str| {
        let name = instance(answer);
        Ok(format!(
            "\n[[recipe]]\nname = {}\n[recipe.containers.web]\nimage = {}\n",
            quoted(&name),
            quoted(answer)
        ))
    };
    add(context, &mut text, args.image.as_deref(), &image, ask, &line)?;

    let port =
        Question { text: "Port of the box, and of the container", default: Some("80:8080".to_owned()) };
    let line = |answer: &str| Ok(format!("ports = [{}]\n", quoted(answer)));
    add(context, &mut text, args.port.as_deref(), &port, ask, &line)?;
    Ok(text)
}

/// Adds what a question's answer becomes.
fn add(
    context: &Context,
    text: &mut String,
    given: Option<&str>,
    question: &Question<'_>,
    ask: &mut dyn FnMut(&Question<'_>) -> Result<Option<String>>,
    line: &dyn Fn(&str) -> Result<String>,
) -> Result<()> {
    loop {
        let asked = if given.is_none() { ask(question)? } else { None };
        let again = asked.is_some();
        let answer = given.map(str::to_owned).or(asked).or_else(|| question.default.clone());
        let Some(answer) = answer else {
            let missing: Result<()> = Err(Invalid(format!("{}: no answer", question.text)).into());
            return missing.hint("give it as an option: `holdfast-image init --help` shows them");
        };
        let tried = line(&answer).and_then(|line| accepted(context, format!("{text}{line}")));
        match tried {
            Ok(longer) => {
                *text = longer;
                return Ok(());
            }
            // A person at a terminal tries again.
            Err(error) if again => context.progress.note(format!("{error:#}")),
            Err(error) => return Err(error),
        }
    }
}

/// The text, if a box takes it.
fn accepted(context: &Context, text: String) -> Result<String> {
    let report = check::document(context, "box.toml", &text);
    match report.errors.first() {
        None => Ok(text),
        Some(error) => {
            let wrong: Result<String> = Err(Invalid(error.message.clone()).into());
            match &error.hint {
                Some(hint) => wrong.hint(hint),
                None => wrong,
            }
        }
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A name for what an image runs: the last word of its own.
fn instance(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    let word = last.split([':', '@']).next().unwrap_or_default().to_ascii_lowercase();
    let name: String =
        word.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(31).collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.starts_with(|c: char| c.is_ascii_lowercase()) { name.to_owned() } else { "site".to_owned() }
}

/// The first public key where ssh keeps them.
fn own_key() -> Option<String> {
    let folder = PathBuf::from(std::env::var_os("HOME")?).join(".ssh");
    let names = ["id_ed25519.pub", "id_ed25519_sk.pub", "id_ecdsa.pub", "id_rsa.pub"];
    let found = names.into_iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found.map(|path| path.display().to_string())
}

/// A path with `~` as a shell has it.
fn expanded(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path.into(),
    }
}

/// The port of the box in a document of [`document`]'s.
fn port_of(text: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix("ports = [\"")).unwrap_or_default();
    let mut parts = line.trim_end_matches("\"]").rsplit(':');
    parts.nth(1).unwrap_or("80").to_owned()
}

fn write(file: &Path, text: &str) -> Result<()> {
    let failed = || format!("failed to write `{}`", file.display());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    beside.write_all(text.as_bytes()).with_context(failed)?;
    beside.as_file().sync_all().with_context(failed)?;
    beside.persist(file).with_context(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_called_like_its_image() {
        for (image, expect) in [
            ("registry.example.org/team/My_Site:1.2", "my-site"),
            ("registry.example.org:5000/notes@sha256:00", "notes"),
            ("registry.example.org/2048", "site"),
            ("registry.example.org/-", "site"),
        ] {
            assert_eq!(instance(image), expect, "{image}");
        }
    }

    #[test]
    fn the_port_of_the_box_is_found() {
        for (ports, expect) in [("80:8080", "80"), ("127.0.0.1:81:80/tcp", "81"), ("[::1]:82:80", "82")] {
            assert_eq!(port_of(&format!("x\nports = [\"{ports}\"]\n")), expect);
        }
    }
}
