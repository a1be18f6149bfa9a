//! What holds for every text.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use recipes::model::BoxSettings;
use recipes::resolve::{RenderContext, Text};
use recipes::shape::{self, Template, Window};
use recipes::{Anchor, recipe};

/// Lines that documents are made of, right and wrong ones.
const LINES: &[&str] = &[
    "[recipe]",
    "name = \"a\"",
    "[box]",
    "[[recipe]]",
    "use = \"b\"",
    "[recipe.containers.web]",
    "[containers.web]",
    "image = \"localhost/web:1\"",
    "image = \"web\"",
    "ports = [\"80:80\"]",
    "[params.x]",
    "type = \"secret\"",
    "default = \"s3cret\"",
    "generate = \"hex:16\"",
    "env = { A = \"{{ params.x }}\" }",
    "command = [\"{{ params.x }}\"]",
    "[steps.s]",
    "run = [\"x\"]",
    "in = \"web\"",
    "require = [\"steps.s\"]",
    "when = \"change\"",
    "[recipe",
    "\"\"\"",
    "hostname = \"hub\"",
    "admins = []",
    "password = \"s3cret\"",
    "[[box.registry]]",
    "[[box.interface]]",
    "match = 3",
    "\u{202e}# remark",
    "\t[volumes.data]",
    "size = \"10G\"",
    "]",
    "}",
    "params = { x = 1, y = true }",
    "format = 2",
    "timezone = \"Europe/Berlin\"",
    "[box.update]",
    "[box.notify]",
    "url = \"https://u:s3cret@a.example.org/x?y#z\"",
    "url = \"https://a.example.org/\"",
    "window = \"23:00-00:30\"",
    "window = \"03:00-03:01\"",
    "jitter = \"1h\"",
    "ignore = [\"a\", \"b\", \"c\"]",
    "health_timeout = \"1m\"",
];

fn document() -> impl Strategy<Value = String> {
    let line = prop_oneof![8 => prop::sample::select(LINES).prop_map(str::to_owned), 1 => "\\PC{0,40}"];
    prop::collection::vec(line, 0..24).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused_with_places_inside_it(text in "(?s).{0,300}") {
        bodies::recipe(text.as_bytes());
        bodies::user_data(text.as_bytes());
    }

    #[test]
    fn any_document_is_read_or_refused_with_places_inside_it(text in document()) {
        bodies::recipe(text.as_bytes());
        bodies::user_data(text.as_bytes());
    }

    #[test]
    fn sizes_come_back(bytes in 0..=i64::MAX as u64) {
        prop_assert_eq!(shape::size(&shape::size_text(bytes)), Ok(bytes));
        prop_assert_eq!(shape::size(&shape::size_text(bytes & !0xfffff)), Ok(bytes & !0xfffff));
    }

    #[test]
    fn durations_come_back(seconds in 0..3_000_000_000u64) {
        let duration = Duration::from_secs(seconds);
        prop_assert_eq!(shape::duration(&shape::duration_text(duration)), Ok(duration));
    }

    #[test]
    fn windows_come_back_and_are_open_for_their_length(start in 0..1440u16, length in 1..1440u16, dash in "[-–]") {
        let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60);
        let end = (start + length) % 1440;
        let Ok(window) = Window::parse(&format!("{}{dash}{}", clock(start), clock(end))) else {
            prop_assert!(length < 10);
            return Ok(());
        };
        prop_assert!(length >= 10);
        prop_assert_eq!(window.to_string(), format!("{}-{}", clock(start), clock(end)));
        prop_assert_eq!(Window::parse(&window.to_string()), Ok(window));
        prop_assert_eq!(window.length(), Duration::from_secs(60 * u64::from(length)));
        let times = (0..1440).map(|minutes| jiff::civil::time((minutes / 60) as i8, (minutes % 60) as i8, 0, 0));
        prop_assert_eq!(times.filter(|time| window.contains(*time)).count(), usize::from(length));
        prop_assert!(window.contains(window.start()) && !window.contains(window.end()));
    }

    #[test]
    fn urls_are_read_or_refused(text in "(https?://)?([a-z0-9.:@/?#\\[\\]%]|\\PC){0,20}") {
        let _ = shape::hook_url(&text);
        if let Ok(url) = shape::BaseUrl::parse(&text) {
            prop_assert_eq!(shape::BaseUrl::parse(url.as_str()), Ok(url.clone()));
            prop_assert!(text.starts_with(url.as_str()) && !url.as_str().ends_with('/'));
        }
    }

    #[test]
    fn templates_come_back(text in "([a-z{} ]|\\{\\{ params\\.[a-z]{1,4} \\}\\}){0,12}") {
        if let Ok(template) = Template::parse(&text) {
            let written = template.to_string();
            let again = Template::parse(&written).expect("what was written is read");
            prop_assert_eq!(again.to_string(), written);
            let paths = |t: &Template| t.paths().map(|(path, _)| path.clone()).collect::<Vec<_>>();
            prop_assert_eq!(paths(&again), paths(&template));
        }
    }

    #[test]
    fn literal_text_is_rendered_as_it_is(text in "(?s)[^\0\r]{0,60}") {
        let escaped = text.replace("{{", "{{{{");
        // Three braces in a row would be read as two that are doubled and one more.
        prop_assume!(!text.contains("{{{"));
        let quoted = toml::Value::String(escaped).to_string();
        let document = format!("recipe.name = \"a\"\n[containers.c]\nimage = \"localhost/c:1\"\nenv.A = {quoted}\n");
        let recipe = recipe::parse("x", &document).unwrap_or_else(|errors| panic!("{errors}\n{document}"));
        let instance = recipe.resolve("a", &BTreeMap::new(), &BoxSettings::default(), &Anchor::default()).expect("it resolves");
        let container = instance.render_container("c", &RenderContext::default()).expect("it renders");
        prop_assert_eq!(&container.env["A"], &Text::Plain(text));
    }

    #[test]
    fn a_given_text_is_never_shown_by_an_error(secret in "[a-zA-Z0-9]{12,20}", n in 0usize..13) {
        let key = format!("params = {{ key = \"{secret}\"");
        let documents = [
            format!("[[recipe]]\nuse = \"a\"\n{key}, bad = 1.5 }}\n"),
            format!("[[recipe]]\nuse = \"a\"\n{key}\n"),
            format!("[[box.registry]]\nhost = \"a\"\npassword = \"{secret}\"\nusername = 1\n"),
            format!("[[box.registry]]\npassword = \"{secret}\n"),
            format!("[[recipe]]\nname = \"a\"\n[recipe.params.key]\ntype = \"secret\"\ndefault = \"{secret}\" x\n"),
            format!("[box.notify]\nurl = \"https://a.example.org/{secret}\" x\n"),
            format!("[box.notify] # hook\nurl = \"https://a.example.org/{secret}\nx"),
            format!("[box.notify]\nurl = \"https://{secret}@a.example.org/#{secret}\"\nx = \"{secret}\"\n"),
            format!("[box.notify]\nurl = [\"{secret}\"]\n"),
            format!("[box]\nnotify = \"https://a.example.org/{secret}\"\n"),
            format!("[[box.notify]]\nurl = \"https://a.example.org/{secret}\"\n"),
            format!("notify = {{ url = \"https://a.example.org/{secret}\" }}\n"),
            format!("[box.update]\nurl = \"https://{secret}@a.example.org\"\n"),
        ];
        let errors = recipes::user_data::parse("x", &documents[n]).expect_err("refused");
        let all = format!("{errors}\n{errors:?}\n{}", serde_json::to_string(&errors).expect("JSON"));
        prop_assert!(!all.contains(&secret), "{}", all);
    }
}
