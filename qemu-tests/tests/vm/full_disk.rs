//! Data that is full, of bytes or of files: the box's own writes go on, it comes back, and its admin makes room.
//! The journal has a bound of its own long before.

use std::time::Duration;

use crate::commands::relabelled;
use crate::common::{
    BOOT, CHANGE, apply, lab, out, page, probe, resumed, settings, settled, site, text, up, wait_until,
};
use qemu_tests::{Disk, Machine, Registry, Setup};
use serde_json::Value;

/// The smallest disk: it is full soonest.
const SMALL: u64 = 2 << 30;
/// Least bytes and inodes that nobody but the box itself may use, on that disk.
const RESERVE: (u64, u64) = (60 << 20, 2000);

/// An instance whose three containers write: `sh` and `other` to a volume and to their own layers, `talk` to the
/// journal.
fn writers(registry: &Registry) -> String {
    let image = registry.reference("probe:1");
    let more = format!(
        r#"volumes = {{ data = "/data" }}
[recipe.volumes.data]
[recipe.volumes.more]
[recipe.containers.other]
image = "{image}"
entrypoint = ["/bin/sleep", "1000000"]
stop_timeout = "1s"
volumes = {{ more = "/data" }}
[recipe.containers.talk]
image = "{image}"
entrypoint = ["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo word $i; sleep 1; done"]
stop_timeout = "1s"
"#
    );
    probe(registry, &more)
}

/// Runs a line in a container; what it said.
fn inside(machine: &Machine, container: &str, line: &str) -> String {
    out(&machine.cli(&["exec", container, "--", "/bin/sh", "-c", line]).unwrap())
}

/// Bytes that are free, bytes to be had, and inodes that are free.
fn free(machine: &mut Machine) -> (u64, u64, u64) {
    let said = machine.shell("stat -f -c '%s %f %a %d' /var").unwrap();
    let numbers: Vec<u64> = said.split_whitespace().flat_map(str::parse).collect();
    (numbers[0] * numbers[1], numbers[0] * numbers[2], numbers[3])
}

fn status(machine: &Machine) -> Value {
    machine.json(&["status"], &[0, 3]).unwrap()
}

/// Waits until the box says whether data is full.
fn wait_full(machine: &Machine, full: bool) {
    wait_until("a word on data", CHANGE, || {
        // Its agent may have been killed just now.
        let status = machine.json(&["status"], &[0, 3]).map_err(|error| format!("{error:#}"))?;
        let problems = status["problems"].to_string();
        if problems.contains("data is full") == full { Ok(()) } else { Err(problems) }
    });
    let said = if full { "data-full" } else { "data-room" };
    assert!(text(machine, &["events"]).contains(said));
}

/// The box serves, answers, and can still write everything of its own.
fn works(machine: &mut Machine, word: &str, document: &str, hostname: &str) {
    machine.wait_served(word, BOOT).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    up(machine, &["shell.sh"]);
    wait_until("the site that writes to memory alone", BOOT, || {
        let all = machine.json(&["ps"], &[0, 3]).map_err(|error| format!("{error:#}"))?;
        let web = all.as_array().into_iter().flatten().find(|one| one["name"] == "memory.web");
        if web.is_some_and(|web| web["state"] == "healthy") { Ok(()) } else { Err(all.to_string()) }
    });
    let (free, _, inodes) = free(machine);
    assert!(free >= RESERVE.0 && inodes >= RESERVE.1, "{free} bytes and {inodes} inodes are free");
    let before = status(machine)["user_data"]["generation"].as_u64().unwrap();
    let changed = document.replace("hostname = \"box\"", &format!("hostname = \"{hostname}\""));
    let applied = apply(machine, &changed, &["--no-wait"]);
    assert!(applied.status.success(), "{}", out(&applied));
    wait_until("the host name", CHANGE, || {
        let status = status(machine);
        let is = status["hostname"] == hostname && status["user_data"]["generation"] == before + 1;
        if is { Ok(()) } else { Err(status.to_string()) }
    });
    // The generation is a file, and so are events.
    machine.shell(&format!("test -s /var/lib/holdfast/generations/{}.json", before + 1)).unwrap();
    let noted = machine.shell("tail -n 40 /var/lib/holdfast/events/log").unwrap();
    assert!(noted.contains(&format!("generation {} was accepted", before + 1)), "{noted}");
    // The journal is turned over and goes on.
    let last = "journalctl -D /var/log/journal -q -o cat -n 1 SYSLOG_IDENTIFIER=probe.talk";
    let number = |machine: &mut Machine| -> u64 {
        let said = machine.shell(last).unwrap();
        said.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or_default()
    };
    let old = number(machine);
    machine.shell("journalctl --rotate && journalctl --sync").unwrap();
    wait_until("the journal", CHANGE, || {
        let new = number(machine);
        if new > old { Ok(()) } else { Err(format!("{old}, then {new}")) }
    });
    journal(machine);
}

/// KiB that the journal takes, which may be 64 MiB and a file of 8 MiB. A file may go while it is looked at.
fn journal(machine: &mut Machine) -> u64 {
    let said = machine.shell("du -sk /var/log/journal 2>/dev/null || true").unwrap();
    let taken: u64 = said.split_whitespace().next().unwrap().parse().unwrap();
    assert!(taken < 80 << 10, "the journal takes {taken} KiB");
    taken
}

/// A page of an ordinary site, which writes to its own root to start, a site that writes to memory alone, and a shell.
fn served(registry: &Registry) -> String {
    let (name, ports) = ("name = \"site\"\n", "ports = [\"80:8080\"]\n");
    let own = site(registry, "still served");
    assert!(own.contains(name) && own.contains(ports));
    let memory = own
        .replace(name, "name = \"memory\"\n")
        .replace(ports, "ports = [\"81:8080\"]\nread_only = true\ntmpfs = [\"/tmp\"]\n");
    let shell = probe(registry, "").replace("name = \"probe\"", "name = \"shell\"");
    settings(registry) + &own + &memory + &shell
}

/// A container that started on a full disk may write to its own root: what was said when it wrote much.
fn written(machine: &Machine) -> String {
    let said = inside(machine, "shell.sh", "echo a little >/little && cat /little");
    assert!(said.contains("a little"), "{said}");
    inside(
        machine,
        "shell.sh",
        "dd if=/dev/zero of=/much bs=1M count=8 && sync && echo it has room; rm /much",
    )
}

/// Fills the disk, lives with it over a killed agent, a power cut and a restart, and makes room by the CLI.
fn lives(of_bytes: bool, fill: impl Fn(&mut Machine)) {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", SMALL).unwrap();
    let document = served(&registry) + &writers(&registry);
    let setup = Setup { shell: true, ..Setup::with(document.clone()) };
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("still served", BOOT).unwrap();
    up(&machine, &["probe.sh", "probe.other", "probe.talk"]);
    settled(&machine);
    fill(&mut machine);
    wait_full(&machine, true);
    works(&mut machine, "still served", &document, "one");

    machine.shell("kill -9 $(pidof holdfastd)").unwrap();
    wait_full(&machine, true);
    works(&mut machine, "still served", &document, "two");

    machine.kill().unwrap();
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    works(&mut machine, "still served", &document, "three");
    if of_bytes {
        wait_full(&machine, true);
    }
    let said = written(&machine);
    assert_eq!(said.contains("quota exceeded"), of_bytes, "{said}");
    fill(&mut machine);
    wait_full(&machine, true);
    let mark = machine.console.mark();
    // The connection may be cut before the answer.
    let _ = machine.cli(&["reboot"]).unwrap();
    machine.console.wait_after(mark, "Holdfast: slot a on", BOOT).unwrap();
    works(&mut machine, "still served", &document, "four");
    // In the memory of the container, and so gone with it.
    let mark = inside(&machine, "shell.sh", "echo the same >/dev/shm/mark && cat /dev/shm/mark");
    assert!(mark.contains("the same"), "{mark}");

    let room = served(&registry);
    let applied = apply(&machine, &room, &["--remove"]);
    assert!(matches!(applied.status.code(), Some(0 | 3)), "{}", out(&applied));
    for volume in ["data", "more"] {
        let removed = machine.cli(&["volumes", "rm", &format!("probe.{volume}")]).unwrap();
        assert!(removed.status.success(), "{}", out(&removed));
    }
    wait_full(&machine, false);
    machine.wait_served("still served", CHANGE).unwrap();
    settled(&machine);
    wait_until("as much as it likes", CHANGE, || {
        let said = written(&machine);
        if said.contains("it has room") { Ok(()) } else { Err(said) }
    });
    assert_eq!(inside(&machine, "shell.sh", "cat /dev/shm/mark"), mark);
    machine.kill().unwrap();
}

#[test]
fn full_a_disk_full_of_bytes_costs_nothing_but_room() {
    lives(true, |machine| {
        std::thread::scope(|scope| {
            for (container, path) in
                [("probe.sh", "/data/fill"), ("probe.other", "/data/fill"), ("probe.talk", "/fill")]
            {
                let machine = &*machine;
                scope.spawn(move || {
                    let said = inside(machine, container, &format!("cat /dev/zero >>{path}; sync"));
                    assert!(said.contains("No space left"), "{container}: {said}");
                });
            }
        });
    });
}

#[test]
fn full_a_disk_full_of_files_costs_nothing_but_room() {
    lives(false, |machine| {
        // Again while the agent gives what is left.
        for round in 0..12 {
            std::thread::scope(|scope| {
                for (container, path) in [("probe.sh", "/data"), ("probe.other", "/data"), ("probe.talk", "")]
                {
                    let machine = &*machine;
                    let line = format!(
                        "mkdir -p {path}/files/$$ && cd {path}/files/$$ && i=0 && while : >$i; do i=$((i+1)); done"
                    );
                    scope.spawn(move || {
                        let said = inside(machine, container, &line);
                        assert!(
                            said.contains("quota exceeded") || said.contains("No space left"),
                            "{container}: {said}"
                        );
                    });
                }
            });
            let (_, _, inodes) = free(machine);
            assert!(inodes >= RESERVE.1, "{round}: {inodes} inodes are free");
            if status(machine)["problems"].to_string().contains("data is full") {
                return;
            }
            std::thread::sleep(Duration::from_secs(6));
        }
    });
}

/// References of all images.
fn images(machine: &Machine) -> String {
    machine.json(&["images"], &[0]).unwrap().to_string()
}

#[test]
fn images_that_nothing_uses_make_room_before_data_is_full() {
    let (lab, registry) = lab();
    registry.push(&lab, &relabelled(&lab, &lab.app("nginx"), "former"), "nginx:0").unwrap();
    let [probe, nginx, former] = ["probe:1", "nginx:1", "nginx:0"].map(|name| registry.reference(name));
    let page = page(&registry, "used");
    let document = page.replace(&nginx, &former) + &crate::common::probe(&registry, "");
    let mut machine = resumed(&lab, &document, &[]);
    machine.wait_served("used", CHANGE).unwrap();
    settled(&machine);
    // An instance goes, and another has an image of a later tag.
    let alone = apply(&machine, &page, &["--remove"]);
    assert!(alone.status.success(), "{}", out(&alone));
    machine.wait_served("used", CHANGE).unwrap();
    settled(&machine);
    let before = images(&machine);
    assert!([&probe, &nginx, &former].iter().all(|reference| before.contains(*reference)), "{before}");
    // To a twentieth that is left.
    machine.shell("set -- $(df -Pk /var | tail -n 1); fallocate -l $(($4 - $2 / 20))k /var/fill").unwrap();
    wait_until("room", CHANGE, || {
        let images = images(&machine);
        if images.contains(&probe) || images.contains(&former) { Err(images) } else { Ok(()) }
    });
    assert!(images(&machine).contains(&nginx), "it is used");
    let events = text(&machine, &["events"]);
    assert!(events.contains("images-collected") && events.contains(&probe), "{events}");
    assert!(machine.serves("used"));

    machine.shell("set -- $(df -Pk /var | tail -n 1); fallocate -l $(($4 - 8192))k /var/more").unwrap();
    wait_full(&machine, true);
    let more = page + &crate::common::probe(&registry, "");
    let applied = apply(&machine, &more, &["--no-wait"]);
    assert!(applied.status.success(), "{}", out(&applied));
    wait_until("the reason", CHANGE, || {
        let status = status(&machine).to_string();
        if status.contains("there is no room for") { Ok(()) } else { Err(status) }
    });
    // Tried again by itself.
    machine.shell("rm /var/fill /var/more").unwrap();
    up(&machine, &["probe.sh"]);
    wait_full(&machine, false);
    assert!(machine.serves("used"));
    machine.kill().unwrap();
}

/// So many lines are more than the journal keeps: of 400 bytes each, which it does not compress.
const LINES: u64 = 140_000;

/// Starts a unit that says them, each with its number in front, as fast as it can.
fn talk(machine: &mut Machine) {
    let (busybox, words) = ("/run/lab/busybox", "word ".repeat(80));
    let unit = format!(
        "[Service]\\nSyslogIdentifier=talk\\nLogRateLimitIntervalSec=0\\n\
         ExecStart={busybox} awk -v 'words={words}' 'BEGIN {{ while (n++ < {LINES}) print n, words }}'\\n"
    );
    machine.shell(&format!("printf \"{unit}\" >/run/systemd/system/lab-talk.service")).unwrap();
    machine.shell("systemctl daemon-reload && systemctl start lab-talk").unwrap();
}

/// The number of the first line that the journal has, or of the last.
fn kept(machine: &mut Machine, which: &str) -> Result<u64, String> {
    let line = format!("journalctl -q -o cat --no-pager SYSLOG_IDENTIFIER=talk {which} | cut -d ' ' -f 1");
    let said = machine.shell(&line).map_err(|error| format!("{error:#}"))?;
    said.parse().map_err(|_| said)
}

#[test]
fn full_the_journal_is_bounded_whatever_is_said() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &settings(&registry), &[]);
    machine.wait_ssh(CHANGE).unwrap();
    talk(&mut machine);
    wait_until("the last line", BOOT, || {
        journal(&mut machine);
        let last = kept(&mut machine, "-n 1")?;
        if last == LINES { Ok(()) } else { Err(last.to_string()) }
    });
    let first = kept(&mut machine, "| head -n 1").unwrap();
    let taken = journal(&mut machine);
    println!("{taken} KiB hold the lines from {first} on");
    assert!(first > 1 && taken > 30 << 10, "{taken} KiB from {first} on");
    machine.wait_ssh(CHANGE).unwrap();
    machine.kill().unwrap();
}
