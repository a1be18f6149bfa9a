//! User-data: updates, the time zone, and who is told of events.

use insta::assert_snapshot;

use crate::of_user_data;

#[test]
fn urls_of_updates_are_checked() {
    let text = r#"[box.update]
channel = "Stable"
policy = "automatic"
source = "x"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:1:1: `url` is missing
      1 | [box.update]
        | ^^^^^^^^^^^^
      hint: add `url = "https://updates.example.org/holdfast"`

    x.toml:2:11: `channel` is not a name
      2 | channel = "Stable"
        |           ^^^^^^^^
      hint: a name begins with a letter, has at most 31 of a-z, 0-9 and `-`, and does not end in `-`; `stable` would do

    x.toml:3:10: `policy` cannot be "automatic"
      3 | policy = "automatic"
        |          ^^^^^^^^^^^
      hint: there are `auto`, `stage` and `manual`

    x.toml:4:1: unknown key `source` in [box.update]
      4 | source = ***
        | ^^^^^^
      hint: it is called `url`
    "#);

    let text = r#"[box]
update = "https://updates.example.org"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:10: `update` is a string where a table belongs
      2 | update = "https://updates.example.org"
        |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: write it as `{ key = value }` or as a `[table]` of its own
    "#);

    let text = r#"[box.update]
url = "updates.example.org"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:7: `url` is not an http:// or https:// URL
      2 | url = "updates.example.org"
        |       ^^^^^^^^^^^^^^^^^^^^^
      hint: write one such as "https://updates.example.org/holdfast"
    "#);

    let text = r#"[box.update]
url = "https://?x=1"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:7: `url` is a URL without a host
      2 | url = **************
        |       ^^^^^^^^^^^^^^
      hint: write one such as "https://updates.example.org/holdfast"
    "#);

    let text = r#"[box.update]
url = "https://updates_1.example.org:99999/x"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:16: `url` is a URL whose host or port is wrong
      2 | url = "https://updates_1.example.org:99999/x"
        |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: write `HOST` or `HOST:PORT`, with an IPv6 address in brackets
    "#);

    let text = r#"[box.update]
url = "https://updates.example.org/my releases"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:38: `url` is a URL with a character that none can have
      2 | url = "https://updates.example.org/my releases"
        |                                      ^
      hint: write it percent-encoded, such as `%20` for a space; a host name in its ASCII form, `xn--…`
    "#);

    let text = r#"[box.update]
url = "https://me:hunter2@updates.example.org/releases/"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:16: `url` is a URL with a user
      2 | url = **************************************************
        |                ^^^^^^^^^^^
      hint: write "https://updates.example.org/releases"
    "#);

    let text = r#"[box.update]
url = "https://updates.example.org/releases?token=hunter2"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:44: `url` is a URL with a query
      2 | url = ****************************************************
        |                                            ^^^^^^^^^^^^^^
      hint: write "https://updates.example.org/releases"
    "#);

    let text = r#"[box.update]
url = "https://updates.example.org/#latest"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:36: `url` is a URL with a fragment
      2 | url = "https://updates.example.org/#latest"
        |                                    ^^^^^^^
      hint: write "https://updates.example.org"
    "#);
}

#[test]
fn windows_are_checked() {
    let text = r#"[box.update]
url = "https://updates.example.org"
window = "3:00-5:00"
jitter = 30
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:11: `window` is a window with a time that is not of the form HH:MM
      3 | window = "3:00-5:00"
        |           ^^^^
      hint: write two digits each, from "00:00", which is midnight, to "23:59"

    x.toml:4:10: `jitter` is a number where a time span belongs
      4 | jitter = 30
        |          ^^
      hint: write its unit: "10s"
    "#);

    let text = r#"[box.update]
url = "https://updates.example.org"
window = "22:00-24:00"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:17: `window` is a window with a time that is not of the form HH:MM
      3 | window = "22:00-24:00"
        |                 ^^^^^
      hint: write two digits each, from "00:00", which is midnight, to "23:59"
    "#);

    let text = r#"[box.update]
url = "https://updates.example.org"
window = "at night"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:10: `window` is not a window of the form HH:MM-HH:MM
      3 | window = "at night"
        |          ^^^^^^^^^^
      hint: write start and end in local time, such as "03:00-05:00" or "23:30-01:30"
    "#);

    let text = r#"[box.update]
url = "https://updates.example.org"
window = "04:00-04:00"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:10: `window` is empty: it ends when it starts
      3 | window = "04:00-04:00"
        |          ^^^^^^^^^^^^^
      hint: write start and end in local time, such as "03:00-05:00" or "23:30-01:30"
    "#);

    let text = r#"[box.update]
url = "https://updates.example.org"
window = "23:55-00:00"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:10: `window` is shorter than 10 minutes
      3 | window = "23:55-00:00"
        |          ^^^^^^^^^^^^^
      hint: end it at 00:05 or later
    "#);

    let text = r#"[box.update]
url = "https://updates.example.org"
window = "23:40-00:20"
jitter = "40m"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:4:10: `jitter` is not shorter than the window, which is 40m long
      4 | jitter = "40m"
        |          ^^^^^
      hint: write a time span such as "20m"
    "#);

    let text = r#"[box.update]
url = "https://updates.example.org"
jitter = "2h"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:10: `jitter` is not shorter than the window, which is 2h long
      3 | jitter = "2h"
        |          ^^^^
      hint: write a time span such as "30m"
    "#);
}

#[test]
fn ignored_instances_are_those_of_the_document() {
    let text = r#"[box.update]
url = "https://updates.example.org"
ignore = ["hullo", "hello", "other", "hello", "No"]
[[recipe]]
use = "hello"
[[recipe]]
name = "site"
[recipe.containers.web]
image = "web"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:11: this document has no instance `hullo`
      3 | ignore = ["hullo", "hello", "other", "hello", "No"]
        |           ^^^^^^^
      hint: did you mean `hello`?

    x.toml:3:29: this document has no instance `other`
      3 | ignore = ["hullo", "hello", "other", "hello", "No"]
        |                             ^^^^^^^
      hint: there are `hello` and `site`; one whose recipe is in a file needs a `name` beside its `use`

    x.toml:3:38: `ignore` has `hello` twice
      3 | ignore = ["hullo", "hello", "other", "hello", "No"]
        |                                      ^^^^^^^
      hint: leave one of the two out

    x.toml:3:47: `ignore` is not a name
      3 | ignore = ["hullo", "hello", "other", "hello", "No"]
        |                                               ^^^^
      hint: a name begins with a letter, has at most 31 of a-z, 0-9 and `-`, and does not end in `-`; `no` would do

    x.toml:9:9: `image` is an image without its registry's host
      9 | image = "web"
        |         ^^^^^
      hint: for Docker Hub write "docker.io/library/web:TAG"
    "#);

    let text = r#"[box.update]
url = "https://updates.example.org"
ignore = ["hello"]
[[recipe]]
use = "/data/hello.toml"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:11: this document has no instance `hello`
      3 | ignore = ["hello"]
        |           ^^^^^^^
      hint: no `[[recipe]]` of this document has a `name`
    "#);
}

#[test]
fn time_zones_are_checked() {
    let text = r#"[box]
timezone = "Europe/Berlim"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:12: `timezone` is not a known time zone
      2 | timezone = "Europe/Berlim"
        |            ^^^^^^^^^^^^^^^
      hint: did you mean "Europe/Berlin"?
    "#);

    let text = r#"[box]
timezone = "new york"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:12: `timezone` is not a known time zone
      2 | timezone = "new york"
        |            ^^^^^^^^^^
      hint: did you mean "America/New_York"?
    "#);

    let text = r#"[box]
timezone = "+02:00"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:12: `timezone` is not a known time zone
      2 | timezone = "+02:00"
        |            ^^^^^^^^
      hint: write a name of the IANA database, such as "Europe/Berlin" or "UTC"
    "#);

    let text = r#"[box]
tz = "UTC"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:1: unknown key `tz` in [box]
      2 | tz = *****
        | ^^
      hint: it is called `timezone`
    "#);
}

#[test]
fn hooks_are_checked_and_never_shown() {
    let text = r#"[box]
notify = "https://hooks.example.org/hunter2"
webhook = "https://hooks.example.org/hunter2"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:10: `notify` is a string where a table belongs
      2 | notify = ***********************************
        |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: write it as `{ key = value }` or as a `[table]` of its own

    x.toml:3:1: unknown key `webhook` in [box]
      3 | webhook = ***********************************
        | ^^^^^^^
      hint: write a table `[box.notify]` with `url`
    "#);

    let text = r#"[box.notify]
webhook = "https://hooks.example.org/hunter2"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:1:1: `url` is missing
      1 | [box.notify]
        | ^^^^^^^^^^^^
      hint: add `url = "https://hooks.example.org/hub1"`

    x.toml:2:1: unknown key `webhook` in [box.notify]
      2 | webhook = ***********************************
        | ^^^^^^^
      hint: it is called `url`
    "#);

    let text = r#"[box.notify]
url = "hooks.example.org/hunter2"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:7: `url` is not an http:// or https:// URL
      2 | url = ***************************
        |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: write one such as "https://hooks.example.org/hub1"
    "#);

    let text = r#"[box.notify]
url = "https://hunter2@/x"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:7: `url` is a URL without a host
      2 | url = ********************
        |       ^^^^^^^^^^^^^^^^^^^^
      hint: write one such as "https://hooks.example.org/hub1"
    "#);

    let text = r#"[box.notify]
url = "https://hooks.example.org/hunter2 x"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:41: `url` is a URL with a character that none can have
      2 | url = *************************************
        |                                         ^
      hint: write it percent-encoded, such as `%20` for a space; a host name in its ASCII form, `xn--…`
    "#);

    let text = r#"box = { notify = { url = "https://hooks.example.org/#hunter2", retries = 3 } }
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:1:53: `url` is a URL with a fragment
      1 | box = { notify = { url = ************************************, retries = * } }
        |                                                     ^^^^^^^^
      hint: no server is sent one: leave out `#` and what follows, or write `%23` for a `#` of a token

    x.toml:1:64: unknown key `retries` in [box.notify]
      1 | … = { notify = { url = ************************************, retries = * } }
        |                                                              ^^^^^^^
      hint: there is `url`
    "#);

    let text = r#"[box.notify] # where we look
url = "https://hooks.example.org/hunter2" x
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:43: unexpected key or value, expected newline, `#`
      2 | url =**************************************
        |                                           ^
    "#);

    let text = r#"[box.notify]
url = "https://hooks.example.org/hunter2"
url = "https://hooks.example.org/hunter3"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:1: duplicate key
      3 | url =************************************
        | ^^^
      hint: it was set above: keep one of the two
    "#);
}
