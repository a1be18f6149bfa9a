//! `report`: everything that someone who helps needs to know of a box, without its secrets.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use agent_api::client::Stream;
use agent_api::routes;
use serde::Serialize;

use super::{Outcome, print};
use crate::cli::Reach;
use crate::connect::{connect, path};
use crate::error::{DONE, FAILED, Failure};
use crate::text;

const AFTER: &str = "\
The report is a tar in gzip: state, findings, plan, events, network, memory, units, the
kernel's and the box's own journal, the document. Secrets are left out or hidden: passwords,
keys, tokens, given and generated secrets, the address of [box.notify], what steps said. What
containers wrote is in it with --logs alone. It still names hosts, addresses and images: look
at it before it is given away.

Exit codes: 0 the report is whole, 1 it is not, 2 no file is named, 6 no box.

Examples:
  holdfast report --output report.tar.gz
  holdfast report > report.tar.gz
  holdfast --host admin@203.0.113.7 report --logs --output report.tar.gz";

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// Write it to this file, here; without it, to stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// With what containers wrote
    #[arg(long)]
    logs: bool,
    /// Say as JSON which file was written
    #[arg(long, requires = "output")]
    json: bool,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    file: PathBuf,
    bytes: u64,
}

/// Runs `report`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::invalid("the report goes to stdout, which is a terminal")
            .hint("`holdfast report --output report.tar.gz`, or `holdfast report > report.tar.gz`"));
    }
    let logs = if args.logs { "true".to_owned() } else { String::new() };
    // The connection lives as long as the client.
    let mut client = connect(reach).await?;
    let stream = client.stream(&path(routes::REPORT, &[], &[("logs", logs)])).await?;
    let Some(output) = args.output else { return pass_on(stream).await };
    let bytes = keep(stream, &output).await?;
    let written = Written { file: output, bytes };
    print(&if args.json { text::json(&written)? } else { said(&written) })?;
    Ok(DONE)
}

fn said(written: &Written) -> String {
    let (file, size) = (text::plain(&written.file.display().to_string()), text::size(written.bytes));
    format!("wrote {file} ({size}); secrets are hidden in it, names and addresses are not\n")
}

/// To standard output.
async fn pass_on(mut stream: Stream) -> Outcome {
    let mut out = std::io::stdout().lock();
    while let Some(bytes) = stream.chunk().await? {
        match out.write_all(&bytes).and_then(|()| out.flush()) {
            Ok(()) => {}
            // Whoever has stopped reading knows, and a script is told that it is not all.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                return Ok(FAILED);
            }
            Err(error) => return Err(Failure::failed(format!("failed to write: {error}"))),
        }
    }
    Ok(DONE)
}

/// To a file, which gets its name when it is whole; its bytes.
async fn keep(stream: Stream, output: &Path) -> Result<u64, Failure> {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = output.with_file_name(name);
    let file = open(&part).map_err(|error| unwritten(output, error))?;
    let kept = match fill(stream, file, output).await {
        Ok(bytes) => fs::rename(&part, output).map(|()| bytes).map_err(|error| unwritten(output, error)),
        Err(failure) => Err(failure),
    };
    if kept.is_err() {
        // It says why itself.
        let _ = fs::remove_file(&part);
    }
    kept
}

async fn fill(mut stream: Stream, mut file: File, output: &Path) -> Result<u64, Failure> {
    let mut written = 0;
    while let Some(bytes) = stream.chunk().await? {
        file.write_all(&bytes).map_err(|error| unwritten(output, error))?;
        written += bytes.len() as u64;
    }
    file.sync_all().map_err(|error| unwritten(output, error))?;
    Ok(written)
}

fn unwritten(output: &Path, error: std::io::Error) -> Failure {
    Failure::failed(format!("failed to write `{}`: {error}", output.display()))
}

/// For its owner alone, and new: what has that name already may be a link, or open to others.
fn open(path: &Path) -> std::io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
