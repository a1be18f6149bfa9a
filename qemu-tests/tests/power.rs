//! Power cut at random moments: the page comes back with nothing done by hand.

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{BOOT, DISK, lab, page};
use qemu_tests::{Disk, Machine, Setup};

/// A small generator of numbers, so that a seed that failed can be given again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn seed() -> u64 {
    let given = std::env::var("HOLDFAST_SEED").ok().and_then(|s| s.parse().ok());
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1)
}

fn kills(count: usize) {
    let seed = seed();
    println!("HOLDFAST_SEED={seed}");
    let mut random = Random(seed);
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup::with(page(&registry, "still here"));
    // How long a whole boot takes here: cuts fall anywhere in it and a little behind.
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    let whole = machine.wait_served("still here", BOOT).unwrap();
    machine.kill().unwrap();
    for n in 0..count {
        let machine = Machine::boot(&lab, &disk, &setup).unwrap();
        let moment = Duration::from_millis(random.below(whole.as_millis() as u64 * 5 / 4));
        std::thread::sleep(moment.saturating_sub(machine.age()));
        let phase = if machine.serves("still here") {
            "serving"
        } else if machine.console.text().contains("holdfast") {
            "starting"
        } else {
            "booting"
        };
        println!("cut {n} after {moment:?}, {phase}");
        machine.kill().unwrap();
        let machine = Machine::boot(&lab, &disk, &setup).unwrap();
        machine.wait_served("still here", BOOT).unwrap();
        // Cut again while it serves: only a first boot is ever made without a cut before it.
        machine.kill().unwrap();
    }
}

#[test]
fn three_cuts() {
    kills(3);
}

#[test]
fn full_ten_cuts() {
    kills(10);
}
