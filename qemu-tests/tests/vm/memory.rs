//! Want of memory and of processes: who dies, who comes back, and who never notices.

use std::time::{Duration, Instant};

use crate::common::{BOOT, CHANGE, DISK, apply, lab, out, page, probe, settled, text, up, wait_until};
use qemu_tests::{Disk, Gate, Machine, Mode, Registry, Setup};

/// What the kernel says of a process that it ends for want of memory.
const EXPECTED: [&str; 4] = ["oom-kill", "Out of memory", "memcg", "Memory cgroup out of memory"];

fn boot(lab: &qemu_tests::Lab, document: String) -> Machine {
    let disk = Disk::new(lab, "disk.raw", DISK).unwrap();
    let setup = Setup { shell: true, expected: EXPECTED.into(), ..Setup::with(document) };
    let machine = Machine::boot(lab, &disk, &setup).unwrap();
    machine.wait_served("unharmed", BOOT).unwrap();
    up(&machine, &["probe.sh"]);
    settled(&machine);
    machine
}

/// The process that a unit stands for; 0 without one.
fn main_pid(machine: &mut Machine, unit: &str) -> u32 {
    machine.shell(&format!("systemctl show -p MainPID --value {unit}")).unwrap().parse().unwrap()
}

/// Lets the kernel end a process as it does when there is no memory left and this one has the most.
fn starve(machine: &mut Machine, pid: u32) {
    machine.shell(&format!("echo 1000 >/proc/{pid}/oom_score_adj && echo f >/proc/sysrq-trigger")).unwrap();
    let gone =
        format!("n=0; while test -d /proc/{pid} && test $n -lt 100; do n=$((n+1)); sleep 0.1; done; echo $n");
    assert_ne!(machine.shell(&gone).unwrap(), "100", "{pid} lives on");
}

fn page_pid(machine: &Machine) -> String {
    let all = machine.json(&["ps"], &[0, 3]).unwrap();
    let site = all.as_array().unwrap().iter().find(|c| c["name"] == "site.web").cloned();
    site.map(|site| site["pid"].to_string()).unwrap_or_default()
}

/// Fails unless the page's container is the one that it was, and the box answers.
fn unharmed(machine: &Machine, before: &str, what: &str) {
    assert!(machine.serves("unharmed"), "{what}");
    machine.wait_ssh(CHANGE).unwrap();
    wait_until(what, CHANGE, || {
        let status = machine.cli(&["status"]).unwrap();
        if status.status.success() { Ok(()) } else { Err(out(&status)) }
    });
    assert_eq!(page_pid(machine), before, "{what} cost the page's container");
}

/// The command line of a session, which is not `known`.
fn session(machine: &mut Machine, known: u32) -> u32 {
    wait_until("a session", CHANGE, || {
        let all = machine.shell("pidof holdfast || true").unwrap();
        let pid = all.split_whitespace().flat_map(str::parse::<u32>).find(|pid| *pid != known);
        pid.ok_or(all)
    })
}

/// A session that is starved ends, and another one stays.
fn starved_session(machine: &mut Machine) {
    let mut stays = machine.cli_start(&["events", "--follow"], false).unwrap();
    let known = session(machine, 0);
    let ends = machine.cli_start(&["events", "--follow"], false).unwrap();
    let pid = session(machine, known);
    starve(machine, pid);
    let ended = ends.wait_with_output().unwrap();
    assert!(!ended.status.success(), "{}", out(&ended));
    machine.shell(&format!("test -d /proc/{known}")).unwrap();
    assert!(stays.try_wait().unwrap().is_none(), "the other session has ended");
    stays.kill().unwrap();
    stays.wait().unwrap();
}

#[test]
fn full_each_process_of_the_box_that_is_starved_comes_back_and_costs_no_container() {
    let (lab, registry) = lab();
    let gate = Gate::to(registry.port(), Mode::Hangs).unwrap();
    let notify = format!("[box.notify]\nurl = \"http://10.0.2.2:{}/\"\n", gate.port());
    let talks = greedy(&registry, "talks", "n=0; while :; do n=$((n + 1)); echo line $n; sleep 2; done");
    let document = page(&registry, "unharmed") + &notify + &probe(&registry, "") + &talks;
    let mut machine = boot(&lab, document);
    let before = page_pid(&machine);
    for unit in [
        "holdfastd.service",
        "sshd.service",
        "systemd-journald.service",
        "systemd-udevd.service",
        "systemd-timesyncd.service",
        "dbus-broker.service",
    ] {
        let pid = main_pid(&mut machine, unit);
        println!("{unit}: {pid}");
        starve(&mut machine, pid);
        unharmed(&machine, &before, unit);
        wait_until(unit, CHANGE, || match main_pid(&mut machine, unit) {
            0 => Err("it is down".to_owned()),
            now if now == pid => Err("it is the same".to_owned()),
            _ => Ok(()),
        });
    }
    // The bus itself, which its launcher started.
    let bus: u32 = machine.shell("pidof dbus-broker").unwrap().parse().unwrap();
    starve(&mut machine, bus);
    unharmed(&machine, &before, "dbus-broker");

    starved_session(&mut machine);
    unharmed(&machine, &before, "a session");

    // What a container says is kept although the journal was another one when it began.
    let last = |machine: &Machine| text(machine, &["logs", "-n", "1", "talks.sh"]);
    let known = last(&machine);
    wait_until("what the container says", CHANGE, || {
        let now = last(&machine);
        if now != known && now.contains("line") { Ok(()) } else { Err(now) }
    });

    // A shim takes its own container along, which comes back, and no other.
    let shim = main_pid(&mut machine, "holdfast-probe.sh.service");
    starve(&mut machine, shim);
    up(&machine, &["probe.sh"]);
    unharmed(&machine, &before, "holdfast-shim");
    assert!(text(&machine, &["events"]).contains("probe.sh"), "it is told");

    // What updates the box and sends its messages, waiting for an answer.
    let asked = machine.cli_start(&["notify", "test"], false).unwrap();
    let sender = wait_until("a sender", CHANGE, || match main_pid(&mut machine, "holdfast-notify.service") {
        0 => Err(String::new()),
        pid => Ok(pid),
    });
    starve(&mut machine, sender);
    let asked = asked.wait_with_output().unwrap();
    assert!(!asked.status.success(), "{}", out(&asked));
    assert!(out(&asked).contains("memory") || out(&asked).contains("killed"), "{}", out(&asked));
    unharmed(&machine, &before, "holdfast-update");
    settled(&machine);
    machine.kill().unwrap();
}

/// An instance whose container runs a line of the shell, without any limit of its own.
fn greedy(registry: &Registry, name: &str, line: &str) -> String {
    format!(
        "\n[[recipe]]\nname = \"{name}\"\n[recipe.containers.sh]\nimage = \"{}\"\ntmpfs = [\"/tmp\", \"/more\"]\n\
         entrypoint = [\"/bin/sh\", \"-c\", \"{line}\"]\nstop_timeout = \"1s\"\n",
        registry.reference("probe:1")
    )
}

/// Succeeds when a process of a container was one too many, for its own limit or for that of all containers.
const REFUSED: &str =
    "cat $(find /sys/fs/cgroup/containers.slice -name pids.events) 2>/dev/null | grep '^max [1-9]'";

/// How many events say that `who` ran out of memory.
fn out_of_memory(machine: &Machine, who: &str) -> usize {
    text(machine, &["events"]).matches(&format!("{who} ran out of memory")).count()
}

/// For a while: how long the box takes to answer its admin at most, and how often the page was not there.
fn watch(machine: &Machine, seconds: u64) -> (Duration, u32) {
    let (end, mut longest, mut missed) = (Instant::now() + Duration::from_secs(seconds), Duration::ZERO, 0);
    while Instant::now() < end {
        let asked = Instant::now();
        let status = machine.cli(&["status"]).unwrap();
        assert!(matches!(status.status.code(), Some(0 | 3)), "{}", out(&status));
        longest = longest.max(asked.elapsed());
        missed += u32::from(!machine.serves("unharmed"));
        std::thread::sleep(Duration::from_secs(1));
    }
    (longest, missed)
}

#[test]
fn full_containers_without_limits_that_take_all_they_can_cost_the_box_nothing() {
    let (lab, registry) = lab();
    let base = page(&registry, "unharmed") + &probe(&registry, "");
    let mut machine = boot(&lab, base.clone());
    // What the containers are called, and what they do.
    let cases: [(&str, &[&str], &str); 4] = [
        ("memory", &["eats"], "a=x; while :; do a=$a$a; done"),
        ("memory bit by bit", &["grows"], "tail /dev/zero"),
        (
            "memory in files",
            &["files"],
            "for f in /tmp/a /more/b; do dd if=/dev/zero of=$f bs=64k; done; sleep 1000000",
        ),
        ("processes", &["one", "two", "three"], "f() { f | f & }; f; sleep 1000000"),
    ];
    let units = ["holdfastd.service", "sshd.service", "systemd-journald.service", "dbus-broker.service"];
    let pids = |machine: &mut Machine| units.map(|unit| main_pid(machine, unit));
    for (what, names, line) in cases {
        let more: String = names.iter().map(|name| greedy(&registry, name, line)).collect();
        let (before, mark) = (pids(&mut machine), machine.console.mark());
        let (who, site) = (format!("{}.sh", names[0]), page_pid(&machine));
        let known = out_of_memory(&machine, &who);
        let accepted = apply(&machine, &(base.clone() + &more), &["--no-wait"]);
        assert!(accepted.status.success(), "{what}: {}", out(&accepted));
        let (longest, missed) = watch(&machine, 60);
        println!("{what}: the longest answer took {longest:?}, the page was missed {missed} times");
        assert!(missed <= 5 && longest < Duration::from_secs(60), "{what}: {missed}, {longest:?}");
        let events = text(&machine, &["events"]);
        println!("{}", events.lines().rev().take(12).collect::<Vec<_>>().join("\n"));
        if what == "processes" {
            machine.shell(REFUSED).unwrap();
        } else {
            wait_until(what, CHANGE, || {
                let taken = machine
                    .shell("cd /sys/fs/cgroup/containers.slice; cat memory.current memory.max")
                    .unwrap();
                if out_of_memory(&machine, &who) > known { Ok(()) } else { Err(taken) }
            });
        }
        // What the kernel does not see is seen by the agent.
        if what == "memory in files" {
            assert!(events.contains("files.sh held"), "{events}");
        }
        assert_eq!(page_pid(&machine), site, "{what} cost the page's container");
        let less = apply(&machine, &base, &["--remove", "--timeout", "170s"]);
        assert!(less.status.success(), "{what}: {}", out(&less));
        machine.wait_served("unharmed", CHANGE).unwrap();
        settled(&machine);
        assert_eq!(pids(&mut machine), before, "{what}: {units:?} were started anew");
        assert!(!machine.console.text()[mark..].contains("starting slot"), "{what}: the box was restarted");
    }
    machine.kill().unwrap();
}
