//! A box that follows a publisher, with a page and a file in a volume: what may not be lost by an update.

use std::path::{Path, PathBuf};
use std::time::Duration;

use image_layout::slots::TRIES_GOOD;
use image_layout::{Slot, SlotState};
use qemu_tests::{Disk, FIRST, Lab, Machine, Publisher, Setup};
use serde_json::Value;

use super::{BOOT, CHANGE, DISK, out, text, wait_until};

/// The word on the page.
const WORD: &str = "before and after";
/// How long a version that works may take to prove itself, from the moment that its root runs.
const PROVING: Duration = Duration::from_secs(600);

/// The box and its publisher.
pub(crate) struct Follower {
    pub(crate) machine: Machine,
    pub(crate) disk: Disk,
    pub(crate) publisher: Publisher,
    pub(crate) lab: Lab,
    setup: Setup,
    releases: u32,
}

impl Follower {
    /// A box that runs [`FIRST`] and serves. `setup` gives what it is made of, `settings` more lines of
    /// `[box.update]`.
    pub(crate) fn new(setup: Setup, settings: &str) -> Follower {
        Follower::of(setup, settings, |_, publisher| publisher.raw(FIRST))
    }

    /// The same from another raw image of that version.
    pub(crate) fn of(
        setup: Setup,
        settings: &str,
        raw: impl FnOnce(&Lab, &Publisher) -> PathBuf,
    ) -> Follower {
        let lab = Lab::new().unwrap();
        let publisher = Publisher::new(&lab).unwrap();
        let disk = Disk::of(&lab, &raw(&lab, &publisher), "disk.raw", DISK).unwrap();
        let user_data = Setup::with(document(&publisher, settings)).user_data;
        let time_server = Some(env!("CARGO_BIN_EXE_sntp").into());
        let setup = Setup { shell: true, time_server, user_data, ..setup };
        let machine = Machine::boot(&lab, &disk, &setup).unwrap();
        let mut follower = Follower { machine, disk, publisher, lab, setup, releases: 0 };
        follower.machine.wait_served(WORD, BOOT).unwrap();
        follower.machine.wait_ssh(BOOT).unwrap();
        super::settled(&follower.machine);
        follower.machine.shell(&format!("{IN_VOLUME}; echo kept >$1/file; sync")).unwrap();
        follower
    }

    /// A version after all before it, and before [`qemu_tests::SECOND`].
    pub(crate) fn next_version(&mut self) -> String {
        self.releases += 1;
        format!("{FIRST}.{}", self.releases)
    }

    /// What the box says of updates.
    pub(crate) fn status(&self) -> Value {
        self.machine.json(&["update", "status"], &[0, 3]).unwrap()
    }

    /// Publishes an image.
    pub(crate) fn publish(&self, image: &Path) {
        self.publisher.add(image).unwrap();
    }

    /// Publishes a release whose root is not the one that its kernel is told of: its version, and why the box goes
    /// back from it.
    pub(crate) fn publish_another_root(&mut self) -> (String, String) {
        let version = self.next_version();
        let changed =
            self.publisher.changed(&self.lab, &version, |disk| disk.change_arguments(Slot::A, other_root));
        self.publish(&changed.unwrap());
        let reason = format!("the agent of {version} was never up: its initrd ran");
        (version, reason)
    }

    /// Switches to what is published. Where the console was then.
    pub(crate) fn apply(&mut self, version: &str) -> usize {
        self.clock();
        // Only what was healthy before has to be healthy again.
        super::settled(&self.machine);
        self.switch(version)
    }

    /// The same of a box that has something to complain of.
    pub(crate) fn switch(&mut self, version: &str) -> usize {
        let mark = self.machine.console.mark();
        let done = self.machine.cli(&["update", "apply"]).unwrap();
        // The box may be gone before ssh has ended.
        assert!(matches!(done.status.code(), Some(0 | 255)), "{}", out(&done));
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(said.is_empty() || said.trim() == format!("the box restarts into {version}"), "{said}");
        mark
    }

    /// Waits until a time server has set the box's clock.
    pub(crate) fn clock(&self) {
        wait_until("a clock that was set", CHANGE, || {
            let status = self.machine.json(&["status"], &[0, 3]).unwrap();
            if status["time"]["synchronized"] == true { Ok(()) } else { Err(status["time"].to_string()) }
        });
    }

    /// Waits until the box runs from slot a again and says so everywhere, for this reason, with nothing lost.
    pub(crate) fn is_back(
        &mut self,
        mark: usize,
        version: &str,
        reason: impl Fn(&str) -> bool,
        limit: Duration,
    ) {
        self.machine.console.wait_after(mark, "Holdfast: slot a on", limit).unwrap();
        self.serves();
        let status = self.status();
        let last = &status["last"];
        assert_eq!((&last["version"], &last["kept"]), (&version.into(), &false.into()), "{status}");
        assert!(reason(last["reason"].as_str().unwrap_or_default()), "{status}");
        assert_eq!((&status["running"], &last["from"]), (&FIRST.into(), &FIRST.into()), "{status}");
        self.has_state(Slot::A, [TRIES_GOOD, 0]);
    }

    /// Waits until the version stays that is in slot b.
    pub(crate) fn stays(&mut self, mark: usize, version: &str) {
        self.machine.console.wait_after(mark, "Holdfast: slot b on", BOOT).unwrap();
        self.serves();
        let status = wait_until("a version that stays", PROVING, || {
            let status = self.status();
            if status["last"]["kept"] == true { Ok(status) } else { Err(status.to_string()) }
        });
        assert_eq!((&status["running"], &status["previous"]), (&version.into(), &FIRST.into()), "{status}");
        self.has_state(Slot::B, [TRIES_GOOD; 2]);
    }

    /// Waits until the page is served and ssh answers; the volume's file is there.
    pub(crate) fn serves(&mut self) {
        self.machine.wait_served(WORD, BOOT).unwrap();
        self.machine.wait_ssh(BOOT).unwrap();
        let kept = self.machine.shell(&format!("{IN_VOLUME}; cat $1/file")).unwrap();
        assert_eq!(kept, "kept");
    }

    /// Cuts the power and switches the box on again.
    pub(crate) fn cut(self) -> Follower {
        let Follower { machine, disk, publisher, lab, setup, releases } = self;
        machine.kill().unwrap();
        let machine = Machine::boot(&lab, &disk, &setup).unwrap();
        Follower { machine, disk, publisher, lab, setup, releases }
    }

    /// Waits until both copies of the slot state say that this slot is good and next, and that the slots have
    /// these tries.
    pub(crate) fn has_state(&self, good: Slot, tries: [u8; 2]) {
        let right = |state: &SlotState| {
            (state.slot, state.good, [state.tries_a, state.tries_b]) == (good, good, tries)
        };
        wait_until("the slot state", CHANGE, || {
            let states = self.disk.slot_states().unwrap();
            let whole = states.iter().all(|state| state.as_ref().is_some_and(right));
            if whole { Ok(()) } else { Err(format!("{states:?}")) }
        });
    }

    /// Runs the CLI and gives what it said.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        text(&self.machine, arguments)
    }
}

/// The folder of the one volume becomes `$1`.
const IN_VOLUME: &str = "set -- /var/lib/holdfast/volumes/*/data";

fn document(publisher: &Publisher, settings: &str) -> String {
    format!(
        r#"format = 1
[box]
hostname = "box"
ntp = ["127.0.0.1"]

[box.update]
url = "{}"
{settings}

[[recipe]]
use = "hello"
health_timeout = "3m"
params = {{ word = "{WORD}" }}

[[recipe]]
name = "notes"
[recipe.volumes.data]
[recipe.containers.web]
image = "localhost/holdfast/nginx:1"
volumes = {{ data = "/data" }}
"#,
        publisher.url()
    )
}

/// Kernel arguments with another root hash.
pub(crate) fn other_root(arguments: &str) -> String {
    let (before, verity) = arguments.split_once(" hf.verity=").unwrap();
    let fields: Vec<&str> = verity.splitn(3, ':').collect();
    let hash: String = fields[1].chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
    format!("{before} hf.verity={}:{hash}:{}", fields[0], fields[2])
}
