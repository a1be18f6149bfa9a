//! What user-data says about updates, the time zone, events and health, as values.

use std::time::Duration;

use recipes::model::{DEFAULT_HEALTH_TIMEOUT, Update, UpdatePolicy, UserData};
use recipes::resolve::ResolvedInstance;
use recipes::{Diagnostics, Secret, recipe, user_data};

fn parse(text: &str) -> UserData {
    user_data::parse("x.toml", text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The update of a box with this under `[box.update]`, beside the URL.
fn update(text: &str) -> Update {
    let data = parse(&format!("[box.update]\nurl = \"https://updates.example.org/\"\n{text}"));
    data.settings.update.expect("an update")
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_box_that_says_nothing_has_no_updates_and_is_in_utc() {
    let settings = parse("[box]\n").settings;
    assert_eq!(settings, recipes::model::BoxSettings::default());
    assert_eq!((settings.update, settings.notify), (None, None));
    assert_eq!(settings.timezone.name(), "UTC");
}

#[test]
fn updates_have_defaults() {
    let update = update("");
    assert_eq!(update.url.as_str(), "https://updates.example.org");
    assert_eq!(update.policy, UpdatePolicy::Auto);
    assert_eq!(update.window.to_string(), "03:00-05:00");
    assert_eq!(update.jitter, 30 * MINUTE);
    assert_eq!(update.channel, "stable");
    assert!(update.ignore.is_empty());
}

#[test]
fn updates_are_what_is_written() {
    let text = "policy = \"manual\"\nwindow = \"23:30–01:30\"\njitter = \"1h 59m\"\nchannel = \"edge\"\n\
                ignore = [\"batch\", \"site\"]\n[[recipe]]\nuse = \"batch\"\n[[recipe]]\nuse = \"/x\"\nname = \"site\"\n";
    let update = update(text);
    assert_eq!(update.policy, UpdatePolicy::Manual);
    assert_eq!(update.window.to_string(), "23:30-01:30");
    assert_eq!(update.jitter, 119 * MINUTE);
    assert_eq!(update.channel, "edge");
    assert_eq!(update.ignore, ["batch", "site"]);
}

#[test]
fn the_jitter_of_a_short_window_is_half_of_it() {
    for (window, jitter) in
        [("03:00-03:10", 5 * MINUTE), ("23:50-00:35", 45 * MINUTE / 2), ("03:00-04:00", 30 * MINUTE)]
    {
        assert_eq!(update(&format!("window = \"{window}\"\n")).jitter, jitter, "{window}");
    }
    assert_eq!(update("window = \"03:00-03:10\"\njitter = \"0s\"\n").jitter, Duration::ZERO);
    assert_eq!(update("window = \"03:00-03:10\"\njitter = \"9m 59s\"\n").jitter, Duration::from_secs(599));
}

#[test]
fn a_time_zone_gives_local_times() {
    let zone = parse("[box]\ntimezone = \"Europe/Berlin\"\n").settings.timezone;
    for (utc, local) in [("2026-01-15T02:30:00Z", "03:30:00"), ("2026-07-15T02:30:00Z", "04:30:00")] {
        let at: jiff::Timestamp = utc.parse().expect("a time");
        assert_eq!(at.to_zoned(zone.zone().clone()).time().to_string(), local);
    }
}

#[test]
fn a_hook_is_kept_whole_and_never_shown() {
    let url = "https://hub1:hunter2@hooks.example.org/T00/hunter2?key=hunter2";
    let data = parse(&format!("[box.notify]\nurl = \"{url}\"\n"));
    assert_eq!(data.settings.notify.as_ref().map(|notify| notify.url.expose()), Some(url));
    assert!(!format!("{data:?}").contains("hunter2"));
}

#[test]
fn settings_are_written_and_read_again() {
    let text = "[box]\ntimezone = \"Asia/Kolkata\"\n[box.update]\nurl = \"http://10.0.0.1/\"\nwindow = \"23:00–01:00\"\n\
                [box.notify]\nurl = \"https://hooks.example.org/x\"\n";
    let settings = parse(text).settings;
    let json = serde_json::to_string(&settings).expect("JSON");
    assert!(json.contains("\"Asia/Kolkata\"") && json.contains("\"23:00-01:00\""), "{json}");
    let again: recipes::model::BoxSettings = serde_json::from_str(&json).expect("the same settings");
    assert_eq!(again, settings);
    let wrong = json.replace("Asia/Kolkata", "Asia/Kolkatta");
    let error =
        serde_json::from_str::<recipes::model::BoxSettings>(&wrong).expect_err("no such zone").to_string();
    assert!(error.contains("not a known time zone"), "{error}");
    assert_eq!(again.notify.map(|notify| notify.url), Some(Secret::new("https://hooks.example.org/x")));
}

fn resolve(text: &str) -> Result<Vec<ResolvedInstance>, Diagnostics> {
    parse(text).resolve(|_| recipe::parse("hello.toml", "[recipe]\nname = \"hello\"\n"))
}

#[test]
fn the_health_timeout_is_the_instances_own() {
    let text = "[[recipe]]\nuse = \"hello\"\nhealth_timeout = \"10s\"\n\
                [[recipe]]\nname = \"site\"\nhealth_timeout = \"1h\"\n[[recipe]]\nname = \"other\"\n";
    let declared: Vec<_> = parse(text).instances.iter().map(|instance| instance.health_timeout).collect();
    assert_eq!(declared, [Duration::from_secs(10), 60 * MINUTE, DEFAULT_HEALTH_TIMEOUT]);
    let resolved = resolve(text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(resolved.iter().map(|instance| instance.health_timeout).collect::<Vec<_>>(), declared);
    assert_eq!(DEFAULT_HEALTH_TIMEOUT, 10 * MINUTE);
}
