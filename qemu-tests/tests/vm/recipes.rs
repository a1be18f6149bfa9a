//! What a recipe asks for beyond containers that run: steps, probes of every kind, and less protection.

use crate::common::{BOOT, CHANGE, apply, lab, out, resumed, settings, settled, text, wait_until};
use qemu_tests::{Machine, Registry};
use serde_json::{Value, json};

/// Steps of each kind, each of which leaves a word in the volume when it runs. `follow` asks a
/// container that is made anew by the same change, and slow to stop.
const WORK: &str = r#"
[[recipe]]
name = "work"
[recipe.params.word]
type = "string"
default = "one"
[recipe.params.key]
type = "secret"
generate = "hex:32"
[recipe.volumes.data]
[recipe.containers.web]
image = "IMAGE"
entrypoint = ["/bin/sh", "-c", "trap 'sleep 3; exit 0' TERM; echo $WORD >/tmp/index.html; httpd -p 5432 -h /tmp; while :; do sleep 1; done"]
stop_signal = "SIGTERM"
env = { WORD = "{{ params.word }}" }
tmpfs = ["/tmp"]
health = { tcp = ":5432", interval = "1s", retries = 2 }
[recipe.containers.app]
image = "IMAGE"
entrypoint = ["/bin/sleep", "1000000"]
stop_timeout = "1s"
env = { FOLLOWED = "{{ steps.follow.output }}", PLAIN = "first" }
files = { "/etc/made" = { content = "made {{ steps.make.output }}.\n" } }
volumes = { data = "/data" }
require = ["steps.make", "steps.follow", "steps.wake"]
[recipe.steps.make]
image = "IMAGE"
run = ["/bin/sh", "-c", "echo make >>/data/make; echo; echo $WHO $(cat /etc/given) $(id -u):$(id -g) $(wc -c </run/secrets/key) >/dev/stdout; echo unseen >&2"]
env = { WHO = "{{ instance.name }}" }
files = { "/etc/given" = { content = "given" } }
secrets = ["key"]
user = "7:8"
volumes = { data = "/data" }
require = ["steps.open"]
[recipe.steps.open]
image = "IMAGE"
run = ["/bin/chmod", "777", "/data"]
volumes = { data = "/data" }
require_in = ["steps.wake", "steps.follow"]
[recipe.steps.follow]
image = "IMAGE"
run = ["/bin/sh", "-c", "echo follow >>/data/follow; wget -T 3 -q -O - http://web:5432/"]
volumes = { data = "/data" }
when = "change"
require = ["containers.web"]
[recipe.steps.inside]
in = "app"
run = ["/bin/sh", "-c", "echo inside >>/data/inside"]
when = "change"
[recipe.containers.still]
image = "IMAGE"
entrypoint = ["/bin/sleep", "1000000"]
stop_timeout = "1s"
volumes = { data = "/data" }
[recipe.steps.beside]
in = "still"
run = ["/bin/sh", "-c", "wget -T 3 -q -O - http://web:5432/ >>/data/asked"]
when = "change"
require = ["containers.web"]
[recipe.steps.wake]
image = "IMAGE"
run = ["/bin/sh", "-c", "echo wake >>/data/wake"]
volumes = { data = "/data" }
when = "boot"
"#;

/// Two steps that fail, what waits for one of them, and what does not.
const BROKEN: &str = r#"
[[recipe]]
name = "broken"
[recipe.containers.held]
image = "IMAGE"
entrypoint = ["/bin/sleep", "1000000"]
stop_timeout = "1s"
require = ["steps.fails"]
[recipe.containers.free]
image = "IMAGE"
entrypoint = ["/bin/sleep", "1000000"]
stop_timeout = "1s"
[recipe.steps.fails]
image = "IMAGE"
run = ["/bin/sh", "-c", "echo no luck >&2; exit 3"]
retries = 1
[recipe.steps.slow]
image = "IMAGE"
run = ["/bin/sleep", "1000"]
timeout = "3s"
retries = 0
[recipe.steps.later]
in = "free"
run = ["/bin/true"]
require = ["steps.fails"]
[recipe.steps.beside]
in = "free"
run = ["/bin/true"]
"#;

/// Containers that are well for as long as a file is there, or a port is open. The first does not stop when
/// it is asked to the first time.
const SICK: &str = r#"
[[recipe]]
name = "sick"
[recipe.containers.file]
image = "IMAGE"
entrypoint = ["/bin/sh", "-c", "if test -e /ran; then trap 'exit 0' TERM; else trap '' TERM; trap 'exit 0' USR1; fi; touch /ran /tmp/well; while :; do sleep 1; done"]
stop_signal = "SIGTERM"
tmpfs = ["/tmp"]
stop_timeout = "10m"
health = { command = ["/bin/test", "-e", "/tmp/well"], interval = "1s", retries = 2 }
[recipe.containers.port]
image = "IMAGE"
entrypoint = ["/bin/sh", "-c", "trap 'exit 0' TERM; httpd -p 5432 -h /tmp; while :; do sleep 1; done"]
stop_signal = "SIGTERM"
health = { tcp = ":5432", interval = "1s", retries = 2 }
[recipe.containers.once]
image = "IMAGE"
entrypoint = ["/bin/sh", "-c", "trap 'exit 0' TERM; touch /tmp/well; while :; do sleep 1; done"]
stop_signal = "SIGTERM"
tmpfs = ["/tmp"]
restart = "never"
health = { command = ["/bin/test", "-e", "/tmp/well"], interval = "1s", retries = 2 }
"#;

/// Containers with all protection, without a user namespace, and with none at all.
const BARE: &str = r#"
[[recipe]]
name = "bare"
[recipe.containers.usual]
image = "IMAGE"
entrypoint = ["/bin/sleep", "1000000"]
stop_timeout = "1s"
[recipe.containers.host]
image = "IMAGE"
entrypoint = ["/bin/sleep", "1000000"]
stop_timeout = "1s"
userns = "host"
[recipe.containers.all]
image = "IMAGE"
entrypoint = ["/bin/sleep", "1000000"]
stop_timeout = "1s"
userns = "host"
privileged = true
"#;

fn document(registry: &Registry, instances: &[&str]) -> String {
    settings(registry) + &instances.concat().replace("IMAGE", &registry.reference("probe:1"))
}

fn privileged(document: &str) -> String {
    document.replacen("[box]\n", "[box]\nallow_privileged = true\n", 1)
}

fn status(machine: &Machine) -> Value {
    machine.json(&["status"], &[0, 3]).unwrap()
}

/// What a list of `ps` or `status` has of this name.
fn named(list: &Value, name: &str) -> Value {
    let found = list.as_array().and_then(|all| all.iter().find(|item| item["name"] == name));
    found.cloned().unwrap_or_else(|| panic!("no {name} in {list}"))
}

fn container(machine: &Machine, name: &str) -> Value {
    named(&machine.json(&["ps"], &[0, 3]).unwrap(), name)
}

fn wait_for(machine: &Machine, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_until(name, CHANGE, || {
        let found = container(machine, name);
        if wanted(&found) {
            Ok(found)
        } else {
            Err(format!("{found}\n{}", out(&machine.cli(&["events"]).unwrap())))
        }
    })
}

fn inside(machine: &Machine, container: &str, line: &str) -> String {
    text(machine, &["exec", container, "--", "/bin/sh", "-c", line])
}

/// Applies a document that must come to hold.
fn holds(machine: &Machine, document: &str) {
    let done = apply(machine, document, &["--remove"]);
    assert!(done.status.success(), "{}\n{}", out(&done), out(&machine.cli(&["events"]).unwrap()));
}

/// How often each step of `work` has run: make, follow, inside, wake.
fn runs(machine: &Machine) -> [usize; 4] {
    let log = inside(machine, "work.app", "cat /data/*");
    ["make", "follow", "inside", "wake"].map(|step| log.lines().filter(|line| *line == step).count())
}

#[test]
fn steps_run_when_they_should_and_hold_up_what_requires_them() {
    let (lab, registry) = lab();
    let work = document(&registry, &[WORK]);
    let mut machine = resumed(&lab, &work, &[]);
    one_off(&mut machine);
    changes(&machine, &work);
    failing(&mut machine, &registry);
    machine.kill().unwrap();
}

#[test]
fn probes_and_protections_are_what_a_recipe_says() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &document(&registry, &[SICK]), &[]);
    healing(&mut machine);
    protections(&mut machine, &registry);
    machine.kill().unwrap();
}

#[test]
fn full_a_boot_runs_its_steps_and_a_hanging_agent_costs_nothing() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &document(&registry, &[WORK]), &[]);
    settled(&machine);
    boots(&machine);
    hangs(&mut machine);
    machine.kill().unwrap();
}

/// A container of a step is given what the step says, has the instance's network, and is gone afterwards.
fn one_off(machine: &mut Machine) {
    settled(machine);
    let environment = inside(machine, "work.app", "tr '\\0' '\\n' </proc/1/environ");
    assert!(environment.lines().any(|line| line == "FOLLOWED=one"), "{environment}");
    assert_eq!(inside(machine, "work.app", "cat /etc/made"), "made work given 7:8 64.");
    assert_eq!(runs(machine), [1, 1, 1, 1]);
    // What a step made of an empty volume is not undone by the next that uses it.
    assert_eq!(inside(machine, "work.app", "stat -c %a:%u:%g /data"), "777:0:0");
    let instance = named(&status(machine)["instances"], "work");
    for step in ["make", "open", "follow", "inside", "beside", "wake"] {
        assert_eq!(named(&instance["steps"], step)["state"], "succeeded", "{instance}");
    }
    let left = "ls /run/holdfast/bundles /var/lib/holdfast/containers; systemctl list-units --all --plain";
    let left = machine.shell(left).unwrap();
    assert!(left.contains("work.app"), "{left}");
    for step in ["make", "open", "follow", "wake"] {
        assert!(!left.contains(&format!("work.{step}")), "{step}: {left}");
    }
    // What it says of itself is in the journal, what it hands on is not.
    let journal = machine.shell("journalctl -o cat --no-pager HOLDFAST_CONTAINER=work.make").unwrap();
    assert!(journal.contains("unseen") && !journal.contains("given"), "{journal}");
}

/// A step runs again after a change of its own, and after nothing else.
fn changes(machine: &Machine, work: &str) {
    let before = container(machine, "work.app")["pid"].clone();
    holds(machine, work);
    assert_eq!((runs(machine), &container(machine, "work.app")["pid"]), ([1, 1, 1, 1], &before));
    // Neither image, parameters nor files: the container is another, its step is not run again.
    let other = work.replace("PLAIN = \"first\"", "PLAIN = \"second\"");
    holds(machine, &other);
    assert_eq!(runs(machine), [1, 1, 1, 1]);
    assert_ne!(container(machine, "work.app")["pid"], before);
    holds(machine, &other.replace("default = \"one\"", "default = \"two\""));
    let environment = inside(machine, "work.app", "tr '\\0' '\\n' </proc/1/environ");
    assert!(
        environment.lines().any(|line| line == "FOLLOWED=two"),
        "the step asked too early: {environment}"
    );
    assert_eq!(inside(machine, "work.app", "cat /data/asked"), "one\ntwo", "the step asked too early");
    let [make, follow, again, wake] = runs(machine);
    assert_eq!((make, again, wake), (1, 2, 1));
    assert!(follow > 1, "{follow}");
    let after = runs(machine);
    holds(machine, work);
    let again = runs(machine);
    assert!(again[1] > after[1] && again[2] > after[2], "back is a change too: {after:?} {again:?}");
}

/// A step that fails holds up what requires it and nothing else, until it is corrected.
fn failing(machine: &mut Machine, registry: &Registry) {
    let broken = document(registry, &[WORK, BROKEN]);
    let done = apply(machine, &broken, &["--no-wait"]);
    assert!(done.status.success(), "{}", out(&done));
    let state = wait_until("both steps to have failed", CHANGE, || {
        let state = status(machine);
        let steps = named(&state["instances"], "broken")["steps"].clone();
        let failed = ["fails", "slow"].iter().all(|step| named(&steps, step)["state"] == "failed");
        if failed { Ok(state) } else { Err(state.to_string()) }
    });
    let instance = named(&state["instances"], "broken");
    assert_eq!((&state["health"], &instance["health"]), (&json!("degraded"), &json!("degraded")));
    assert_eq!(named(&state["instances"], "work")["health"], "healthy", "{state}");
    let step = |name: &str| named(&instance["steps"], name);
    assert_eq!(step("fails")["reason"], "it ended with 3", "{instance}");
    assert_eq!(step("slow")["reason"], "it took longer than 3 s", "{instance}");
    assert_eq!(step("later")["state"], "pending", "{instance}");
    assert_eq!(step("beside")["state"], "succeeded", "{instance}");
    assert_eq!(named(&state["containers"], "broken.free")["state"], "running", "{state}");
    let held = named(&state["containers"], "broken.held");
    assert_eq!(held["state"], "waiting", "{held}");
    assert_eq!(held["reason"], "waits for step broken.fails to succeed", "{held}");
    let screen = out(&machine.cli(&["status"]).unwrap());
    assert!(screen.contains("it ended with 3") || screen.contains("it took longer"), "{screen}");
    let events = text(machine, &["events"]);
    assert!(events.contains("broken.fails: it ended with 3"), "{events}");
    let journal = machine.shell("journalctl -o cat --no-pager HOLDFAST_CONTAINER=broken.fails").unwrap();
    assert!(journal.contains("no luck"), "{journal}");

    holds(machine, &broken.replace("exit 3", "exit 0").replace("\"/bin/sleep\", \"1000\"", "\"/bin/true\""));
    assert_eq!(container(machine, "broken.held")["state"], "running");
    let steps = named(&status(machine)["instances"], "broken")["steps"].clone();
    assert_eq!(named(&steps, "later")["state"], "succeeded", "{steps}");
}

/// A container that turns unhealthy by itself is stopped and started, and it is said why.
fn healing(machine: &mut Machine) {
    for (name, harm, why) in [
        ("sick.file", "rm /tmp/well", "its command ended with 1"),
        ("sick.port", "killall httpd", "port 5432: connection refused"),
    ] {
        let before = wait_for(machine, name, |c| c["state"] == "healthy");
        assert_eq!((&before["restarts"], &before["reason"]), (&json!(0), &Value::Null), "{before}");
        inside(machine, name, harm);
        if name == "sick.file" {
            stopping(machine, &before, why);
        }
        let after = wait_for(machine, name, |c| c["state"] == "healthy" && c["pid"] != before["pid"]);
        assert_eq!(after["restarts"], 1, "{after}");
        assert_eq!(after["last_exit"], json!({ "cause": "exited", "code": 0, "signal": null }), "{after}");
        let events = text(machine, &["events"]);
        assert!(events.contains(&format!("{name} is unhealthy: {why}")), "{events}");
    }
    settled(machine);
    // Without a restart what was unhealthy is down and a problem, however well it ended.
    wait_for(machine, "sick.once", |c| c["state"] == "healthy");
    inside(machine, "sick.once", "rm /tmp/well");
    let down = wait_for(machine, "sick.once", |c| c["state"] == "exited");
    assert_eq!(down["reason"], "sick.once was unhealthy and is not restarted", "{down}");
    let state = status(machine);
    assert_eq!(state["health"], "degraded", "{state}");
    assert!(state["problems"].to_string().contains("sick.once was unhealthy"), "{state}");
}

/// While an unhealthy container takes its time to stop, it is said why it has to.
fn stopping(machine: &mut Machine, before: &Value, why: &str) {
    let reason = format!("sick.file is unhealthy: {why}");
    let said = wait_for(machine, "sick.file", |c| c["state"] == "restarting");
    assert_eq!((&said["reason"], &said["pid"]), (&json!(reason), &Value::Null), "{said}");
    let state = status(machine);
    assert_eq!(state["health"], "degraded", "{state}");
    assert!(state["problems"].to_string().contains(&reason), "{state}");
    machine.shell(&format!("kill -USR1 {}", before["pid"])).unwrap();
}

/// Containers are without protection only where recipe and box say so, and `status` warns of them.
fn protections(machine: &mut Machine, registry: &Registry) {
    let bare = document(registry, &[BARE]);
    let refused = apply(machine, &bare, &["--remove"]);
    assert_eq!(refused.status.code(), Some(2), "{}", out(&refused));
    assert!(out(&refused).contains("container `all` is privileged"), "{}", out(&refused));
    assert!(out(&refused).contains("allow_privileged = true"), "{}", out(&refused));
    assert!(!text(machine, &["ps"]).contains("bare"), "it was put in force");
    holds(machine, &privileged(&bare));
    let words = |map: &str| map.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let host = words(&machine.shell("cat /proc/self/uid_map").unwrap());
    assert_eq!(host, ["0", "0", "4294967295"]);
    for (name, unmapped, mounts) in
        [("bare.usual", false, false), ("bare.host", true, false), ("bare.all", true, true)]
    {
        let map = words(&inside(machine, name, "cat /proc/self/uid_map /proc/1/uid_map"));
        assert_eq!(map == [&host[..], &host].concat(), unmapped, "{name}: {map:?}");
        let mount = "mkdir -p /at && mount -t tmpfs none /at && umount /at && echo mounted || true";
        assert_eq!(inside(machine, name, mount) == "mounted", mounts, "{name}");
    }
    let warnings = status(machine)["warnings"].clone();
    assert_eq!(warnings, json!(["bare.all is privileged", "bare.host has no user namespace"]));
    let screen = out(&machine.cli(&["status"]).unwrap());
    assert!(screen.contains("bare.host has no user namespace"), "{screen}");
}

/// An agent that hangs is ended and started again by systemd; what runs is not touched, and still served.
fn hangs(machine: &mut Machine) {
    let pids = |machine: &Machine| {
        let all = machine.json(&["ps"], &[0]).unwrap();
        all.as_array().unwrap().iter().map(|c| (c["name"].clone(), c["pid"].clone())).collect::<Vec<_>>()
    };
    let before = pids(machine);
    assert!(before.len() > 1 && before.iter().all(|(_, pid)| pid.is_u64()), "{before:?}");
    let agent = machine.shell("systemctl show -P MainPID holdfastd").unwrap();
    machine.shell(&format!("kill -STOP {agent}")).unwrap();
    wait_until("another agent", CHANGE, || {
        let now = machine.shell("systemctl show -P MainPID holdfastd").unwrap();
        if now != agent && now != "0" { Ok(()) } else { Err(now) }
    });
    wait_until("an answer", CHANGE, || {
        let done = machine.cli(&["status"]).unwrap();
        if done.status.success() { Ok(()) } else { Err(out(&done)) }
    });
    settled(machine);
    assert_eq!(pids(machine), before);
    let journal = machine.shell("journalctl -o cat --no-pager -b UNIT=holdfastd.service").unwrap();
    assert!(journal.contains("Watchdog timeout"), "{journal}");
}

/// After a boot what runs at each boot has run once more, and nothing else.
fn boots(machine: &Machine) {
    let before = runs(machine);
    let mark = machine.console.mark();
    text(machine, &["reboot"]);
    machine.console.wait_after(mark, "Holdfast: slot a on", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    settled(machine);
    assert_eq!(runs(machine), [before[0], before[1], before[2], before[3] + 1]);
}
