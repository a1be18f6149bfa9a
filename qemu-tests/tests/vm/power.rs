//! Power cut at random moments: the page comes back with nothing done by hand.

use std::time::{Duration, Instant};

use crate::common::{BOOT, DISK, Random, lab, page};
use qemu_tests::{Disk, Firmware, Lab, Machine, Setup};

const TEXT: &str = "still here";

/// How far a boot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Firmware and GRUB, which writes the slot state.
    Loader,
    /// Kernel and initrd, which check, mount and grow data.
    Initrd,
    /// systemd and the agent, which pulls at the first boot.
    Starting,
    /// The page is served.
    Serving,
}

const PHASES: [Phase; 4] = [Phase::Starting, Phase::Initrd, Phase::Serving, Phase::Loader];

impl Phase {
    fn of(machine: &Machine) -> Phase {
        let said = machine.console.text();
        match () {
            () if said.contains("Holdfast: slot a on") => {
                let serves = machine.serves_within(TEXT, Duration::from_millis(500));
                if serves { Phase::Serving } else { Phase::Starting }
            }
            () if said.contains("Holdfast: starting slot") => Phase::Initrd,
            () => Phase::Loader,
        }
    }
}

/// When each phase began, in order, of a boot that nobody disturbs.
fn phases(lab: &Lab, disk: &Disk, setup: &Setup) -> Vec<(Phase, Duration)> {
    let machine = Machine::boot(lab, disk, setup).unwrap();
    let mut began = vec![(Phase::Loader, Duration::ZERO)];
    while began.last().unwrap().0 != Phase::Serving {
        assert!(machine.age() < BOOT, "{}", machine.console.tail(60));
        let phase = Phase::of(&machine);
        if began.last().unwrap().0 != phase {
            began.push((phase, machine.age()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    machine.kill().unwrap();
    began
}

/// Boots and cuts the power within `phase`, `share` thousandths of its length after it began. `None` when
/// the boot was quicker this time and had left the phase.
fn cut(
    lab: &Lab,
    disk: &Disk,
    setup: &Setup,
    phase: Phase,
    length: Duration,
    share: u64,
) -> Option<Duration> {
    let machine = Machine::boot(lab, disk, setup).unwrap();
    while Phase::of(&machine) < phase {
        assert!(machine.age() < BOOT, "{}", machine.console.tail(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    let moment = Instant::now() + length * share as u32 / 1000;
    while Instant::now() < moment && Phase::of(&machine) == phase {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (age, at) = (machine.age(), Phase::of(&machine));
    machine.kill().unwrap();
    (at == phase).then_some(age)
}

/// Cuts the power `count` times, each time followed by a page that is served with nothing done by hand.
/// Every third cut falls into the first boot of a new disk.
fn kills(count: usize, firmware: Firmware) {
    let mut random = Random::new();
    let (lab, registry) = lab();
    let setup = Setup { firmware, ..Setup::with(page(&registry, TEXT)) };
    let new = |n: usize| Disk::new(&lab, &format!("disk{n}.raw"), DISK).unwrap();
    let mut disk = new(0);
    let began = phases(&lab, &disk, &setup);
    println!("phases: {began:?}");
    let length = |phase: Phase| {
        let at = began.iter().position(|(p, _)| *p == phase);
        let at = at.unwrap_or_else(|| panic!("the boot was never seen {phase:?}: {began:?}"));
        began.get(at + 1).map_or(Duration::from_secs(5), |next| next.1 - began[at].1)
    };
    for n in 0..count {
        let phase = PHASES[n % PHASES.len()];
        let (mut tries, mut limit) = (0, 1000);
        let age = loop {
            if n % 3 == 0 {
                disk = new(n + 1);
            }
            let share = random.below(limit);
            if let Some(age) = cut(&lab, &disk, &setup, phase, length(phase), share) {
                break age;
            }
            // A boot on a quieter host is quicker than the one that was measured.
            limit = (share / 2).max(1);
            tries += 1;
            assert!(tries < 5, "cut {n} does not fall into {phase:?}");
        };
        println!("cut {n} after {age:?}: {phase:?}, {} boot", if n % 3 == 0 { "first" } else { "later" });
        let machine = Machine::boot(&lab, &disk, &setup).unwrap();
        machine.wait_served(TEXT, BOOT).unwrap();
        // Cut again while it serves: only a first boot is ever made without a cut before it.
        machine.kill().unwrap();
    }
}

#[test]
fn three_cuts() {
    kills(3, Firmware::Bios);
}

#[test]
fn full_three_cuts_on_uefi() {
    kills(3, Firmware::Uefi);
}

#[test]
fn full_ten_cuts() {
    kills(10, Firmware::Bios);
}
