//! The data file system: whether it is in use and whole, and what room is left.

use super::{Facts, Finding, Room, Severity, VolumeUse, size};
use crate::notify::{Kind, Sight, Topic};

/// With less than this nothing works that writes. Bytes.
const EXHAUSTED: u64 = 16 << 20;
/// Hundredths of a quota, and of all files, in use that are too many.
const NEARLY: u64 = 95;
/// Volumes that are named.
const LARGEST: usize = 3;

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = whole(facts);
    // What is not in use, or cannot be used, has no room to be looked at.
    if facts.seen.data.unavailable.is_none() && facts.seen.data.failed.is_none() {
        let filling = match facts.sights.get(&Topic::of(Kind::DataFilling)) {
            Some(Sight::Stands(text)) => Some(text.as_str()),
            _ => None,
        };
        found.extend(room(&facts.seen.room, filling, knows_volumes(facts)));
        found.extend(files(&facts.seen.room));
        found.extend(facts.seen.room.volumes.iter().filter_map(quota));
    }
    found
}

/// Whether it is known which volumes are in use: by a document that is in force, and the newest that was accepted.
fn knows_volumes(facts: &Facts<'_>) -> bool {
    let documents = &facts.seen.documents;
    !facts.desired.lost && documents.generation > 0 && documents.unusable.is_empty()
}

fn whole(facts: &Facts<'_>) -> Vec<Finding> {
    let data = &facts.seen.data;
    let snapshot = "take a snapshot at the provider, if what is on data matters";
    let mut found = Vec::new();
    match &data.unavailable {
        // What cannot be read today may be tomorrow, and what a repair puts in its place may not.
        Some(reason) if data.disk_fails => found.push(
            Finding::new("data-disk-fails", Severity::Failed, "data", reason.clone())
                .act("wait: the box restarts by itself, and nothing is lost, when the disk gives all of data")
                .act("if it lasts, ask the provider, whose disk it is, and take a snapshot there")
                .run("holdfast data check", "repairs it all the same: what cannot be read is lost then"),
        ),
        Some(reason) => found.push(
            Finding::new("data-unavailable", Severity::Failed, "data", reason.clone())
                .act(snapshot)
                .run("holdfast data check", "repairs what can be repaired")
                .run("holdfast reboot", "uses it again, once the check says that it can be")
                .run("holdfast data format --destroy", "makes it anew, empty, when it cannot"),
        ),
        None => {}
    }
    if let Some(reason) = &data.failed {
        found.push(
            Finding::new("data-failed", Severity::Failed, "data", reason.clone())
                .act("wait: the box restarts by itself when the disk takes writes again, and checks data")
                .act("if it lasts, ask the provider, whose disk it is, and take a snapshot there")
                .run("holdfast reboot", "checks it at once, where the disk is known to work"),
        );
    } else if data.read_only {
        let message = "data is mounted read-only: the kernel met errors in it, and nothing is kept any more";
        found.push(
            Finding::new("data-read-only", Severity::Failed, "data", message)
                .act(snapshot)
                .run("holdfast reboot", "checks and repairs it before it is mounted again"),
        );
    } else if data.errors > 0 {
        let message = format!("the kernel has met {} errors in the data file system", data.errors);
        found.push(
            Finding::new("data-errors", Severity::Degraded, "data", message)
                .run("holdfast reboot", "checks and repairs it"),
        );
    }
    if data.repaired {
        let message = "the data file system had errors at this start, which were repaired";
        found.push(
            Finding::new("data-repaired", Severity::Notice, "data", message)
                .act("if this comes again, the provider's disk is failing: move to another"),
        );
    }
    found
}

fn room(room: &Room, filling: Option<&str>, knows_volumes: bool) -> Option<Finding> {
    let exhausted = room.available < EXHAUSTED;
    let full = room.full.as_deref().filter(|_| room.few_bytes() || !room.few_files());
    let message = match full.or(filling) {
        Some(text) => text.to_owned(),
        None if exhausted => format!("the data file system is full; {} are left", size(room.available)),
        None => return None,
    };
    let takers = takers(room);
    let message = if takers.is_empty() { message } else { format!("{message}. It holds {takers}") };
    let (code, severity) = match exhausted {
        true => ("disk-full", Severity::Failed),
        false => ("disk-low", Severity::Degraded),
    };
    let mut finding = Finding::new(code, severity, "data", message);
    if room.images_unused > 0 {
        let why = format!("removes images that nothing uses: up to {}", size(room.images_unused));
        finding = finding.run("holdfast images prune", why);
    }
    for volume in room.volumes.iter().filter(|volume| knows_volumes && !volume.in_use) {
        let bytes = volume.used.map(|used| format!(": {}", size(used))).unwrap_or_default();
        let why = format!("removes a volume that nothing uses, and all that is in it{bytes}");
        finding = finding.run(format!("holdfast volumes rm {}", volume.title()), why);
    }
    Some(finding.act("make the disk larger at the provider, and `holdfast reboot`: data grows to its end"))
}

/// What takes the room, the largest first.
fn takers(room: &Room) -> String {
    let mut all = vec![(room.images, "images".to_owned()), (room.journal, "the journal".to_owned())];
    let mut volumes: Vec<(u64, String)> = room
        .volumes
        .iter()
        .map(|volume| (volume.used.unwrap_or(0), format!("volume {}", volume.title())))
        .collect();
    volumes.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    all.extend(volumes.into_iter().take(LARGEST));
    all.retain(|(bytes, _)| *bytes > 0);
    all.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let all: Vec<String> = all.into_iter().map(|(bytes, name)| format!("{name} {}", size(bytes))).collect();
    all.join(", ")
}

/// Those that are kept for the box itself are nothing that containers have.
fn files(room: &Room) -> Option<Finding> {
    let data = room.of_files();
    let (most, left) = (room.files.saturating_sub(data.reserve()), data.available_inodes());
    let used = most.saturating_sub(left);
    if most == 0 || !room.few_files() && used * 100 < most * NEARLY {
        return None;
    }
    let severity = if left == 0 { Severity::Failed } else { Severity::Degraded };
    let message = format!("containers can make {left} more files on data: {used} of {most} are used");
    let finding = Finding::new("disk-files", severity, "data", message)
        .run("holdfast volumes", "lists volumes: one of them holds very many small files");
    Some(
        finding
            .act("remove some with `holdfast exec`, or make the disk larger: room for files grows with it"),
    )
}

fn quota(volume: &VolumeUse) -> Option<Finding> {
    let (used, size_) = (volume.used?, volume.size.filter(|size| *size > 0)?);
    // One that nobody uses any more is full for nobody.
    if !volume.in_use || used * 100 < size_.saturating_mul(NEARLY) {
        return None;
    }
    let message =
        format!("volume {} holds {} of the {} that it may", volume.title(), size(used), size(size_));
    let lines = format!("[recipe.volumes.{}]\nsize = \"{}M\"", volume.name, (2 * size_).div_ceil(1 << 20));
    let finding = Finding::new("volume-full", Severity::Degraded, volume.title(), message)
        .write(lines, format!("in the recipe of {}, gives it more", volume.instance));
    Some(finding.act("or remove something from it with `holdfast exec`"))
}
