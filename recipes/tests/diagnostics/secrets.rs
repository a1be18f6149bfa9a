//! No error shows a secret.

use insta::assert_snapshot;

use crate::{of_recipe, of_user_data};

#[test]
fn no_error_shows_a_secret() {
    let text = r#"[[box.registry]]
host = "a.example.org"
username = "a"
password = "hunter2" x
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:4:22: unexpected key or value, expected newline, `#`
      4 | password =************
        |                      ^
    "#);

    let text = r#"box = { registry = [{ host = "a.example.org", username = "a", password = "hunter2", bogus = 1 }] }
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:1:85: unknown key `bogus` in [[box.registry]]
      1 | …st = "a.example.org", username = "a", password = *********, bogus = * }] }
        |                                                              ^^^^^
      hint: there are `host`, `ca`, `username`, `password` and `plain_http`
    "#);

    let text = r#"[[box.registry]]
host = "a.example.org"
username = "a"
password = 8372
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:4:12: `password` is an integer where a string belongs
      4 | password = ****
        |            ^^^^
      hint: put it in double quotes: "text"
    "#);

    let text = r#"[[box.registry]]
host = "a.example.org"
username = "a"
password = """
hunter2\q
"""
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:5:9: missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\`, `"`, `x`, `u`, `U`
      5 | *********
        |         ^
    "#);

    let text = r#"[[recipe]]
use = "hello"
params = { Key = "hunter2", n = 1.5 }
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:12: `Key` is not a parameter name
      3 | params = { Key = *********, n = *** }
        |            ^^^
      hint: a parameter name begins with a letter, has at most 31 of a-z, 0-9 and `_`, and does not end in `_`; `key` would do

    x.toml:3:33: `n` is a float where a string, an integer or a boolean belongs
      3 | params = { Key = *********, n = *** }
        |                                 ^^^
      hint: put it in double quotes: "text"
    "#);

    let text = r#"[[recipe]]
name = "a"
params = { key = { type = "secrt", default = "hunter2" } }
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:27: `type` cannot be "secrt"
      3 | params = { key = { type = "secrt", default = ********* } }
        |                           ^^^^^^^
      hint: did you mean "secret"? There are `string`, `integer`, `boolean`, `hostname`, `port`, `enum`, `size`, `duration` and `secret`
    "#);

    let text = r#"[[recipe]]
name = "a"
[recipe.params.key]
type = "secret"
default = "hunter2
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:5:19: invalid basic string, expected `"`
      5 | default =*********
        |                   ^
    "#);

    let text = r#"[box]
admins = ["-----BEGIN OPENSSH PRIVATE KEY-----hunter2"]
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:11: `admins` is a private key: keep it to yourself and make a new one
      2 | admins = [********************************************]
        |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: write the whole line of a `.pub` file, such as "ssh-ed25519 AAAA… name"
    "#);
}

/// Nor what may be one and should have been a parameter.
#[test]
fn no_error_shows_what_containers_are_given() {
    for line in [
        "env = { A = \"hunter2\" } x",
        "env = { A = \"hunter2\", \"A=B\" = \"x\" }",
        "env = [\"A=hunter2\"]",
        "env = \"hunter2\"",
        "environment = { A = \"hunter2\" }",
        "command = [\"server\", \"--requirepass\", \"hunter2\", 7]",
        "command = [\"server\", \"--requirepass\", \"hunter2\", x]",
        "command = \"server --requirepass hunter2\"",
        "files = { \"/a\" = \"hunter2\" }",
        "files = { \"/a\" = { content = \"hunter2\", mode = \"x\" } }",
        "files = { \"/a\" = { content = \"\"\"\n[part]\nkey = hunter2\\q\n\"\"\" } }",
    ] {
        let web = "[recipe]\nname = \"a\"\n[containers.web]\nimage = \"r.example.org/web:1\"\n";
        let shown = of_recipe(&format!("{web}{line}\n"));
        assert_ne!(shown, "accepted", "{line}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

/// Nor what is given under a key that a table does not have, which is one mistyped.
#[test]
fn no_error_shows_what_an_unknown_key_is_given() {
    let registry = "[[box.registry]]\nhost = \"r.example.org\"\n";
    for text in [
        format!("{registry}pass = \"hunter2\"\n"),
        format!("{registry}Password = \"hunter2\"\n"),
        format!("{registry}token = [\"a\", [\"hunter2\"], {{ b = \"hunter2\" }}]\n"),
        format!("{registry}token.a.b = \"hunter2\"\n"),
        format!("{registry}passwd = \"\"\"\nhunter2\\x41\n\"\"\"\n"),
        format!("{registry}passwd = 'hunter2' x\n"),
        format!("{registry}slack = \"hunter2\nusername = \"a\"\n"),
        format!("{registry}slack = \"a\"\nslack = \"hunter2\"\n"),
        format!("{registry}\"sla.ck\" = \"hunter2\nusername = \"a\"\n"),
        format!("{registry}slack = [\n  \"hunter2==\"\n  \"b\"\n]\n"),
        // In a table where a list of them belongs, and the other way round, and where none does.
        "box.registry = { host = \"r.example.org\", slack = \"hunter2\" }\n".to_owned(),
        "box = [{ hostname = \"hub1\", slack = \"hunter2\" }]\n".to_owned(),
        "box = { hostname = { slack = \"hunter2\" }, dns = [{ slack = \"hunter2\" }] }\n".to_owned(),
        "box = { hostname = \"hub_1\", registry = [{ slack = \"hunter2\" }] }\n".to_owned(),
        "[box]\nslack = \"https://hooks.example.org/T/B/hunter2\"\n".to_owned(),
        "box.slak = { url = \"hunter2\" }\n".to_owned(),
        "[box.slak]\nurl = \"hunter2\n".to_owned(),
        "slack = 2026-11-30 hunter2\n".to_owned(),
        "[[recipe]]\nuse = \"hello\"\nparms = { key = \"hunter2\" }\n".to_owned(),
        "[[recipe]]\nuse = \"hello\"\ncontainers = { web = { image = \"hunter2\" } }\n".to_owned(),
        "recipe = [{ name = \"a\", use_ = \"hunter2\" }]\n".to_owned(),
        "recipe = [{ name = \"a\", backup = { key = \"hunter2\" } }]\n".to_owned(),
        "[[recipe]]\nname = \"a\"\n[recipe.containers.web]\nhealth = { password_ = \"hunter2\" }\n"
            .to_owned(),
    ] {
        let shown = of_user_data(&text);
        assert_ne!(shown, "accepted", "{text}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let shown = of_user_data("[box]\nadmins = [\n  \"ssh-rsa AAAA== me\"\n  \"ssh-rsa BBBB== you\"\n]\n");
    assert!(shown.contains("BBBB"), "a value of a list is no key: {shown}");
    let shown = of_recipe("[recipe]\nname = \"a\"\n[volumes]\ndata = { size = \"1X\", key = \"hunter2\" }\n");
    assert!(shown.contains("data = { size = \"1X\", key = ********* }"), "{shown}");
}
