//! Keys: unknown ones, those of other tools, those of later releases; and types.

use insta::assert_snapshot;

use crate::of_recipe;

#[test]
fn unknown_keys_are_answered_with_ours() {
    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
imagee = "x"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:1: unknown key `imagee` in [containers.NAME]
      5 | imagee = ***
        | ^^^^^^
      hint: did you mean `image`?
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
environment = { A = "b" }
depends_on = ["db"]
mem_limit = "1g"
volumes_from = ["db"]
cap_drop = ["ALL"]
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:1: unknown key `environment` in [containers.NAME]
      5 | environment = { A = *** }
        | ^^^^^^^^^^^
      hint: it is called `env`: `env = { NAME = "value" }`

    x.toml:6:1: unknown key `depends_on` in [containers.NAME]
      6 | depends_on = [****]
        | ^^^^^^^^^^
      hint: it is called `require`: `require = ["containers.db"]`

    x.toml:7:1: unknown key `mem_limit` in [containers.NAME]
      7 | mem_limit = ****
        | ^^^^^^^^^
      hint: it is called `memory`: `memory = "256M"`

    x.toml:8:1: unknown key `volumes_from` in [containers.NAME]
      8 | volumes_from = [****]
        | ^^^^^^^^^^^^
      hint: name the volume in the `volumes` of both containers

    x.toml:9:1: unknown key `cap_drop` in [containers.NAME]
      9 | cap_drop = [*****]
        | ^^^^^^^^
      hint: all but a few capabilities are dropped already; `cap_add` gives one back
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
restart = "unless-stopped"
healthcheck = { test = "x" }
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:11: `restart` cannot be "unless-stopped"
      5 | restart = "unless-stopped"
        |           ^^^^^^^^^^^^^^^^
      hint: it is called "always": what `holdfast` stops stays stopped anyway

    x.toml:6:1: unknown key `healthcheck` in [containers.NAME]
      6 | healthcheck = { test = *** }
        | ^^^^^^^^^^^
      hint: it is called `health`: `[containers.NAME.health]`
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
volumes = ["data:/data"]
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:11: `volumes` is a list where a table belongs
      5 | volumes = ["data:/data"]
        |           ^^^^^^^^^^^^^^
      hint: volumes are named: `volumes = { data = "/var/lib/notes" }`, with a table `[volumes.data]`
    "#);

    let text = r#"version = "3"
[services.web]
image = "nginx"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:1:1: `recipe` is missing
      1 | version = ***
        | ^
      hint: add `[recipe]`

    x.toml:1:1: unknown key `version` in the document
      1 | version = ***
        | ^^^^^^^
      hint: the recipe's version stands in `[recipe]`; that of the language is `format`

    x.toml:2:2: unknown key `services` in the document
      2 | [services.web]
        |  ^^^^^^^^
      hint: write a table `[containers.NAME]` for each
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
PublishPort = ["80:80"]
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:1: unknown key `PublishPort` in [containers.NAME]
      5 | PublishPort = [*******]
        | ^^^^^^^^^^^
      hint: it is called `ports`: `ports = ["80:8080"]`
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
Read-Only = true
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:1: unknown key `Read-Only` in [containers.NAME]
      5 | Read-Only = ****
        | ^^^^^^^^^
      hint: did you mean `read_only`?
    "#);
}

#[test]
fn reserved_words_are_refused_by_name() {
    let text = r#"[recipe]
name = "a"
[routes.web]
host = "a"
[needs.db]
use = "postgres"
[provides.url]
value = "x"
[volumes.data]
backup = true
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:3:2: `routes` needs Holdfast 0.3
      3 | [routes.web]
        |  ^^^^^^
      hint: remove it: this is Holdfast 0.1.0, which does not know it yet

    x.toml:5:2: `needs` needs Holdfast 0.4
      5 | [needs.db]
        |  ^^^^^
      hint: remove it: this is Holdfast 0.1.0, which does not know it yet

    x.toml:7:2: `provides` needs Holdfast 0.4
      7 | [provides.url]
        |  ^^^^^^^^
      hint: remove it: this is Holdfast 0.1.0, which does not know it yet

    x.toml:10:1: `backup` needs Holdfast 0.3
      10 | backup = ****
         | ^^^^^^
      hint: remove it: this is Holdfast 0.1.0, which does not know it yet
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
env = { A = "{{ needs.db.url }}", B = "{{ host }}" }
require = ["needs.db"]
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:14: `A` is a template with `needs`, which needs Holdfast 0.4
      5 | env = { A = ********************, B = ************ }
        |              ^^^^^^^^^^^^^^^^^^
      hint: until then, a value that the owner gives is `{{ params.NAME }}`

    x.toml:5:40: `B` is a template with `host`, which needs Holdfast 0.4
      5 | env = { A = ********************, B = ************ }
        |                                        ^^^^^^^^^^
      hint: until then, a value that the owner gives is `{{ params.NAME }}`

    x.toml:6:12: `require` is of `needs`, which needs Holdfast 0.4
      6 | require = ["needs.db"]
        |            ^^^^^^^^^^
      hint: until then, put both into one recipe
    "#);
}

#[test]
fn types_are_told_with_an_example() {
    let text = r#"recipe = "a"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:1:10: `recipe` is a string where a table belongs
      1 | recipe = "a"
        |          ^^^
      hint: write it as `{ key = value }` or as a `[table]` of its own
    "#);

    let text = r#"[recipe]
name = 1
[containers.web]
image = true
ports = "80:80"
read_only = "yes"
env = ["A=b"]
files = { "/a" = "text" }
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:2:8: `name` is an integer where a string belongs
      2 | name = 1
        |        ^
      hint: put it in double quotes: "text"

    x.toml:4:9: `image` is a boolean where a string belongs
      4 | image = true
        |         ^^^^
      hint: put it in double quotes: "text"

    x.toml:5:9: `ports` is a string where a list belongs
      5 | ports = "80:80"
        |         ^^^^^^^
      hint: write it in brackets: ["a", "b"]

    x.toml:6:13: `read_only` is a string where a boolean belongs
      6 | read_only = "yes"
        |             ^^^^^
      hint: write true or false, without quotes

    x.toml:7:7: `env` is a list where a table belongs
      7 | env = [*****]
        |       ^^^^^^^
      hint: write it as `{ key = value }` or as a `[table]` of its own

    x.toml:8:18: text where a table with `content` belongs
      8 | files = { "/a" = ****** }
        |                  ^^^^^^
      hint: write `{ content = "…" }`
    "#);
}

/// What a service of Compose may have (the Compose specification, `05-services.md`).
const COMPOSE: &[&str] = &[
    "annotations",
    "attach",
    "blkio_config",
    "build",
    "cap_add",
    "cap_drop",
    "cgroup",
    "cgroup_parent",
    "command",
    "configs",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpu_shares",
    "cpus",
    "cpuset",
    "credential_spec",
    "depends_on",
    "deploy",
    "develop",
    "device_cgroup_rules",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extends",
    "external_links",
    "extra_hosts",
    "gpus",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "ipc",
    "isolation",
    "label_file",
    "labels",
    "links",
    "logging",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "models",
    "network_mode",
    "networks",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "platform",
    "ports",
    "post_start",
    "pre_stop",
    "privileged",
    "profiles",
    "provider",
    "pull_policy",
    "read_only",
    "restart",
    "runtime",
    "scale",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "use_api_socket",
    "user",
    "userns_mode",
    "uts",
    "volumes",
    "volumes_from",
    "working_dir",
];

#[test]
fn every_key_of_compose_is_ours_or_answered() {
    let mut ours = Vec::new();
    for key in COMPOSE {
        let text = format!("[recipe]\nname = \"a\"\n[containers.web]\n{key} = 1.5\n");
        let errors = recipes::recipe::parse("x.toml", &text).expect_err("refused");
        let unknown = errors.iter().find(|error| error.message.starts_with("unknown key"));
        let Some(unknown) = unknown else {
            ours.push(*key);
            continue;
        };
        let hint = unknown.hint.as_deref().unwrap_or_default();
        let guessed = hint.starts_with("did you mean") || hint.starts_with("there are `");
        assert!(!hint.is_empty() && !guessed, "{key}: {hint}");
    }
    assert_eq!(
        ours,
        [
            "cap_add",
            "command",
            "cpus",
            "entrypoint",
            "image",
            "ports",
            "privileged",
            "read_only",
            "restart",
            "secrets",
            "stop_signal",
            "tmpfs",
            "user",
            "volumes",
            "working_dir"
        ]
    );
}
