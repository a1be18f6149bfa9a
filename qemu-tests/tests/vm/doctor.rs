//! What is wrong with a box is told, the worst first, each with what to do about it.

use crate::common::{CHANGE, apply, lab, out, page, probe, resumed, settings, site, text, wait_until};
use qemu_tests::{Machine, Registry, Setup};
use serde_json::Value;

/// Findings that depend on where the test runs: nobody answers name servers' questions or sets clocks there.
const ELSEWHERE: [&str; 2] = ["name-servers-silent", "clock-not-set"];

/// The findings, after the exit code was found to be that of the worst.
fn findings(machine: &Machine) -> Vec<Value> {
    // A box that has become another one gives sshd a new host key, and it starts anew.
    let said = wait_until("an answer", CHANGE, || match machine.cli(&["doctor", "--json"]) {
        Ok(said) if said.status.code() != Some(255) => Ok(said),
        other => Err(format!("{other:?}")),
    });
    let doctor: Value =
        serde_json::from_slice(&said.stdout).unwrap_or_else(|e| panic!("{e}: {}", out(&said)));
    let reply = machine.api("GET", "/v1/doctor", b"").unwrap();
    assert_eq!(reply.status, 200);
    let findings = doctor["findings"].as_array().unwrap().clone();
    let words: Vec<&str> = findings.iter().filter_map(|finding| finding["severity"].as_str()).collect();
    let worst = |word: &str| words.contains(&word);
    let code = if worst("failed") {
        1
    } else if worst("degraded") {
        3
    } else {
        0
    };
    assert_eq!(said.status.code(), Some(code), "{doctor:#}");
    let rank = |word: &&str| ["failed", "degraded", "notice"].iter().position(|known| known == word).unwrap();
    assert!(words.iter().map(rank).collect::<Vec<_>>().is_sorted(), "the worst first: {words:?}");
    findings
}

/// Waits for a finding about something, and gives it as text.
fn found(machine: &Machine, code: &str, subject: &str) -> String {
    let is = |finding: &&Value| finding["code"] == code && finding["subject"] == subject;
    wait_until(&format!("{code} of {subject}"), CHANGE, || {
        let all = findings(machine);
        all.iter().find(is).map(ToString::to_string).ok_or_else(|| format!("{all:#?}"))
    })
}

/// A container of `probe:1` as an instance of its own.
fn instance(name: &str, image: &str, more: &str) -> String {
    format!(
        "\n[[recipe]]\nname = \"{name}\"\n[recipe.containers.sh]\nimage = \"{image}\"\nstop_timeout = \"1s\"\n{more}\n"
    )
}

fn full_volume(registry: &Registry) -> String {
    probe(registry, "volumes = { data = \"/data\" }\n[recipe.volumes.data]\nsize = \"4M\"\n")
}

#[test]
fn full_a_box_with_much_wrong_says_what_to_do() {
    let (lab, registry) = lab();
    let quits = "entrypoint = [\"/bin/sh\", \"-c\", \"exit 7\"]\nrestart = \"never\"";
    let document = page(&registry, "still here")
        + &full_volume(&registry)
        + &instance("gone", &registry.reference("no-such-image:1"), "")
        + &instance("quits", &registry.reference("probe:1"), quits);
    let mut machine = resumed(&lab, &document, &[]);
    machine.wait_served("still here", CHANGE).unwrap();

    let gone = found(&machine, "image-missing", "gone");
    for part in ["404", "[recipe.containers.sh]", "no-such-image:1", "holdfast apply"] {
        assert!(gone.contains(part), "{part}: {gone}");
    }
    let quits = found(&machine, "container-ended", "quits.sh");
    for part in ["exited with 7", "holdfast logs -n 50 quits.sh", "holdfast restart quits.sh"] {
        assert!(quits.contains(part), "{part}: {quits}");
    }
    let fill = "dd if=/dev/zero of=/data/fill bs=4096 count=1020";
    machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", fill]).unwrap();
    let full = found(&machine, "volume-full", "probe.data");
    assert!(full.contains("[recipe.volumes.data]") && full.contains("size = \\\"8M\\\""), "{full}");

    // A document of the provider that is no good, under another identity of the box.
    let bad = "format = 1\n[box]\nhostnam = \"box\"\n";
    machine.offer(&Setup { instance_id: "i-2".into(), ..Setup::with(bad) }).unwrap();
    let mark = machine.console.mark();
    machine.shell("systemctl restart holdfastd").unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    let refused = found(&machine, "document-refused", "nocloud");
    for part in ["nocloud:3:1", "unknown key `hostnam`", "hostname", "holdfast apply FILE"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    machine.console.wait_after(mark, "holdfast: what to do: ssh admin@", CHANGE).unwrap();
    assert!(out(&machine.cli(&["status"]).unwrap()).contains("`holdfast doctor` says what to do"));

    // For people, from the workstation too.
    let said = machine.remote(lab.dir(), &["doctor"]).unwrap();
    assert_eq!(said.status.code(), Some(3), "{}", out(&said));
    for part in ["degraded  user-data is not valid", "    > holdfast apply FILE   # ", "(image-missing)"] {
        assert!(out(&said).contains(part), "{part}: {}", out(&said));
    }

    let mended = apply(&machine, &page(&registry, "still here"), &["--remove"]);
    assert!(mended.status.success(), "{}", out(&mended));
    nothing_is_wrong(&machine);
    assert!(machine.serves("still here"));
    machine.kill().unwrap();
}

/// Nothing but what is wrong wherever this runs.
fn nothing_is_wrong(machine: &Machine) {
    wait_until("a box with nothing wrong", CHANGE, || {
        let left: Vec<Value> = findings(machine)
            .into_iter()
            .filter(|finding| !ELSEWHERE.iter().any(|code| finding["code"] == *code))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
    });
}

#[test]
fn full_why_an_instance_does_not_run_is_told() {
    let (lab, registry) = lab();
    let reference = registry.reference("probe:1");
    let sick = "entrypoint = [\"/bin/sleep\", \"1000000\"]\n[recipe.containers.sh.health]\n\
                command = [\"/bin/false\"]\ninterval = \"1s\"\nretries = 1\nstart_period = \"1s\"";
    let stuck = "entrypoint = [\"/bin/sleep\", \"1000000\"]\nrequire = [\"steps.first\"]\n[recipe.steps.first]\n\
                 run = [\"/bin/false\"]\nretries = 0\n";
    let nobody = "10.0.2.2:1";
    let document = settings(&registry)
        + &format!("[[box.registry]]\nhost = \"{nobody}\"\nplain_http = true\n")
        + &site(&registry, "still here")
        + &instance("sick", &reference, sick)
        + &instance("loops", &reference, "entrypoint = [\"/bin/sh\", \"-c\", \"exit 3\"]")
        + &instance("stuck", &reference, &(stuck.to_owned() + &format!("image = \"{reference}\"")))
        + &instance("shut", &format!("{nobody}/x:1"), "")
        + &instance("lost", "no-such-host.invalid/x:1", "")
        + &probe(&registry, "memory = \"32M\"\nrestart = \"never\"");
    let expected = ["memcg", "oom-kill", "Memory cgroup out of memory"];
    let mut machine = resumed(&lab, &document, &expected);
    machine.wait_served("still here", CHANGE).unwrap();

    assert!(found(&machine, "container-unhealthy", "sick.sh").contains("[recipe.containers.sh.health]"));
    assert!(found(&machine, "container-failing", "loops.sh").contains("exited with 3"));
    assert!(found(&machine, "step-failed", "stuck").contains("it ended with 1"));
    assert!(found(&machine, "container-waits", "stuck.sh").contains("step stuck.first to succeed"));
    assert!(found(&machine, "image-unreachable", "shut").contains(nobody));
    let eat = "a=x; while :; do a=$a$a; done";
    machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", eat]).unwrap();
    assert!(found(&machine, "container-out-of-memory", "probe.sh").contains("memory = \\\"64M\\\""));
    assert!(found(&machine, "memory-kill", "probe.sh").contains("it had used up its limit"));

    // What is wrong with the box itself.
    machine.shell("echo torn >/var/lib/holdfast/instances/torn.json").unwrap();
    let kill = "until p=$(pidof systemd-timesyncd); do sleep 1; done; kill -9 $p; sleep 2";
    (0..3).for_each(|_| drop(machine.shell(kill).unwrap()));
    machine.shell("echo torn >/var/lib/holdfast/instances/old.damaged; systemctl restart holdfastd").unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    assert!(found(&machine, "record-unreadable", "state").contains("torn.json"));
    assert!(found(&machine, "record-set-aside", "state").contains("old.damaged"));
    found(&machine, "unit-restarting", "systemd-timesyncd.service");
    // A resolver takes its time to say that there is no such name.
    let lost = found(&machine, "image-name-unknown", "lost");
    assert!(lost.contains("no-such-host.invalid"), "{lost}");
    machine.kill().unwrap();
}

#[test]
fn full_a_box_without_room_names_what_takes_it() {
    let (lab, registry) = lab();
    let volume = "volumes = { data = \"/data\" }\n[recipe.volumes.data]\n";
    let mut machine = resumed(&lab, &(page(&registry, "still here") + &probe(&registry, volume)), &[]);
    machine.wait_served("still here", CHANGE).unwrap();
    wait_until("the volume", CHANGE, || {
        let said = machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", "echo x >/data/file"]).unwrap();
        if said.status.success() { Ok(()) } else { Err(out(&said)) }
    });
    // The instance goes, its volume and its image stay.
    let removed = apply(&machine, &page(&registry, "still here"), &["--remove"]);
    assert!(removed.status.success(), "{}", out(&removed));
    machine
        .shell("set -- $(stat -f -c '%a %S' /var); fallocate -l $(( ($1 - 8000) * $2 )) /var/fill || dd if=/dev/zero of=/var/fill bs=1M count=$(( ($1 - 8000) * $2 / 1048576 ))")
        .unwrap();
    let low = wait_until("a disk that is low or full", CHANGE, || {
        let all = findings(&machine);
        let found =
            all.iter().find(|f| f["code"] == "disk-low" || f["code"] == "disk-full").map(ToString::to_string);
        found.ok_or_else(|| format!("{all:#?}"))
    });
    // The image that nothing uses any more may be gone already: the box removes it before it tells.
    for part in ["It holds", "images", "holdfast volumes rm probe.data", "holdfast reboot"] {
        assert!(low.contains(part), "{part}: {low}");
    }
    machine.shell("rm /var/fill").unwrap();
    // Each of the commands is one that can be given as it is.
    text(&machine, &["images", "prune"]);
    // Here or, since data was short of room, by the box itself.
    assert!(!text(&machine, &["images"]).contains("probe"));
    text(&machine, &["volumes", "rm", "probe.data"]);
    nothing_is_wrong(&machine);
    machine.kill().unwrap();
}

#[test]
fn full_nobody_can_log_in() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &settings(&registry), &[]);
    let keys = "/run/holdfast/ssh/admin.keys";
    let doctor = |machine: &mut Machine| {
        machine.shell("holdfast doctor --json || true").unwrap_or_else(|error| panic!("{error:#}"))
    };
    assert!(!doctor(&mut machine).contains("access-no-key"));
    let document = settings(&registry).replace("[box]\n", "[box]\nprovider_keys = false\n");
    let accepted = apply(&machine, &document, &["--no-wait", "--force"]);
    assert!(accepted.status.success(), "{}", out(&accepted));
    wait_until("no key", CHANGE, || match machine.shell(&format!("cat {keys}")).unwrap() {
        left if left.trim().is_empty() => Ok(()),
        left => Err(left),
    });
    let said = wait_until("the finding", CHANGE, || match doctor(&mut machine) {
        said if said.contains("access-no-key") => Ok(said),
        said => Err(said),
    });
    assert!(said.contains("admins = ["), "{said}");
    machine.kill().unwrap();
}
