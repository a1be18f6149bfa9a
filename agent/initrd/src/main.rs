//! The initrd's program: from the kernel to systemd on a verified root.
//!
//! In this order: watchdog, modules, the disk that booted, its slot state, partition table, verity root,
//! data, machine-id, report, switch. Invariant: whatever fails before there is a root to switch to ends in
//! a restart, so that the boot loader counts down; what fails of data does not: the box then runs with
//! `/var` in memory. Absent: a shell, a prompt, the network.

mod check;
mod choose;
mod console;
mod data;
mod disks;
mod modules;
mod report;
mod root;
mod verity;
mod watchdog;

use agent_system::files::{self, Access};
use agent_system::gpt::Reason;
use agent_system::slots::{self, Skipped, SlotStore};
use agent_system::{identity, resize};
use choose::{BootArguments, next_state};
use image_layout::disk::Role;
use image_layout::{Slot, SlotState, paths};
use report::Report;
use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use watchdog::Watchdog;

fn main() {
    std::panic::set_hook(Box::new(|info| {
        console::give_up(&format!("a defect in the initrd: {info}"));
    }));
    if std::process::id() != 1 {
        eprintln!("holdfast-initrd is run by the kernel as the initrd's first program");
        std::process::exit(2);
    }
    let Err(error) = boot();
    console::give_up(&format!("cannot boot this slot: {}", console::chain(error.as_ref())));
}

fn boot() -> Result<Infallible, Box<dyn Error>> {
    root::mount_kernel()?;
    console::open();
    let list = modules::list().unwrap_or_default();
    let mut watchdog = Watchdog::arm(&list);
    modules::load(&list);
    watchdog.feed();

    let cmdline = fs::read_to_string("/proc/cmdline")?;
    let arguments = BootArguments::parse(&cmdline)?;
    let mut report = Report::default();
    report.watchdog.clone_from(&watchdog.identity);
    if report.watchdog.is_empty() {
        report.event("watchdog-missing", "there is no watchdog: a box that hangs will not restart");
    }
    let booted = disks::wait(&arguments, &mut watchdog).ok_or("the disk that booted was not found")?;
    report.disk = booted.disk.node().display().to_string();
    if let Some((kind, message)) = booted.choice.event() {
        report.event(kind, message);
    }
    repair_table(&booted, &mut report);
    let good = write_state(&arguments, &booted, &mut report);
    watchdog.feed();

    let part = |role| disks::partition(&booted.disk, role);
    let device = verity::open(&part(Role::Root(arguments.slot))?, &arguments.verity)?;
    root::mount_root(&device)?;
    let data = data::mount(part(Role::Data).ok(), &mut watchdog, &mut report);
    give_identity(&mut report);
    if let Err(error) = report.write(arguments.slot, data) {
        console::warn(&console::chain(&error));
    }
    if good != arguments.slot
        && let Err(error) = files::write_atomic(paths::TRIAL, b"", 0o644)
    {
        console::warn(&console::chain(&error));
    }
    console::announce(&format!("slot {} on {}, data {}", arguments.slot, report.disk, data.as_str()));
    watchdog.feed();
    match root::switch()? {}
}

/// Makes the partition table whole and as long as the disk. A disk that cannot be grown still boots.
fn repair_table(booted: &disks::Booted, report: &mut Report) {
    // The kernel must have read the table before a partition can be made longer. Where the table is
    // damaged it has not, and will after the repair.
    let _ = disks::partition(&booted.disk, Role::Data);
    match resize::grow_partition(&booted.disk) {
        Ok(reasons) => {
            for reason in reasons {
                let message = format!("partition table rewritten: {reason}");
                match reason {
                    Reason::Larger => console::info(&message),
                    Reason::Primary | Reason::Backup | Reason::Differed => {
                        report.event("partition-table", message);
                    }
                }
            }
        }
        Err(error) => report.event("partition-table", console::chain(&error)),
    }
}

/// Writes both copies of the slot state, and says which slot is marked good. A box whose state cannot be
/// written still boots.
fn write_state(arguments: &BootArguments, booted: &disks::Booted, report: &mut Report) -> Slot {
    let state = next_state(arguments, booted.choice, &booted.candidate, String::new());
    let good = state.good;
    let written = || -> Result<Vec<(usize, Skipped)>, Box<dyn Error>> {
        let state = SlotState { boot: slots::new_boot_id()?, ..state };
        let esp = disks::partition(&booted.disk, Role::Esp)?;
        Ok(SlotStore::on(esp).write(&state)?)
    };
    let lost = (0..2).filter(|&i| arguments.copy.is_some() && booted.candidate.copies[i].is_err());
    match written() {
        Ok(skipped) => {
            for (index, why) in &skipped {
                let kind = match why {
                    Skipped::Foreign => "slot-state-foreign",
                    Skipped::Failed(_) => "slot-state-unwritten",
                };
                report.event(kind, format!("{} {why}", slots::COPIES[*index]));
            }
            for index in lost.filter(|lost| skipped.iter().all(|(index, _)| index != lost)) {
                let copy = slots::COPIES[index];
                report.event("slot-state-repaired", format!("{copy} was not whole and was written anew"));
            }
        }
        Err(error) => report.event("slot-state-unwritten", console::chain(error.as_ref())),
    }
    good
}

/// Shows the box's machine-id, which is kept on data, as `/etc/machine-id`. Without data, or where it
/// cannot be kept, this boot has one of its own.
fn give_identity(report: &mut Report) {
    let on_data = Path::new(root::var()).join(paths::IDENTITY.trim_start_matches("/var/"));
    let kept = || -> Result<(PathBuf, bool), Box<dyn Error>> {
        if let Some(parent) = on_data.parent() {
            files::create_dir_all(parent, Access::mode(0o755))?;
        }
        files::create_dir(&on_data, Access::mode(0o700))?;
        Ok(identity::machine_id(&on_data)?)
    };
    let shown = kept()
        .or_else(|error| {
            let message =
                format!("{}; this boot has a machine-id of its own", console::chain(error.as_ref()));
            report.event("machine-id", message);
            Ok(identity::machine_id(Path::new(paths::RUN))?)
        })
        .and_then(|(path, damaged)| {
            if damaged {
                report.event("machine-id", "the machine-id was damaged and is another one now");
            }
            Ok(root::bind_file(&path, "/etc/machine-id")?)
        });
    if let Err(error) = shown {
        let error: Box<dyn Error> = error;
        report.event("machine-id", console::chain(error.as_ref()));
    }
}
