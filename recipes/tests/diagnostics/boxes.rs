//! User-data: the box and its instances.

use insta::assert_snapshot;

use crate::of_user_data;

#[test]
fn the_box_is_checked() {
    let text = r#"[box]
hostname = "hub_1"
admins = ["ssh-ed25519 AAAA"]
provider_keys = "no"
ssh_keys = []
[box.trust]
keys = []
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:12: `hostname` is not a host name
      2 | hostname = "hub_1"
        |            ^^^^^^^
      hint: a host name has labels of at most 63 letters, digits and inner `-`, separated by dots, such as "hub1" or "a.example.org"

    x.toml:3:11: `admins` is an OpenSSH public key that is cut short or of another type than it says
      3 | admins = ["ssh-ed25519 AAAA"]
        |           ^^^^^^^^^^^^^^^^^^
      hint: write the whole line of a `.pub` file, such as "ssh-ed25519 AAAA… name"

    x.toml:4:17: `provider_keys` is a string where a boolean belongs
      4 | provider_keys = "no"
        |                 ^^^^
      hint: write true or false, without quotes

    x.toml:5:1: unknown key `ssh_keys` in [box]
      5 | ssh_keys = []
        | ^^^^^^^^
      hint: it is called `admins`

    x.toml:6:6: `trust` needs Holdfast 0.4
      6 | [box.trust]
        |      ^^^^^
      hint: remove it: this is Holdfast 0.1.0, which does not know it yet
    "#);

    let text = r#"[[box.interface]]
match = { name = "ens3" }
addresses = ["203.0.113.7", "203.0.113.7/32"]
routes = [{ to = "default" }, { to = "default", via = "203.0.113.1" }, { to = "10.0.0.1/8", via = "203.0.113.1", on_link = true }]
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:14: `addresses` is an address without the length of its prefix
      3 | addresses = ["203.0.113.7", "203.0.113.7/32"]
        |              ^^^^^^^^^^^^^
      hint: write `ADDRESS/PREFIX`, such as "203.0.113.7/24" or "2001:db8::7/64"

    x.toml:4:18: a default route without `via`
      4 | routes = [{ to = "default" }, { to = "default", via = "203.0.113.1" }, { to = "10.0.0.1/8", via = "203.0.113.1", on_link…
        |                  ^^^^^^^^^
      hint: add `via = "203.0.113.1"`: its family is the route's

    x.toml:4:49: a gateway that no address of this interface covers
      4 | routes = [{ to = "default" }, { to = "default", via = "203.0.113.1" }, { to = "10.0.0.1/8", via = "203.0.113.1", on_link…
        |                                                 ^^^
      hint: if it is reached on this link all the same, add `on_link = true`

    x.toml:4:79: `to` is a destination with host bits
      4 | …default" }, { to = "default", via = "203.0.113.1" }, { to = "10.0.0.1/8", via = "203.0.113.1", on_link = true }]
        |                                                              ^^^^^^^^^^^^
      hint: the network is "10.0.0.0/8"
    "#);

    let text = r#"[[box.interface]]
match = {}
gateway4 = "10.0.0.1"
[[box.registry]]
host = "https://a.example.org"
username = "x"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:9: `match` takes one of `mac` and `name`
      2 | match = {}
        |         ^^
      hint: write `{ mac = "52:54:00:12:34:56" }` or `{ name = "ens3" }`

    x.toml:3:1: unknown key `gateway4` in [[box.interface]]
      3 | gateway4 = **********
        | ^^^^^^^^
      hint: write `routes = [{ to = "default", via = "203.0.113.1" }]`

    x.toml:5:8: `host` is not the host of a registry
      5 | host = "https://a.example.org"
        |        ^^^^^^^^^^^^^^^^^^^^^^^
      hint: write `HOST` or `HOST:PORT`, such as "registry.example.org:5000", without `https://`

    x.toml:6:1: one of `username` and `password` alone
      6 | username = "x"
        | ^^^^^^^^
      hint: basic authentication takes `username` and `password`
    "#);
}

#[test]
fn instances_are_checked() {
    let text = r#"[[recipe]]
use = "hello"
[[recipe]]
name = "hello"
format = 1
health_timeout = "2h"
backup = true
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:4:1: there is an instance `hello` on line 2 already
      4 | name = "hello"
        | ^^^^
      hint: give this one another `name`

    x.toml:5:1: unknown key `format` in [[recipe]] without `use`
      5 | format = *
        | ^^^^^^
      hint: it stands once, at the top of the document

    x.toml:6:18: `health_timeout` is not from 10s to 1h
      6 | health_timeout = "2h"
        |                  ^^^^
      hint: write a time span such as "1h"

    x.toml:7:1: `backup` needs Holdfast 0.3
      7 | backup = ****
        | ^^^^^^
      hint: remove it: this is Holdfast 0.1.0, which does not know it yet
    "#);

    let text = r#"[[recipe]]
use = "https://example.org/x.toml#sha256=00"
[[recipe]]
use = "Hello"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:2:7: `use` is remote, which needs Holdfast 0.4
      2 | use = "https://example.org/x.toml#sha256=00"
        |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: until then, name a recipe of the library, put its file on the box, or write it in place

    x.toml:4:7: `use` is neither a name of the library nor an absolute path
      4 | use = "Hello"
        |       ^^^^^^^
      hint: a name begins with a letter, has at most 31 of a-z, 0-9 and `-`, and does not end in `-`; `hello` would do
    "#);

    let text = r#"[[recipe]]
name = "a"
[recipe.params]
word = "hi"
[recipe.params.other]
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:4:8: a value where a declaration belongs
      4 | word = ****
        |        ^^^^
      hint: a recipe in place declares it: `[recipe.params.word]` with `default`

    x.toml:5:16: `other` has no value
      5 | [recipe.params.other]
        |                ^^^^^
      hint: add `default = …`
    "#);

    let text = r#"[[recipe]]
name = "a"
[recipe.containers.web]
image = "registry.example.org/web:1"
privileged = true
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:3:20: container `web` is privileged, which this box does not allow
      3 | [recipe.containers.web]
        |                    ^^^
      hint: `allow_privileged = true` under `[box]` allows it: such a container can do anything to the box
    "#);

    let text = r#"[[recipe]]
name = "a"
[recipe.containers.web]
image = "registry.example.org/web:1"
ports = ["80:80"]
[[recipe]]
name = "b"
[recipe.containers.web]
image = "registry.example.org/web:1"
ports = ["80:80"]
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:7:1: `b` and `a` both publish port 80 of the box
      7 | name = "b"
        | ^^^^
      hint: publish it on another port or address
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml:1:2: `[recipe]` where `[[recipe]]` belongs
      1 | [recipe]
        |  ^^^^^^
      hint: user-data lists instances with double brackets, `[[recipe]]`; a recipe's own file is named by `use`

    x.toml:3:2: unknown key `containers` in the document
      3 | [containers.web]
        |  ^^^^^^^^^^
      hint: in user-data a recipe stands under `[[recipe]]`: `[recipe.containers.NAME]`
    "#);
}

#[test]
fn documents_of_others_are_called_by_name() {
    let text = r#"#cloud-config
users: []
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml: this is a cloud-config, which Holdfast does not read
      hint: write it in TOML, with `[box]` and `[[recipe]]`: `holdfast-image init` makes a first one by asking
    "#);

    let text = r#"#!/bin/sh
true
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml: this is a script, which Holdfast does not run
      hint: write it in TOML, with `[box]` and `[[recipe]]`: `holdfast-image init` makes a first one by asking
    "#);

    let text = r#"Content-Type: multipart/mixed; boundary="x"
"#;
    assert_snapshot!(of_user_data(text), @r#"
    x.toml: this is a MIME message, not a document in one
      hint: write it in TOML, with `[box]` and `[[recipe]]`: `holdfast-image init` makes a first one by asking
    "#);

    for (text, what) in [
        ("\u{feff}#Cloud-Config\r\nusers: []\r\n", "a cloud-config, which Holdfast does not read"),
        ("#cloud-config-archive\n- type: x\n", "an archive of cloud-init, which Holdfast does not read"),
        ("#cloud-boothook\n#!/bin/sh\n", "a boothook of cloud-init, which Holdfast does not run"),
        ("#include\nhttps://example.org/x\n", "a list of URLs for cloud-init, which Holdfast does not fetch"),
        ("#include https://example.org/x\n", "a list of URLs for cloud-init, which Holdfast does not fetch"),
        (
            "#include-once\nhttps://example.org/x\n",
            "a list of URLs for cloud-init, which Holdfast does not fetch",
        ),
        ("#part-handler\ndef list_types():\n", "a part handler of cloud-init, which Holdfast does not run"),
        ("#upstart-job\n", "an Upstart job, which Holdfast does not run"),
        (
            "## template: jinja\n#cloud-config\nhostname: {{ v1.region }}\n",
            "a template of cloud-init, which Holdfast does not fill in",
        ),
        ("{ \"ignition\": {} }", "an Ignition configuration, which Holdfast does not read"),
        ("\n{\n  \"ignition\": {}\n}\n", "an Ignition configuration, which Holdfast does not read"),
    ] {
        let hint = "write it in TOML, with `[box]` and `[[recipe]]`: `holdfast-image init` makes a first one by asking";
        assert_eq!(of_user_data(text), format!("x.toml: this is {what}\n  hint: {hint}"), "{text}");
    }
    for remark in [
        "#include what we have",
        "#includes",
        "#included from https://example.org/box.toml",
        "## template for boxes",
        "#part",
    ] {
        assert_eq!(of_user_data(&format!("{remark}\n[box]\n")), "accepted", "{remark}");
    }
}
