//! Plans, on a box that does what they say.

use super::world::World;
use crate::action::{Action, Plan};
use crate::container::ContainerName;
use crate::healing::DEGRADED_AFTER;
use crate::memory::Notice;
use crate::observed::{Exit, UnitState};
use crate::standing::{self, Standing};

const SITE: &str = r#"
[box]
hostname = "hub1"
[[recipe]]
name = "site"
[recipe.params.key]
type = "secret"
generate = "hex:16"
[recipe.volumes.data]
size = "1G"
[recipe.containers.web]
image = "r.example/web:1"
ports = ["80:8080"]
secrets = ["key"]
volumes = { data = "/data" }
health = { http = ":8080/" }
"#;

fn unit(world: &World, name: &str) -> UnitState {
    world.observed.container(&ContainerName::parse(name).unwrap()).unit
}

fn runs(world: &World, name: &str) -> bool {
    matches!(unit(world, name), UnitState::Running { .. })
}

/// Ids of a plan's actions, those ready first marked with `!`.
fn ids(world: &World, plan: &Plan) -> Vec<String> {
    let ready: Vec<String> = plan.ready(world.now).map(|p| p.action.id()).collect();
    let mark = |id: String| if ready.contains(&id) { format!("!{id}") } else { id };
    plan.actions.iter().map(|p| mark(p.action.id())).collect()
}

fn standing(world: &World, name: &str) -> Standing {
    let desired = world.desired();
    standing::instance(&desired.instances[name], &world.observed, &world.memory, &world.plan())
}

#[test]
fn a_running_container_is_told_of_other_name_servers() {
    let mut world = World::new(SITE);
    world.settle();
    world.observed.resolvers = vec!["9.9.9.9".parse().unwrap()];
    assert_eq!(world.settle(), ["hosts:site.web"]);
    assert!(runs(&world, "site.web"));
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn nothing_is_removed_while_no_document_can_be_read() {
    let mut world = World::new(SITE);
    world.settle();
    let before = world.observed.firewall.clone();
    world.instances.clear();
    world.facts.lost = true;
    assert_eq!(world.settle(), [""; 0]);
    assert!(runs(&world, "site.web"));
    assert_eq!(world.observed.firewall, before, "its port stays open");
    world.facts.lost = false;
    assert!(world.settle().contains(&"remove:site".to_owned()), "an empty document is another thing");
}

#[test]
fn a_new_box_is_brought_up_and_a_second_time_nothing_is_done() {
    let mut world = World::new(SITE);
    let done = world.settle();
    for id in
        ["allocate:site", "volume:site.data", "secret:site.key", "fetch:r.example/web:1", "start:site.web"]
    {
        assert_eq!(done.iter().filter(|d| *d == id).count(), 1, "{id} in {done:?}");
    }
    assert_eq!(world.plan(), Plan::default());
    assert_eq!(world.settle(), Vec::<String>::new());
    let before = |a: &str, b: &str| {
        let at = |id: &str| done.iter().position(|d| d == id).unwrap();
        assert!(at(a) < at(b), "{a} before {b} in {done:?}");
    };
    before("adopt:r.example/web:1", "pin:site:r.example/web:1");
    before("pin:site:r.example/web:1", "bundle:site.web");
    before("network:site", "attach:site.web");
    before("attach:site.web", "start:site.web");
    before("bundle:site.web", "start:site.web");
}

#[test]
fn the_whole_plan_is_shown_at_once() {
    let world = World::new(SITE);
    insta::assert_snapshot!(ids(&world, &world.plan()).join("\n"), @r"
    !admin-keys
    !network
    !hostname
    !time
    !firewall
    !allocate:site
    !volume:site.data
    !secret:site.key
    network:site
    !fetch:r.example/web:1
    adopt:r.example/web:1
    attach:site.web
    bundle:site.web
    start:site.web
    ");
}

#[test]
fn no_plan_holds_a_secret() {
    let mut world = World::new(SITE);
    for _ in 0..10 {
        let plan = format!("{:?}", world.plan());
        assert!(!plan.contains("hunter2"), "{plan}");
        assert!(!format!("{:?}", world.desired()).contains("hunter2"));
        world.round();
    }
}

#[test]
fn a_reboot_starts_what_ran_from_what_is_there() {
    let mut world = World::new(SITE);
    world.settle();
    world.reboot();
    let done = world.settle();
    assert!(done.contains(&"start:site.web".to_owned()));
    for id in ["fetch:", "allocate:", "volume:", "secret:", "remove:"] {
        assert!(!done.iter().any(|d| d.starts_with(id)), "{done:?}");
    }
    assert!(runs(&world, "site.web"));
}

#[test]
fn a_new_agent_takes_over_what_runs() {
    let mut world = World::new(SITE);
    world.settle();
    world.restart_agent();
    assert_eq!(world.settle(), Vec::<String>::new());
}

#[test]
fn a_failing_image_holds_up_its_own_instance_only() {
    let both = format!(
        "{SITE}\n[[recipe]]\nname = \"other\"\n[recipe.containers.app]\nimage = \"r.example/app:1\"\n"
    );
    let mut world = World::new(&both);
    world.failing.insert("fetch:r.example/web:1".into());
    world.settle();
    assert!(runs(&world, "other.app"));
    assert!(
        matches!(standing(&world, "site"), Standing::Degraded(reason) if reason.contains("told to fail"))
    );
    assert_eq!(standing(&world, "other"), Standing::Healthy);
    world.failing.clear();
    assert_eq!(world.settle(), Vec::<String>::new(), "not before its time");
    world.now += 1_000;
    world.settle();
    assert!(runs(&world, "site.web"));
}

#[test]
fn a_change_of_configuration_recreates_the_container_and_no_other() {
    let two = |env: &str| {
        format!(
            "[[recipe]]\nname = \"s\"\n[recipe.containers.a]\nimage = \"r.example/a:1\"\nenv = {{ X = \"{env}\" }}\n\
             [recipe.containers.b]\nimage = \"r.example/b:1\"\n"
        )
    };
    let mut world = World::new(&two("1"));
    world.settle();
    world.accept(&two("2"));
    assert_eq!(
        world.settle(),
        ["stop:s.a", "remove:s.a", "attach:s.a", "bundle:s.a", "start:s.a"],
        "b is left alone"
    );
}

#[test]
fn a_new_sibling_is_told_to_those_that_run() {
    let one = "[[recipe]]\nname = \"s\"\n[recipe.containers.a]\nimage = \"r.example/a:1\"\n";
    let mut world = World::new(one);
    world.settle();
    world.accept(&format!("{one}[recipe.containers.b]\nimage = \"r.example/a:1\"\n"));
    let done = world.settle();
    assert!(done.contains(&"hosts:s.a".to_owned()), "{done:?}");
    assert!(!done.contains(&"stop:s.a".to_owned()), "{done:?}");
}

#[test]
fn what_is_no_longer_listed_goes_and_its_volumes_stay() {
    let mut world = World::new(SITE);
    world.settle();
    world.accept("[box]\nhostname = \"hub1\"\n");
    let done = world.settle();
    assert_eq!(done, ["firewall", "stop:site.web", "remove:site.web", "remove:site"]);
    assert_eq!(world.observed.volumes.len(), 1);
    let ids = world.observed.records["site"].allocation.id_base;
    world.accept(SITE);
    let done = world.settle();
    assert!(!done.iter().any(|d| d.starts_with("volume:") || d.starts_with("secret:")), "{done:?}");
    assert!(runs(&world, "site.web"));
    assert_eq!(world.observed.records["site"].allocation.id_base, ids);
}

#[test]
fn a_container_that_ends_is_started_again_with_growing_waits() {
    let mut world = World::new(SITE);
    world.settle();
    let mut waits = Vec::new();
    for _ in 0..7 {
        world.end("site.web", Exit::Code(1));
        world.note();
        assert_eq!(world.settle(), Vec::<String>::new());
        let due = world.plan().next_due(world.now).unwrap();
        waits.push(due - world.now);
        world.now = due;
        assert_eq!(world.settle(), ["start:site.web"]);
        world.note();
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
}

#[test]
fn after_five_failures_the_instance_is_degraded_and_still_tried() {
    let mut world = World::new(SITE);
    world.settle();
    let mut told = Vec::new();
    for _ in 0..DEGRADED_AFTER {
        world.end("site.web", Exit::OutOfMemory);
        told.extend(world.note());
        world.now += 60_000;
        world.settle();
    }
    assert_eq!(told.iter().filter(|n| matches!(n, Notice::Degraded(_, 5))).count(), 1, "{told:?}");
    assert!(runs(&world, "site.web"));
    let reason = match standing(&world, "site") {
        Standing::Degraded(reason) => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason.contains("5 times in a row, last it ran out of memory"), "{reason}");
    world.probe("site.web", Ok(()));
    world.note();
    assert_eq!(standing(&world, "site"), Standing::Healthy);
}

#[test]
fn unhealthy_is_stopped_and_started_again() {
    let mut world = World::new(SITE);
    world.settle();
    world.now += 60_000;
    world.probe("site.web", Ok(()));
    for _ in 0..3 {
        world.probe("site.web", Err("port 8080: refused"));
    }
    let told = world.note();
    assert!(
        matches!(told.as_slice(), [Notice::Unhealthy(_, reason)] if reason.contains("refused")),
        "{told:?}"
    );
    assert_eq!(world.settle(), ["stop:site.web"]);
    world.now += 1_000;
    assert_eq!(world.settle(), ["start:site.web"]);
    assert_eq!(world.memory.containers.values().next().unwrap().healing.failures, 1);
}

#[test]
fn why_an_unhealthy_container_is_stopped_is_said_until_it_runs_again() {
    for (policy, down) in [
        ("always", Standing::Settling("site.web was unhealthy and is started again".into())),
        ("on-failure", Standing::Settling("site.web was unhealthy and is started again".into())),
        ("never", Standing::Degraded("site.web was unhealthy and is not restarted".into())),
    ] {
        let mut world = World::new(&format!("{SITE}restart = \"{policy}\"\n"));
        world.settle();
        world.probe("site.web", Ok(()));
        for _ in 0..3 {
            world.probe("site.web", Err("port 8080: refused"));
        }
        world.note();
        let stands = Standing::Degraded("site.web is unhealthy: port 8080: refused".into());
        assert_eq!(standing(&world, "site"), stands, "{policy}");
        let name = ContainerName::parse("site.web").unwrap();
        world.observed.containers.get_mut(&name).unwrap().unit = UnitState::Stopping;
        world.note();
        assert_eq!(standing(&world, "site"), stands, "{policy}");
        // Well though it ended.
        world.end("site.web", Exit::Code(0));
        world.note();
        assert_eq!(standing(&world, "site"), down, "{policy}");
        world.now += 60_000;
        let done = world.settle();
        assert_eq!(done.is_empty(), policy == "never", "{policy}: {done:?}");
    }
}

#[test]
fn restart_policies() {
    let check = |policy: &str, exit: Exit, again: bool| {
        let text = format!(
            "[[recipe]]\nname = \"s\"\n[recipe.containers.a]\nimage = \"r.example/a:1\"\nrestart = \"{policy}\"\n"
        );
        let mut world = World::new(&text);
        world.settle();
        world.end("s.a", exit);
        world.note();
        world.now += 60_000;
        let expect: &[&str] = if again { &["start:s.a"] } else { &[] };
        assert_eq!(world.settle(), expect, "{policy} {exit}");
        world.restart_agent();
        assert_eq!(world.settle(), Vec::<String>::new(), "{policy} {exit}, to a new agent");
        world.reboot();
        world.settle();
        assert!(runs(&world, "s.a"), "{policy} after a reboot");
    };
    check("always", Exit::Code(0), true);
    check("always", Exit::Code(1), true);
    check("on-failure", Exit::Code(0), false);
    check("on-failure", Exit::Code(1), true);
    check("on-failure", Exit::Signal(9), true);
    check("on-failure", Exit::OutOfMemory, true);
    check("never", Exit::Code(0), false);
    check("never", Exit::Code(1), false);
}

#[test]
fn a_restart_that_was_asked_for_is_no_failure() {
    let mut world = World::new(SITE);
    world.settle();
    world.note();
    world.memory.restart([ContainerName::new("site", "web")]);
    assert_eq!(world.settle(), ["stop:site.web", "start:site.web"]);
    assert_eq!(world.memory.containers.values().next().unwrap().healing.failures, 0);
    assert_eq!(world.settle(), Vec::<String>::new());
}

const ORDERED: &str = r#"
[[recipe]]
name = "s"
[recipe.containers.db]
image = "r.example/db:1"
health = { tcp = ":5432" }
[recipe.containers.app]
image = "r.example/app:1"
env = { PORT = "{{ steps.choose.output }}" }
require = ["steps.choose"]
[recipe.steps.choose]
run = ["choose"]
in = "db"
[recipe.steps.seed]
image = "r.example/app:1"
run = ["seed"]
require = ["containers.app"]
when = "boot"
"#;

#[test]
fn requirements_are_waited_for() {
    let mut world = World::new(ORDERED);
    world.settle();
    assert!(runs(&world, "s.db") && !runs(&world, "s.app"));
    let plan = world.plan();
    let step = plan.actions.iter().find(|p| p.action.id() == "step:s.choose").unwrap();
    assert_eq!(step.waits, ["s.db to be healthy"]);
    world.probe("s.db", Ok(()));
    let done = world.settle();
    let at = |id: &str| done.iter().position(|d| d == id).unwrap_or_else(|| panic!("{id} in {done:?}"));
    assert!(at("step:s.choose") < at("bundle:s.app") && at("start:s.app") < at("step:s.seed"));
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn steps_run_as_often_as_they_say() {
    let mut world = World::new(ORDERED);
    world.settle();
    world.probe("s.db", Ok(()));
    world.settle();
    world.reboot();
    world.settle();
    world.probe("s.db", Ok(()));
    world.settle();
    let count = |id: &str| world.done.iter().filter(|d| *d == id).count();
    assert_eq!((count("step:s.choose"), count("step:s.seed")), (1, 2));
}

#[test]
fn a_step_follows_changes_of_files() {
    let with = |content: &str, memory: &str| {
        format!(
            "[[recipe]]\nname = \"s\"\n[recipe.containers.a]\nimage = \"r.example/a:1\"\nmemory = \"{memory}\"\n\
             files = {{ \"/etc/x\" = {{ content = \"{content}\" }} }}\n\
             [recipe.steps.m]\nrun = [\"m\"]\nin = \"a\"\nwhen = \"change\"\n"
        )
    };
    let mut world = World::new(&with("1", "64M"));
    world.settle();
    world.accept(&with("2", "64M"));
    let done = world.settle();
    assert_eq!(done.iter().filter(|d| *d == "step:s.m").count(), 1, "{done:?}");
    let start = done.iter().position(|d| d == "start:s.a").unwrap();
    assert!(start < done.iter().position(|d| d == "step:s.m").unwrap(), "{done:?}");
    world.accept(&with("2", "128M"));
    assert!(!world.settle().contains(&"step:s.m".to_owned()), "memory is neither image, parameter nor file");
}

#[test]
fn a_step_waits_for_a_required_container_to_be_made_anew() {
    let with = |word: &str| {
        format!(
            "[[recipe]]\nname = \"s\"\n[recipe.params.word]\ntype = \"string\"\ndefault = \"{word}\"\n\
             [recipe.containers.a]\nimage = \"r.example/a:1\"\nenv = {{ WORD = \"{{{{ params.word }}}}\" }}\n\
             [recipe.containers.b]\nimage = \"r.example/a:1\"\n\
             [recipe.steps.ask]\nin = \"b\"\nrun = [\"ask\"]\nwhen = \"change\"\n\
             require = [\"containers.a\"]\n"
        )
    };
    let mut world = World::new(&with("one"));
    world.settle();
    world.accept(&with("two"));
    let done = world.settle();
    let at = |id: &str| done.iter().position(|d| d == id).unwrap_or_else(|| panic!("{id} in {done:?}"));
    assert!(at("start:s.a") < at("step:s.ask"), "{done:?}");
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn a_step_that_fails_is_tried_again_and_degrades_after_its_retries() {
    let text = "[[recipe]]\nname = \"s\"\n[recipe.containers.a]\nimage = \"r.example/a:1\"\n\
                [recipe.steps.m]\nrun = [\"m\"]\nin = \"a\"\nretries = 1\n";
    let mut world = World::new(text);
    world.failing.insert("step:s.m".into());
    world.settle();
    assert!(matches!(standing(&world, "s"), Standing::Settling(_)), "{:?}", standing(&world, "s"));
    world.now += 60_000;
    world.settle();
    assert!(matches!(standing(&world, "s"), Standing::Degraded(_)));
    world.failing.clear();
    world.now += 60_000;
    world.settle();
    assert_eq!(standing(&world, "s"), Standing::Healthy);
}

/// Pulls `new` for the image of `site.web`.
fn pull(world: &mut World, new: &str) {
    let pin = world.observed.records.get_mut("site").unwrap().pins.get_mut("r.example/web:1").unwrap();
    let old = std::mem::replace(&mut pin.digest, new.to_owned());
    pin.previous = Some(old);
    world.observed.images.insert(new.to_owned());
}

#[test]
fn a_pulled_image_is_kept_once_healthy() {
    let mut world = World::new(SITE);
    world.settle();
    world.probe("site.web", Ok(()));
    pull(&mut world, "sha256:new");
    assert!(world.settle().contains(&"start:site.web".to_owned()));
    assert!(world.observed.records["site"].pins["r.example/web:1"].previous.is_some());
    world.probe("site.web", Ok(()));
    assert_eq!(world.settle(), ["confirm:site:r.example/web:1"]);
    assert_eq!(world.observed.records["site"].pins["r.example/web:1"].digest, "sha256:new");
}

#[test]
fn a_pulled_image_of_what_is_to_end_is_kept_once_it_ended_well() {
    let once = SITE.replace("[recipe.containers.web]", "[recipe.containers.web]\nrestart = \"never\"");
    for (code, expect) in [(0, Some(vec!["confirm:site:r.example/web:1".to_owned()])), (1, None)] {
        let mut world = World::new(&once);
        world.settle();
        world.probe("site.web", Ok(()));
        pull(&mut world, "sha256:new");
        world.settle();
        world.end("site.web", Exit::Code(code));
        world.note();
        let done = world.settle();
        assert_eq!(done, expect.unwrap_or_default(), "{code}");
    }
}

#[test]
fn a_pulled_image_that_fails_gives_way_to_the_old_one() {
    let mut world = World::new(SITE);
    world.settle();
    world.probe("site.web", Ok(()));
    let old = world.observed.records["site"].pins["r.example/web:1"].digest.clone();
    pull(&mut world, "sha256:new");
    world.settle();
    for _ in 0..3 {
        world.end("site.web", Exit::Code(1));
        world.note();
        world.now += 60_000;
        world.settle();
    }
    let pin = &world.observed.records["site"].pins["r.example/web:1"];
    assert_eq!((pin.digest.as_str(), pin.previous.as_ref()), (old.as_str(), None));
    assert!(runs(&world, "site.web"));
}

#[test]
fn a_pinned_image_that_was_lost_is_fetched_by_its_digest() {
    let mut world = World::new(SITE);
    world.settle();
    world.observed.images.clear();
    world.reboot();
    let plan = world.plan();
    let fetch = plan.actions.iter().find(|p| p.action.id().starts_with("fetch:")).unwrap();
    assert!(
        matches!(&fetch.action, Action::FetchImage { digest: Some(digest), .. } if digest == "sha256:r.example/web:1")
    );
}

#[test]
fn a_download_is_kept_as_long_as_its_image_is_wanted() {
    let mut world = World::new(SITE);
    let id = crate::fingerprint::fetch("r.example/web:1");
    world.observed.downloads = [id.clone(), crate::fingerprint::fetch("r.example/web:0")].into();
    world.settle();
    assert_eq!(world.observed.downloads, [id].into());
}

#[test]
fn an_embedded_image_needs_no_registry() {
    let mut world = World::new(SITE);
    world.observed.embedded.insert("r.example/web:1".into());
    let plan = world.plan();
    assert!(plan.actions.iter().any(|p| matches!(p.action, Action::FetchImage { embedded: true, .. })));
}

#[test]
fn an_embedded_image_that_was_lost_is_had_again_without_a_registry() {
    for (digest, expect) in [("sha256:r.example/web:1", true), ("sha256:older", false)] {
        let mut world = World::new(SITE);
        world.settle();
        world.observed.images.clear();
        world.observed.embedded = ["r.example/web:1".to_owned(), format!("r.example/web:1@{digest}")].into();
        world.reboot();
        let plan = world.plan();
        let fetch = plan.actions.iter().find_map(|p| match &p.action {
            Action::FetchImage { digest: Some(_), embedded, .. } => Some(*embedded),
            _ => None,
        });
        assert_eq!(fetch, Some(expect), "{digest}");
    }
}

mod property {
    use proptest::prelude::*;

    use super::super::world::World;

    /// User-data of up to three instances, each of up to three containers with options by `bits`.
    fn document(shape: &[(u8, Vec<u8>)]) -> String {
        let mut text = String::from("format = 1\n");
        for (instance, (_, containers)) in shape.iter().enumerate() {
            text += &format!("[[recipe]]\nname = \"i{instance}\"\n[recipe.volumes.v]\n");
            for (container, bits) in containers.iter().enumerate() {
                text += &format!("[recipe.containers.c{container}]\nimage = \"r.example/x:{}\"\n", bits & 3);
                if bits & 4 != 0 {
                    text += "volumes = { v = \"/v\" }\n";
                }
                if bits & 8 != 0 {
                    text += &format!("env = {{ X = \"{bits}\" }}\n");
                }
                if bits & 16 != 0 && container > 0 {
                    text += &format!("require = [\"containers.c{}\"]\n", container - 1);
                }
            }
            if shape[instance].0 & 1 != 0 && !containers.is_empty() {
                text += "[recipe.steps.s]\nrun = [\"x\"]\nin = \"c0\"\nwhen = \"change\"\n";
            }
        }
        text
    }

    fn shapes() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..3)), 0..3)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// From any document to any other, with a reboot or a new agent between: what is done makes the
        /// next plan empty, and everything listed runs.
        #[test]
        fn done_plans_leave_nothing_to_do(first in shapes(), second in shapes(), between in 0..3u8) {
            let mut world = World::new(&document(&first));
            world.settle();
            prop_assert!(world.plan().is_empty(), "{:?}", world.plan());
            match between {
                0 => world.reboot(),
                1 => world.restart_agent(),
                _ => {}
            }
            world.accept(&document(&second));
            world.settle();
            prop_assert!(world.plan().is_empty(), "{:?}", world.plan());
            prop_assert_eq!(world.settle(), Vec::<String>::new());
            let wanted: usize = second.iter().map(|(_, containers)| containers.len()).sum();
            let running = world.observed.containers.values().filter(|c| !c.unit.is_down()).count();
            prop_assert_eq!(running, wanted);
        }
    }
}
