//! What is right alone and does not fit together.

use insta::assert_snapshot;

use crate::of_recipe;

#[test]
fn what_does_not_fit_together_is_told() {
    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
volumes = { daat = "/data" }
secrets = ["title", "kye"]
[volumes.data]
[params.title]
default = "x"
[params.key]
type = "secret"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:13: there is no volume `daat`
      5 | volumes = { daat = "/data" }
        |             ^^^^
      hint: did you mean `data`?

    x.toml:6:12: `title` is a parameter of type `string`, no secret
      6 | secrets = ["title", "kye"]
        |            ^^^^^^^
      hint: declare it with `type = "secret"`, or give it by `env` or `files`

    x.toml:6:21: there is no parameter `kye`
      6 | secrets = ["title", "kye"]
        |                     ^^^^^
      hint: did you mean `key`?
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
command = ["{{ params.key }}"]
[params.key]
type = "secret"
generate = "hex:16"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:13: `params.key` is a secret, which cannot stand here
      5 | command = ["{{ params.key }}"]
        |             ^^^^^^^^^^^^^^^^
      hint: a secret goes into `env`, `files` or `secrets`: nothing else keeps it from being seen
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
env = { A = "{{ params.titel }}", B = "{{ params.title | upper }}", C = "{{ x" }
[params.title]
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:14: `params.titel` leads to no parameter
      5 | env = { A = "{{ params.titel }}", B = ****************************, C = ****** }
        |              ^^^^^^^^^^^^^^^^^^
      hint: did you mean `params.title`?

    x.toml:5:40: `B` is a template with more than a path in it: `params.title | upper`
      5 | env = { A = "{{ params.titel }}", B = ****************************, C = ****** }
        |                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: a template is `{{ params.NAME }}`, `{{ instance.name }}`, `{{ box.hostname }}` or `{{ steps.NAME.output }}`; write `{{{{` for a literal `{{`

    x.toml:5:74: `C` is a text with `{{` and without `}}`
      5 | …{{ params.titel }}", B = ****************************, C = ****** }
        |                                                              ^^^^
      hint: a template is `{{ params.NAME }}`, `{{ instance.name }}`, `{{ box.hostname }}` or `{{ steps.NAME.output }}`; write `{{{{` for a literal `{{`
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
env = { A = "{{ steps.s.output }}" }
[steps.s]
run = ["s"]
image = "registry.example.org/tools:2"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:14: `steps.s.output` is not known without a `require` on its step
      5 | env = { A = "{{ steps.s.output }}" }
        |              ^^^^^^^^^^^^^^^^^^^^
      hint: add it to containers.web: `require = ["steps.s"]`
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
memory = "{{ params.on }}"
pids = "{{ params.n }}0"
[params.on]
type = "boolean"
[params.n]
type = "integer"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:11: `params.on` is of type `boolean`, which does not fit here
      5 | memory = "{{ params.on }}"
        |           ^^^^^^^^^^^^^^^
      hint: what fits is a parameter of one of the types `size` and `integer`

    x.toml:6:8: `pids` is a template with other text
      6 | pids = "{{ params.n }}0"
        |        ^^^^^^^^^^^^^^^^^
      hint: write one template and nothing beside it: "{{ params.NAME }}"
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
ports = ["{{ params.port }}:80"]
[params.port]
default = "http"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:3:13: `ports` of containers.web is filled in with something that is not a port from 1 to 65535
      3 | [containers.web]
        |             ^^^
      hint: see what the parameters in it can be, and their defaults
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
require = ["steps.s"]
[steps.s]
run = ["s"]
in = "web"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:12: a circle: `containers.web` waits for `steps.s` waits for `containers.web`
      5 | require = ["steps.s"]
        |            ^^^^^^^^^
      hint: take one of these requirements away
    "#);

    let text = r#"[recipe]
name = "a"
order = "declared"
[containers.a]
image = "registry.example.org/web:1"
require = ["containers.b"]
[containers.b]
image = "registry.example.org/web:1"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:6:12: a circle: `containers.a` waits for `containers.b` waits for `containers.a`
      6 | require = ["containers.b"]
        |            ^^^^^^^^^^^^^^
      hint: with `order = "declared"` each also waits for those written before it
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
require = ["containers.wbe", "web"]
[steps.web]
run = ["x"]
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:12: `containers.wbe` does not exist
      5 | require = ["containers.wbe", "web"]
        |            ^^^^^^^^^^^^^^^^
      hint: did you mean `containers.web`?

    x.toml:5:30: `require` is a name without its kind
      5 | require = ["containers.wbe", "web"]
        |                              ^^^^^
      hint: write "containers.web" or "steps.web"

    x.toml:6:1: a step without `in` or `image`
      6 | [steps.web]
        | ^^^^^^^^^^^
      hint: add `in = "CONTAINER"`, or `image = "…"` to run it as a container of its own

    x.toml:6:8: `steps.web` has the name of `containers.web`
      6 | [steps.web]
        |        ^^^
      hint: containers and steps share one name space: choose another name
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
[steps.s]
run = []
in = "web"
env = { A = "b" }
when = "always"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:6:1: `run` is empty
      6 | run = []
        | ^^^
      hint: write the program: run = ["/usr/bin/notes"]

    x.toml:8:1: `env` in a step with `in`
      8 | env = { A = *** }
        | ^^^
      hint: a step in a container has what that container has; with `image` it takes its own

    x.toml:9:8: `when` cannot be "always"
      9 | when = "always"
        |        ^^^^^^^^
      hint: there are `once`, `change` and `boot`
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
tmpfs = ["/data"]
ports = ["80:80", "0.0.0.0:80:81"]
[containers.web.volumes]
data = "/data"
[volumes.data]
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:3:13: `web` publishes port 80 of the box twice
      3 | [containers.web]
        |             ^^^
      hint: publish it on another port or address

    x.toml:5:1: `/data` is in `volumes` and in `tmpfs`
      5 | tmpfs = ["/data"]
        | ^^^^^
      hint: give one of them another path
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
[containers.web.health]
http = "http://localhost/"
tcp = ":80"
interval = "0s"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:1: a health check with several probes
      5 | [containers.web.health]
        | ^^^^^^^^^^^^^^^^^^^^^^^
      hint: write one of `http = ":8080/"`, `tcp = ":5432"` and `command = ["…"]`

    x.toml:6:8: `http` is not the target of an HTTP probe
      6 | http = "http://localhost/"
        |        ^^^^^^^^^^^^^^^^^^^
      hint: write `:PORT/PATH` of the container itself, such as ":8080/healthz"

    x.toml:8:12: `interval` is not from 1s to 1d
      8 | interval = "0s"
        |            ^^^^
      hint: write a time span such as "1d"
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
ports = ["80:80", "80:81"]
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:3:13: `web` publishes port 80 of the box twice
      3 | [containers.web]
        |             ^^^
      hint: publish it on another port or address
    "#);
}
