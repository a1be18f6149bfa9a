//! The program as a whole, against a server that answers what each test says.

mod server;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use server::{Reply, Server};

const CHANGED: &str = r#"{"changed":true,"message":"done"}"#;

fn holdfast(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.env_remove("HOLDFAST_HOST").arg("--socket").arg(socket).args(args);
    command
}

fn run(server: &Server, args: &[&str]) -> Output {
    holdfast(server.socket(), args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn error(kind: &str) -> Reply {
    let body = format!(r#"{{"error":{{"kind":"{kind}","message":"what is wrong","hints":["what helps"]}}}}"#);
    let status = match kind {
        "invalid" => 400,
        "not-allowed" => 403,
        "not-found" => 404,
        _ => 500,
    };
    Reply::json(status, &body)
}

fn wait_for_exit(child: &mut Child) -> i32 {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap();
        }
        assert!(Instant::now() < end, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn errors_of_the_box_become_exit_codes() {
    for (kind, code) in [("failed", 1), ("invalid", 2), ("not-found", 4), ("not-allowed", 5)] {
        let server = Server::start(vec![("POST /v1/restart/site.web", error(kind))]);
        let output = run(&server, &["restart", "site.web"]);
        assert_eq!(output.status.code(), Some(code), "{kind}");
        assert_eq!(text(&output.stderr), "error: what is wrong\nhint: what helps\n");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn a_box_that_is_not_there_is_6_and_125_for_exec() {
    let none = Path::new("/nonexistent/api.sock");
    let output = holdfast(none, &["ps"]).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output.stderr).contains("--host"), "{}", text(&output.stderr));
    let output = holdfast(none, &["exec", "site.web", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn json_is_what_the_box_said() {
    let volumes = r#"[{"instance":"site","name":"data","id":"v1","size":null,"used":7,"in_use":true}]"#;
    let server = Server::start(vec![("GET /v1/volumes", Reply::json(200, volumes))]);
    let output = run(&server, &["volumes", "ls", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, serde_json::from_str::<serde_json::Value>(volumes).unwrap());
}

#[test]
fn a_document_is_sent_whole_with_its_name() {
    let applied = r#"{"generation":2,"changed":true,"removed":[],"plan":{"actions":[],"removes":[]}}"#;
    let server = Server::start(vec![("POST /v1/apply?remove=true&file=stdin", Reply::json(200, applied))]);
    let mut child = holdfast(server.socket(), &["apply", "--remove", "--no-wait", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"[box]\nhostname = \"a\"\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "accepted as generation 2\n");
    assert_eq!(server.bodies(), ["[box]\nhostname = \"a\"\n"]);
}

#[test]
fn lines_are_shown_as_they_come_and_ctrl_c_is_130() {
    let line = r#"{"time":"2026-11-21T06:00:00.5Z","source":"site.web","stream":"stdout","text":"hello"}"#;
    let server = Server::start(vec![("GET /v1/logs?name=site.web&follow=true", Reply::open(line))]);
    let mut child =
        holdfast(server.socket(), &["logs", "-f", "site.web"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = [0; 36];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut shown).unwrap();
    assert_eq!(&shown, b"2026-11-21T06:00:00 site.web: hello\n");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(wait_for_exit(&mut child), 130);
}

#[test]
fn a_command_has_its_own_code_and_output() {
    // Frames: stdout "out", stderr "err", exit 7.
    let frames = b"\x01\0\0\0\x03out\x02\0\0\0\x03err\x04\0\0\0\x04\0\0\0\x07";
    let server = Server::start(vec![("POST /v1/exec", Reply::upgraded(frames))]);
    let output = run(&server, &["exec", "site.web", "--", "x"]);
    assert_eq!(
        (output.status.code(), text(&output.stdout), text(&output.stderr)),
        (Some(7), "out".into(), "err".into())
    );

    let server = Server::start(vec![("POST /v1/exec", error("not-found"))]);
    assert_eq!(run(&server, &["exec", "site.web", "--", "x"]).status.code(), Some(125));
}

#[test]
fn a_volume_goes_in_and_out_as_it_is() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let server = Server::start(vec![
        ("GET /v1/volumes/site/data/content", Reply::bytes(&bytes)),
        ("PUT /v1/volumes/site/data/content", Reply::json(200, CHANGED)),
    ]);
    assert!(run(&server, &["volumes", "export", "site.data"]).stdout == bytes);

    let mut child = holdfast(server.socket(), &["volumes", "import", "site.data"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&vec![b'x'; 200_000]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "done\n".to_owned()));
    assert_eq!(server.bodies().last().map(String::len), Some(200_000));
}

#[test]
fn the_login_program_runs_lines_and_refuses_copies() {
    let login = |line: &str| {
        Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .env_remove("HOLDFAST_HOST")
            .args(["-c", line])
            .output()
            .unwrap()
    };
    let copy = login("scp -t /tmp/x");
    assert_eq!(copy.status.code(), Some(127));
    assert!(text(&copy.stderr).contains("volumes import"), "{}", text(&copy.stderr));
    assert_eq!(login("/usr/lib/openssh/sftp-server").status.code(), Some(127));
    assert_eq!(login("exec 'a").status.code(), Some(2));

    let server = Server::start(vec![("POST /v1/restart/a%20b", Reply::json(200, CHANGED))]);
    let line = format!("--socket {} restart \"a b\"", server.socket().display());
    assert_eq!((login(&line).status.code(), text(&login(&line).stdout)), (Some(0), "done\n".to_owned()));
}

/// A stand-in for ssh that runs the far end here, or fails as ssh does.
fn fake_ssh(folder: &Path, body: &str) {
    let path = folder.join("ssh");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_workstation_goes_through_ssh() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let server = Server::start(vec![
        ("POST /v1/reboot", Reply::json(200, CHANGED)),
        ("GET /v1/volumes/site/data/content", Reply::bytes(&bytes)),
    ]);
    let program = env!("CARGO_BIN_EXE_holdfast");
    let through = |args: &[&str]| {
        Command::new(program).env("PATH", folder.path()).args(args).stdin(Stdio::null()).output().unwrap()
    };
    let log = folder.path().join("log");
    let socket = server.socket().display();
    fake_ssh(
        folder.path(),
        &format!("echo \"$@\" > {}\nexec {program} --socket {socket} api-stdio", log.display()),
    );
    let output = through(&["--host", "admin@box", "--ssh-option", "Port=2222", "reboot"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "done\n".to_owned()), "{output:?}");
    let called = std::fs::read_to_string(&log).unwrap();
    assert_eq!(called, "-T -o BatchMode=yes -o Port=2222 -- admin@box api-stdio\n");

    // A reply that takes a while: the connection must last for all of it.
    let output = through(&["--host", "admin@box", "volumes", "export", "site.data"]);
    assert!(output.status.success() && output.stdout == bytes, "{}", text(&output.stderr));

    fake_ssh(folder.path(), "echo 'ssh: no route' >&2; exit 255");
    let output = through(&["--host", "admin@box", "reboot"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output.stderr).contains("ssh: no route"));
}

#[test]
fn a_reader_that_has_gone_ends_a_stream() {
    let line = r#"{"number":1,"time":"2026-11-21T06:00:00Z","kind":"applied","subject":null,"message":"x"}"#;
    let server = Server::start(vec![("GET /v1/events?after=0&follow=true", Reply::open(line))]);
    let mut command = holdfast(server.socket(), &["events", "-f"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(wait_for_exit(&mut child), 0);
}

#[test]
fn the_worst_finding_is_the_exit_code() {
    let finding = |severity: &str| {
        format!(
            r#"{{"code":"disk-low","severity":"{severity}","subject":"data","message":"m",
                "next":[{{"kind":"command","what":"holdfast images prune","why":"makes room"}}]}}"#
        )
    };
    for (findings, code) in [
        (String::new(), 0),
        (finding("notice"), 0),
        (finding("degraded") + "," + &finding("notice"), 3),
        (finding("failed") + "," + &finding("degraded"), 1),
    ] {
        let reply = format!(r#"{{"findings":[{findings}]}}"#);
        let server = Server::start(vec![("GET /v1/doctor", Reply::json(200, &reply))]);
        let output = run(&server, &["doctor"]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stdout));
        assert_eq!(
            text(&output.stdout).contains("> holdfast images prune   # makes room"),
            !findings.is_empty()
        );
        let json = run(&server, &["doctor", "--json"]);
        assert_eq!(json.status.code(), Some(code));
        let printed: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(printed, serde_json::from_str::<serde_json::Value>(&reply).unwrap());
    }
}

#[test]
fn a_report_is_passed_on_or_kept_whole_for_its_owner_alone() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let server = Server::start(vec![
        ("GET /v1/report", Reply::bytes(&bytes)),
        ("GET /v1/report?logs=true", Reply::bytes(b"with logs")),
    ]);
    assert!(run(&server, &["report"]).stdout == bytes);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.tar.gz");
    let path = file.to_str().unwrap();
    let output = run(&server, &["report", "--output", path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with(&format!("wrote {path} (293K)")), "{}", text(&output.stdout));
    assert!(std::fs::read(&file).unwrap() == bytes);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // A link where it is written is not followed.
    let other = folder.path().join("other");
    std::fs::write(&other, b"mine").unwrap();
    std::os::unix::fs::symlink(&other, folder.path().join("report.tar.gz.part")).unwrap();
    let output = run(&server, &["report", "--logs", "--json", "-o", path]);
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, serde_json::json!({ "file": path, "bytes": 9 }));
    assert_eq!(std::fs::read(&file).unwrap(), b"with logs");
    assert!(!file.is_symlink());
    assert_eq!(std::fs::read(&other).unwrap(), b"mine");
    std::fs::remove_file(&other).unwrap();

    // One that breaks off takes nothing's place and leaves nothing behind.
    let server = Server::start(vec![("GET /v1/report", Reply::torn(&bytes))]);
    let output = run(&server, &["report", "--output", path]);
    assert_ne!(output.status.code(), Some(0));
    assert_eq!(std::fs::read(&file).unwrap(), b"with logs");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let nowhere = folder.path().join("none/report");
    let output = run(&server, &["report", "--output", nowhere.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("none/report"), "{}", text(&output.stderr));
    assert_eq!(run(&server, &["report", "--json"]).status.code(), Some(2), "JSON is about a file");
}

#[test]
fn a_report_is_not_written_to_a_terminal() {
    let server = Server::start(vec![("GET /v1/report", Reply::bytes(b"binary"))]);
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let pty = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&pty).unwrap();
    let name = rustix::pty::ptsname(&pty, Vec::new()).unwrap().into_string().unwrap();
    let terminal = std::fs::OpenOptions::new().write(true).open(name).unwrap();
    let mut command = holdfast(server.socket(), &["report"]);
    let output = command.stdin(Stdio::null()).stdout(terminal).stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("hint: `holdfast report --output"), "{}", text(&output.stderr));
}

/// As after `2>&1 | head`: whatever cannot be said any more is not said, and the exit code stays.
#[test]
fn a_reader_that_has_gone_changes_no_exit_code() {
    let closed = || std::io::pipe().unwrap().1;
    let server = Server::start(vec![
        ("GET /v1/containers", Reply::json(200, "[]")),
        ("POST /v1/restart/site.web", error("not-found")),
        ("GET /v1/volumes/site/data/content", Reply::bytes(&[7; 1 << 20])),
    ]);
    for (args, code) in [
        (&["ps"][..], 0),
        (&["ps", "--json"], 0),
        (&["--help"], 0),
        (&["completions", "bash"], 0),
        (&["restart", "site.web"], 4),
        (&["restrat"], 2),
        // Not all of it has been written.
        (&["volumes", "export", "site.data"], 1),
    ] {
        let output = holdfast(server.socket(), args).stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(output.code(), Some(code), "{args:?}");
        let output = holdfast(server.socket(), args).stdout(closed()).output().unwrap();
        let silent = matches!(code, 0) || args[0] == "volumes";
        assert_eq!(output.stderr.is_empty(), silent, "{args:?}: {}", text(&output.stderr));
    }
}
