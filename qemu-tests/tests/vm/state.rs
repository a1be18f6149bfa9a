//! State that is newer, damaged, or changed while the agent dies: the box serves and says what is wrong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::{BOOT, CHANGE, DISK, apply, lab, out, page, probe, settled, text, wait_until};
use qemu_tests::{Disk, Machine, Setup};

/// Kills the agent and waits until another answers.
fn kill_agent(machine: &mut Machine) {
    let before = machine.shell("pidof holdfastd").unwrap();
    machine.shell(&format!("kill -9 {before}")).unwrap();
    wait_until("another agent", CHANGE, || {
        let now = machine.shell("pidof holdfastd || true").unwrap();
        let answers = now != before && machine.cli(&["version"]).unwrap().status.success();
        if answers { Ok(()) } else { Err(now) }
    });
}

fn moment(limit: u64) -> Duration {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let moment = Duration::from_millis(u64::from(nanos) / 1000 % limit);
    println!("after {moment:?}");
    moment
}

#[test]
fn full_the_box_serves_and_says_what_is_wrong() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let document = page(&registry, "first page");
    let setup = Setup { shell: true, ..Setup::with(document) };
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("first page", BOOT).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    settled(&machine);

    // A newer version wrote the newest document: the newest that can be read is used, and it is said.
    machine.shell("umask 077; echo '{\"format\": 9}' >/var/lib/holdfast/generations/900.json").unwrap();
    kill_agent(&mut machine);
    assert!(machine.serves("first page"));
    wait_until("generation 1", CHANGE, || {
        let status = machine.json(&["status"], &[3]).map_err(|error| error.to_string())?;
        let said = status["problems"].to_string();
        match status["user_data"]["generation"] == 1 && said.contains("generation 900 is not used") {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    });
    assert!(text(&machine, &["events"]).contains("generation-unusable"));

    // An accepted document ends that. The agent is killed twice while it is put in force.
    let second = page(&registry, "second page") + &probe(&registry, "");
    let accepted = apply(&machine, &second, &["--no-wait"]);
    assert!(accepted.status.success(), "{}", out(&accepted));
    for _ in 0..2 {
        std::thread::sleep(moment(3000));
        kill_agent(&mut machine);
    }
    machine.wait_served("second page", CHANGE).unwrap();
    settled(&machine);
    assert!(text(&machine, &["ps"]).contains("probe.sh"));

    // Ctrl-C somewhere in an apply: all of the change, or nothing of it.
    let third = page(&registry, "third page");
    let file = lab.dir().join("third.toml");
    std::fs::write(&file, &third).unwrap();
    let mut ssh = machine.ssh_command();
    let stdin = std::fs::File::open(&file).unwrap();
    let mut child = ssh.args(["admin@127.0.0.1", "apply --remove -"]).stdin(stdin).spawn().unwrap();
    std::thread::sleep(moment(6000));
    child.kill().unwrap();
    child.wait().unwrap();
    std::thread::sleep(Duration::from_secs(5));
    settled(&machine);
    let whole = |page: &str, probe: bool| {
        machine.serves(page) && text(&machine, &["ps"]).contains("probe.sh") == probe
    };
    assert!(whole("second page", true) || whole("third page", false), "{}", text(&machine, &["ps"]));
    let settled_on = apply(&machine, &second, &["--remove"]);
    assert!(settled_on.status.success(), "{}", out(&settled_on));

    // Rot in several files at once, under a running box and over a reboot.
    for file in ["counters.json", "provider.json", "images/names.json", "instances/site.json", "events/log"] {
        machine.shell(&format!("head -c 3000 /dev/urandom >/var/lib/holdfast/{file}")).unwrap();
    }
    machine.shell("cd /var/lib/holdfast/network && for f in *; do : >$f; done; sync").unwrap();
    kill_agent(&mut machine);
    machine.wait_served("second page", CHANGE).unwrap();
    settled(&machine);
    assert!(text(&machine, &["events"]).contains("state-damaged"));
    machine.kill().unwrap();
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("second page", BOOT).unwrap();
    machine.kill().unwrap();
}
