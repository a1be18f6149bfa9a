//! What breaks comes back: agent, shim, container, registry, memory, the whole box.

use std::io::Write;
use std::process::Child;

use crate::common::{
    BOOT, CHANGE, DISK, Random, apply, lab, out, page, probe, resumed, settings, site, text, wait_until,
};
use qemu_tests::{Disk, Machine, Setup};
use serde_json::{Value, json};

fn container(machine: &Machine, name: &str) -> Value {
    let all = machine.json(&["ps"], &[0, 3]).unwrap();
    let found = all.as_array().and_then(|a| a.iter().find(|c| c["name"] == name));
    found.cloned().unwrap_or_else(|| panic!("no {name} in {all}"))
}

fn wait_for(machine: &Machine, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_until(name, CHANGE, || {
        let found = container(machine, name);
        if wanted(&found) { Ok(found) } else { Err(format!("{found}\n{}", machine.console.tail(40))) }
    })
}

#[test]
fn full_registry_down_at_first_boot_and_later() {
    let (lab, mut registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup::with(page(&registry, "at last"));
    registry.down().unwrap();
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    wait_until("a degraded box", CHANGE, || {
        let status = out(&machine.cli(&["status"]).unwrap());
        if status.contains("degraded") { Ok(()) } else { Err(status) }
    });
    registry.up(&lab).unwrap();
    machine.wait_served("at last", CHANGE).unwrap();
    machine.kill().unwrap();
    // The image is there: a dead registry does not matter any more.
    registry.down().unwrap();
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("at last", BOOT).unwrap();
    machine.kill().unwrap();
}

#[test]
fn killed_container_and_memory() {
    let (lab, registry) = lab();
    let eater = probe(&registry, "memory = \"32M\"\nrestart = \"never\"");
    let quitter = format!(
        "\n[[recipe]]\nname = \"quits\"\n[recipe.containers.sh]\nimage = \"{}\"\n\
         entrypoint = [\"/bin/sh\", \"-c\", \"exit 7\"]\nrestart = \"never\"\n",
        registry.reference("probe:1")
    );
    let document = settings(&registry) + &site(&registry, "alive") + &eater + &quitter;
    let expected = ["memcg", "oom-kill", "Memory cgroup out of memory"];
    let mut machine = resumed(&lab, &document, &expected);
    machine.wait_served("alive", BOOT).unwrap();
    let before = wait_for(&machine, "site.web", |c| c["state"] == "healthy");
    machine.shell(&format!("kill -9 {}", before["pid"])).unwrap();
    // Until the agent has heard of it, what is left of the container counts for it.
    let again = |c: &Value| c["state"] == "healthy" && c["pid"] != before["pid"] && !c["last_exit"].is_null();
    let after = wait_for(&machine, "site.web", again);
    assert_eq!(after["last_exit"], json!({ "cause": "signal", "code": 137, "signal": "SIGKILL" }), "{after}");
    machine.wait_served("alive", CHANGE).unwrap();
    let eat = "a=x; while :; do a=$a$a; done";
    machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", eat]).unwrap();
    let ended = wait_for(&machine, "probe.sh", |c| c["state"] == "exited");
    assert_eq!(ended["last_exit"]["cause"], "oom", "{ended}");
    let quit = wait_for(&machine, "quits.sh", |c| c["state"] == "exited");
    assert_eq!(quit["last_exit"], json!({ "cause": "exited", "code": 7, "signal": null }), "{quit}");
    assert!(machine.serves("alive"), "one container's hunger cost another");
    machine.kill().unwrap();
}

#[test]
fn killed_agent_costs_no_container_and_a_killed_shim_comes_back() {
    kills(3);
}

#[test]
fn full_twenty_killed_agents_cost_no_container() {
    kills(20);
}

/// Kills the agent at random moments, every other time while it changes another instance: the page's
/// container is never touched, and what was asked for is there in the end.
fn kills(agents: u32) {
    let (lab, registry) = lab();
    let base = page(&registry, "unharmed");
    let document = |n: u32| base.clone() + &probe(&registry, &format!("env = {{ N = \"{n}\" }}"));
    let mut machine = resumed(&lab, &document(0), &[]);
    machine.wait_served("unharmed", BOOT).unwrap();
    let before = wait_for(&machine, "site.web", |c| c["state"] == "healthy");
    wait_for(&machine, "probe.sh", |c| c["state"] == "running");
    let unharmed = |machine: &Machine, when: &str| {
        assert!(machine.serves("unharmed"), "{when}: the agent's death cost the page");
        let now = wait_for(machine, "site.web", |c| c["state"] == "healthy");
        assert_eq!(before["pid"], now["pid"], "{when}: the container outlives the agent");
    };
    let mut random = Random::new();
    for n in 1..=agents {
        let change = (n % 2 == 1).then(|| start_apply(&machine, &document(n)));
        kill_agent(&mut machine, random.below(4000));
        unharmed(&machine, &format!("kill {n}"));
        if let Some(change) = change {
            // Its connection is cut, unless it was accepted and done before: it may be asked for again.
            println!("kill {n}: the change {}", out(&change.wait_with_output().unwrap()));
            let again = apply(&machine, &document(n), &[]);
            assert!(again.status.success(), "kill {n}: {}", out(&again));
            let value = text(&machine, &["exec", "probe.sh", "--", "/bin/sh", "-c", "echo $N"]);
            assert_eq!(value, n.to_string(), "kill {n}");
            unharmed(&machine, &format!("the change after kill {n}"));
        }
    }
    machine.shell("kill -9 $(pidof holdfast-shim)").unwrap();
    wait_for(&machine, "site.web", |c| c["state"] == "healthy" && c["pid"] != before["pid"]);
    machine.wait_served("unharmed", CHANGE).unwrap();
    machine.kill().unwrap();
}

/// Starts an apply that waits for its end.
fn start_apply(machine: &Machine, document: &str) -> Child {
    let mut apply = machine.cli_start(&["apply", "-"], false).unwrap();
    apply.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    apply
}

/// Kills the agent after so many milliseconds, and waits until another one answers.
fn kill_agent(machine: &mut Machine, delay: u64) {
    let kill = format!(
        "sleep {}.{:03}; pidof holdfastd | tee /run/killed | xargs kill -9",
        delay / 1000,
        delay % 1000
    );
    machine.shell(&kill).unwrap();
    let agent = machine.shell("cat /run/killed").unwrap();
    wait_until("another agent", CHANGE, || {
        let now = machine.shell("pidof holdfastd || true").unwrap();
        let answers = machine.cli(&["status"]).unwrap().status.success();
        if now != agent && answers { Ok(()) } else { Err(machine.console.tail(40)) }
    });
}

#[test]
fn full_data_that_is_full_costs_neither_the_page_nor_the_admin() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", 2 << 30).unwrap();
    let filler = probe(&registry, "volumes = { data = \"/data\" }\n[recipe.volumes.data]\n");
    let setup = Setup::with(page(&registry, "still served") + &filler);
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("still served", BOOT).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    wait_for(&machine, "probe.sh", |c| c["state"] == "running");
    let inside = |machine: &Machine, line: &str| {
        out(&machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", line]).unwrap())
    };
    inside(&machine, "dd if=/dev/zero of=/data/fill bs=1M; sync");
    assert!(inside(&machine, "dd if=/dev/zero of=/data/more bs=1M count=1").contains("No space left"));
    assert!(machine.serves("still served"));
    let status = machine.json(&["status"], &[0, 3]).unwrap();
    assert!(status["disk"]["available"].as_u64().is_some_and(|a| a < 1 << 20), "{}", status["disk"]);
    machine.kill().unwrap();
    // What is kept back for the box itself is enough to start everything, and to say what is wrong.
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("still served", BOOT).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    wait_for(&machine, "probe.sh", |c| c["state"] == "running");
    assert!(inside(&machine, "dd if=/dev/zero of=/data/more bs=1M count=1").contains("No space left"));
    wait_until("what is wrong", CHANGE, || {
        let doctor = out(&machine.cli(&["doctor"]).unwrap());
        if doctor.contains("data is full") { Ok(()) } else { Err(doctor) }
    });
    inside(&machine, "rm /data/fill /data/more");
    assert!(inside(&machine, "echo room >/data/more && cat /data/more").contains("room"));
    machine.kill().unwrap();
}
