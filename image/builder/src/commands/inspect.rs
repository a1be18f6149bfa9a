//! `inspect`: what an image consists of.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use image_layout::manifest::Package;

use crate::context::Context;
use crate::progress::size;
use crate::steps::inspect::{self, Inspection, SlotContents};
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
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print(&found);
    }
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

fn print(found: &Inspection) {
    println!("disk of {}", size(found.size));
    println!("\npartitions");
    for part in &found.partitions {
        println!("  {} {:8} {:>9}  at {}", part.number, part.name, size(part.size), part.start);
    }
    println!("\nslot state");
    for (name, state) in ["grubenv", "grubenv2"].iter().zip(&found.state) {
        match state {
            Some(s) => {
                println!("  {name:8} try {}, good {}, tries a {} b {}", s.slot, s.good, s.tries_a, s.tries_b);
            }
            None => println!("  {name:8} not whole"),
        }
    }
    for slot in &found.slots {
        print_slot(slot);
    }
}

fn print_slot(slot: &SlotContents) {
    let manifest = &slot.manifest;
    println!("\nslot {}: Holdfast {}", slot.slot, manifest.version);
    println!(
        "  root hash  {} ({})",
        slot.root_hash,
        if slot.verified { "verified" } else { "NOT WHAT IS THERE" }
    );
    println!("  root       {}, {} % of its slot", size(slot.root_size), slot.full_percent);
    println!("  arguments  {}", slot.arguments);
    for image in &manifest.images {
        println!("  image      {} {}", image.reference, image.digest);
    }
    for line in &slot.forbidden {
        println!("  FORBIDDEN  {line}");
    }
    println!("  packages, by size in the root before compression");
    let mut packages: Vec<&Package> = manifest.packages.iter().collect();
    packages.sort_by_key(|package| std::cmp::Reverse(package.size));
    for package in packages {
        println!("  {:>10}  {} {}", size(package.size), package.name, package.version);
    }
}
