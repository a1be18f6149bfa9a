//! The program under its second name, `holdfast-update`, with descriptors handed over as systemd does.

#[path = "../../update/tests/support/mod.rs"]
mod support;

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use agent_update::{Outcome, Verb};
use support::images::image;
use support::machine::Machine;
use support::publisher::Publisher;
use support::server::Server;

const PROGRAM: &str = env!("CARGO_BIN_EXE_holdfast-fetch");

/// Runs the program as it lies on a box; the shell opens the partitions and hands them over by name.
fn run(machine: &Machine, names: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("holdfast-update");
    symlink(PROGRAM, &program).unwrap();
    let at = |name: &str| machine.partition(name).display().to_string();
    let script = format!(
        "exec 3<>{} 4<>{} 5<{} 6<{}; LISTEN_FDS=4 LISTEN_FDNAMES={names} LISTEN_PID=$$ exec {} {}",
        at("target-boot"),
        at("target-root"),
        at("running-boot"),
        at("running-root"),
        program.display(),
        machine.shared().display()
    );
    Command::new("sh").args(["-c", &script]).output().unwrap()
}

const NAMES: &str = "target-boot:target-root:running-boot:running-root";

#[test]
fn it_stages_and_verifies() {
    let (boot, root) = (image(1..20), image(101..300));
    let publisher = Publisher::of("0.2.0", &boot, &root);
    let (server, machine) = (Server::honest(publisher.path()), Machine::new(&publisher));
    machine.fill("running-root", &image(101..200));
    machine.ask(&server.url, Verb::Stage);
    let output = run(&machine, NAMES);
    assert!(output.status.success(), "{output:?}");
    let Outcome::Staged(staged) = machine.result() else { panic!("{output:?}") };
    machine.holds_images(&boot, &root);
    assert_eq!(staged.fetched, server.served());
    let maps = (19 + 199) * 34 + 64;
    let expect = format!(
        "{} bytes to fetch\ntarget-root is written and verified\ntarget-boot is written and verified\n",
        staged.fetched - maps
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expect);

    machine.ask(&server.url, Verb::Verify(staged.parts.clone()));
    assert!(run(&machine, NAMES).status.success());
    assert_eq!(machine.result(), Outcome::Verified);
    machine.flip("target-root", 77);
    let output = run(&machine, NAMES);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "holdfast-update: target-root is not what was staged: it has changed since\n");
    assert!(matches!(machine.result(), Outcome::Error(_)));
}

#[test]
fn without_partitions_it_checks_and_no_more() {
    let publisher = Publisher::of("0.2.0", &image([1]), &image([3]));
    let (server, machine) = (Server::honest(publisher.path()), Machine::new(&publisher));
    machine.ask(&server.url, Verb::Check);
    let output = run(&machine, "a:b:c:d");
    assert!(output.status.success(), "{output:?}");
    assert!(matches!(machine.result(), Outcome::Found(_)));
    machine.ask(&server.url, Verb::Stage);
    let output = run(&machine, "a:b:c:d");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "holdfast-update: no root partition was handed over\n"
    );
}

#[test]
fn without_a_folder_it_says_how_it_is_called_under_either_name() {
    for (name, arguments) in [("holdfast-update", "[notify] FOLDER"), ("holdfast-fetch", "STAGING")] {
        let output = Command::new(PROGRAM).arg0(name).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, format!("{name}: usage: {name} {arguments}\n"));
    }
}
