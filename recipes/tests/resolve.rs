//! Parameters held against a recipe, and what its templates become.

use std::collections::BTreeMap;

use recipes::model::{BoxSettings, Generator, Item, Recipe, StepPlace};
use recipes::resolve::{RenderContext, RenderError, RenderedPlace, ResolvedInstance, Text};
use recipes::{Diagnostics, Secret, recipe, user_data};

const RECIPE: &str = r#"
[recipe]
name = "app"
[params.title]
pattern = "^[A-Z]"
description = "Shown on top"
[params.port]
type = "port"
default = 8080
min = 1024
[params.level]
type = "enum"
values = ["low", "high"]
default = "low"
[params.memory]
type = "size"
default = "64M"
max = "1G"
[params.wait]
type = "duration"
default = "1h 30m"
[params.key]
type = "secret"
generate = "hex:16"
[params.given]
type = "secret"
default = "open sesame"
[volumes.data]
size = "{{ params.memory }}"
[steps.token]
image = "registry.example.org/tools:1"
run = ["token", "{{ params.level }}"]
env = { KEY = "{{ params.key }}" }
secrets = ["given"]
[containers.app]
image = "registry.example.org/app:1"
require = ["steps.token"]
command = ["--title={{ params.title }}", "--wait={{ params.wait }}", "--token={{ steps.token.output }}"]
ports = ["{{ params.port }}:80"]
memory = "{{ params.memory }}"
env = { BOTH = "{{ params.title }}:{{ params.key }}", NAME = "{{ instance.name }}@{{ box.hostname }}", RAW = "{{{{ x }}" }
"#;

fn the_recipe() -> Recipe {
    recipe::parse("app.toml", RECIPE).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The instance that this user-data declares of it.
fn resolve(params: &str) -> Result<ResolvedInstance, Diagnostics> {
    let text = format!("[[recipe]]\nuse = \"app\"\nname = \"team-a\"\n{params}\n");
    let data = user_data::parse("user-data.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    data.resolve(|_| Ok(the_recipe())).map(|mut instances| instances.remove(0))
}

fn context() -> RenderContext {
    RenderContext {
        secrets: BTreeMap::from([("key".to_owned(), Secret::new("5ec2e7"))]),
        box_hostname: "hub1".to_owned(),
        step_outputs: BTreeMap::from([("token".to_owned(), Secret::new("t0ken"))]),
    }
}

fn plain(text: &str) -> Text {
    Text::Plain(text.to_owned())
}

#[test]
fn templates_become_text_and_secrets_stay_secret() {
    let instance = resolve("params = { title = \"Team\" }").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(instance.generate, BTreeMap::from([("key".to_owned(), Generator::Hex(16))]));
    assert_eq!(instance.volumes["data"], Some(64 << 20));
    let app = instance.render_container("app", &context()).expect("it renders");
    let command = app.command.clone().expect("a command");
    assert_eq!(command[..2], [plain("--title=Team"), plain("--wait=1h 30m")]);
    assert_eq!(command[2], Text::Secret(Secret::new("--token=t0ken")));
    assert_eq!(app.env["BOTH"], Text::Secret(Secret::new("Team:5ec2e7")));
    assert_eq!(app.env["NAME"], plain("team-a@hub1"));
    assert_eq!(app.env["RAW"], plain("{{ x }}"));
    assert_eq!((app.memory, app.ports[0].host, app.pids), (Some(64 << 20), 8080, 2048));
    let step = instance.render_step("token", &context()).expect("it renders");
    let RenderedPlace::OneOff(one_off) = &step.place else { panic!("{step:?}") };
    assert_eq!(one_off.secrets["given"].expose(), "open sesame");
    for text in [format!("{app:?}"), format!("{step:?}"), format!("{instance:?}"), format!("{:?}", context())]
    {
        for secret in ["5ec2e7", "t0ken", "open sesame"] {
            assert!(!text.contains(secret), "{secret} is shown: {text}");
        }
    }
}

#[test]
fn what_is_missing_is_said() {
    let instance = resolve("params = { title = \"Team\" }").unwrap_or_else(|errors| panic!("{errors}"));
    let without = |change: fn(&mut RenderContext)| {
        let mut context = context();
        change(&mut context);
        (instance.render_container("app", &context).err(), instance.render_step("token", &context).err())
    };
    let no_key = Some(RenderError::NoSecret("key".to_owned()));
    assert_eq!(without(|context| context.secrets.clear()), (no_key.clone(), no_key));
    let no_output = Some(RenderError::NoOutput("token".to_owned()));
    assert_eq!(without(|context| context.step_outputs.clear()), (no_output, None));
    let unknown = instance.render_step("app", &context()).expect_err("a container");
    assert_eq!(unknown, RenderError::Unknown(Item::Step("app".to_owned())));
}

#[test]
fn given_parameters_are_held_against_their_declarations() {
    let errors = |params: &str| resolve(params).expect_err("refused").to_string();
    insta::assert_snapshot!(errors("params = { titel = \"Team\", port = 80, level = \"medium\" }"), @r#"
    user-data.toml:2:1: `title` of recipe `app` has no value
      2 | use = "app"
        | ^^^
      hint: add `title = …` to `params`; it is of type string: Shown on top

    user-data.toml:4:12: recipe `app` has no parameter `titel`
      4 | params = { titel = ******, port = **, level = ******** }
        |            ^^^^^
      hint: did you mean `title`?

    user-data.toml:4:28: `port` is out of its range
      4 | params = { titel = ******, port = **, level = ******** }
        |                            ^^^^
      hint: it is at least 1024

    user-data.toml:4:39: `level` is not one of the values it can have
      4 | params = { titel = ******, port = **, level = ******** }
        |                                       ^^^^^
      hint: it is one of "low", "high"
    "#);
    insta::assert_snapshot!(errors("params = { title = \"team\", memory = \"2G\", wait = 5, key = true }"), @r#"
    user-data.toml:4:12: `title` is a text that does not match its pattern
      4 | params = { title = ******, memory = ****, wait = *, key = **** }
        |            ^^^^^
      hint: it must match `^[A-Z]`

    user-data.toml:4:28: `memory` is out of its range
      4 | params = { title = ******, memory = ****, wait = *, key = **** }
        |                            ^^^^^^
      hint: it is at most 1G

    user-data.toml:4:43: `wait` is an integer where a time span in quotes belongs
      4 | params = { title = ******, memory = ****, wait = *, key = **** }
        |                                           ^^^^
      hint: write it as "10s"

    user-data.toml:4:53: `key` is a boolean where a string belongs
      4 | params = { title = ******, memory = ****, wait = *, key = **** }
        |                                                     ^^^
      hint: write it as "text"
    "#);
}

#[test]
fn a_given_secret_is_used_and_not_generated() {
    let instance =
        resolve("params = { title = \"Team\", key = \"mine\" }").unwrap_or_else(|errors| panic!("{errors}"));
    assert!(instance.generate.is_empty());
    let app = instance.render_container("app", &context()).expect("it renders");
    assert_eq!(app.env["BOTH"].expose(), "Team:mine");
}

#[test]
fn instances_are_told_apart_by_name_and_port() {
    let two =
        "params = { title = \"Team\" }\n[[recipe]]\nuse = \"/srv/app.toml\"\nparams = { title = \"Other\" }";
    insta::assert_snapshot!(resolve(two).expect_err("one port").to_string(), @r#"
    user-data.toml:6:1: `app` and `team-a` both publish port 8080 of the box
      6 | use = "/srv/app.toml"
        | ^^^
      hint: publish it on another port or address
    "#);
    let same = "params = { title = \"Team\" }\n[[recipe]]\nuse = \"/srv/a.toml\"\nparams = { title = \"A\", port = 8081 }
[[recipe]]\nuse = \"/srv/b.toml\"\nparams = { title = \"B\", port = 8082 }";
    insta::assert_snapshot!(resolve(same).expect_err("one name").to_string(), @r#"
    user-data.toml:9:1: there is an instance `app` on line 6 already
      9 | use = "/srv/b.toml"
        | ^^^
      hint: give this one another `name`
    "#);
}

#[test]
fn a_privileged_container_needs_the_boxes_leave() {
    let text = "[recipe]\nname = \"a\"\n[containers.c]\nimage = \"localhost/c:1\"\nprivileged = true\n";
    let recipe = recipe::parse("a.toml", text).unwrap_or_else(|errors| panic!("{errors}"));
    let at = recipes::Anchor::elsewhere("x");
    let none = BTreeMap::new();
    assert!(recipe.resolve("a", &none, &BoxSettings::default(), &at).is_err());
    let settings = BoxSettings { allow_privileged: true, ..BoxSettings::default() };
    assert!(recipe.resolve("a", &none, &settings, &at).is_ok());
}

#[test]
fn everything_waits_for_what_was_written_before_it() {
    let text = "[recipe]\nname = \"a\"\norder = \"declared\"\n[containers.web.health]\ntcp = \":80\"\n[steps.one]
image = \"localhost/c:1\"\nrun = [\"one\"]\n[containers.web]\nimage = \"localhost/c:1\"\n[steps.two]\nin = \"web\"\nrun = [\"two\"]\n";
    let recipe = recipe::parse("a.toml", text).unwrap_or_else(|errors| panic!("{errors}"));
    let (web, one, two) = (Item::Container("web".into()), Item::Step("one".into()), Item::Step("two".into()));
    assert_eq!(recipe.declared, [web.clone(), one.clone(), two]);
    let require = |name| recipe.step(name).map(|step| step.require.clone());
    assert_eq!(require("one"), Some(vec![web.clone()]));
    assert_eq!(require("two"), Some(vec![web, one]));
    assert_eq!(recipe.step("two").map(|step| step.place.clone()), Some(StepPlace::In("web".into())));
}

#[test]
fn a_requirement_can_be_written_from_both_sides() {
    let text = "[recipe]\nname = \"a\"\n[containers.web]\nimage = \"localhost/c:1\"\n[steps.one]
image = \"localhost/c:1\"\nrun = [\"one\"]\nrequire_in = [\"containers.web\"]\n";
    let recipe = recipe::parse("a.toml", text).unwrap_or_else(|errors| panic!("{errors}"));
    let web = recipe.container("web").expect("a container");
    assert_eq!(web.require, [Item::Step("one".into())]);
}

#[test]
fn secrets_are_made_of_the_randomness_given() {
    let make = |generator: Generator, byte| {
        generator.make(&vec![byte; generator.random_bytes()]).map(|s| s.expose().to_owned())
    };
    assert_eq!(make(Generator::Hex(8), 0xab).as_deref(), Some("abababababababab"));
    assert_eq!(make(Generator::Base64(8), 0xff).as_deref(), Some("//////////8="));
    assert_eq!(make(Generator::Password(10), 0xff).as_deref(), Some("__________"));
    assert_eq!(make(Generator::Uuid, 0xff).as_deref(), Some("ffffffff-ffff-4fff-bfff-ffffffffffff"));
    assert_eq!(make(Generator::Uuid, 0x00).as_deref(), Some("00000000-0000-4000-8000-000000000000"));
    assert!(Generator::Hex(8).make(&[0; 7]).is_none(), "too little randomness makes nothing");
}
