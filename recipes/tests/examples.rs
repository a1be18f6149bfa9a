//! The language's own examples, and the recipes of the library, are accepted and mean what they say.

use std::collections::BTreeMap;
use std::time::Duration;

use recipes::model::{
    BoxSettings, Generator, Given, GivenValue, InstanceSource, Item, ParamKind, Probe, Restart, StepPlace,
    When,
};
use recipes::resolve::{RenderContext, RenderedProbe, Text};
use recipes::{Anchor, Secret, recipe, user_data};

const RECIPE: &str = include_str!("documents/recipe.toml");
const USER_DATA: &str = include_str!("documents/user-data.toml");
const HELLO: &str = include_str!("../library/hello.toml");

fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, Given> {
    let at = Anchor::elsewhere("test");
    let given = |text: &str| Given { value: GivenValue::Text(text.to_owned()), at: at.clone() };
    pairs.iter().map(|(name, text)| ((*name).to_owned(), given(text))).collect()
}

#[test]
fn the_recipe_example_says_what_it_says() {
    let recipe = recipe::parse("recipe.toml", RECIPE).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(recipe.name, "notes");
    assert_eq!(recipe.version.as_ref().map(ToString::to_string).as_deref(), Some("1.4.0"));
    assert_eq!(recipe.params["key"].kind, ParamKind::Secret { generate: Some(Generator::Hex(32)) });
    assert_eq!(recipe.volumes["data"].size.as_ref().and_then(|size| size.value()), Some(&(10 << 30)));
    let app = recipe.container("app").expect("the container app");
    assert_eq!(app.image.to_string(), "registry.example.org/notes:1.4");
    assert_eq!(app.memory.as_ref().and_then(|m| m.value()), Some(&(256 << 20)));
    assert_eq!(app.cpus.as_ref().and_then(|c| c.value()).map(|c| c.milli()), Some(500));
    assert_eq!(app.files["/etc/notes.toml"].mode, 0o644);
    assert_eq!(app.volumes["data"].path, "/var/lib/notes");
    assert_eq!(app.restart, Restart::Always);
    let health = app.health.as_ref().expect("a health check");
    assert!(matches!(&health.probe, Probe::Http(target) if target.as_literal() == Some(":8080/healthz")));
    assert_eq!(health.start_period, Duration::from_secs(30));
    let step = recipe.step("migrate").expect("the step migrate");
    assert_eq!(step.place, StepPlace::In("app".to_owned()));
    assert_eq!(step.require, [Item::Container("app".to_owned())]);
    assert_eq!((step.when, step.timeout, step.retries), (When::Change, Duration::from_secs(600), 3));
}

#[test]
fn the_recipe_example_renders_with_parameters_and_secrets() {
    let recipe = recipe::parse("recipe.toml", RECIPE).unwrap_or_else(|errors| panic!("{errors}"));
    let params = given(&[("title", "Team A"), ("host", "a.example.org")]);
    let instance = recipe.resolve("team-a", &params, &BoxSettings::default(), &Anchor::default());
    let instance = instance.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(instance.generate, BTreeMap::from([("key".to_owned(), Generator::Hex(32))]));
    assert_eq!(instance.volumes, BTreeMap::from([("data".to_owned(), Some(10 << 30))]));
    let secrets = BTreeMap::from([("key".to_owned(), Secret::new("5ec2e7"))]);
    let context = RenderContext { secrets, box_hostname: "hub1".to_owned(), ..RenderContext::default() };
    let app = instance.render_container("app", &context).expect("it renders");
    assert_eq!(app.env["TITLE"], Text::Plain("Team A".to_owned()));
    assert_eq!(app.secrets["key"].expose(), "5ec2e7");
    assert_eq!(app.ports[0].to_string(), "127.0.0.1:8080:8080");
    assert!(
        matches!(app.health.expect("a health check").probe, RenderedProbe::Http(http) if http.path == "/healthz")
    );
}

#[test]
fn the_user_data_example_says_what_it_says() {
    let data = user_data::parse("user-data.toml", USER_DATA).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(data.settings.hostname.as_deref(), Some("hub1"));
    assert_eq!(data.settings.admins.len(), 1);
    let interface = &data.settings.interfaces[0];
    assert!(!interface.dhcp4 && interface.accept_ra && interface.routes[0].is_default());
    let registry = &data.settings.registries[0];
    assert_eq!(registry.password.as_ref().map(Secret::expose), Some("correct horse"));
    assert_eq!(data.instances.len(), 2);
    assert_eq!(data.instances[0].source, InstanceSource::Library("notes".to_owned()));
    assert_eq!(data.instances[0].name.as_deref(), Some("team-a"));
    assert!(
        matches!(&data.instances[1].source, InstanceSource::Inline(recipe) if recipe.containers.len() == 1)
    );
}

#[test]
fn every_recipe_of_the_library_is_called_as_its_file() {
    let recipe = recipe::parse("hello.toml", HELLO).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(recipe.name, "hello");
    let instance =
        recipe.resolve("hello", &given(&[("word", "Grüße")]), &BoxSettings::default(), &Anchor::default());
    let instance = instance.unwrap_or_else(|errors| panic!("{errors}"));
    let context = RenderContext { box_hostname: "hub1".to_owned(), ..RenderContext::default() };
    let web = instance.render_container("web", &context).expect("it renders");
    let page = &web.files["/usr/share/nginx/html/index.html"].content;
    assert!(
        page.plain().is_some_and(|page| page.contains("<h1>Grüße</h1>") && page.contains("hello on hub1"))
    );
}

const README: &str = include_str!("../README.md");
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn the_examples_of_the_readme_are_accepted() {
    let mut examples = README.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(""));
    let mut next = || examples.next().expect("an example").replace("ssh-ed25519 AAAA…", KEY);
    let fifteen = next();
    assert!(fifteen.lines().count() <= 15, "{fifteen}");
    user_data::parse("README.md", &fifteen).unwrap_or_else(|errors| panic!("{errors}"));
    user_data::parse("README.md", &next()).unwrap_or_else(|errors| panic!("{errors}"));
    user_data::parse("README.md", &next()).unwrap_or_else(|errors| panic!("{errors}"));
    user_data::parse("README.md", &next()).unwrap_or_else(|errors| panic!("{errors}"));
    recipe::parse("README.md", &next()).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(examples.next().is_none(), "an example that no test reads");
}

#[test]
fn the_error_in_the_readme_is_the_one_people_see() {
    let text =
        "[recipe]\nname = \"site\"\n\n[containers.web]\nimage = \"localhost/web:1\"\n\nmem_limit = \"1g\"\n";
    let shown = recipe::parse("site.toml", text).expect_err("refused").to_string();
    assert!(README.contains(&shown), "{shown}");
}
