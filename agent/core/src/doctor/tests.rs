//! A box with nothing wrong, and everything that can be, one thing at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::action::{Action, Plan, Planned};
use crate::container::{ContainerName, Port, Protocol};
use crate::desired::{self, Desired, Missing, Rendered};
use crate::healing::Healing;
use crate::memory::{Failure, Memory};
use crate::network::{AddressSource, Mac, NetworkStatus, NicState, NicStatus};
use crate::notify::{Attempt, Kind, NotifyRecord, Now, Sight, Sights, Topic};
use crate::observed::{Exit, Observed, ObservedContainer, UnitState};
use crate::update::{
    Baseline, Checked, Damage, Ending, LastUpdate, ScrubRecord, Trial, TrialProgress, UpdateRecord,
};
use image_layout::Slot;

const DOCUMENT: &str = r#"
[[recipe]]
name = "site"
[recipe.volumes.data]
size = "1G"
[recipe.containers.web]
image = "r.example.org/web:1"
memory = "64M"
restart = "never"
ports = ["8080:80"]
health = { tcp = ":80" }
[recipe.containers.db]
image = "r.example.org/db:1"
require = ["steps.migrate"]
[recipe.steps.migrate]
run = ["a"]
in = "web"
retries = 1
[recipe.steps.once]
image = "r.example.org/web:1"
run = ["a"]
retries = 0
"#;
const HOUR: u64 = 3_600_000;
const NOW: u64 = 1_800_000_000;

struct Bench {
    now: Now,
    desired: Desired,
    observed: Observed,
    memory: Memory,
    plan: Plan,
    network: NetworkStatus,
    sights: Sights,
    updates: UpdateRecord,
    scrubs: ScrubRecord,
    notices: Option<NotifyRecord>,
    seen: Seen,
}

fn id(name: &str) -> ContainerName {
    ContainerName::parse(name).unwrap()
}

fn nic() -> NicStatus {
    NicStatus {
        name: "ens3".into(),
        mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
        state: NicState::Configured,
        addresses: vec!["203.0.113.7/24".parse().unwrap()],
        gateways: vec!["203.0.113.1".parse().unwrap()],
        dns: vec![],
        source: AddressSource::Dhcp,
        mtu: 1500,
        problem: None,
    }
}

impl Bench {
    fn healthy() -> Bench {
        let parsed = recipes::user_data::parse("x", DOCUMENT).unwrap();
        let load = |_: &recipes::model::InstanceDecl| unreachable!("written in place");
        let instances = parsed.resolve(load).unwrap();
        let desired = desired::build(&parsed.settings, &instances, &desired::Facts::default());
        let mut observed =
            Observed { admin_keys: Some(vec!["ssh-ed25519 AAAA me".into()]), ..Observed::default() };
        for name in ["site.web", "site.db"] {
            let unit = UnitState::Running { pid: Some(1), since: 1 };
            observed
                .containers
                .insert(id(name), ObservedContainer { unit, started: true, ..Default::default() });
        }
        let mut bench = Bench {
            now: Now { uptime: HOUR, epoch: NOW },
            desired,
            observed,
            memory: Memory::default(),
            plan: Plan::default(),
            network: NetworkStatus {
                nics: vec![nic()],
                dns: vec!["9.9.9.9".parse().unwrap()],
                ..Default::default()
            },
            sights: Sights::new(),
            updates: UpdateRecord::default(),
            scrubs: ScrubRecord::default(),
            notices: None,
            seen: Seen {
                resolved: Some(true),
                clock: Clock { synchronized: true, built: NOW - 86_400 },
                slots: Some(Slots { running: "a".into(), good: "a".into() }),
                documents: Documents {
                    channel: Some("nocloud".into()),
                    generation: 3,
                    ..Documents::default()
                },
                ..Seen::default()
            },
        };
        bench.seen.room = Room { available: 1 << 30, files: 1000, files_free: 900, ..Room::default() };
        bench.seen.machine = Machine { memory: 1 << 30, available: 1 << 29, ..Machine::default() };
        bench.look();
        bench
    }

    fn look(&mut self) {
        self.memory.note(&self.desired, &self.observed, self.now.uptime, 0);
    }

    fn fail(&mut self, action: Action, times: u32, error: &str) {
        let healing = Healing { failures: times, ..Healing::default() };
        let failure = Failure { action: action.clone(), healing, error: error.into() };
        self.memory.failures.insert(action.id(), failure);
    }

    fn unfetched(&mut self, why: Why, message: &str, hint: Option<&str>) {
        let reference = "r.example.org/web:1".to_owned();
        let action = Action::FetchImage { reference: reference.clone(), digest: None, embedded: false };
        self.fail(action, 2, message);
        let cause = Unfetched { why, message: message.into(), hint: hint.map(str::to_owned) };
        self.seen.unfetched.insert(reference, cause);
    }

    /// A container ends so often that it is degraded.
    fn crash(&mut self, name: &str, exit: Exit, times: u32) {
        self.observed.containers.get_mut(&id(name)).unwrap().unit = UnitState::Ended(exit);
        self.look();
        let memory = self.memory.containers.get_mut(&id(name)).unwrap();
        memory.healing = Healing { failures: times, ..Healing::default() };
        memory.last_exit = Some(exit);
    }

    fn findings(&self) -> Vec<Finding> {
        findings(&Facts {
            now: self.now,
            desired: &self.desired,
            observed: &self.observed,
            memory: &self.memory,
            plan: &self.plan,
            network: &self.network,
            sights: &self.sights,
            updates: &self.updates,
            scrubs: &self.scrubs,
            notices: self.notices.as_ref(),
            seen: &self.seen,
        })
    }

    fn files(&mut self, free: u64) {
        (self.seen.room.files, self.seen.room.files_free) = (100_000, free);
    }

    fn full_of_bytes(&mut self) {
        self.seen.room.available = 30 << 20;
        self.seen.room.full = Some("data is full: less than 51 MiB are left".into());
    }

    fn stands(&mut self, kind: Kind, text: &str) {
        self.sights.insert(Topic::of(kind), Sight::Stands(text.into()));
    }
}

type Case = (fn(&mut Bench), &'static [(&'static str, Severity)]);

use Severity::{Degraded, Failed, Notice};

fn documents() -> Vec<Case> {
    vec![
        (
            |b| {
                let error = |line: u32| Refused {
                    place: format!("nocloud:{line}:1"),
                    message: "unknown key `hostnam`".into(),
                    hint: Some("did you mean `hostname`?".into()),
                };
                b.seen.documents.errors = (1..=12).map(error).collect();
            },
            &[("document-refused", Degraded); 10],
        ),
        (
            |b| {
                b.seen.documents.generation = 0;
                let refused = Refused { place: "nocloud".into(), message: "not UTF-8".into(), hint: None };
                b.seen.documents.errors = vec![refused];
            },
            &[("document-refused", Failed)],
        ),
        (
            |b| b.seen.documents.unusable = vec!["generation 4 is not used".into()],
            &[("document-unusable", Degraded)],
        ),
        (|b| b.seen.documents = Documents::default(), &[("document-missing", Notice)]),
    ]
}

fn access() -> Vec<Case> {
    vec![
        (|b| b.observed.admin_keys = None, &[("access-no-key", Failed)]),
        (|b| b.observed.admin_keys = Some(vec!["# none".into(), " ".into()]), &[("access-no-key", Failed)]),
    ]
}

fn storage() -> Vec<Case> {
    vec![
        (
            |b| b.seen.data.unavailable = Some("data unavailable: no superblock".into()),
            &[("data-unavailable", Failed), ("access-host-key-temporary", Notice)],
        ),
        (
            |b| {
                b.seen.data.unavailable = Some("data unavailable: the disk fails".into());
                b.seen.data.disk_fails = true;
            },
            &[("data-disk-fails", Failed), ("access-host-key-temporary", Notice)],
        ),
        (
            |b| {
                b.seen.data.failed = Some("data failed (I/O errors)".into());
                b.seen.data.read_only = true;
                b.seen.data.errors = 1;
                b.seen.room.available = 0;
                b.seen.room.files_free = 0;
            },
            &[("data-failed", Failed)],
        ),
        (
            |b| {
                b.seen.data.read_only = true;
                b.seen.data.errors = 1;
            },
            &[("data-read-only", Failed)],
        ),
        (|b| b.seen.data.errors = 2, &[("data-errors", Degraded)]),
        (|b| b.seen.data.repaired = true, &[("data-repaired", Notice)]),
        (
            |b| {
                b.stands(Kind::DataFilling, "the data file system is 90 % full; 100 MiB are left");
                let volume = |name: &str, used, in_use| VolumeUse {
                    instance: "site".into(),
                    name: name.into(),
                    used,
                    size: None,
                    in_use,
                };
                b.seen.room.images = 3 << 30;
                b.seen.room.images_unused = 1 << 30;
                b.seen.room.journal = 60 << 20;
                b.seen.room.volumes = vec![volume("old", Some(5 << 30), false), volume("data", None, true)];
            },
            &[("disk-low", Degraded)],
        ),
        (|b| b.seen.room.available = 1 << 20, &[("disk-full", Failed)]),
        (|b| b.full_of_bytes(), &[("disk-low", Degraded)]),
        // Of 100000 files 4096 are kept for the box.
        (|b| b.files(4096 + 256), &[("disk-files", Degraded)]),
        (|b| b.files(4096 + 4796), &[]),
        (|b| b.files(4096 + 4795), &[("disk-files", Degraded)]),
        (|b| b.files(4096), &[("disk-files", Failed)]),
        (|b| b.files(0), &[("disk-files", Failed)]),
        // A small disk, of which a sixteenth is kept: full long before nearly all files are used.
        (
            |b| {
                (b.seen.room.files, b.seen.room.files_free) = (4096, 256 + 255);
                b.seen.room.full = Some("data is full: fewer than 256 more files can be made".into());
            },
            &[("disk-files", Degraded)],
        ),
        // Full is said until twice as much is left.
        (
            |b| {
                (b.seen.room.files, b.seen.room.files_free) = (4096, 256 + 511);
                b.seen.room.full = Some("data is full: fewer than 256 more files can be made".into());
            },
            &[("disk-files", Degraded)],
        ),
        (|b| (b.seen.room.files, b.seen.room.files_free) = (4096, 256 + 511), &[]),
        (
            |b| {
                let (instance, name) = ("site".into(), "data".into());
                let volume = VolumeUse { instance, name, used: Some(95), size: Some(100), in_use: true };
                let room = VolumeUse { used: Some(94), name: "room".into(), ..volume.clone() };
                let unused = VolumeUse { name: "old".into(), in_use: false, ..volume.clone() };
                b.seen.room.volumes = vec![volume, room, unused];
            },
            &[("volume-full", Degraded)],
        ),
    ]
}

fn network() -> Vec<Case> {
    vec![
        (
            |b| b.network.nics[0].problem = Some("the gateway does not answer; DHCP is in use".into()),
            &[("interface-problem", Degraded)],
        ),
        (
            |b| {
                b.network.nics.push(NicStatus {
                    state: NicState::NoCarrier,
                    addresses: vec![],
                    name: "ens4".into(),
                    ..nic()
                })
            },
            &[("interface-no-carrier", Notice)],
        ),
        (
            |b| {
                let state = NicState::Configuring;
                let bare =
                    NicStatus { state, addresses: vec![], gateways: vec![], name: "ens4".into(), ..nic() };
                b.network.nics.push(bare);
            },
            &[("interface-no-address", Notice)],
        ),
        (
            |b| {
                b.network.nics[0] = NicStatus { addresses: vec![], gateways: vec![], ..nic() };
            },
            &[("network-no-address", Failed), ("interface-no-address", Degraded)],
        ),
        (
            |b| {
                b.network.nics[0].gateways.clear();
                b.network.nics[0].addresses.clear();
                b.now.uptime = 10_000;
            },
            &[],
        ),
        (|b| b.network.nics[0].gateways.clear(), &[("network-no-default-route", Degraded)]),
        (|b| b.network.nics.clear(), &[("network-no-interface", Failed)]),
        (
            |b| {
                b.network.dns.clear();
                b.seen.resolved = None;
            },
            &[("name-servers-none", Degraded)],
        ),
        (|b| b.seen.resolved = Some(false), &[("name-servers-silent", Degraded)]),
        (
            |b| {
                let port = |address: Option<&str>, protocol| Port {
                    address: address.map(|address| address.parse().unwrap()),
                    host: 8080,
                    container: 80,
                    protocol,
                };
                let containers = &mut b.desired.instances.get_mut("site").unwrap().containers;
                containers.get_mut("web").unwrap().ports = vec![port(Some("127.0.0.1"), Protocol::Tcp)];
                containers.get_mut("db").unwrap().ports = vec![
                    port(Some("127.0.0.2"), Protocol::Tcp),
                    port(None, Protocol::Udp),
                    port(None, Protocol::Tcp),
                ];
            },
            &[("port-collides", Degraded), ("port-collides", Degraded)],
        ),
    ]
}

fn pulls() -> Vec<Case> {
    vec![
        (
            |b| b.unfetched(Why::Name, "failed to reach `r.example.org`", None),
            &[("image-name-unknown", Degraded)],
        ),
        (|b| b.unfetched(Why::Unreachable, "connection refused", None), &[("image-unreachable", Degraded)]),
        (|b| b.unfetched(Why::Certificate, "unknown issuer", None), &[("image-certificate", Degraded)]),
        (
            |b| b.unfetched(Why::Credentials, "401", Some("check `username`")),
            &[("image-credentials", Degraded)],
        ),
        (|b| b.unfetched(Why::Missing, "404", Some("check the name")), &[("image-missing", Degraded)]),
        (|b| b.unfetched(Why::NoRoom, "no space", None), &[("image-no-room", Degraded)]),
        (|b| b.unfetched(Why::Unfit, "torn", None), &[("image-unfit", Degraded)]),
        (
            |b| {
                let action = Action::AdoptImage { reference: "r.example.org/db:1".into() };
                b.fail(action, 1, "failed to use `x`: No space left on device (os error 28)");
            },
            &[("image-no-room", Degraded)],
        ),
        (|b| b.fail(Action::AdoptImage { reference: "nobody's:1".into() }, 1, "x"), &[]),
    ]
}

fn instances() -> Vec<Case> {
    vec![
        (|b| b.crash("site.db", Exit::Code(7), 5), &[("container-failing", Degraded)]),
        (|b| b.crash("site.db", Exit::Code(7), 4), &[]),
        (|b| b.crash("site.db", Exit::OutOfMemory, 5), &[("container-out-of-memory", Degraded)]),
        (|b| b.crash("site.web", Exit::OutOfMemory, 1), &[("container-out-of-memory", Degraded)]),
        (|b| b.crash("site.db", Exit::OutOfMemory, 1), &[("container-out-of-memory", Notice)]),
        (|b| b.crash("site.web", Exit::Code(1), 1), &[("container-ended", Degraded)]),
        (
            |b| {
                let memory = b.memory.containers.get_mut(&id("site.web")).unwrap();
                memory.unhealthy = true;
                let probed = memory.probed.as_mut().unwrap();
                (probed.answered, probed.failures) = (true, 99);
                probed.last_failure = Some("connection refused".into());
            },
            &[("container-unhealthy", Degraded)],
        ),
        (
            |b| b.fail(Action::StartContainer(id("site.db")), 1, "no such program"),
            &[("container-start-failed", Degraded)],
        ),
        (
            |b| {
                let db = b.desired.instances.get_mut("site").unwrap().containers.get_mut("db").unwrap();
                db.config = Rendered::Failed("`memory` is no size: many".into());
            },
            &[("container-impossible", Degraded)],
        ),
        (
            |b| {
                b.observed.containers.remove(&id("site.db"));
                let db = b.desired.instances.get_mut("site").unwrap().containers.get_mut("db").unwrap();
                db.config = Rendered::Waiting(BTreeSet::from([Missing::Output("migrate".into())]));
                let start = Planned::now(Action::StartContainer(id("site.db")), "not running");
                let waits = vec!["step site.migrate to succeed".into()];
                b.plan.actions.push(Planned { waits, ..start });
            },
            &[("container-waits", Notice)],
        ),
        (
            |b| {
                b.fail(
                    Action::RunStep { instance: "site".into(), step: "migrate".into() },
                    2,
                    "it ended with 1",
                )
            },
            &[("step-failed", Degraded)],
        ),
        (
            |b| {
                b.fail(
                    Action::RunStep { instance: "site".into(), step: "migrate".into() },
                    1,
                    "it ended with 1",
                )
            },
            &[],
        ),
        (
            |b| {
                b.fail(Action::RunStep { instance: "site".into(), step: "once".into() }, 1, "it ended with 1")
            },
            &[("step-failed", Degraded)],
        ),
        (
            |b| b.fail(Action::CreateVolume { instance: "site".into(), volume: "data".into() }, 1, "damaged"),
            &[("volume-failed", Degraded)],
        ),
        (|b| b.fail(Action::ApplyFirewall, 1, "nft refused"), &[("action-failed", Degraded)]),
    ]
}

fn machine() -> Vec<Case> {
    fn kill(process: &str, unit: &str, of_box: bool) -> Kill {
        Kill { process: process.into(), unit: unit.into(), of_box }
    }
    vec![
        (|b| b.seen.clock.synchronized = false, &[("clock-not-set", Degraded)]),
        (
            |b| {
                b.seen.clock.synchronized = false;
                b.now.uptime = 10_000;
            },
            &[],
        ),
        (|b| b.seen.clock.built = NOW + 1, &[("clock-absurd", Degraded)]),
        (|b| b.now.epoch = NOW + 30 * 366 * 86_400, &[("clock-absurd", Degraded)]),
        (
            |b| {
                b.seen.machine.available = 1 << 20;
                b.seen.machine.stalled = 40;
                b.seen.machine.containers =
                    BTreeMap::from([("site.web".into(), 9), ("site.db".into(), 500 << 20)]);
            },
            &[("memory-low", Degraded)],
        ),
        (|b| b.seen.machine.stalled = 10, &[("memory-low", Degraded)]),
        (
            |b| {
                let own = kill("nginx", "holdfast-site.web.service", false);
                b.seen.machine.kills = vec![own.clone(), kill("sshd", "sshd.service", true), own];
            },
            &[("memory-kill", Degraded), ("memory-kill", Notice)],
        ),
        (
            |b| {
                let unit = |name: &str, failed, restarts| Unit { name: name.into(), failed, restarts };
                b.seen.machine.units = vec![
                    unit("systemd-timesyncd.service", true, 0),
                    unit("sshd.service", false, 3),
                    unit("holdfastd.service", false, 2),
                ];
            },
            &[("unit-failed", Degraded), ("unit-restarting", Degraded)],
        ),
    ]
}

fn updates() -> Vec<Case> {
    fn trial(lacking: &[&str]) -> Trial {
        let lacking = lacking.iter().map(|what| (*what).to_owned()).collect();
        Trial {
            version: "2".parse().unwrap(),
            from: "1".parse().unwrap(),
            level: 1,
            slot: Slot::B,
            at: 0,
            boot: String::new(),
            window: 0,
            baseline: Baseline::default(),
            progress: TrialProgress { lacking, ..TrialProgress::default() },
        }
    }
    vec![
        (
            |b| {
                b.seen.on_trial = true;
                b.updates.trial = Some(trial(&["site is not healthy"]));
                b.seen.slots = Some(Slots { running: "b".into(), good: "a".into() });
            },
            &[("update-on-trial", Notice)],
        ),
        (
            |b| b.seen.slots = Some(Slots { running: "b".into(), good: "a".into() }),
            &[("slot-not-good", Notice)],
        ),
        (
            |b| {
                b.updates.trial = Some(trial(&[]));
                b.updates.went_back("no network", 7);
            },
            &[("update-went-back", Degraded)],
        ),
        (
            |b| {
                b.updates.trial = Some(trial(&[]));
                b.updates.proved(7);
                assert_eq!(b.updates.last.as_ref().map(|last: &LastUpdate| last.ending), Some(Ending::Good));
            },
            &[],
        ),
        (
            |b| {
                let reason = "1 of 900 blocks of the root are damaged".into();
                let damage =
                    Damage { version: "1".parse().unwrap(), since: 0, blocks: 1, reason, moved: false };
                b.scrubs.damaged.insert(Slot::A, damage.clone());
                b.scrubs.damaged.insert(Slot::B, damage);
            },
            &[("slot-damaged", Degraded), ("slot-damaged", Degraded)],
        ),
        (|b| b.stands(Kind::UpdateBlocked, "no route"), &[("update-blocked", Degraded)]),
        (|b| b.stands(Kind::MetadataExpiring, "the metadata expires"), &[("update-expiring", Degraded)]),
        (
            |b| {
                b.seen.looks_for_updates = true;
                b.updates.checked =
                    Some(Checked { version: "1".parse().unwrap(), at: NOW - 300_000, expires: 0 });
            },
            &[("update-silent", Degraded)],
        ),
        (
            |b| {
                let mut record = NotifyRecord::begin("s", 0);
                record.dropped = 3;
                record.last = Some(Attempt { at: 0, delivered: false, answer: "404".into() });
                b.notices = Some(record);
            },
            &[("notify-failing", Degraded)],
        ),
        (|b| b.seen.complaints = vec!["`x` cannot be read".into()], &[("record-unreadable", Degraded)]),
        (|b| b.seen.set_aside = vec!["`x` was set aside".into()], &[("record-set-aside", Notice)]),
    ]
}

fn cases() -> Vec<Case> {
    let all = [documents(), access(), storage(), network(), pulls(), instances(), machine(), updates()];
    all.into_iter().flatten().collect()
}

fn found() -> Vec<Finding> {
    let mut all = Vec::new();
    for (number, (change, expect)) in cases().into_iter().enumerate() {
        let mut bench = Bench::healthy();
        change(&mut bench);
        let found = bench.findings();
        let short: Vec<_> = found.iter().map(|finding| (finding.code, finding.severity)).collect();
        assert_eq!(short, expect, "case {number}: {found:#?}");
        all.extend(found);
    }
    all
}

#[test]
fn nothing_is_wrong_with_a_healthy_box() {
    assert_eq!(Bench::healthy().findings(), []);
}

#[test]
fn each_thing_is_found_alone_and_has_a_next_step() {
    for finding in found() {
        assert!(!finding.subject.is_empty() && !finding.message.is_empty(), "{finding:?}");
        assert!(!finding.next.is_empty(), "{finding:?}");
    }
}

/// Commands and words of what is to be done about the first finding.
fn steps(bench: &Bench) -> String {
    let first = bench.findings().into_iter().next().expect("something is wrong");
    format!("{:?}", first.next)
}

#[test]
fn nothing_that_loses_data_is_proposed_while_the_disk_fails() {
    let mut bench = Bench::healthy();
    bench.seen.data.unavailable = Some("data unavailable: no superblock".into());
    assert!(steps(&bench).contains("data format"));
    bench.seen.data.disk_fails = true;
    let steps = steps(&bench);
    assert!(!steps.contains("format") && !steps.contains("reboot"), "{steps}");
    assert!(steps.contains("wait") && steps.contains("what cannot be read is lost"), "{steps}");
}

#[test]
fn volumes_are_removed_only_where_it_is_known_that_nothing_uses_them() {
    let check = |change: fn(&mut Bench), expect: bool| {
        let mut bench = Bench::healthy();
        let (instance, name) = ("site".into(), "old".into());
        let old = VolumeUse { instance, name, used: Some(1 << 30), size: None, in_use: false };
        bench.seen.room.volumes = vec![old];
        bench.seen.room.available = 1 << 20;
        change(&mut bench);
        let full = bench.findings().into_iter().find(|finding| finding.code == "disk-full").unwrap();
        let steps = format!("{:?}", full.next);
        assert_eq!(steps.contains("volumes rm site.old"), expect, "{steps}");
    };
    check(|_| {}, true);
    check(|b| b.desired.lost = true, false);
    check(|b| b.seen.documents.generation = 0, false);
    check(|b| b.seen.documents.unusable = vec!["generation 4 is not used".into()], false);
}

#[test]
fn what_is_kept_for_the_box_is_no_room() {
    let mut bench = Bench::healthy();
    bench.files(4096 + 200);
    let findings = bench.findings();
    assert_eq!(findings[0].message, "containers can make 200 more files on data: 95704 of 95904 are used");
}

/// Files that would be few where they had run out before are none of it.
#[test]
fn where_bytes_are_few_it_is_bytes() {
    let mut bench = Bench::healthy();
    bench.files(4096 + 400);
    bench.seen.room.full = Some("data is full: less than 64 MiB are left".into());
    (bench.seen.room.size, bench.seen.room.available) = (10 << 30, 30 << 20);
    bench.seen.room.images_unused = 1 << 30;
    let finding = bench.findings().remove(0);
    assert!(finding.message.starts_with("data is full: less than 64 MiB"), "{finding:?}");
}

#[test]
fn who_is_killed_without_a_limit_is_not_told_to_take_more() {
    let check = |unit: &str, whose: &str, why: &str| {
        let mut bench = Bench::healthy();
        bench.seen.machine.kills = vec![Kill { process: "nginx".into(), unit: unit.into(), of_box: false }];
        let finding = bench.findings().remove(0);
        assert!(finding.message.ends_with(whose), "{finding:?}");
        assert!(format!("{:?}", finding.next).contains(why), "{finding:?}");
    };
    check("holdfast-site.db.service", "no memory left, and it has no limit", "limits it");
    check("holdfast-site.web.service", "it had used up its limit", "gives it more");
    check("holdfast-gone.web.service", "it had used up its limit", "gives it more");
}

#[test]
fn the_worst_comes_first() {
    let mut bench = Bench::healthy();
    bench.seen.data.repaired = true;
    bench.seen.clock.synchronized = false;
    bench.observed.admin_keys = None;
    let order: Vec<_> = bench.findings().into_iter().map(|finding| finding.severity).collect();
    assert_eq!(order, [Failed, Degraded, Notice]);
}

/// The command line's own tests read them.
#[test]
fn commands_are_those_of_the_list() {
    let commands: BTreeSet<String> = found()
        .into_iter()
        .flat_map(|finding| finding.next)
        .filter_map(|next| match next {
            Next::Run { command, .. } => Some(command + "\n"),
            _ => None,
        })
        .collect();
    let commands = commands.into_iter().collect::<String>();
    assert_eq!(commands, include_str!("commands.txt"), "src/doctor/commands.txt has to say\n{commands}");
}

#[test]
fn lines_for_the_document_are_the_language() {
    for finding in found() {
        for next in finding.next {
            let Next::Write { lines, .. } = next else { continue };
            let lines = [
                ("ADDRESS/PREFIX", "192.0.2.7/24"),
                ("GATEWAY", "192.0.2.1"),
                ("\"PORT:", "\"8081:"),
                ("SIZE", "64M"),
                ("…", "x"),
                ("steps.NAME", "steps.migrate"),
                ("AAAAx", "AAAAC3NzaC1lZDI1NTE5AAAAIJqZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZ"),
                (
                    "-----BEGIN CERTIFICATE-----x",
                    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
                ),
            ]
            .iter()
            .fold(lines.replace("AAAA…", "AAAAx"), |lines, (from, to)| lines.replace(from, to));
            let recipe = "[[recipe]]\nname = \"x\"\n";
            let image = if lines.contains("image =") { "" } else { "\nimage = \"r.example.org/x:1\"" };
            let document = match lines.split_once('\n') {
                Some((table, _)) if table.starts_with("[recipe.containers") => {
                    format!("{recipe}{lines}{image}\n")
                }
                Some((table, _)) if table.starts_with("[recipe.") => format!("{recipe}{lines}\n"),
                _ => lines.clone(),
            };
            let parsed = recipes::user_data::parse("x", &document);
            parsed.unwrap_or_else(|errors| panic!("{document}\n{errors:?}"));
        }
    }
}

#[test]
fn kills_are_read_from_the_kernels_log() {
    let line = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=ctr,mems_allowed=0,oom_memcg=/system.slice/\
                holdfast-site.web.service/ctr,task_memcg=/system.slice/holdfast-site.web.service/ctr,task=tail,pid=812,uid=0";
    let unit = "holdfast-site.web.service".to_owned();
    assert_eq!(Kill::parse(line), Some(Kill { process: "tail".into(), unit, of_box: false }));
    let line =
        "[  9.1] oom-kill:constraint=CONSTRAINT_NONE,global_oom,task_memcg=/user.slice,task=sh,pid=1,uid=0";
    assert_eq!(
        Kill::parse(line),
        Some(Kill { process: "sh".into(), unit: "/user.slice".into(), of_box: true })
    );
    assert_eq!(Kill::parse("Out of memory: Killed process 7 (sh)"), None);
}

#[test]
fn sizes_are_short() {
    for (bytes, expect) in [(0, "0 bytes"), (1 << 20, "1.0 MiB"), (64 << 20, "64 MiB"), (3 << 29, "1.5 GiB")]
    {
        assert_eq!(size(bytes), expect);
    }
}
