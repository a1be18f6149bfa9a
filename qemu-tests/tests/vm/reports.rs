//! A report holds what someone who helps needs, and no secret of the box, wherever one was put.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpListener;

use crate::common::{CHANGE, lab, out, probe, resumed, settings, site, text, wait_until};
use qemu_tests::{Machine, Setup};

const GIVEN: &str = "given-Quoo5iegh7ohW9";
const TEXT: &str = "text-ahG7ooQuee0e";
const PASSWORD: &str = "password aeR1\"Zae6woop";
const TOKEN: &str = "token-Ieth0oochahw";
const OUTPUT: &str = "output-Eih6koh9jaix";
const COMMENT: &str = "comment-Ohc0aepheizu";
const ENVIRONMENT: &str = "environment-Jeiy3uo0";
const PLANTED: &str = "planted-Ohj4eiy3Aeph";
const MISTYPED: &str = "mistyped-Shoh4aeLoh";

/// An instance with secrets of every kind, and a step whose output is one.
fn recipe() -> String {
    format!(
        r#"
secrets = ["given", "made"]
env = {{ GIVEN = "{{{{ params.given }}}}", MADE = "x{{{{ params.made }}}}x", API_TOKEN = "{ENVIRONMENT}" }}
files = {{ "/etc/key" = {{ content = "key = {{{{ params.given }}}} {TEXT}\n" }} }}
volumes = {{ data = "/data" }}
[recipe.volumes.data]
[recipe.params.given]
type = "secret"
default = "{GIVEN}" # {COMMENT}
[recipe.params.made]
type = "secret"
generate = "hex:32"
[recipe.steps.tell]
run = ["/bin/sh", "-c", "echo {OUTPUT}; echo said by the step | sed s/step/first/ >&2"]
in = "sh"
require = ["containers.sh"]
"#
    )
}

/// What is in a report, by name without its folder.
fn unpack(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let path = entry.path().unwrap().display().to_string();
        found.insert(path.strip_prefix("holdfast-report/").unwrap().to_owned(), text);
    }
    found
}

fn inside(machine: &Machine, line: &str) -> String {
    text(machine, &["exec", "probe.sh", "--", "/bin/sh", "-c", line])
}

/// Names of files of a report that a text is in.
fn places(report: &BTreeMap<String, String>, secret: &str) -> Vec<String> {
    report.iter().filter(|(_, text)| text.contains(secret)).map(|(name, _)| name.clone()).collect()
}

#[test]
fn full_a_report_is_whole_and_holds_no_secret() {
    let (lab, registry) = lab();
    // Nobody answers there: delivery fails, and says so.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let document = settings(&registry)
        + &format!(
            "[[box.registry]]\nhost = \"10.0.2.2:1\"\nplain_http = true\nusername = \"hub\"\npassword = '{PASSWORD}'\n\
             [box.notify]\nurl = \"http://hub:{TOKEN}@10.0.2.2:{port}/hooks/{TOKEN}?key={TOKEN}\"\n\
             [box.update]\nurl = \"http://10.0.2.2:{port}/releases\"\n"
        )
        + &site(&registry, "the page")
        + &probe(&registry, &recipe())
        + "\n[[recipe]]\nname = \"gone\"\n[recipe.containers.sh]\nimage = \"10.0.2.2:1/x:1\"\n";
    let mut machine = resumed(&lab, &document, &[]);
    wait_until("the step", CHANGE, || {
        let status = machine.json(&["status"], &[0, 3]).unwrap();
        let probe =
            status["instances"].as_array().and_then(|all| all.iter().find(|i| i["name"] == "probe").cloned());
        let state = probe.unwrap_or_default()["steps"][0]["state"].clone();
        if state == "succeeded" { Ok(()) } else { Err(status.to_string()) }
    });
    wait_until("an image that cannot be had", CHANGE, || {
        let findings = machine.json(&["doctor"], &[0, 3]).unwrap().to_string();
        if findings.contains("image-unreachable") { Ok(()) } else { Err(findings) }
    });
    let made = inside(&machine, "cat /run/secrets/made");
    assert_eq!(made.len(), 64, "{made}");
    inside(&machine, &format!("echo {PLANTED} >/data/{PLANTED}; echo {PLANTED} {GIVEN} >/proc/1/fd/1"));
    // What an admin types wrong reaches the journal; what the agent was told reaches its records.
    machine.cli(&["notify", "test"]).unwrap();
    machine.cli(&["update", "check"]).unwrap();
    machine.shell("cat /var/lib/holdfast/identity/ssh_host_ed25519_key >/dev/null; sync").unwrap();
    let key = machine.shell("sed -n 3p /var/lib/holdfast/identity/ssh_host_ed25519_key").unwrap();

    let said = machine.cli(&["report"]).unwrap();
    assert!(said.status.success(), "{:?} {}", said.status, String::from_utf8_lossy(&said.stderr));
    let report = unpack(&said.stdout);
    // A kernel may be built without pressure.
    let missing: Vec<&str> = report["notes.txt"].lines().filter(|line| !line.contains("pressure")).collect();
    assert!(missing.is_empty() || missing == ["Nothing is missing."], "{missing:?}");
    let secrets = [
        GIVEN,
        &made,
        TEXT,
        PASSWORD,
        "password aeR1",
        "Zae6woop",
        "password%20aeR1",
        TOKEN,
        OUTPUT,
        COMMENT,
        ENVIRONMENT,
        PLANTED,
        key.trim(),
        "said by the first",
    ];
    for secret in secrets {
        assert_eq!(places(&report, secret), Vec::<String>::new(), "{secret}");
    }
    is_of_use(&report);

    // With the output of containers, which is theirs; the box's own secrets stay hidden in it.
    let file = lab.dir().join("report.tar.gz");
    let arguments = ["report", "--logs", "--json", "--output", file.to_str().unwrap()];
    let written = machine.remote(lab.dir(), &arguments).unwrap();
    assert!(written.status.success(), "{}", out(&written));
    let bytes = std::fs::read(&file).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&written.stdout).unwrap();
    assert_eq!(json["bytes"], bytes.len(), "{json}");
    let with_logs = unpack(&bytes);
    assert_eq!(places(&with_logs, PLANTED), ["logs/probe.sh.txt"]);
    assert!(with_logs["logs/probe.sh.txt"].contains(&format!("{PLANTED} [hidden]")));
    let [steps, notes] = ["logs/steps.txt", "notes.txt"].map(|name| with_logs[name].as_str());
    assert!(steps.contains("said by the first"), "{steps}\n{notes}");
    for secret in [GIVEN, &made, PASSWORD, TOKEN, OUTPUT] {
        assert_eq!(places(&with_logs, secret), Vec::<String>::new(), "{secret}");
    }

    // Nor what a document has under a key that is none, for which it is refused.
    let bad = format!("[[box.registry]]\nhost = \"10.0.2.2:1\"\npass = \"{MISTYPED}\"\n");
    machine.offer(&Setup { instance_id: "i-2".into(), ..Setup::with(bad) }).unwrap();
    machine.shell("systemctl restart holdfastd").unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    // It is another box now: ssh has another key in a moment.
    wait_until("the refusal", CHANGE, || {
        let status = out(&machine.cli(&["status"]).unwrap());
        if status.contains("unknown key `pass`") { Ok(()) } else { Err(status) }
    });
    let said = machine.cli(&["report"]).unwrap();
    assert!(said.status.success(), "{:?} {}", said.status, String::from_utf8_lossy(&said.stderr));
    let refused = unpack(&said.stdout);
    assert!(refused["status.json"].contains("pass = ****"), "{}", refused["status.json"]);
    assert_eq!(places(&refused, MISTYPED), Vec::<String>::new());
    machine.kill().unwrap();
}

/// It says what is asked for first when something is wrong.
fn is_of_use(report: &BTreeMap<String, String>) {
    for (name, part) in [
        ("about.txt", "A report on a Holdfast box"),
        ("doctor.json", "\"image-unreachable\""),
        ("status.json", "\"slots\""),
        ("plan.json", "\"actions\""),
        ("events.jsonl", "\"kind\":\"applied\""),
        ("document.toml", "[recipe.containers.web]"),
        ("update.json", "\"running\""),
        ("notify.json", "\"enabled\": true"),
        ("images.json", "nginx:1"),
        ("volumes.json", "\"probe\""),
        ("records.txt", "secrets/probe.json"),
        ("units.txt", "holdfastd.service"),
        ("usage.txt", " /var"),
        ("network/status.json", "\"nics\""),
        ("network/ruleset.txt", "table inet holdfast"),
        ("network/resolv.conf", "nameserver"),
        ("network/routes4.txt", "10.0.2.15"),
        ("kernel/cmdline.txt", "hf.slot"),
        ("kernel/mounts.txt", " /var "),
        ("kernel/meminfo.txt", "MemAvailable"),
        ("journal/kernel.txt", "Linux version"),
        ("journal/own.txt", "holdfastd"),
    ] {
        let found = report.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", report.keys()));
        assert!(found.contains(part), "{part} is not in {name}: {found}");
    }
    for hidden in ["password = \"[hidden]\"", "url = \"[hidden]\"", "API_TOKEN = \"[hidden]\""] {
        assert!(report["document.toml"].contains(hidden), "{hidden}: {}", report["document.toml"]);
    }
}
