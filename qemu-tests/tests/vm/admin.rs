//! The admin's side, on one box: status, plan, exec, logs, events, volumes, removal and return.

use crate::common::{BOOT, CHANGE, apply, lab, out, page, probe, resumed, settled, text};
use qemu_tests::Machine;

#[test]
fn the_admins_day() {
    let (lab, registry) = lab();
    let with_volume = probe(&registry, "volumes = { data = \"/data\" }\n[recipe.volumes.data]\n");
    let document = page(&registry, "the page") + &with_volume;
    let machine = resumed(&lab, &document, &[]);
    machine.wait_served("the page", BOOT).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    settled(&machine);

    let status = machine.json(&["status"], &[0]).unwrap();
    assert_eq!(status["hostname"], "box");
    assert_eq!(status["health"], "healthy", "{status}");
    assert_eq!(status["slots"]["running"], "a");
    assert!(status["ports"].to_string().contains("\"open\":true"), "{}", status["ports"]);
    let screen = text(&machine, &["status"]);
    assert!(screen.lines().count() <= 40 && screen.contains("site"), "{screen}");

    let plan = machine.json(&["plan"], &[0]).unwrap();
    assert_eq!(plan["actions"].as_array().map(Vec::len), Some(0), "a second plan is empty: {plan}");
    let again = apply(&machine, &document, &[]);
    assert!(again.status.success() && out(&again).contains("unchanged"), "{}", out(&again));

    assert_eq!(text(&machine, &["exec", "probe.sh", "--", "/bin/sh", "-c", "echo $((40 + 2))"]), "42");
    let code = machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", "exit 7"]).unwrap();
    assert_eq!(code.status.code(), Some(7), "{}", out(&code));
    let none = machine.cli(&["exec", "probe.none", "--", "/bin/true"]).unwrap();
    assert_eq!(none.status.code(), Some(125), "{}", out(&none));

    text(&machine, &["exec", "probe.sh", "--", "/bin/sh", "-c", "echo kept >/data/file"]);
    let tar = machine.cli(&["volumes", "export", "probe.data"]).unwrap();
    assert!(tar.status.success() && tar.stdout.windows(4).any(|w| w == b"kept"), "{:?}", tar.status);
    assert!(text(&machine, &["logs", "-n", "50", "site.web"]).contains("GET /"), "nginx logs its requests");
    assert!(text(&machine, &["events"]).contains("applied"));
    assert!(text(&machine, &["images"]).contains("nginx"));

    let refused = apply(&machine, &page(&registry, "the page"), &[]);
    assert_eq!(refused.status.code(), Some(5), "removal wants --remove: {}", out(&refused));
    let removed = apply(&machine, &page(&registry, "the page"), &["--remove"]);
    assert!(removed.status.success(), "{}", out(&removed));
    assert!(!text(&machine, &["ps"]).contains("probe"));
    assert!(text(&machine, &["volumes"]).contains("probe"), "the volume outlives its instance");
    let back = apply(&machine, &document, &[]);
    assert!(back.status.success(), "{}", out(&back));
    assert_eq!(text(&machine, &["exec", "probe.sh", "--", "/bin/cat", "/data/file"]), "kept");

    every_reply_is_documented(&machine);
    let sftp = machine.cli(&["scp", "-t", "/tmp"]).unwrap();
    assert!(!sftp.status.success() && out(&sftp).contains("volumes import"), "{}", out(&sftp));
    let remote = machine.remote(lab.dir(), &["ps", "--json"]).unwrap();
    assert!(remote.status.success() && out(&remote).contains("site.web"), "{}", out(&remote));
    machine.kill().unwrap();
}

/// Reads everything that can be read, and what goes wrong, each validated against the served document.
fn every_reply_is_documented(machine: &Machine) {
    for path in machine.schema().unwrap().readable() {
        let path = match path.as_str() {
            "/v1/wait" => "/v1/wait?timeout_ms=1000".into(),
            "/v1/logs" => "/v1/logs?lines=50&name=site.web".into(),
            "/v1/events" => "/v1/events?after=0".into(),
            other => other.replace("{instance}", "probe").replace("{volume}", "data"),
        };
        let reply = machine.api("GET", &path, b"").unwrap();
        assert_eq!(reply.status, 200, "{path}");
        assert!(!reply.body.is_empty(), "{path}");
    }
    for (method, path, body, status) in [
        ("POST", "/v1/plan", "[box]\nhostnam = 1\n", 400),
        ("POST", "/v1/apply?file=x", "[box]\nhostnam = 1\n", 400),
        ("POST", "/v1/restart/none", "", 404),
        ("POST", "/v1/instances/none/pull", "", 404),
        ("DELETE", "/v1/volumes/probe/data", "", 403),
        ("DELETE", "/v1/volumes/probe/none", "", 404),
        ("POST", "/v1/data/check", "", 403),
        ("POST", "/v1/apply", "", 200),
        ("POST", "/v1/images/prune", "", 200),
    ] {
        let reply = machine.api(method, path, body.as_bytes()).unwrap();
        let said = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, status, "{method} {path}: {said}");
    }
}
