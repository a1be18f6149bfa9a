//! `scripts/demo`, but for its builds: what it prints, how it ends, and that nothing of it is left.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::common::{CHANGE, wait_until};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use qemu_tests::Lab;

/// A demo whose temporary files are the lab's, in a process group of its own as a terminal would make it.
fn start(lab: &Lab, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(arguments).current_dir(lab.root()).env("TMPDIR", lab.dir()).process_group(0);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// Reads lines until one contains `part`.
fn wait_line(lines: &mut Lines<BufReader<ChildStdout>>, part: &str) -> String {
    lines
        .map(Result::unwrap)
        .find(|line| line.contains(part))
        .unwrap_or_else(|| panic!("no line with `{part}`"))
}

/// Command lines of processes that name the folder of the lab.
fn processes(lab: &Lab) -> Vec<String> {
    let folder = lab.dir().to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    // What has ended meanwhile has no command line.
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder)).collect()
}

/// Nothing runs any more, and of files there is the lab's own key alone.
fn nothing_is_left(lab: &Lab) {
    wait_until("an end", CHANGE, || {
        let left = processes(lab);
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
    let left: Vec<_> = fs::read_dir(lab.dir()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    let own = |name: &&std::ffi::OsString| *name == "key" || *name == "key.pub";
    assert_eq!(left.iter().filter(|name| !own(name)).count(), 0, "{left:?}");
}

#[test]
fn once_it_prints_the_address_and_a_healthy_status_and_ends() {
    let lab = Lab::new().unwrap();
    let (mut child, lines) = start(&lab, &["--once"]);
    let said: Vec<String> = lines.map(Result::unwrap).collect();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {said:?}");
    let line = |part: &str| said.iter().any(|line| line.contains(part));
    assert!(line("served after") && line("http://127.0.0.1:"), "{said:?}");
    assert!(line("demo: HEALTHY") && line("hello"), "{said:?}");
    nothing_is_left(&lab);
}

#[test]
fn full_it_serves_until_ctrl_c_and_leaves_nothing() {
    let lab = Lab::new().unwrap();
    let ctrl_c = |mut child: Child| {
        assert_ne!(processes(&lab), Vec::<String>::new(), "there is nothing that could be left");
        killpg(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}");
        nothing_is_left(&lab);
    };
    let (child, mut lines) = start(&lab, &[]);
    let served = wait_line(&mut lines, "served after");
    let url = served.split_whitespace().last().unwrap();
    wait_line(&mut lines, "Ctrl-C ends it");
    let page = ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap();
    assert!(page.contains("hello from Holdfast"), "{page}");
    ctrl_c(child);

    // While it boots.
    let (child, mut lines) = start(&lab, &[]);
    wait_line(&mut lines, "booting a box");
    wait_until("a machine", CHANGE, || {
        let running = processes(&lab).iter().any(|line| line.contains("qemu-system-x86_64"));
        if running { Ok(()) } else { Err(String::new()) }
    });
    ctrl_c(child);
}
