//! Every file of the agent's state is harmed in turn, under a running box: it is set aside, made anew or told of, the
//! agent is up again at once, and nothing of anybody else is lost. Which files there are is asked of the box, and each
//! has a [`Sign`] by which it shows that what was put there was not taken for good.
//!
//! Absent: what containers wrote themselves, which is theirs.

use std::collections::{BTreeMap, BTreeSet};
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

/// How it shows that a file was found to be harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// An event of this kind, which names the file where it is its only one.
    Event(&'static str),
    /// Something else is there.
    Replaced,
    /// The same, and the agent said in the journal that it passed it over.
    PassedOver,
    /// It is as the file that it is the second copy of.
    SecondCopy,
    /// Events are gone.
    Fewer,
    /// Something else is there after the next boot, which is the first to read it.
    AtBoot,
    /// None: nothing reads it now, or it lacks nothing that it must have.
    None,
}

/// What is expected of a file.
fn sign(file: &str, harm: Harm) -> Sign {
    let parts: Vec<&str> = file.trim_start_matches("./").split('/').collect();
    match parts[..] {
        _ if file.ends_with(".json.spare") => Sign::SecondCopy,
        ["generations" | "instances" | "secrets", _] | ["volumes", _, "volume.json"] => {
            Sign::Event("state-damaged")
        }
        ["network.json" | "notify.json"] => Sign::Event("state-damaged"),
        // One without any of its fields is one of a provider that calls the box nothing.
        ["provider.json"] if harm == Harm::Shape => Sign::Event("identity"),
        // One without any of its fields is that of a box to which nothing has happened.
        ["update.json" | "scrub.json"] if harm == Harm::Shape => Sign::None,
        ["provider.json" | "update.json" | "scrub.json"] => Sign::Event("state-damaged"),
        ["identity", "machine-id"] => Sign::AtBoot,
        ["identity", _] => Sign::Event("identity"),
        ["events", _] => Sign::Fewer,
        ["network", "provider.json"] => Sign::Replaced,
        ["network", name] if name.starts_with("lease") => Sign::PassedOver,
        // The last good settings: read when others have to give way.
        ["network", _] => Sign::None,
        // Instances know their images by digest: names are needed when another image comes.
        ["images", "names.json"] | ["images", "layers", _] => Sign::AtBoot,
        ["images", _] => Sign::Event("image"),
        ["containers", _, "fingerprint"] => Sign::AtBoot,
        // The first instance that comes after it shows it.
        ["containers", _, "image"] | ["counters.json"] => Sign::None,
        // What a program was asked and has answered.
        ["update" | "notify", ..] => Sign::None,
        _ => panic!("{file}: nobody knows what shows that it is harmed"),
    }
}

/// The events of the box, as they lie on data.
const LOG: &str = "/var/lib/holdfast/events/log";

/// What there is before a file is harmed.
struct Before {
    /// Lines of events.
    events: u64,
    /// How often the agent has passed over what it had kept.
    passed: u64,
}

fn passed_over(machine: &mut Machine) -> u64 {
    let said =
        "journalctl -q -o cat -u holdfastd 2>/dev/null | grep -c 'what was kept is passed over' || true";
    machine.shell(said).unwrap().parse().unwrap()
}

/// Waits until the sign of a file is there.
fn shows(machine: &mut Machine, file: &str, sign: Sign, before: &Before) {
    let path = format!("{STATE}/{}", file.trim_start_matches("./"));
    let name = file.rsplit('/').next().unwrap();
    wait_until(&format!("{sign:?} of {file}"), CHANGE, || {
        let mut holds = |line: &str| machine.shell(line).map(drop).map_err(|error| format!("{error:#}"));
        let replaced = format!("! cmp -s /run/harm {path}");
        match sign {
            Sign::Event(kind) => {
                let named = match kind {
                    "state-damaged" => path.as_str(),
                    "image" => name.trim_end_matches(".json"),
                    _ => "",
                };
                let since = format!("tail -n +{} {LOG}", before.events + 1);
                holds(&format!("{since} | grep -F '\"kind\":\"{kind}\"' | grep -qF '{named}'"))
            }
            Sign::Replaced => holds(&replaced),
            Sign::PassedOver => {
                holds(&replaced)?;
                let passed = passed_over(machine);
                if passed > before.passed { Ok(()) } else { Err(format!("{passed} times")) }
            }
            Sign::SecondCopy => holds(&format!("cmp -s {path} {}", path.trim_end_matches(".spare"))),
            Sign::Fewer => {
                holds(&format!("! test -s /run/last || ! cat {STATE}/events/* | grep -qxFf /run/last"))
            }
            Sign::AtBoot | Sign::None => Ok(()),
        }
    });
}

/// Instances, each with a volume, a secret and a writable layer of its own.
fn document(registry: &Registry, keepers: &[&str]) -> String {
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
    let keepers: String = keepers.iter().map(|name| keeper(name)).collect();
    [settings, notify, instances, &keepers].concat()
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
    registry: Registry,
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
        let document = document(&registry, &KEEPERS);
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
        Scene { lab, registry, disk, setup, machine, kept }
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
        let Scene { lab, registry, disk, setup, machine, kept } = self;
        machine.kill().unwrap();
        let machine = Machine::boot(&lab, &disk, &setup).unwrap();
        machine.wait_ssh(BOOT).unwrap();
        Scene { lab, registry, disk, setup, machine, kept }
    }
}

/// Harms each file in turn, in each of these ways.
fn each(harms: &[Harm]) {
    let mut scene = Scene::new();
    let files = scene.machine.shell(FILES).unwrap();
    assert!(files.lines().count() > 20, "{files}");
    let mut files: Vec<&str> = files.lines().collect();
    // Nothing that comes after it makes it anew.
    files.sort_by_key(|file| file.ends_with("/machine-id"));
    let mut unread = BTreeMap::new();
    for file in files {
        for harm in harms {
            if one(&mut scene.machine, file, *harm) && sign(file, *harm) == Sign::AtBoot {
                unread.insert(file, sum(&mut scene.machine, file));
            }
        }
        scene.is_whole();
    }
    println!("{}", text(&scene.machine, &["events"]));
    let mut scene = scene.cut();
    scene.is_whole();
    healthy(&scene.machine);
    at_boot(&mut scene, &unread);
    nobodys_ids(&mut scene);
    scene.machine.kill().unwrap();
}

/// What a file holds, in short; one that is gone holds something else.
fn sum(machine: &mut Machine, file: &str) -> String {
    machine.shell(&format!("md5sum <{STATE}/{file} || true")).unwrap()
}

/// What a boot is the first to read is other than it was, and what had to be fetched or made again was told of.
fn at_boot(scene: &mut Scene, unread: &BTreeMap<&str, String>) {
    for (file, harmed) in unread {
        wait_until(file, CHANGE, || match sum(&mut scene.machine, file) {
            now if now != *harmed => Ok(()),
            now => Err(now),
        });
    }
    let images = ["nginx:1", "probe:1"].map(|name| ("image-damaged", scene.registry.reference(name)));
    for (kind, named) in images.into_iter().chain([("machine-id", "was damaged".to_owned())]) {
        let told = format!("grep -F '\"kind\":\"{kind}\"' {LOG} | grep -qF '{named}'");
        assert!(scene.machine.shell(&told).is_ok(), "no {kind} of {named}");
    }
}

/// The counters may be lost: an instance that comes then has the ids of no other.
fn nobodys_ids(scene: &mut Scene) {
    let third = document(&scene.registry, &[KEEPERS[0], KEEPERS[1], "third"]);
    let applied = apply(&scene.machine, &third, &[]);
    assert!(applied.status.success(), "{}", out(&applied));
    let ids = scene.machine.shell(&format!("cd {STATE}/instances; grep -h id_base *.json; cd /")).unwrap();
    let different: BTreeSet<&str> = ids.lines().collect();
    assert_eq!((ids.lines().count(), different.len()), (4, 4), "{ids}");
    scene.is_whole();
}

/// Harms a file, and waits until the box has got over it by itself; says whether it has.
fn one(machine: &mut Machine, file: &str, harm: Harm) -> bool {
    let sign = sign(file, harm);
    let passed = if sign == Sign::PassedOver { passed_over(machine) } else { 0 };
    // Nothing is written in its place by the agent that is to be killed.
    let line = format!(
        "kill -STOP $(pidof holdfastd); wc -l <{LOG}; \
         f={STATE}/{file}; test -e $f && cp -a $f /run/kept && {{ {}; }}",
        harm.line()
    );
    // What the box has removed meanwhile, as an older file of events, cannot be harmed.
    let Ok(said) = machine.shell(&line) else {
        machine.shell("kill -CONT $(pidof holdfastd)").unwrap();
        println!("{harm:?} {file}: it is gone");
        return false;
    };
    let events = said.lines().next().unwrap().trim().parse().unwrap();
    if sign == Sign::Fewer {
        machine.shell("grep '^{\"number\":' /run/kept | tail -n 1 >/run/last").unwrap();
    }
    let restarted = restarts(machine);
    kill_agent(machine);
    let came = outcome(machine, file);
    println!("{harm:?} {file}: {}", came.as_deref().unwrap_or("mended"));
    assert_eq!(restarts(machine), restarted + 1, "{file}: the agent did not stay up");
    if came.is_some() {
        machine.wait_served("as before", CHANGE).unwrap();
        // Its owner cannot put it back, but a test can: what was told of is still of use.
        machine.shell(&format!("rm -f {STATE}/{file}; cp -a /run/kept {STATE}/{file}")).unwrap();
        kill_agent(machine);
        healthy(machine);
        return false;
    }
    shows(machine, file, sign, &Before { events, passed });
    true
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
