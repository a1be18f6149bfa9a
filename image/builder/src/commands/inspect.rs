//! `inspect`: what an image consists of.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use image_layout::manifest::Package;

use crate::context::Context;
use crate::output;
use crate::progress::size;
use crate::steps::inspect::{self, Inspection, SlotContents, State};
use crate::steps::{self, guest};
use crate::tools::Tools;

const EXAMPLES: &str = "\
The verity root hash is computed anew, and the files of the root are looked at: exit code 1 says that a slot's
root is not what its hash says, or holds what a root must not.

Examples:
  holdfast-image inspect target/image/holdfast.raw
  holdfast-image inspect target/image/holdfast.qcow2 --json";

/// Arguments of `inspect`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The image: raw, raw.gz or qcow2.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Runs `inspect`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let tools = context.tools()?;
    let scratch = tempfile::Builder::new().prefix("holdfast-inspect-").tempdir()?;
    let raw = raw(&tools, &args.image, scratch.path())?;
    let found = inspect::disk(&raw, &tools, scratch.path())?;
    output::print(&if args.json { serde_json::to_string_pretty(&found)? + "\n" } else { page(&found)? })?;
    let sound = found.slots.iter().all(|slot| slot.verified && slot.forbidden.is_empty());
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn raw(tools: &Tools, image: &Path, scratch: &Path) -> Result<PathBuf> {
    let (readable, format) = guest::readable(image, scratch)?;
    if format == "raw" {
        return Ok(readable);
    }
    let raw = scratch.join("disk.raw");
    let mut command = tools.command("qemu-img")?;
    command.args(["convert", "-f", format, "-O", "raw"]).arg(&readable).arg(&raw);
    steps::run(command, "qemu-img")?;
    Ok(raw)
}

fn page(found: &Inspection) -> Result<String, std::fmt::Error> {
    let mut page = format!("disk of {}\n\npartitions\n", size(found.size));
    for part in &found.partitions {
        writeln!(page, "  {} {:8} {:>9}  at {}", part.number, part.name, size(part.size), part.start)?;
    }
    page += "\nslot state\n";
    for (name, state) in ["grubenv", "grubenv2"].iter().zip(&found.state) {
        match state {
            Some(State { slot, good, tries_a, tries_b }) => {
                writeln!(page, "  {name:8} try {slot}, good {good}, tries a {tries_a} b {tries_b}")?;
            }
            None => writeln!(page, "  {name:8} not whole")?,
        }
    }
    found.slots.iter().try_for_each(|slot| write_slot(&mut page, slot))?;
    Ok(page)
}

fn write_slot(page: &mut String, slot: &SlotContents) -> std::fmt::Result {
    let manifest = &slot.manifest;
    let verdict = if slot.verified { "verified" } else { "NOT WHAT IS THERE" };
    writeln!(page, "\nslot {}: Holdfast {}", slot.slot, manifest.version)?;
    writeln!(page, "  root hash  {} ({verdict})", slot.root_hash)?;
    writeln!(page, "  root       {}, {} % of its slot", size(slot.root_size), slot.full_percent)?;
    writeln!(page, "  arguments  {}", slot.arguments)?;
    for image in &manifest.images {
        writeln!(page, "  image      {} {}", image.reference, image.digest)?;
    }
    for line in &slot.forbidden {
        writeln!(page, "  FORBIDDEN  {line}")?;
    }
    page.push_str("  packages, by size in the root before compression\n");
    let mut packages: Vec<&Package> = manifest.packages.iter().collect();
    packages.sort_by_key(|package| std::cmp::Reverse(package.size));
    for Package { name, version, size: bytes, .. } in packages {
        writeln!(page, "  {:>10}  {name} {version}", size(*bytes))?;
    }
    Ok(())
}
