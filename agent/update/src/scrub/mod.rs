//! Both slots read from the disk itself and compared with what they should be; damaged blocks put right.
//!
//! What the kernel finds damaged restarts the box before anything can be written down, so this looks where the
//! kernel does not: at every block of the root and of its tree, below dm-verity, and at the files that the boot
//! loader starts.
//!
//! Invariants: without [`Scrub::repair`] nothing is written. A block of a root is written only when it has the
//! hash that the tree says, which leads up to the root hash; a boot partition only from one that is whole and of
//! the same build. A block that is right is never written, so that a cut at any instant leaves a slot at most as
//! damaged as it was, and the next run goes on.
//!
//! Writing below the running dm-verity is safe: the kernel reads each block from the partition anew when it is
//! not cached, and judges what it reads. What it has cached was right when it was read and stays. A block that
//! is being written was wrong before and would have restarted the box anyway; it is right after, and no other
//! block is touched.

mod boot;
mod elsewhere;
mod root;
mod tree;

use std::cell::OnceCell;
use std::path::Path;

use image_layout::Version;
use image_layout::kernel::Verity;
use image_layout::release::Part;

use self::elsewhere::{Elsewhere, Release};
use self::tree::Tree;
use crate::error::UpdateError;
use crate::http::Patience;
use crate::message::{Condition, Request, Scrub, Scrubbed};
use crate::slot::{Device, Slots};

/// A slot.
struct Side<'a> {
    boot: &'a Device,
    root: &'a Device,
}

/// Judges the slot that runs, and the other one when it is known what it holds.
pub(crate) fn scrub(
    folder: &Path,
    request: &Request,
    scrub: &Scrub,
    slots: &Slots,
    patience: Patience,
    say: &mut dyn FnMut(&str),
) -> Result<Scrubbed, UpdateError> {
    slots.apart()?;
    let running = Side { boot: slots.running(Part::Boot)?, root: slots.running(Part::Root)? };
    let other = Side { boot: slots.target(Part::Boot)?, root: slots.target(Part::Root)? };
    let verity = Verity::parse(&scrub.verity)
        .ok_or_else(|| UpdateError::local(format!("`{}` are no parameters of a root", scrub.verity)))?;
    let mut judge = |side: &Side<'_>, twin: &Side<'_>, known: Option<Verity>, version: &Version| {
        let of = Release { folder, request, version, patience, opened: OnceCell::new() };
        let condition = condition(side, twin, known, &of, scrub.repair)?;
        say(&format!(
            "{}: {} blocks judged, {} damaged, {} repaired",
            side.root.name(),
            condition.checked,
            condition.damaged,
            condition.repaired
        ));
        Ok::<_, UpdateError>(condition)
    };
    Ok(Scrubbed {
        running: judge(&running, &other, Some(verity), &request.installed)?,
        other: scrub.other.as_ref().map(|version| judge(&other, &running, None, version)).transpose()?,
    })
}

/// Judges one slot; `known` says how its root is opened, else its own arguments do.
fn condition(
    side: &Side<'_>,
    twin: &Side<'_>,
    known: Option<Verity>,
    release: &Release<'_>,
    repair: bool,
) -> Result<Condition, UpdateError> {
    let mut condition = Condition::default();
    let mut reasons = Vec::new();
    let before = boot::read(side.boot);
    let mut verity = known.or(before.verity);
    if let Some(verity) = &verity {
        judge_root(side, twin, verity, release, repair, &mut condition, &mut reasons)?;
    }
    if let Some(problem) = before.problem {
        let repaired = match repair {
            true => repair_boot(side, twin, verity.as_ref(), release),
            false => Err(UpdateError::slot(problem.clone())),
        };
        match repaired {
            Ok(blocks) => {
                condition.damaged += blocks;
                condition.repaired += blocks;
            }
            Err(error) => {
                condition.damaged += 1;
                let cause = if repair { format!("{problem}; {error}") } else { problem };
                reasons.push(cause);
            }
        }
        if repair && verity.is_none() {
            verity = boot::read(side.boot).verity;
            if let Some(verity) = &verity {
                judge_root(side, twin, verity, release, repair, &mut condition, &mut reasons)?;
            }
        }
    }
    if verity.is_none() {
        reasons.push("nothing says what the root should be".to_owned());
        condition.damaged += u64::from(condition.whole());
    }
    condition.reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    Ok(condition)
}

fn judge_root(
    side: &Side<'_>,
    twin: &Side<'_>,
    verity: &Verity,
    release: &Release<'_>,
    repair: bool,
    condition: &mut Condition,
    reasons: &mut Vec<String>,
) -> Result<(), UpdateError> {
    let tree = Tree::new(verity)?;
    let mut elsewhere = Elsewhere { other: Some(twin.root), release, reason: None };
    let found = root::scrub(side.root, &tree, repair.then_some(&mut elsewhere))?;
    condition.checked += found.checked;
    condition.damaged += found.damaged;
    condition.repaired += found.repaired;
    let left = found.damaged - found.repaired;
    if left > 0 {
        let mut reason = format!("{left} of {} blocks of the root are damaged", found.checked);
        if found.unknown > 0 {
            reason += &format!(", and {} cannot be judged", found.unknown);
        }
        if let Some(why) = elsewhere.reason {
            reason += &format!("; the other slot does not have them, and {why}");
        }
        reasons.push(reason);
    }
    Ok(())
}

/// Repairs a boot partition from the other slot when that is of the same build, else from the release; gives the
/// number of blocks that were damaged.
fn repair_boot(
    side: &Side<'_>,
    twin: &Side<'_>,
    verity: Option<&Verity>,
    release: &Release<'_>,
) -> Result<u64, UpdateError> {
    let of_twin = boot::read(twin.boot);
    let blocks = if of_twin.problem.is_none() && verity.is_some() && of_twin.verity.as_ref() == verity {
        boot::copy(twin.boot, side.boot)?
    } else {
        boot::fetch(release, side.root, side.boot)?
    };
    match boot::read(side.boot).problem {
        None => Ok(blocks),
        Some(problem) => Err(UpdateError::slot(format!("it was written anew, and still: {problem}"))),
    }
}
