//! `from-compose.md` says of each key of Compose what the parser says, and its examples are accepted.

use std::collections::BTreeSet;

use recipes::recipe;

const PAGE: &str = include_str!("../from-compose.md");

/// Every key of a service, a health check and the top level (the Compose Specification, November 2026).
const SERVICE: &str = "annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs \
    container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset \
    credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname \
    driver_opts entrypoint env_file environment expose extends external_links extra_hosts gpus group_add \
    healthcheck hostname image init ipc isolation label_file labels links logging mac_address mem_limit \
    mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable oom_score_adj pid \
    pids_limit platform ports post_start pre_stop privileged profiles provider pull_policy read_only restart \
    runtime scale secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls \
    tmpfs tty ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir";
const HEALTH: &str = "disable interval retries start_interval start_period test timeout";
const TOP: &str = "configs include models name networks secrets services version volumes";

/// What the parser knows of a key.
#[derive(Debug, PartialEq)]
enum Known {
    /// It is a key of ours, too.
    Ours,
    /// It is somebody else's, and answered.
    Foreign,
    /// It is nobody's.
    No,
}

fn known(head: &str, key: &str) -> Known {
    let text = format!("{head}\n{key} = 2026-11-29\n");
    let errors = recipe::parse("x.toml", &text).expect_err("a date is right for no key").to_string();
    let unknown = format!("unknown key `{key}`");
    let Some((_, rest)) = errors.split_once(&unknown) else { return Known::Ours };
    let own = rest.split("\n\n").next().unwrap_or_default();
    if own.contains("hint: ") && !own.contains("did you mean") { Known::Foreign } else { Known::No }
}

/// The rows of the table below a heading: the keys, and what is said of them.
fn rows(heading: &str) -> Vec<(Vec<&'static str>, &'static str)> {
    let section = PAGE.split_once(&format!("\n{heading}\n")).expect("the heading").1;
    let section = section.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let (there, here) = line[2..].split_once(" | ").expect("two columns");
        let keys = there.split('`').skip(1).step_by(2);
        (keys.map(|key| key.split(':').next().unwrap_or_default()).collect(), here)
    })
    .collect()
}

fn check(heading: &str, head: &str, keys: &str) {
    let keys: BTreeSet<&str> = keys.split_whitespace().collect();
    let rows = rows(heading);
    let told: BTreeSet<&str> = rows.iter().flat_map(|(keys, _)| keys.iter().copied()).collect();
    let missing: Vec<_> = keys.difference(&told).collect();
    assert!(missing.is_empty(), "{heading} says nothing of {missing:?}");
    for (there, here) in rows {
        for key in there.into_iter().filter(|key| keys.contains(key)) {
            let known = known(head, key);
            assert_ne!(known, Known::No, "the parser has no answer to `{key}`");
            let same = here.starts_with("The same");
            assert!(!same || known == Known::Ours, "`{key}` is not the same: it is not a key here");
            assert!(!here.starts_with("None") || known == Known::Foreign, "`{key}` is a key here");
        }
    }
}

#[test]
fn each_key_is_told_and_answered() {
    const IMAGE: &str = "image = \"localhost/web:1\"";
    let container = format!("[recipe]\nname = \"a\"\n[containers.web]\n{IMAGE}");
    // The image stands once.
    let own = "[recipe]\nname = \"a\"\n[containers.web]";
    assert_eq!(known(own, "image"), Known::Ours);
    check("## Services", &container, &SERVICE.replace(" image ", " "));
    check("### healthcheck", &format!("{container}\n[containers.web.health]"), HEALTH);
    check("## The other levels", "", TOP);
}

#[test]
fn the_examples_are_accepted() {
    let examples: Vec<&str> =
        PAGE.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        recipe::parse("from-compose.md", example).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

/// Each `key = value` of a table's right side is accepted where it belongs.
fn accepted(heading: &str, head: &str) -> usize {
    let spans = rows(heading).into_iter().flat_map(|(_, here)| here.split('`').skip(1).step_by(2));
    let lines = spans.filter(|span| span.contains(" = ") && span.starts_with(char::is_alphabetic));
    let lines: Vec<String> = lines
        .map(|line| match line.strip_prefix("content = ") {
            Some(content) => format!("files = {{ \"/etc/key\" = {{ content = {content} }} }}"),
            None => line.to_owned(),
        })
        .collect();
    for line in &lines {
        let text = format!(
            "[recipe]\nname = \"a\"\n[params.key]\ntype = \"secret\"\ngenerate = \"hex:8\"\n\
             [containers.web]\nimage = \"localhost/web:1\"\n{head}{line}\n"
        );
        let text = text.replace("params.NAME", "params.key");
        recipe::parse("x.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    }
    lines.len()
}

#[test]
fn what_the_tables_show_is_accepted() {
    assert!(accepted("## Services", "") >= 7);
    assert!(accepted("### healthcheck", "[containers.web.health]\n") >= 3);
}
