//! Commands of the CLI against a box, each with what it does and its exit code; the power button.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::{BOOT, CHANGE, DISK, apply, lab, out, page, probe, settled, text, wait_until};
use qemu_tests::{Disk, Lab, Machine, Setup};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Says on its volume that its own stop signal came, and nothing at any other end.
const STOPPED: &str = r#"
stop_signal = "SIGUSR1"
volumes = { data = "/data" }
[recipe.volumes.data]
size = "64M"
"#;

fn stopping_probe(registry: &qemu_tests::Registry) -> String {
    let trap = "trap 'echo stopped >/data/stopped; sync; exit 0' USR1; while :; do sleep 1; done";
    probe(registry, STOPPED)
        .replace("[\"/bin/sleep\", \"1000000\"]", &format!("[\"/bin/sh\", \"-c\", \"{trap}\"]"))
        .replace("stop_timeout = \"1s\"", "stop_timeout = \"20s\"")
}

fn code(machine: &Machine, arguments: &[&str]) -> (i32, String) {
    let done = machine.cli(arguments).unwrap();
    (done.status.code().unwrap_or(-1), out(&done))
}

/// Fails unless a command ends so and says this.
fn check(machine: &Machine, arguments: &[&str], expect: i32, says: &str) {
    let (code, said) = code(machine, arguments);
    assert_eq!(code, expect, "{arguments:?}: {said}");
    assert!(said.contains(says), "{arguments:?} does not say `{says}`: {said}");
}

/// The same layout under another digest: its configuration has one more label.
pub(crate) fn relabelled(lab: &Lab, layout: &Path, label: &str) -> PathBuf {
    let to = lab.dir().join(format!("layout-{label}"));
    let copied = Command::new("cp").arg("-r").arg(layout).arg(&to).status().unwrap();
    assert!(copied.success());
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| to.join("blobs/sha256").join(&digest.as_str().unwrap()["sha256:".len()..]);
    let put = |value: &Value| {
        let bytes = serde_json::to_vec(value).unwrap();
        let hex: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        fs::write(to.join("blobs/sha256").join(&hex), &bytes).unwrap();
        (json!(format!("sha256:{hex}")), json!(bytes.len()))
    };
    let mut index = read(&to.join("index.json"));
    let mut manifest = read(&blob(&index["manifests"][0]["digest"]));
    let mut config = read(&blob(&manifest["config"]["digest"]));
    config["config"]["Labels"]["made-by"] = json!(label);
    (manifest["config"]["digest"], manifest["config"]["size"]) = put(&config);
    let descriptor = put(&manifest);
    (index["manifests"][0]["digest"], index["manifests"][0]["size"]) = descriptor;
    fs::write(to.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    to
}

/// Ends a command that goes on for ever when the test is done with it, or fails.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads what a command says as it comes until a line has `wanted`, which `cause` brings about.
fn follows(machine: &Machine, arguments: &[&str], wanted: &str, cause: impl FnOnce()) {
    let mut child = Following(machine.cli_start(arguments, false).unwrap());
    let stdout = BufReader::new(child.0.stdout.take().unwrap());
    let (send, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    // Connected when something is there to be read already.
    let first = lines.recv_timeout(CHANGE).unwrap();
    cause();
    // What was there before the cause does not count.
    let mut last = String::new();
    assert!(!first.is_empty());
    while !last.contains(wanted) {
        last = lines.recv_timeout(CHANGE).unwrap_or_else(|_| panic!("{arguments:?}: no {wanted}: {last}"));
    }
}

#[test]
fn each_command_does_what_it_says() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let document = page(&registry, "served") + &stopping_probe(&registry);
    let setup = Setup::with(document.clone());
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("served", BOOT).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    settled(&machine);

    versions_and_usage(&machine, &lab);
    streams(&machine);
    terminal(&machine);
    volumes(&machine);
    pull(&machine, &lab, &registry);
    name_servers(&machine, &document);

    // Off by the button, each container stopped by its own signal; then up again.
    text(&machine, &["exec", "probe.sh", "--", "/bin/rm", "-f", "/data/stopped"]);
    machine.power_off(CHANGE).unwrap();
    machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("served", BOOT).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    settled(&machine);
    assert_eq!(text(&machine, &["exec", "probe.sh", "--", "/bin/cat", "/data/stopped"]), "stopped");
    assert!(text(&machine, &["events"]).contains("the power button"));

    // Again by an admin, and off by one.
    let mark = machine.console.mark();
    check(&machine, &["reboot"], 0, "rebooting");
    machine.console.wait_after(mark, "Holdfast: slot a on", BOOT).unwrap();
    machine.wait_served("served", BOOT).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    let mark = machine.console.mark();
    let keys = ["ctrl", "alt", "delete"].map(|key| json!({ "type": "qcode", "data": key }));
    machine.qmp("send-key", json!({ "keys": keys })).unwrap();
    machine.console.wait_after(mark, "Holdfast: slot a on", BOOT).unwrap();
    machine.wait_served("served", BOOT).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    let gone = apply(&machine, &page(&registry, "served"), &["--remove"]);
    assert!(gone.status.success(), "{}", out(&gone));
    check(&machine, &["volumes", "rm", "probe.data"], 0, "removed");
    check(&machine, &["volumes"], 0, "no volumes");
    check(&machine, &["poweroff", "--json"], 0, "powering off");
    machine.wait_off(CHANGE).unwrap();
    machine.check().unwrap();
}

fn versions_and_usage(machine: &Machine, lab: &Lab) {
    check(machine, &["status"], 0, "HEALTHY");
    check(machine, &["version"], 0, "agent");
    assert!(machine.json(&["version"], &[0]).unwrap()["image"].is_string());
    check(machine, &["completions", "bash"], 0, "complete -F");
    check(machine, &["frobnicate"], 2, "frobnicate");
    check(machine, &["logs", "none"], 4, "site.web");
    check(machine, &["restart", "none"], 4, "none");
    check(machine, &["pull", "none"], 4, "none");
    check(machine, &["data"], 0, "in use");
    assert_eq!(machine.json(&["data"], &[0]).unwrap()["state"], "ok");
    check(machine, &["data", "check"], 5, "in use");
    check(machine, &["data", "format"], 5, "--destroy");
    check(machine, &["data", "format", "--destroy"], 5, "in use");
    check(machine, &["exec", "none", "--", "true"], 125, "none");
    check(machine, &["exec", "probe.sh", "--", "/no/such/program"], 127, "no/such");
    let bad = apply(machine, "[box]\nhostnam = 1\n", &[]);
    assert_eq!(bad.status.code(), Some(2), "{}", out(&bad));
    let none = Command::new(lab.cli()).args(["--socket", "/nonexistent", "ps"]).output().unwrap();
    assert_eq!(none.status.code(), Some(6), "{}", out(&none));
    let refused = ["--host", "admin@127.0.0.1", "--ssh-option", "Port=1", "ps"];
    let refused = Command::new(lab.cli()).args(refused).output().unwrap();
    assert_eq!(refused.status.code(), Some(6), "{}", out(&refused));
}

/// As nginx logs a request, and not as it complains of it.
const REQUEST: &str = r#""GET /followed HTTP/1.1" 404"#;

fn streams(machine: &Machine) {
    let events = text(machine, &["events", "--json"]);
    let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    let after = (last["number"].as_u64().unwrap() - 1).to_string();
    follows(machine, &["events", "-f", "--after", &after], "started site.web", || {
        check(machine, &["restart", "site.web"], 0, "site.web");
    });
    machine.wait_served("served", CHANGE).unwrap();
    settled(machine);
    follows(machine, &["logs", "-f", "site.web"], "GET /followed", || {
        machine.get("/followed").unwrap();
    });
    // What nginx says of itself goes to its standard error, what it says of requests does not.
    let both = machine.cli(&["logs", "site.web"]).unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&both.stdout), String::from_utf8_lossy(&both.stderr));
    assert!(said.contains(REQUEST) && !said.contains("[notice]"), "{said}");
    assert!(wrong.contains("[notice]") && !wrong.contains(REQUEST), "{wrong}");
    let json = text(machine, &["logs", "--json", "site.web"]);
    let streams = |text: &str| {
        let lines = json
            .lines()
            .filter(|line| line.contains(text))
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["stream"].as_str().unwrap().to_owned());
        lines.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(streams("[notice]"), ["stderr".to_owned()].into());
    assert_eq!(streams(r#"GET /followed HTTP/1.1\" 404"#), ["stdout".to_owned()].into());
}

/// A shell on a terminal, through ssh's own: its lines are answered, Ctrl-C reaches what runs in it and
/// not the CLI, and its code is the CLI's.
fn terminal(machine: &Machine) {
    let mut child =
        Following(machine.cli_start(&["exec", "-it", "probe.sh", "--", "/bin/sh"], true).unwrap());
    let (mut stdin, mut stdout) = (child.0.stdin.take().unwrap(), child.0.stdout.take().unwrap());
    let (send, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            if send.send(String::from_utf8_lossy(&buffer[..count]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut all = String::new();
    let mut talk = |keys: &str, answer: &str| {
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
        while !all.contains(answer) {
            all += &said.recv_timeout(CHANGE).unwrap_or_else(|_| panic!("no `{answer}` in {all:?}"));
        }
    };
    talk("test -t 0 && test -t 1 && echo terminal-$((40 + 2))\r", "terminal-42");
    // What speaks is what sleeps: Ctrl-C cannot come before it is there.
    talk("/bin/sh -c 'echo before-$((1 + 1)); exec sleep 3600'\r", "before-2");
    talk("\x03", "^C");
    talk("echo after-$((1 + 2))\r", "after-3");
    talk("exit 5\r", "exit 5");
    assert_eq!(child.0.wait().unwrap().code(), Some(5), "{all:?}");
}

fn volumes(machine: &Machine) {
    text(
        machine,
        &["exec", "probe.sh", "--", "/bin/sh", "-c", "echo first >/data/file; ln -s file /data/link"],
    );
    let tar = machine.cli(&["volumes", "export", "probe.data"]).unwrap();
    assert!(tar.status.success(), "{:?}", tar.status);
    text(machine, &["exec", "probe.sh", "--", "/bin/sh", "-c", "echo second >/data/file; rm /data/link"]);
    let file = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        Stdio::from(file)
    };
    let done = machine.cli_with(&["volumes", "import", "probe.data"], file(&tar.stdout)).unwrap();
    assert!(done.status.success(), "{}", out(&done));
    // In a container that was made anew for it.
    wait_until("the volume", CHANGE, || {
        let read = machine.cli(&["exec", "probe.sh", "--", "/bin/cat", "/data/link"]).unwrap();
        if read.stdout == b"first\n" { Ok(()) } else { Err(out(&read)) }
    });
    let done = machine.cli_with(&["volumes", "import", "probe.data"], file(b"no tar at all")).unwrap();
    assert_ne!(done.status.code(), Some(0), "{}", out(&done));
    check(machine, &["volumes", "rm", "probe.data"], 5, "in use");
    check(machine, &["volumes", "rm", "probe.none"], 4, "none");
}

fn digest(machine: &Machine) -> Value {
    let all = machine.json(&["ps"], &[0, 3]).unwrap();
    let found = all.as_array().and_then(|all| all.iter().find(|c| c["name"] == "site.web"));
    found.unwrap_or_else(|| panic!("{all}"))["digest"].clone()
}

fn pull(machine: &Machine, lab: &Lab, registry: &qemu_tests::Registry) {
    let first = digest(machine);
    check(machine, &["pull", "site"], 0, "unchanged");
    registry.push(lab, &relabelled(lab, &lab.app("nginx"), "second"), "nginx:1").unwrap();
    let pulled = machine.json(&["pull", "site"], &[0]).unwrap();
    let second = digest(machine);
    assert_ne!(first, second);
    assert_eq!((&pulled["images"][0]["old"], &pulled["images"][0]["new"]), (&first, &second), "{pulled}");
    machine.wait_served("served", CHANGE).unwrap();

    // One that serves nothing: the page comes back, from the image before.
    registry.push(lab, &lab.app("probe"), "nginx:1").unwrap();
    check(machine, &["pull", "site"], 1, "the old one runs again");
    assert_eq!(digest(machine), second);
    machine.wait_served("served", CHANGE).unwrap();
    settled(machine);

    let kept = |machine: &Machine| machine.json(&["images"], &[0]).unwrap().as_array().unwrap().len();
    let before = kept(machine);
    let pruned = machine.json(&["images", "prune"], &[0]).unwrap();
    assert!(pruned["images"].as_array().is_some_and(|gone| gone.contains(&first)), "{pruned}");
    assert!(kept(machine) < before && machine.serves("served"));
    check(machine, &["images", "prune"], 0, "nothing to remove");
}

/// A container that runs is told of other name servers, and goes on running.
fn name_servers(machine: &Machine, document: &str) {
    let resolver =
        |machine: &Machine| text(machine, &["exec", "probe.sh", "--", "/bin/cat", "/etc/resolv.conf"]);
    let pid = |machine: &Machine| {
        let all = machine.json(&["ps"], &[0, 3]).unwrap();
        all.as_array().unwrap().iter().find(|c| c["name"] == "probe.sh").unwrap()["pid"].clone()
    };
    assert_eq!(resolver(machine), "nameserver 10.0.2.3");
    let before = pid(machine);
    let other =
        document.replace("hostname = \"box\"", "hostname = \"box\"\ndns = [\"192.0.2.53\", \"9.9.9.9\"]");
    let done = apply(machine, &other, &[]);
    assert!(done.status.success(), "{}", out(&done));
    wait_until("other name servers", CHANGE, || {
        let now = resolver(machine);
        if now == "nameserver 192.0.2.53\nnameserver 9.9.9.9" { Ok(()) } else { Err(now) }
    });
    assert_eq!(pid(machine), before);
}
