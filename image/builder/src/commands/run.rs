//! `run`: boots an image in the locked QEMU.

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::output;
use crate::plan::machine::{self, Channel, Firmware, Forward, Machine};
use crate::steps::guest;
use crate::steps::seed::{self, Metadata};

const EXAMPLES: &str = "\
The console is on the terminal; Ctrl-C switches the machine off. Nothing is kept unless --disk is given.

Examples:
  holdfast-image run target/image/holdfast.raw --user-data box.toml --forward 8080:80 --forward 2222:22
  holdfast-image run target/image/holdfast.qcow2 --firmware uefi --memory 512M --channel fw-cfg --user-data box.toml
  holdfast-image run target/image/holdfast.raw --disk box.qcow2 --ssh-key ~/.ssh/id_ed25519.pub";

const INTERRUPTED: u8 = 130;
const GIB: u64 = 1 << 30;

/// Arguments of `run`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The image: raw, raw.gz or qcow2.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// The document that says what the box is to run.
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// How the box gets it.
    #[arg(long, value_enum, default_value = "nocloud")]
    channel: Channel,
    /// A public key that the box gets as from a provider.
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    /// The host name that the provider would give.
    #[arg(long, value_name = "NAME", default_value = "holdfast")]
    hostname: String,
    /// The instance that the provider would name [default: a new one; with --disk always the same].
    #[arg(long, value_name = "ID")]
    instance_id: Option<String>,
    /// What starts the boot loader.
    #[arg(long, value_enum, default_value = "bios")]
    firmware: Firmware,
    /// Memory.
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = machine::memory)]
    memory: u64,
    /// Processors.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Makes a TCP port of the box reachable; can be given several times.
    #[arg(long, value_name = "[ADDRESS:]HOST:GUEST")]
    forward: Vec<Forward>,
    /// A disk that is kept: made from the image if it is not there.
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// The disk's size in GiB.
    #[arg(long, value_name = "GIB", default_value_t = 4, value_parser = clap::value_parser!(u64).range(2..=2048))]
    disk_size: u64,
    /// QEMU's machine protocol on this socket.
    #[arg(long, value_name = "SOCKET")]
    qmp: Option<PathBuf>,
    /// Print QEMU's command line as JSON instead of running it; its files are kept and told on stderr.
    #[arg(long)]
    print_command: bool,
}

/// Runs `run`.
pub fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let interrupted = guest::interrupted()?;
    let tools = context.tools()?;
    let staging = tempfile::Builder::new().prefix("holdfast-run-").tempdir()?;
    let folder = staging.path();
    let (image, format) = guest::readable(&args.image, folder)?;

    let disk = match &args.disk {
        Some(disk) => std::path::absolute(disk)?,
        None => folder.join("disk.qcow2"),
    };
    if args.disk.is_none() {
        guest::overlay(&tools, &image, format, &disk, args.disk_size * GIB)?;
    } else if !disk.exists() {
        guest::copy(&tools, &image, format, &disk, args.disk_size * GIB)?;
    }
    let uefi = match args.firmware {
        Firmware::Bios => None,
        Firmware::Uefi => Some(guest::uefi(&tools, folder)?),
    };
    let read =
        |path: &PathBuf| std::fs::read(path).with_context(|| format!("failed to read `{}`", path.display()));
    let user_data = args.user_data.as_ref().map(read).transpose()?;
    let ssh_key = args.ssh_key.as_ref().map(read).transpose()?;
    let ssh_key = ssh_key.map(String::from_utf8).transpose().context("the ssh key is not text")?;
    let instance = match (&args.instance_id, &args.disk) {
        (Some(id), _) => id.clone(),
        (None, Some(_)) => "run-kept".to_owned(),
        (None, None) => seed::random_instance(),
    };
    let metadata = Metadata {
        user_data: user_data.as_deref(),
        ssh_key: ssh_key.as_deref(),
        hostname: &args.hostname,
        instance_id: &instance,
    };
    let cache = context.cache.folder();
    let Some(kvm) = guest::kvm_works(&tools, (&image, format), cache, folder, &interrupted)? else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let machine = Machine {
        kvm,
        memory: args.memory,
        cpus: args.cpus,
        disk,
        uefi,
        seed: seed::make(&metadata, args.channel, folder)?,
        forwards: args.forward,
        qmp: args.qmp.map(std::path::absolute).transpose()?,
    };
    let mut command = guest::command(&tools, &machine)?;
    if args.print_command {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        output::print(&format!("{}\n", serde_json::to_string(&words)?))?;
        context.progress.note(format!("files in {}", staging.keep().display()));
        return Ok(ExitCode::SUCCESS);
    }
    let child = command.stdin(Stdio::null()).spawn().context("failed to start QEMU")?;
    Ok(match guest::wait(child, &interrupted)? {
        None => ExitCode::from(INTERRUPTED),
        Some(status) if status.success() => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}
