//! Names and shapes, parameters, and syntax.

use insta::assert_snapshot;

use crate::of_recipe;

#[test]
fn names_and_shapes_are_told_with_what_would_do() {
    let text = r#"[recipe]
name = "My Notes"
version = "1.4"
order = "serial"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:2:8: `name` is not a name
      2 | name = "My Notes"
        |        ^^^^^^^^^^
      hint: a name begins with a letter, has at most 31 of a-z, 0-9 and `-`, and does not end in `-`; `my-notes` would do

    x.toml:3:11: `version` is not a semantic version
      3 | version = "1.4"
        |           ^^^^^
      hint: write three numbers, such as "1.4.0"

    x.toml:4:9: `order` cannot be "serial"
      4 | order = "serial"
        |         ^^^^^^^^
      hint: there are `parallel` and `declared`
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "nginx"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:4:9: `image` is an image without its registry's host
      4 | image = "nginx"
        |         ^^^^^^^
      hint: for Docker Hub write "docker.io/library/nginx:TAG"
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "docker.io/library/nginx"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:4:9: `image` is an image without a tag or digest
      4 | image = "docker.io/library/nginx"
        |         ^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: "docker.io/library/nginx:latest" would be what others imply; better name a version
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
ports = ["8080", "3000-3010:3000-3010", "::1:80:80", "80:80/sctp"]
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:10: `ports` is a port without the side of the box
      5 | ports = ["8080", "3000-3010:3000-3010", "::1:80:80", "80:80/sctp"]
        |          ^^^^^^
      hint: write `[ADDRESS:]HOST:CONTAINER[/tcp|udp]`, such as "80:8080" or "127.0.0.1:53:53/udp"

    x.toml:5:18: `ports` is a range of ports, which the language does not have
      5 | ports = ["8080", "3000-3010:3000-3010", "::1:80:80", "80:80/sctp"]
        |                  ^^^^^^^^^^^^^^^^^^^^^
      hint: write one entry for each port

    x.toml:5:41: `ports` is an IPv6 address without brackets
      5 | ports = ["8080", "3000-3010:3000-3010", "::1:80:80", "80:80/sctp"]
        |                                         ^^^^^^^^^^^
      hint: write `[ADDRESS:]HOST:CONTAINER[/tcp|udp]`, such as "80:8080" or "127.0.0.1:53:53/udp"

    x.toml:5:54: `ports` is not a protocol of a published port
      5 | ports = ["8080", "3000-3010:3000-3010", "::1:80:80", "80:80/sctp"]
        |                                                      ^^^^^^^^^^^^
      hint: write `[ADDRESS:]HOST:CONTAINER[/tcp|udp]`, such as "80:8080" or "127.0.0.1:53:53/udp"
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
memory = "256MB"
cpus = 0
pids = 0
stop_timeout = 10
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:10: `memory` is not a size
      5 | memory = "256MB"
        |          ^^^^^^^
      hint: write bytes as an integer, or a text such as "256M" or "10G" (K, M, G, T)

    x.toml:6:8: `cpus` is not a possible number of processors
      6 | cpus = 0
        |        ^
      hint: write a number such as 0.5 or 2, from 0.01 to 1024

    x.toml:7:8: `pids` is not from 1 to 4194304
      7 | pids = 0
        |        ^
      hint: write a whole number such as 4194304

    x.toml:8:16: `stop_timeout` is a number where a time span belongs
      8 | stop_timeout = 10
        |                ^^
      hint: write its unit: "10s"
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
stop_signal = "TERM"
cap_add = ["CAP_NET_ADMIN"]
user = "a:b:c"
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:15: `stop_signal` is not a signal that stops something
      5 | stop_signal = "TERM"
        |               ^^^^^^
      hint: did you mean "SIGTERM"?

    x.toml:6:12: `cap_add` is not a capability
      6 | cap_add = ["CAP_NET_ADMIN"]
        |            ^^^^^^^^^^^^^^^
      hint: did you mean "NET_ADMIN"?

    x.toml:7:8: `user` is not a user
      7 | user = "a:b:c"
        |        ^^^^^^^
      hint: write `USER` or `USER:GROUP`, such as "1000:1000" or "www-data"
    "#);

    let text = r#"[recipe]
name = "a"
[containers.web]
image = "registry.example.org/web:1"
working_dir = "srv"
tmpfs = ["/a/../b", "/proc"]
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:5:15: `working_dir` is not an absolute path
      5 | working_dir = "srv"
        |               ^^^^^
      hint: write an absolute path such as "/var/lib/notes", without `.`, `..` and `//`

    x.toml:6:10: `tmpfs` is a path that is not in its plain form
      6 | tmpfs = ["/a/../b", "/proc"]
        |          ^^^^^^^^^
      hint: write an absolute path such as "/var/lib/notes", without `.`, `..` and `//`

    x.toml:6:21: `tmpfs` is a path in /proc
      6 | tmpfs = ["/a/../b", "/proc"]
        |                     ^^^^^^^
      hint: /proc is the container's own: choose another place
    "#);
}

#[test]
fn parameters_are_declared_rightly() {
    let text = r#"[recipe]
name = "a"
[params.x]
type = "strng"
[params.y]
type = "enum"
[params.z]
type = "port"
min = 1024
default = 80
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:4:8: `type` cannot be "strng"
      4 | type = "strng"
        |        ^^^^^^^
      hint: did you mean "string"? There are `string`, `integer`, `boolean`, `hostname`, `port`, `enum`, `size`, `duration` and `secret`

    x.toml:5:1: `values` is missing
      5 | [params.y]
        | ^^^^^^^^^^
      hint: add `values = ["…"]`

    x.toml:10:11: `default` is out of its range
      10 | default = 80
         |           ^^
      hint: it is at least 1024
    "#);

    let text = r#"[recipe]
name = "a"
[params.x]
pattern = "("
[params.y]
type = "secret"
generate = "hex"
[params.z]
type = "boolean"
min = 1
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:4:11: `pattern` is not a regular expression
      4 | pattern = "("
        |           ^^^
      hint: write a regular expression such as "^[a-z]+$"; look-around and back references do not exist

    x.toml:7:12: `generate` is not a generator
      7 | generate = "hex"
        |            ^^^^^
      hint: write "hex:N" or "base64:N" with N random bytes from 8 to 1024, "password:N" with N characters, or "uuid"

    x.toml:10:1: `min` means nothing for type `boolean`
      10 | min = 1
         | ^^^
      hint: `min` is for type `integer`, `port`, `size` and `duration`
    "#);
}

#[test]
fn syntax_is_told_in_full() {
    let text = r#"[recipe]
name = a
[containers.web
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:2:8: string values must be quoted, expected literal string
      2 | name = a
        |        ^
      hint: put text in double quotes: "text"

    x.toml:3:16: unclosed table, expected `]`
      3 | [containers.web
        |                ^
    "#);

    let text = r#"[recipe]
name = "a"
name = "b"
bogus = 1
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:3:1: duplicate key
      3 | name = "b"
        | ^^^^
      hint: it was set above: keep one of the two

    x.toml:4:1: unknown key `bogus` in [recipe]
      4 | bogus = *
        | ^^^^^
      hint: there are `name`, `version`, `description` and `order`
    "#);

    let text = r#"recipe = {
  name = "a",
}
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:1:11: a line break in an inline table
      1 | recipe = {
        |           ^
      hint: TOML 1.0 has inline tables on one line: join the lines, or write a `[table]`

    x.toml:2:13: a comma after the last value of an inline table
      2 |   name = "a",
        |             ^
      hint: TOML 1.0 has no comma before the `}`: remove it
    "#);

    let text = r#"format = 9
[recipe]
bogus = 1
"#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:1:10: `format = 9` is newer than this version knows
      1 | format = 9
        |          ^
      hint: Holdfast 0.1.0 reads format 1: update it first
    "#);

    let text = r#""#;
    assert_snapshot!(of_recipe(text), @r#"
    x.toml:1:1: an empty document
      1 | 
        | ^
      hint: it has at least `[recipe]`
    "#);
}
