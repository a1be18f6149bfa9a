//! An invalid document never locks its owner out: `[box] admins`, and the box's settings, whenever they can be read.

use recipes::user_data::{self, admins_only, settings_only};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA ops";

/// A document that is refused as a whole: its admins are saved, and its settings when `settings` says so.
fn check(rest: &str, settings: bool) {
    let text = rest.replace("KEY", KEY);
    assert!(user_data::parse("x", &text).is_err(), "accepted: {text}");
    let keys = admins_only(&text);
    assert_eq!(keys.iter().map(|key| key.as_str()).collect::<Vec<_>>(), [KEY], "{text}");
    assert_eq!(settings_only(&text).map(|s| s.admins.len()), settings.then_some(1), "{text}");
}

#[test]
fn admins_are_saved_when_the_rest_is_wrong() {
    check("[box]\nadmins = [\"KEY\"]\n[[recipe]]\nuse = 1\n", true);
    check("[box]\nadmins = [\"KEY\"]\n\n[[recipe]]\nname = \"cut", true);
    check("[[recipe]]\nname = \"cut\n\n[box]\nadmins = [\n  \"KEY\",\n]\n", true);
    check("\u{feff}[[recipe]\n[ box ] # mine\nadmins = [\"KEY\"]\n", true);
    check("[box]\r\nadmins = [\"KEY\"]\r\n[oops\r\n", true);
    check("[box]\nadmins = [\"KEY\"]\nhostname = \"no_name\"\n[[recipe]]\nuse = \"x\"\n", false);
    check("[box]\nadmins = [\"KEY\", \"damaged\"]\n", false);
    check("[box]\nadmins = [\"KEY\"]\nbogus = 1\n", false);
    check("[box]\nadmins = [\"KEY\"]\n[[box.interface]]\nmatch = 1\n", false);
    check("[box]\nadmins = [\"KEY\"]\n[[box.interface]]\nmatch = \"cut\n", false);
    check("[box]\nadmins = [\"KEY\"]\n[box.update]\nurl = \"x\"\n", false);
    check("[box]\nadmins = [\"KEY\"]\n[box.notify]\nurl = \"cut\n", false);
    check("[box]\nadmins = [\"KEY\"]\ntimezone = \"Mars\"\n", false);
    check("[box]\nadmins = [\"KEY\"]\n[box.update]\nurl = \"https://a\"\nignore = [\"x\"]\n", true);
    check("a = 1 2\n[box]\nhostname = \"hub1\"\nadmins = [\"KEY\"]\n[box.trust]\nx = ]\n", true);
}

#[test]
fn a_newer_document_gives_its_admins_and_no_settings() {
    check("format = 9\n[box]\nadmins = [\"KEY\"]\n[new]\nthing = 1\n", false);
    check("format = 9\n[box]\nadmins = [\"KEY\"]\n[new syntax\n", false);
}

#[test]
fn what_is_saved_has_the_tables_under_it() {
    let text = "[[recipe]\n[box]\ntimezone = \"Asia/Tokyo\"\n[ box.update ] # ours\nurl = \"https://a\"\n[box.notify]\nurl = \"https://b\"\n[cut";
    let settings = settings_only(text).expect("settings");
    assert_eq!(settings.timezone.name(), "Asia/Tokyo");
    assert!(settings.update.is_some() && settings.notify.is_some(), "{settings:?}");
}

#[test]
fn nothing_is_made_up() {
    for text in
        ["", "#cloud-config\n", "[box]\n", "[box]\nadmins = 3\n", "[box]\nadmins = [\"ssh-ed25519 AAAA\"]\n"]
    {
        assert!(admins_only(text).is_empty(), "{text}");
    }
    let quoted = format!("text = \"\"\"\n[box]\nadmins = [\"{KEY}\"]\n[x]\n\"\"\"\n");
    assert!(admins_only(&quoted).is_empty(), "a text that looks like a table is a text");
    assert!(settings_only("[[recipe]]\nuse = \"x\"\n").is_none());
    assert!(settings_only("[box]\nhostname = \"hub1\"\n[oops\n").is_some_and(|s| s.provider_keys));
}

#[test]
fn nesting_and_noise_end_in_an_error() {
    let brackets =
        |open: &str, close: &str| format!("a = {}1{}", open.repeat(32 * 1024), close.repeat(32 * 1024));
    for text in [brackets("[", "]"), brackets("{a=", "}"), "[".repeat(64 * 1024), "[[a]]\n[a.".repeat(8192)] {
        assert!(user_data::parse("x", &text).is_err());
        assert!(admins_only(&text).is_empty() && settings_only(&text).is_none());
    }
    let long = format!("# {}", "x".repeat(recipes::MAX_DOCUMENT));
    let errors = user_data::parse("x", &long).expect_err("too long").to_string();
    assert!(errors.contains("at most 1 MiB"), "{errors}");
}

#[test]
fn every_error_of_a_very_wrong_document_is_counted_and_a_hundred_are_told() {
    let text: String = (0..1000).map(|i| format!("key{i} = 1\n")).collect();
    let errors = user_data::parse("x", &text).expect_err("unknown keys");
    assert_eq!(errors.len(), recipes::diagnostic::MAX_DIAGNOSTICS + 1);
    let bad = "=\n".repeat(500_000);
    assert!(user_data::parse("x", &bad).is_err_and(|errors| errors.len() <= 101));
}
