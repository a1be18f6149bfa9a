//! Releases that do not work, each with another fault: the box switches to it and comes back by itself, says
//! why, and has lost nothing. At last the release without a fault is installed and stays.
//!
//! Faults are changed bytes of a release, or changes of what its image is built from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::BOOT;
use crate::common::follower::{Follower, other_root};
use anyhow::Result;
use image_layout::Slot;
use image_layout::disk::boot;
use qemu_tests::{Entry, Firmware, Lab, Publisher, SECOND, Setup, Sources, Sums, cpio};

const CONFIGURATION: &str = "image/holdfast.toml";
const UNITS: &str = "usr/lib/systemd/system";

/// What is wrong with a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    RootHash,
    TruncatedKernel,
    KernelPanics,
    InitrdHangs,
    NoSystemd,
    AgentExits,
    AgentHangs,
    AgentEats,
    NoNetwork,
    Unhealthy,
    SlowBoot,
}

impl Fault {
    /// Makes a release of it.
    fn release(self, lab: &Lab, publisher: &Publisher, version: &str) -> Result<PathBuf> {
        let built = |change: &dyn Fn(&Sources) -> Result<()>| publisher.built(lab, version, change);
        let agent = |program: &str| built(&|sources| sources.program("holdfastd", Path::new(program)));
        match self {
            Fault::RootHash => {
                publisher.changed(lab, version, |disk| disk.change_arguments(Slot::A, other_root))
            }
            Fault::TruncatedKernel => publisher.changed(lab, version, |disk| {
                disk.change_boot(Slot::A, boot::KERNEL, Sums::Kept, |kernel| {
                    kernel.truncate(kernel.len() / 2);
                })
            }),
            Fault::KernelPanics => publisher.changed(lab, version, |disk| {
                disk.change_arguments(Slot::A, |arguments| format!("{arguments} rdinit=/none"))
            }),
            Fault::InitrdHangs => {
                publisher.changed(lab, version, |disk| disk.append_to_initrd(Slot::A, &hangs()))
            }
            Fault::NoSystemd => built(&|sources| {
                sources.replace(CONFIGURATION, "    \"usr/lib/systemd/systemd\",\n", "")?;
                let link = "\"usr/bin/init\" = \"../lib/systemd/systemd\"\n";
                sources.replace(CONFIGURATION, link, "")
            }),
            Fault::AgentExits => agent(env!("CARGO_BIN_EXE_agent_exits")),
            Fault::AgentHangs => agent(env!("CARGO_BIN_EXE_agent_hangs")),
            Fault::AgentEats => agent(env!("CARGO_BIN_EXE_agent_eats")),
            Fault::NoNetwork => built(&|sources| sources.replace(CONFIGURATION, "\"virtio_net\", ", "")),
            Fault::Unhealthy => built(&|sources| {
                let health = "[containers.web.health]\nhttp = \":8080/";
                let wrong = format!("{health}none\"\nstart_period = \"1s\"\ninterval = \"2s\"\n# ");
                sources.replace("recipes/library/hello.toml", health, &wrong)?;
                let web = "[containers.web]\n";
                sources.replace("recipes/library/hello.toml", web, &format!("{web}restart = \"never\"\n"))
            }),
            Fault::SlowBoot => built(&|sources| {
                let program = std::fs::read(env!("CARGO_BIN_EXE_agent_hangs"))?;
                sources.file("usr/libexec/slow", &program, 0o755)?;
                let unit = "[Unit]\nBefore=holdfastd.service\n[Service]\nType=oneshot\nExecStart=/usr/libexec/slow\n";
                sources.file(&format!("{UNITS}/slow.service"), unit.as_bytes(), 0o644)?;
                let link =
                    format!("\"{UNITS}/multi-user.target.wants/sshd.service\" = \"../sshd.service\"\n");
                let slow =
                    format!("\"{UNITS}/multi-user.target.wants/slow.service\" = \"../slow.service\"\n");
                sources.replace(CONFIGURATION, &link, &format!("{link}{slow}"))
            }),
        }
    }

    /// Why the box went back, in its words.
    fn reason(self, publisher: &Publisher, version: &str) -> String {
        match self {
            Fault::TruncatedKernel => format!("the boot loader found the files of {version} damaged"),
            Fault::KernelPanics | Fault::InitrdHangs => {
                format!("{version} did not get as far as its initrd")
            }
            Fault::RootHash
            | Fault::NoSystemd
            | Fault::AgentExits
            | Fault::AgentHangs
            | Fault::AgentEats
            | Fault::SlowBoot => format!("the agent of {version} was never up: its initrd ran"),
            Fault::NoNetwork => {
                let server = publisher.url().replace("http://", "");
                let gateways =
                    ["10.0.2.2", "fe80::2"].map(|gateway| format!("the gateway {gateway} does not answer; "));
                format!("{}{server} cannot be reached", gateways.concat())
            }
            Fault::Unhealthy => {
                "hello was healthy and is not: hello.web was unhealthy and is not restarted".into()
            }
        }
    }

    /// How often its slot is started.
    fn starts(self) -> usize {
        if self == Fault::TruncatedKernel { 0 } else { 1 }
    }

    /// How long it may take until slot a runs again.
    fn limit(self) -> Duration {
        // What times the box gives a version on trial, and the watchdogs.
        let given = match self {
            Fault::RootHash | Fault::TruncatedKernel | Fault::KernelPanics | Fault::NoSystemd => 0,
            Fault::InitrdHangs => 120,
            Fault::Unhealthy => 180,
            Fault::AgentExits | Fault::AgentHangs | Fault::AgentEats | Fault::NoNetwork | Fault::SlowBoot => {
                300
            }
        };
        BOOT + BOOT + Duration::from_secs(given)
    }
}

/// An initrd that loads the drivers of watchdogs and then waits for ever.
fn hangs() -> Vec<u8> {
    let names = ["watchdog", "i6300esb", "softdog"];
    let list = names.map(|name| format!("/modules/{name}.ko\n")).concat() + "/hangs\n";
    cpio(&[("modules.list", Entry::File(&list)), ("hangs", Entry::Pipe)])
}

/// One box gets these releases one after another, and at last one that works.
fn goes_back_from(setup: Setup, faults: &[Fault]) {
    let mut follower = Follower::new(setup, "policy = \"manual\"");
    for fault in faults {
        let version = follower.next_version();
        println!("{fault:?} as {version}");
        follower.publish(&fault.release(&follower.lab, &follower.publisher, &version).unwrap());
        let mark = follower.apply(&version);
        let reason = fault.reason(&follower.publisher, &version);
        follower.is_back(mark, &version, |said| said == reason, fault.limit());
        let said = follower.machine.console.text();
        assert_eq!(said[mark..].matches("starting slot b").count(), fault.starts(), "{fault:?}: {said}");
        println!("{fault:?}: {reason}, after {} s", follower.machine.age().as_secs());
    }
    follower.publish(&follower.publisher.image(SECOND));
    let mark = follower.apply(SECOND);
    follower.stays(mark, SECOND);
    follower.machine.kill().unwrap();
}

fn setup(firmware: Firmware, expected: &[&'static str]) -> Setup {
    Setup { firmware, expected: expected.to_vec(), ..Setup::default() }
}

#[test]
fn full_a_box_goes_back_from_a_release_with_another_root_and_from_one_that_is_unhealthy() {
    goes_back_from(setup(Firmware::Bios, &[]), &[Fault::RootHash, Fault::Unhealthy]);
}

/// Releases that do not get as far as systemd.
const EARLY: [Fault; 4] = [Fault::TruncatedKernel, Fault::KernelPanics, Fault::InitrdHangs, Fault::NoSystemd];
const PANIC: [&str; 2] = ["VFS: Unable to mount root fs", "Call Trace"];

#[test]
fn full_a_box_goes_back_from_what_does_not_boot() {
    goes_back_from(setup(Firmware::Bios, &PANIC), &EARLY);
}

#[test]
fn full_a_box_goes_back_from_what_does_not_boot_on_uefi() {
    goes_back_from(setup(Firmware::Uefi, &PANIC), &[&[Fault::RootHash][..], &EARLY].concat());
}

/// The same where there is no hardware watchdog.
fn without_hardware(firmware: Firmware) {
    let setup = Setup { watchdog: false, ..setup(firmware, &[]) };
    goes_back_from(setup, &[Fault::InitrdHangs]);
}

#[test]
fn full_a_box_goes_back_by_the_kernels_own_watchdog() {
    without_hardware(Firmware::Bios);
}

#[test]
fn full_a_box_goes_back_by_the_kernels_own_watchdog_on_uefi() {
    without_hardware(Firmware::Uefi);
}

const AGENTS: [Fault; 3] = [Fault::AgentExits, Fault::AgentHangs, Fault::AgentEats];
const MEMORY: [&str; 3] = ["oom-kill:", "Memory cgroup out of memory", "Call Trace"];

#[test]
fn full_a_box_goes_back_from_agents_that_do_not_stay_up() {
    goes_back_from(setup(Firmware::Bios, &MEMORY), &AGENTS);
}

#[test]
fn full_a_box_goes_back_from_agents_that_do_not_stay_up_on_uefi() {
    goes_back_from(setup(Firmware::Uefi, &MEMORY), &AGENTS);
}

#[test]
fn full_a_box_goes_back_from_what_has_no_network_or_is_slow() {
    goes_back_from(setup(Firmware::Bios, &[]), &[Fault::NoNetwork, Fault::SlowBoot]);
}

#[test]
fn full_a_box_goes_back_from_what_has_no_network_or_is_slow_on_uefi() {
    let faults = [Fault::NoNetwork, Fault::SlowBoot, Fault::Unhealthy];
    goes_back_from(setup(Firmware::Uefi, &[]), &faults);
}
