//! Memory of a staging, measured on a process of its own.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use agent_update::{Device, Outcome, Slots, Verb};
use image_layout::release::Part;
use support::images::image;
use support::machine::{Machine, patience};
use support::publisher::Publisher;
use support::server::Server;

/// Set for the process that is measured: the box's folder.
const CHILD: &str = "HOLDFAST_TEST_BOX";
/// Blocks of the root: 64 MiB.
const BLOCKS: u64 = 16_384;
/// 32 MiB in the unit of `VmHWM`.
const MOST: u64 = 32 << 10;

fn child(folder: PathBuf) {
    let open = |part: Part| {
        let name = format!("target-{}", part.as_str());
        let file = fs::OpenOptions::new().read(true).write(true).open(folder.join(&name)).unwrap();
        (part, Device::new(file, name).unwrap())
    };
    let slots = Slots { target: vec![open(Part::Boot), open(Part::Root)], running: Vec::new() };
    let outcome = agent_update::run(&folder.join("update"), &slots, patience(), &mut |_| {}).unwrap();
    assert!(matches!(outcome, Outcome::Staged(_)), "{outcome:?}");
    let status = fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM:")).unwrap());
}

#[test]
fn an_image_is_staged_in_little_memory() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return child(folder.into());
    }
    let root = image((0..BLOCKS).map(|n| 2 * n + 1));
    let publisher = Publisher::of("0.2.0", &image([1]), &root);
    let server = Server::honest(publisher.path());
    let machine = Machine::new(&publisher);
    fs::File::options()
        .write(true)
        .open(machine.partition("target-root"))
        .unwrap()
        .set_len(80 << 20)
        .unwrap();
    machine.ask(&server.url, Verb::Stage);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_image_is_staged_in_little_memory", "--nocapture"])
        .env(CHILD, machine.shared().parent().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(machine.holds("target-root", root.len()) == root);
    let peak = text.lines().find_map(|line| line.split("VmHWM:").nth(1)).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("{peak} KiB at most");
    assert!(peak < MOST, "{peak} KiB");
}
