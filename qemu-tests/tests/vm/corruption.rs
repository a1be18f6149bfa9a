//! Every file of the agent's state is harmed in turn, under a running box: it is set aside, made anew or told of, the
//! agent is up again at once, and nothing of anybody else is lost. Which files there are is asked of the box.
//!
//! Absent: what containers wrote themselves, which is theirs.

use std::time::Duration;

use crate::common::{BOOT, CHANGE, DISK, apply, lab, out, page, probe, text, up, wait_until};
use qemu_tests::{Disk, Lab, Machine, Registry, Setup};
use serde_json::Value;

const STATE: &str = "/var/lib/holdfast";
/// All files of the state, but for what containers and volumes hold.
const FILES: &str = "cd /var/lib/holdfast && find . -type f \
    ! -path './volumes/*/data*/*' ! -path './containers/*/upper/*' ! -path './containers/*/work/*' | sort";

/// Puts something else into the file `$f`, whose content `/run/kept` has. A sealed one can only be replaced.
const PUT: &str = "cat /run/harm 2>/dev/null >$f || { rm -f $f && cat /run/harm >$f; }";

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Truncated,
    Zeroed,
    Random,
    Garbage,
    Shape,
}

impl Harm {
    /// A line for the shell.
    fn line(self) -> String {
        let content = match self {
            Harm::Truncated => "head -c $(($(stat -c %s /run/kept) / 2)) /run/kept",
            Harm::Zeroed => "head -c $(stat -c %s /run/kept) /dev/zero",
            Harm::Random => "head -c 3000 /dev/urandom",
            Harm::Garbage => "echo '{\"format\": 1, \"values\": [[['",
            Harm::Shape => "echo '{\"format\": 1, \"surprise\": [1, 2, 3]}'",
        };
        format!("{content} >/run/harm && {PUT}")
    }
}

/// An instance with a volume, a secret and a writable layer, and a second one with a volume of its own.
fn document(registry: &Registry) -> String {
    let keeper = |name: &str| {
        let more = r#"volumes = { data = "/data" }
secrets = ["key"]
[recipe.volumes.data]
size = "20M"
[recipe.params.key]
type = "secret"
generate = "hex:16"
"#;
        probe(registry, more).replace("name = \"probe\"", &format!("name = \"{name}\""))
    };
    let notify = "[box.notify]\nurl = \"http://127.0.0.1:9/hook\"\n";
    let site = page(registry, "as before");
    let (settings, instances) = site.split_at(site.find("\n[[recipe]]").unwrap());
    [settings, notify, instances, &keeper("first"), &keeper("second")].concat()
}

/// What may not be lost: of an instance, its secret and what is in its volume.
fn kept(machine: &Machine, instance: &str) -> Result<String, String> {
    let line = "cat /run/secrets/key /data/file";
    let done = machine.cli(&["exec", &format!("{instance}.sh"), "--", "/bin/sh", "-c", line]).unwrap();
    if done.status.success() { Ok(out(&done)) } else { Err(out(&done)) }
}

fn status(machine: &Machine) -> Result<Value, String> {
    machine.json(&["status"], &[0, 3]).map_err(|error| format!("{error:#}"))
}

/// How often the agent was started again.
fn restarts(machine: &mut Machine) -> u32 {
    let said = machine.shell("systemctl show --property NRestarts --value holdfastd").unwrap();
    said.trim().parse().unwrap()
}

/// Kills the agent, and waits until another one has looked at the box.
fn kill_agent(machine: &mut Machine) {
    let before = restarts(machine);
    machine.shell("kill -9 $(pidof holdfastd)").unwrap();
    wait_until("another agent", CHANGE, || {
        let version = machine.cli(&["version"]).unwrap();
        if version.status.success() && restarts(machine) > before { Ok(()) } else { Err(out(&version)) }
    });
}

/// Waits until all is well, or the box says what is not, which it gives then.
fn outcome(machine: &Machine, file: &str) -> Option<String> {
    let path = file.trim_start_matches('.');
    wait_until(file, CHANGE, || {
        let status = status(machine)?;
        let told = status["problems"].as_array().into_iter().flatten().find_map(|problem| {
            let problem = problem.as_str()?;
            (problem.contains(path) || problem.contains("is not used")).then(|| problem.to_owned())
        });
        if told.is_some() || status["health"] == "healthy" { Ok(told) } else { Err(status.to_string()) }
    })
}

/// A box, and what its two keepers of a secret and a volume keep.
struct Scene {
    lab: Lab,
    _registry: Registry,
    disk: Disk,
    setup: Setup,
    machine: Machine,
    kept: [String; 2],
}

const KEEPERS: [&str; 2] = ["first", "second"];

impl Scene {
    fn new() -> Scene {
        let (lab, registry) = lab();
        let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
        let document = document(&registry);
        let expected = vec!["fs-verity", "FILE CORRUPTED"];
        let setup = Setup { shell: true, expected, ..Setup::with(document.clone()) };
        let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
        machine.wait_served("as before", BOOT).unwrap();
        up(&machine, &["first.sh", "second.sh"]);
        // Another generation than the provider's.
        let applied = apply(&machine, &(document + "\n# again\n"), &[]);
        assert!(applied.status.success(), "{}", out(&applied));
        for keeper in KEEPERS {
            let line = format!("echo of {keeper} >/data/file; sync");
            text(&machine, &["exec", &format!("{keeper}.sh"), "--", "/bin/sh", "-c", &line]);
        }
        machine.shell("sync").unwrap();
        let kept = KEEPERS.map(|keeper| kept(&machine, keeper).unwrap());
        Scene { lab, _registry: registry, disk, setup, machine, kept }
    }

    /// Nothing of what anybody keeps is lost.
    fn is_whole(&self) {
        self.machine.wait_served("as before", CHANGE).unwrap();
        for (keeper, expect) in KEEPERS.iter().zip(&self.kept) {
            wait_until(keeper, CHANGE, || match kept(&self.machine, keeper) {
                Ok(found) if found == *expect => Ok(()),
                Ok(found) => panic!("{keeper} has lost something: {found} is not {expect}"),
                Err(error) => Err(error),
            });
        }
    }

    /// Cuts the power, and switches the box on again.
    fn cut(self) -> Scene {
        let Scene { lab, _registry, disk, setup, machine, kept } = self;
        machine.kill().unwrap();
        let machine = Machine::boot(&lab, &disk, &setup).unwrap();
        machine.wait_ssh(BOOT).unwrap();
        Scene { lab, _registry, disk, setup, machine, kept }
    }
}

/// Harms each file in turn, in each of these ways.
fn each(harms: &[Harm]) {
    let mut scene = Scene::new();
    let files = scene.machine.shell(FILES).unwrap();
    assert!(files.lines().count() > 20, "{files}");
    for file in files.lines() {
        for harm in harms {
            one(&mut scene.machine, file, *harm);
        }
        scene.is_whole();
    }
    println!("{}", text(&scene.machine, &["events"]));
    let scene = scene.cut();
    scene.is_whole();
    healthy(&scene.machine);
    scene.machine.kill().unwrap();
}

fn one(machine: &mut Machine, file: &str, harm: Harm) {
    let line = format!("f={STATE}/{file}; test -e $f && cp -a $f /run/kept && {{ {}; }}", harm.line());
    // What the box has removed meanwhile, as an older file of events, cannot be harmed.
    if machine.shell(&line).is_err() {
        println!("{harm:?} {file}: it is gone");
        return;
    }
    let before = restarts(machine);
    kill_agent(machine);
    let came = outcome(machine, file);
    println!("{harm:?} {file}: {}", came.as_deref().unwrap_or("mended"));
    assert_eq!(restarts(machine), before + 1, "{file}: the agent did not stay up");
    if came.is_some() {
        machine.wait_served("as before", CHANGE).unwrap();
        // Its owner cannot put it back, but a test can: what was told of is still of use.
        machine.shell(&format!("rm -f {STATE}/{file}; cp -a /run/kept {STATE}/{file}")).unwrap();
        kill_agent(machine);
        healthy(machine);
    }
}

fn healthy(machine: &Machine) {
    wait_until("all is well", CHANGE, || {
        let status = status(machine)?;
        if status["health"] == "healthy" { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn full_each_file_that_is_cut_short_or_zeroed_costs_nobody_else_anything() {
    each(&[Harm::Truncated, Harm::Zeroed]);
}

#[test]
fn full_each_file_that_holds_something_else_costs_nobody_else_anything() {
    each(&[Harm::Random, Harm::Garbage, Harm::Shape]);
}

#[test]
fn full_files_that_are_anybodys_are_the_boxs_own_again() {
    let mut scene = Scene::new();
    // sshd takes no host key that others may read, and a folder that others may write is not one's own.
    let harm = format!(
        "{FILES} | while read f; do chmod 777 $f && chown 65534:65534 $f; done; chmod 777 secrets volumes"
    );
    scene.machine.shell(&harm).unwrap();
    scene.machine.shell("sync").unwrap();
    let mut scene = scene.cut();
    scene.is_whole();
    healthy(&scene.machine);
    let open = "cd /var/lib/holdfast && find secrets instances generations identity *.json volumes/*/volume.json -perm -002 -o -user 65534";
    assert_eq!(scene.machine.shell(open).unwrap(), "");
    scene.machine.kill().unwrap();
}

/// Whatever is left then: the provider's document and keys, and what is in volumes.
#[test]
fn full_with_every_file_harmed_the_box_is_reached_serves_and_loses_no_volume() {
    let mut scene = Scene::new();
    let files = scene.machine.shell(FILES).unwrap();
    for file in files.lines() {
        let line = format!("f={STATE}/{file}; cp -a $f /run/kept && {{ {}; }}", Harm::Random.line());
        scene.machine.shell(&line).unwrap();
    }
    scene.machine.shell("sync").unwrap();
    let mut scene = scene.cut();
    let machine = &mut scene.machine;
    machine.wait_served("as before", BOOT).unwrap();
    let status = wait_until("what is wrong", CHANGE, || {
        let status = status(machine)?;
        let problems = status["problems"].to_string();
        if problems.contains("volume.json") { Ok(status) } else { Err(status.to_string()) }
    });
    println!("{status:#}\n{}", text(machine, &["events"]));
    for keeper in KEEPERS {
        machine.shell(&format!("grep -qx 'of {keeper}' {STATE}/volumes/*/data/file")).unwrap();
    }
    let restarts = restarts(machine);
    std::thread::sleep(Duration::from_secs(20));
    assert_eq!(self::restarts(machine), restarts, "the agent does not stay up");
    scene.machine.kill().unwrap();
}
