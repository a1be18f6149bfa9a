//! `inspect`: what an image consists of.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use image_layout::manifest::Package;

use crate::context::Context;
use crate::output;
use crate::progress::size;
use crate::steps::guest;
use crate::steps::inspect::{self, Inspection, SlotContents, State};

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
    let raw = guest::raw(context, &args.image, scratch.path())?;
    let found = inspect::disk(&raw, &tools, scratch.path())?;
    output::print(&if args.json { serde_json::to_string_pretty(&found)? + "\n" } else { page(&found)? })?;
    let sound = found.slots.iter().all(|slot| slot.verified && slot.forbidden.is_empty());
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

#[cfg(test)]
mod tests {
    use image_layout::manifest::{EmbeddedImage, Manifest};
    use image_layout::slots::Slot;

    use super::*;
    use crate::steps::inspect::Partition;

    fn package(name: &str, size: u64) -> Package {
        let (version, architecture) = ("1-1".to_owned(), "amd64".to_owned());
        Package { name: name.to_owned(), version, architecture, sha256: "00".to_owned(), size }
    }

    fn slot(slot: Slot) -> SlotContents {
        let image = EmbeddedImage { reference: "localhost/web:1".to_owned(), digest: "sha256:ab".to_owned() };
        SlotContents {
            slot,
            arguments: "quiet ro".to_owned(),
            root_hash: "c0ffee".to_owned(),
            verified: true,
            root_size: 32_000_000,
            full_percent: 7,
            forbidden: vec![],
            manifest: Manifest {
                format: 1,
                version: "0.1.0".to_owned(),
                epoch: 0,
                root_hash: String::new(),
                root_size: 0,
                packages: vec![package("small", 999), package("large", 2_500_000)],
                images: vec![image],
                outputs: vec![],
            },
        }
    }

    #[test]
    fn a_page_says_what_is_there_and_what_is_wrong() {
        let partition = Partition {
            number: 2,
            name: "esp".to_owned(),
            type_guid: "c12a7328".to_owned(),
            start: 2_097_152,
            size: 67_108_864,
        };
        let state = State { slot: Slot::B, good: Slot::A, tries_a: 3, tries_b: 1 };
        let bad = SlotContents {
            verified: false,
            forbidden: vec!["usr/bin/sh: a shell".to_owned()],
            ..slot(Slot::B)
        };
        let found = Inspection {
            size: 1_500_000_000,
            partitions: vec![partition],
            state: [Some(state), None],
            slots: vec![slot(Slot::A), bad],
        };
        let good = "  root       32.0 MB, 7 % of its slot
  arguments  quiet ro
  image      localhost/web:1 sha256:ab
";
        let packages = "  packages, by size in the root before compression
      2.5 MB  large 1-1
       999 B  small 1-1
";
        let expect = format!(
            "disk of 1.5 GB

partitions
  2 esp        67.1 MB  at 2097152

slot state
  grubenv  try b, good a, tries a 3 b 1
  grubenv2 not whole

slot a: Holdfast 0.1.0
  root hash  c0ffee (verified)
{good}{packages}
slot b: Holdfast 0.1.0
  root hash  c0ffee (NOT WHAT IS THERE)
{good}  FORBIDDEN  usr/bin/sh: a shell
{packages}"
        );
        assert_eq!(page(&found).unwrap(), expect);
    }
}
