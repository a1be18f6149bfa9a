//! The admin's tools where they meet the box: its journal, its log by time, a plan of another document, a wait
//! that runs out, ways to name the box, and volumes whose import is cut off.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::common::{CHANGE, apply, lab, out, page, probe, resumed, settled, text, wait_until};
use qemu_tests::{Lab, Machine, Registry};
use serde_json::{Value, json};

const VOLUME: &str = "volumes = { data = \"/data\" }\n[recipe.volumes.data]\nsize = \"64M\"\n";

fn document(registry: &Registry, text: &str) -> String {
    page(registry, text) + &probe(registry, VOLUME)
}

/// Runs a command of the CLI on the box with this as its standard input.
fn with_input(machine: &Machine, arguments: &[&str], input: &[u8]) -> Output {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    machine.cli_with(arguments, Stdio::from(file)).unwrap()
}

fn inside(machine: &Machine, line: &str) -> String {
    text(machine, &["exec", "probe.sh", "--", "/bin/sh", "-c", line])
}

/// Has the container `probe.sh` say a word, and waits until its log has it.
fn says(machine: &Machine, word: &str) {
    inside(machine, &format!("echo {word} >/proc/1/fd/1"));
    wait_until(word, CHANGE, || {
        let log = text(machine, &["logs", "probe.sh"]);
        if log.contains(word) { Ok(()) } else { Err(log) }
    });
}

#[test]
fn the_journal_and_the_command_line_say_what_is_so() {
    let (lab, registry) = lab();
    let document = document(&registry, "the page");
    let mut machine = resumed(&lab, &document, &[]);
    settled(&machine);
    journal(&mut machine);
    since(&machine);
    plans(&machine, &lab, &document);
    checks(&machine, &document);
    without_a_command(&machine);
    by_environment(&machine, &lab);
    runs_out(&machine, &registry, &document);
    machine.kill().unwrap();
}

/// Entries of the journal that match, each with the fields that are of interest.
fn entries(machine: &mut Machine, matches: &str) -> Vec<Value> {
    let fields = "MESSAGE,HOLDFAST_ACTION,HOLDFAST_INSTANCE,HOLDFAST_CONTAINER,_SYSTEMD_UNIT";
    let line = format!("SYSTEMD_COLORS=0 journalctl -o json --no-pager --output-fields={fields} {matches}");
    let found = machine.shell(&line).unwrap();
    found.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// What the agent does to an instance, and what its containers say, is found by their names.
fn journal(machine: &mut Machine) {
    says(machine, "from-the-container");
    let found = entries(machine, "HOLDFAST_INSTANCE=probe");
    assert!(found.iter().all(|entry| entry["HOLDFAST_INSTANCE"] == "probe"), "{found:?}");
    let has = |unit: &str, action: Value, container: Value, message: &str| {
        found.iter().any(|entry| {
            entry["_SYSTEMD_UNIT"] == unit
                && entry.get("HOLDFAST_ACTION").unwrap_or(&Value::Null) == &action
                && entry.get("HOLDFAST_CONTAINER").unwrap_or(&Value::Null) == &container
                && entry["MESSAGE"].as_str().is_some_and(|said| said.contains(message))
        })
    };
    let agent = "holdfastd.service";
    assert!(has(agent, json!("start:probe.sh"), json!("probe.sh"), ": not running"), "{found:#?}");
    assert!(has(agent, json!("start:probe.sh"), json!("probe.sh"), ": changed"), "{found:#?}");
    assert!(has(agent, json!("volume:probe.data"), json!(""), ": changed"), "{found:#?}");
    let own = "holdfast-probe.sh.service";
    assert!(has(own, Value::Null, json!("probe.sh"), "from-the-container"), "{found:#?}");
    let by_container = entries(machine, "HOLDFAST_CONTAINER=site.web");
    assert!(
        by_container.iter().any(|entry| entry["HOLDFAST_ACTION"] == "start:site.web"),
        "{by_container:?}"
    );
    assert!(by_container.iter().all(|entry| entry["HOLDFAST_INSTANCE"] == "site"), "{by_container:?}");
    assert_eq!(
        entries(machine, "HOLDFAST_ACTION=start:probe.sh HOLDFAST_INSTANCE=site"),
        Vec::<Value>::new()
    );
}

/// What was said before a time, or is older than an age, is left out.
fn since(machine: &Machine) {
    // Seconds since the start, and the time to the second, as the journal is asked.
    let moment = || {
        let status = machine.json(&["status"], &[0]).unwrap();
        let now = &status["time"]["now"].as_str().unwrap()[.."2026-01-31T12:00:00".len()];
        (status["uptime"].as_u64().unwrap(), format!("{now}Z"))
    };
    says(machine, "said-early");
    let (early, _) = moment();
    let between = wait_until("a later second", CHANGE, || {
        let (uptime, now) = moment();
        if uptime >= early + 2 { Ok(now) } else { Err(now) }
    });
    says(machine, "said-late");
    let log = |since: &str| text(machine, &["logs", "--since", since, "probe.sh"]);
    let (all, late) = (log("1h"), log(&between));
    assert!(all.contains("said-early") && all.contains("said-late"), "{all}");
    assert!(!late.contains("said-early") && late.contains("said-late"), "since {between}: {late}");
    // Older than a second by now.
    assert!(!log("1s").contains("said-early"));
    let wrong = machine.cli(&["logs", "--since", "yesterday", "probe.sh"]).unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{}", out(&wrong));
    assert!(out(&wrong).contains("`yesterday` is no time"), "{}", out(&wrong));
}

/// What another document would do is told, from a file or a stream, and not done.
fn plans(machine: &Machine, lab: &Lab, document: &str) {
    let state = || {
        let status = machine.json(&["status"], &[0]).unwrap();
        let pids: Vec<Value> =
            status["containers"].as_array().unwrap().iter().map(|c| c["pid"].clone()).collect();
        (status["user_data"]["generation"].clone(), pids)
    };
    let before = state();
    let other = document.replace("the page", "another page");
    let done = with_input(machine, &["plan", "--json", "-"], other.as_bytes());
    assert_eq!(done.status.code(), Some(0), "{}", out(&done));
    let plan: Value = serde_json::from_slice(&done.stdout).unwrap();
    let ids: Vec<&str> =
        plan["actions"].as_array().unwrap().iter().map(|a| a["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"stop:site.web") && ids.contains(&"start:site.web"), "{plan}");
    assert!(!ids.iter().any(|id| id.contains("probe")) && plan["removes"] == json!([]), "{plan}");

    let file = lab.dir().join("fewer.toml");
    fs::write(&file, other.split("[[recipe]]\nname = \"probe\"").next().unwrap()).unwrap();
    let done = machine.remote(lab.dir(), &["plan", file.to_str().unwrap()]).unwrap();
    let said = out(&done);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(
        said.contains("- instance probe is removed") && said.contains("+ stop container site.web"),
        "{said}"
    );
    let wrong = with_input(machine, &["plan", "-"], b"[box]\nhostnam = \"box\"\n");
    assert_eq!(wrong.status.code(), Some(2), "{}", out(&wrong));

    assert_eq!(text(machine, &["plan"]), "nothing to do");
    assert_eq!(state(), before);
    assert!(machine.serves("the page"));
}

/// The box's own parser, over ssh.
fn checks(machine: &Machine, document: &str) {
    let good = with_input(machine, &["check", "-"], document.as_bytes());
    assert_eq!((good.status.code(), out(&good).contains("stdin: valid")), (Some(0), true), "{}", out(&good));
    let bad = with_input(machine, &["check", "-"], b"format = 1\n[box]\nhostnam = \"box\"\n");
    assert_eq!(bad.status.code(), Some(2), "{}", out(&bad));
    assert!(out(&bad).contains("stdin:3:") && out(&bad).contains("`hostname`"), "{}", out(&bad));
    // What is in the box's library is looked at there.
    let named = "[[recipe]]\nuse = \"hello\"\nparams = { nothing = 1 }\n";
    let bad = with_input(machine, &["check", "--json", "-"], named.as_bytes());
    assert_eq!(bad.status.code(), Some(2), "{}", out(&bad));
    let reports: Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert_eq!(reports[0]["valid"], false, "{reports}");
    let none = machine.cli(&["check", "/no/such/file"]).unwrap();
    assert_eq!(none.status.code(), Some(1), "{}", out(&none));
}

/// A login without a command shows how the box is and what can be asked.
fn without_a_command(machine: &Machine) {
    let done = machine.ssh_command().arg("admin@127.0.0.1").stdin(Stdio::null()).output().unwrap();
    let said = out(&done);
    assert_eq!(done.status.code(), Some(0), "{said}");
    let status = said.find("HEALTHY").unwrap_or_else(|| panic!("no status: {said}"));
    let help = said.find("Usage:").unwrap_or_else(|| panic!("no help: {said}"));
    assert!(status < help && said.contains("site") && said.contains("List containers"), "{said}");
}

/// The box is named by a variable, which an option overrules.
fn by_environment(machine: &Machine, lab: &Lab) {
    // Leaves the `ssh` that leads to the box.
    let by_option = machine.remote(lab.dir(), &["ps", "--json"]).unwrap();
    assert!(by_option.status.success(), "{}", out(&by_option));
    let path = format!("{}:{}", lab.dir().display(), std::env::var("PATH").unwrap());
    let ask = |variable: &str, arguments: &[&str]| {
        let mut cli = Command::new(lab.cli());
        cli.env("PATH", &path).env("HOLDFAST_HOST", variable).args(arguments).output().unwrap()
    };
    let done = ask("admin@127.0.0.1", &["ps", "--json"]);
    assert_eq!(done.status.code(), Some(0), "{}", out(&done));
    let names = |output: &Output| {
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        all.as_array().unwrap().iter().map(|c| c["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&done), names(&by_option));
    let wrong = ask("nobody@127.0.0.1", &["ps"]);
    assert_eq!(wrong.status.code(), Some(6), "{}", out(&wrong));
    let overruled = ask("nobody@127.0.0.1", &["--host", "admin@127.0.0.1", "ps"]);
    assert_eq!(overruled.status.code(), Some(0), "{}", out(&overruled));
}

/// A wait that runs out is neither success nor failure: the document is in force and the box goes on.
fn runs_out(machine: &Machine, registry: &Registry, document: &str) {
    let generation =
        || machine.json(&["status"], &[0, 3]).unwrap()["user_data"]["generation"].as_u64().unwrap();
    let before = generation();
    let slow = "health = { tcp = \":5432\", start_period = \"1h\" }\n";
    let waiting = document.to_owned() + &probe(registry, slow).replace("\"probe\"", "\"waits\"");
    let done = apply(machine, &waiting, &["--timeout", "3s"]);
    assert_eq!(done.status.code(), Some(3), "{}", out(&done));
    assert!(out(&done).contains("not settled within 3s; the box goes on"), "{}", out(&done));
    assert_eq!(generation(), before + 1);
    wait_until("the new container", CHANGE, || {
        let all = text(machine, &["ps"]);
        if all.lines().any(|line| line.starts_with("waits.sh") && line.contains("starting")) {
            Ok(())
        } else {
            Err(all)
        }
    });
    let done = apply(machine, document, &["--remove", "--timeout", "5m"]);
    assert_eq!(done.status.code(), Some(0), "{}", out(&done));
}

/// A folder as a tar, its file of 8 MiB last.
fn archive(lab: &Lab) -> Vec<u8> {
    let folder = lab.dir().join("imported");
    fs::create_dir_all(folder.join("new")).unwrap();
    fs::write(folder.join("file"), "imported\n").unwrap();
    fs::write(folder.join("new/inner"), "inner\n").unwrap();
    let mut large = File::create(folder.join("zz-large")).unwrap();
    large.write_all(&vec![b'x'; 8 << 20]).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--format=ustar", "--sort=name", "--owner=0", "--group=0", "--mode=a+r,u+w", "-C"]);
    let done = tar.arg(&folder).args(["-cf", "-", "file", "new", "zz-large"]).output().unwrap();
    assert!(done.status.success(), "{}", out(&done));
    done.stdout
}

/// All that is in the volume: kinds, modes, owners, names, and contents.
fn listed(machine: &Machine) -> String {
    inside(
        machine,
        "cd /data && find . | sort | xargs stat -c '%F %a %u:%g %N' && find . -type f | sort | xargs sha256sum",
    )
}

/// Sends the beginning of a tar to an import, and kills the client once the box is at work on it.
fn cut_off(machine: &mut Machine, sent: &[u8]) {
    let mut child = machine.cli_start(&["volumes", "import", "probe.data"], false).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than all that lies between the client and the box holds: it has read the first entries.
    stdin.write_all(sent).unwrap();
    stdin.flush().unwrap();
    let running = "systemctl list-units --plain --no-legend 'holdfast-volume-*-import.service'";
    let at_work = |machine: &mut Machine| !machine.shell(running).unwrap().is_empty();
    wait_until("the import", CHANGE, || if at_work(machine) { Ok(()) } else { Err("none".to_owned()) });
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    wait_until("the import's end", CHANGE, || {
        if at_work(machine) { Err("still there".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn full_an_import_replaces_all_of_a_volume_or_nothing() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &document(&registry, "the page"), &[]);
    settled(&machine);
    inside(
        &machine,
        "mkdir -p /data/old/deep && cd /data && echo first >file && echo x >old/deep/file && \
                      ln -s file link && chown 5:6 file && chmod 640 file && chmod 1777 /data",
    );
    let before = listed(&machine);
    let tar = archive(&lab);
    let imports = |machine: &Machine| text(machine, &["events"]).matches("volume-imported").count();
    // In the middle of an entry, and behind a whole one, where only the mark of the end is missing.
    let whole = (tar.iter().rposition(|byte| *byte != 0).unwrap() + 1).next_multiple_of(512);
    let (middle, whole) = (&tar[..whole - (2 << 20)], &tar[..whole]);
    for part in [middle, whole] {
        cut_off(&mut machine, part);
        assert_eq!(listed(&machine), before, "{} of {}", part.len(), tar.len());
    }
    // Whoever makes the tar dies, perhaps at once: its end is the client's too.
    for part in [middle, whole, b""] {
        let done = with_input(&machine, &["volumes", "import", "probe.data"], part);
        assert_eq!(done.status.code(), Some(2), "{} of {}: {}", part.len(), tar.len(), out(&done));
        assert_eq!(listed(&machine), before, "{} of {}", part.len(), tar.len());
    }
    assert_eq!(imports(&machine), 0);
    // The agent dies instead of the client.
    let agent = machine.shell("systemctl show -P MainPID holdfastd").unwrap();
    let mut child = machine.cli_start(&["volumes", "import", "probe.data"], false).unwrap();
    child.stdin.as_mut().unwrap().write_all(&tar[..tar.len() - (2 << 20)]).unwrap();
    machine.shell(&format!("kill -9 {agent}")).unwrap();
    assert!(!child.wait_with_output().unwrap().status.success());
    wait_until("another agent", CHANGE, || {
        let answers = machine.cli(&["status"]).unwrap();
        if answers.status.success() { Ok(()) } else { Err(out(&answers)) }
    });
    assert_eq!(listed(&machine), before, "the agent was killed");

    // To its end: all of it, and nothing else.
    let done = with_input(&machine, &["volumes", "import", "probe.data"], &tar);
    assert!(done.status.success(), "{}", out(&done));
    assert_eq!(imports(&machine), 1);
    wait_until("the new content", CHANGE, || {
        let names =
            machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", "cd /data && find . | sort | xargs"]);
        let names = out(&names.unwrap());
        if names.contains("\n") && names.contains(". ./file ./new ./new/inner ./zz-large") {
            Ok(())
        } else {
            Err(names)
        }
    });
    assert_eq!(
        inside(&machine, "cat /data/file /data/new/inner; wc -c </data/zz-large"),
        "imported\ninner\n8388608"
    );
    settled(&machine);
    let volumes = machine.json(&["volumes"], &[0]).unwrap();
    let used = volumes[0]["used"].as_u64().unwrap();
    assert!((8 << 20..10 << 20).contains(&used), "nothing else is counted: {volumes}");
    machine.kill().unwrap();
}
