//! The small forms, good and bad.

use std::time::Duration;

use base64::Engine;
use recipes::model::Owner;
use recipes::shape::{
    self, AdminKey, BaseUrl, Cidr, Cpus, ImageRef, Mac, Port, ShapeError, Template, TimeZone, User, Window,
};

/// Each good text gives its value, and each bad one an error with a hint.
fn check<T: PartialEq + std::fmt::Debug>(
    parse: impl Fn(&str) -> Result<T, ShapeError>,
    good: &[(&str, T)],
    bad: &[&str],
) {
    for (text, value) in good {
        assert_eq!(parse(text).as_ref(), Ok(value), "{text}");
    }
    for text in bad {
        let error = parse(text).err().unwrap_or_else(|| panic!("{text:?} is accepted"));
        assert!(error.hint.is_some() && !error.message.is_empty(), "{text}: {error:?}");
    }
}

/// Good texts come back as they are.
fn check_text(parse: impl Fn(&str) -> Result<String, ShapeError>, good: &[&str], bad: &[&str]) {
    let good: Vec<_> = good.iter().map(|text| (*text, (*text).to_owned())).collect();
    check(parse, &good, bad);
}

#[test]
fn names() {
    let long = "a".repeat(32);
    check_text(
        shape::name,
        &["a", "a-b", "a1", "a--b", &long[1..]],
        &["", "A", "1a", "-a", "a-", "a_b", "ä", &long],
    );
    check_text(shape::identifier, &["a", "a_b", "a1"], &["", "a-b", "a_", "_a", "A"]);
    let label = "a".repeat(64);
    let full = [&label[1..]; 4].join(".");
    let good = ["a", "A.b-c.9", "1.2", &label[1..], &full[..253]];
    check_text(shape::hostname, &good, &["", "a.", ".a", "-a", "a-", "a_b", "a..b", &label, &full]);
}

#[test]
fn sizes() {
    let good =
        [("0", 0), ("17", 17), ("1K", 1 << 10), ("256M", 256 << 20), ("10G", 10 << 30), ("1T", 1 << 40)];
    check(
        shape::size,
        &good,
        &["", "K", "1k", "1KB", "1 K", "-1", "1.5G", "+1", "0x1", "8388608T", "99999999999999999999"],
    );
}

#[test]
fn durations() {
    let seconds = Duration::from_secs;
    let good = [
        ("10s", seconds(10)),
        ("5m", seconds(300)),
        ("1h 30m", seconds(5400)),
        ("1h30m", seconds(5400)),
        ("7d", seconds(604_800)),
        ("0s", seconds(0)),
        ("  1s ", seconds(1)),
    ];
    check(
        shape::duration,
        &good,
        &[
            "",
            " ",
            "10",
            "s",
            "1s 1s",
            "1s 1m",
            "1w",
            "1.5h",
            "-1s",
            "36501d",
            "9999999999999999999d",
            "1m\t1s",
        ],
    );
}

#[test]
fn processors_and_modes() {
    assert_eq!(Cpus::parse("0.5").map(Cpus::milli), Ok(500));
    assert_eq!(Cpus::new(2.0).map(Cpus::milli), Ok(2000));
    check(Cpus::parse, &[], &["", "0", "-1", "NaN", "inf", "1025", "two"]);
    check(shape::file_mode, &[("0644", 0o644), ("600", 0o600)], &["", "7", "0888", "04755", "1777", "rw"]);
}

#[test]
fn images() {
    let digest = format!("registry.example.org/a@sha256:{}", "0f".repeat(32));
    for text in [
        "docker.io/library/nginx:1",
        "localhost/holdfast/nginx:1",
        "a.b:5000/c/d__e:v_1.2-3",
        "[::1]:80/a:b",
        &digest,
    ] {
        let image = ImageRef::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(image.to_string(), text);
    }
    let image = ImageRef::parse("localhost:5000/holdfast/nginx:1").expect("an image");
    assert_eq!(
        (image.host(), image.repository(), image.tag(), image.digest()),
        ("localhost:5000", "holdfast/nginx", Some("1"), None)
    );
    let bad = [
        "",
        "nginx",
        "nginx:1",
        "library/nginx:1",
        "a.b/c",
        "a.b/C:1",
        "a.b/c:",
        "a.b/c:-x",
        "a.b//c:1",
        "a.b/c..d:1",
        "a.b/c:1@sha256:ab",
        "a.b/c@md5:00",
        "a.b:0/c:1",
        "a.b/c:1 ",
        "https://a.b/c:1",
        "a.b/ü:1",
        "a_b.c/d:1",
    ];
    check(ImageRef::parse, &[], &bad);
}

#[test]
fn ports() {
    for text in ["80:8080", "127.0.0.1:80:81", "[2001:db8::1]:80:81", "53:53/udp"] {
        assert_eq!(Port::parse(text).map(|port| port.to_string()).as_deref(), Ok(text));
    }
    assert_eq!(Port::parse("80:80/tcp"), Port::parse("80:80"));
    assert!(Port::parse("22:22").is_err_and(|e| e.to_string().contains("ssh")), "the admin's way in stays");
    assert!(Port::parse("22:22/udp").is_ok() && Port::parse("2222:22").is_ok());
    let bad = [
        "",
        "80",
        "0:80",
        "80:65536",
        "80:80/",
        "80:80/sctp",
        "a:80",
        ":80:80",
        "::1:80:80",
        "[127.0.0.1]:80:80",
        "1-2:1-2",
        "+80:80",
    ];
    check(Port::parse, &[], &bad);
}

#[test]
fn ports_conflict_when_one_socket_would_take_both() {
    let conflict = |a: &str, b: &str| {
        let (a, b) = (Port::parse(a).expect("a port"), Port::parse(b).expect("a port"));
        assert_eq!(a.conflicts_with(&b), b.conflicts_with(&a));
        a.conflicts_with(&b)
    };
    assert!(
        conflict("80:1", "80:2")
            && conflict("80:1", "10.0.0.1:80:2")
            && conflict("0.0.0.0:80:1", "10.0.0.1:80:2")
    );
    assert!(
        !conflict("80:1", "81:1")
            && !conflict("80:1", "80:1/udp")
            && !conflict("10.0.0.1:80:1", "10.0.0.2:80:1")
    );
    assert!(!conflict("0.0.0.0:80:1", "[::1]:80:1"));
}

#[test]
fn probes() {
    let target = |text: &str| shape::http_probe(text).map(|probe| (probe.port, probe.path));
    assert_eq!(target(":8080"), Ok((8080, "/".to_owned())));
    assert_eq!(target(":80/a?b=c"), Ok((80, "/a?b=c".to_owned())));
    check(target, &[], &["", "8080", "http://a/", "a:80/", ":0/", ":80x", ":80/a b", ":80/ä"]);
    check(shape::tcp_probe, &[(":5432", 5432)], &["", "5432", ":0", ":80/", "a:80"]);
}

#[test]
fn paths_and_users() {
    check(
        shape::absolute_path,
        &[("/", "/".into()), ("/a/b/", "/a/b".to_owned())],
        &["", "a", "//a", "/a//b", "/a/./b", "/..", "/a\n"],
    );
    check(shape::file_path, &[], &["/"]);
    for text in ["0", "1000:1000", "www-data", "a:b"] {
        assert!(User::parse(text).is_ok_and(|user| user.as_str() == text), "{text}");
    }
    check(User::parse, &[], &["", ":", "a:", ":a", "a:b:c", "4294967295", "-a", "a b"]);
    check(
        shape::owner,
        &[("33", Owner { uid: 33, gid: 33 }), ("0:7", Owner { uid: 0, gid: 7 })],
        &["", "root", "0:", "65536", "-1:0"],
    );
    check_text(shape::capability, &["SYS_ADMIN"], &["CAP_SYS_ADMIN", "sys_admin", "ALL", ""]);
    check_text(shape::stop_signal, &["SIGTERM", "SIGRTMIN+3"], &["TERM", "15", "SIGRTMIN+31", "SIGSTOP", ""]);
}

#[test]
fn addresses() {
    for text in ["203.0.113.7/24", "2001:db8::7/64", "0.0.0.0/0", "::/0", "::1/128"] {
        assert_eq!(Cidr::parse(text).map(|cidr| cidr.to_string()).as_deref(), Ok(text));
    }
    check(
        Cidr::parse,
        &[],
        &["", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "::/129", "10.0.0/8", "10.0.0.1/+8", "a/8"],
    );
    let network = Cidr::parse("203.0.113.7/24").expect("a network");
    let contains = |text: &str| network.contains(text.parse().expect("an address"));
    assert!(contains("203.0.113.255") && !contains("203.0.114.0") && !contains("::ffff:203.0.113.1"));
    assert!(Cidr::parse("::/0").is_ok_and(|all| all.contains("2001:db8::1".parse().expect("an address"))));
    assert_eq!(
        Mac::parse("52:54:00:AB:cd:ef").map(|mac| mac.to_string()).as_deref(),
        Ok("52:54:00:ab:cd:ef")
    );
    check(
        Mac::parse,
        &[],
        &[
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52-54-00-12-34-56",
            "5:4:0:1:3:5",
            "gg:00:00:00:00:00",
        ],
    );
    check_text(
        shape::registry_host,
        &["a.b", "a:5000", "[::1]:5000", "10.0.2.2:80"],
        &["", "a/b", "https://a", "a:", "a:0", "a:99999", "[::g]"],
    );
}

#[test]
fn admin_keys() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA ops@example";
    assert_eq!(AdminKey::parse(&format!(" {key}\n")).map(|key| key.as_str().to_owned()).as_deref(), Ok(key));
    let blob = key.split(' ').nth(1).expect("a blob");
    let bad = [
        String::new(),
        "ssh-ed25519".into(),
        "ssh-ed25519 !!".into(),
        "ssh-ed25519 AAAA".into(),
        format!("ssh-rsa {blob}"),
        format!("no-pty {key}"),
        format!("{key}\n{key}"),
        "-----BEGIN OPENSSH PRIVATE KEY-----".into(),
        format!("ssh-dss {blob}"),
    ];
    check(AdminKey::parse, &[], &bad.iter().map(String::as_str).collect::<Vec<_>>());
}

/// An RSA key with a modulus of this many bits.
fn rsa_key(bits: usize) -> String {
    // A number whose highest bit is set has a zero before it.
    let mut modulus = vec![0xff; bits / 8 + 1];
    modulus[0] = (1 << (bits % 8)) - 1;
    let mut blob = Vec::new();
    for field in [&b"ssh-rsa"[..], b"\x01\x00\x01", &modulus[..]] {
        blob.extend((field.len() as u32).to_be_bytes());
        blob.extend(field);
    }
    format!("ssh-rsa {} me", base64::engine::general_purpose::STANDARD.encode(blob))
}

#[test]
fn rsa_keys_are_as_long_as_sshd_wants_them() {
    for bits in [2048, 2049, 4096] {
        assert!(AdminKey::parse(&rsa_key(bits)).is_ok(), "{bits}");
    }
    for bits in [512, 1024, 2047] {
        let error = AdminKey::parse(&rsa_key(bits)).unwrap_err();
        assert!(error.message.contains(&format!("{bits} bits")), "{error:?}");
    }
}

#[test]
fn templates() {
    let paths = |text: &str| {
        let template = Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        template.paths().map(|(path, at)| (path.to_string(), text[at].to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(paths("a {{ params.x }} b {{steps.s-1.output}}").len(), 2);
    assert_eq!(
        paths("é{{ instance.name }}"),
        [("instance.name".to_owned(), "{{ instance.name }}".to_owned())]
    );
    assert_eq!(
        Template::parse("{{{{ x }} {").ok().and_then(|t| t.as_literal().map(str::to_owned)).as_deref(),
        Some("{{ x }} {")
    );
    assert_eq!(Template::parse("").ok().and_then(|t| t.as_literal().map(str::to_owned)).as_deref(), Some(""));
    let bad = [
        "{{",
        "{{ }}",
        "{{ x }}",
        "{{ params }}",
        "{{ params.X }}",
        "{{ params.x.y }}",
        "{{ params.x | upper }}",
        "{{ steps.s }}",
        "{{ {{ params.x }}",
    ];
    check(Template::parse, &[], &bad);
    for later in ["{{ needs.db.url }}", "{{ consumer.name }}", "{{ host }}"] {
        assert!(
            Template::parse(later).is_err_and(|error| error.message.contains("needs Holdfast 0.4")),
            "{later}"
        );
    }
}

#[test]
fn base_urls() {
    let good = [
        ("https://a", "https://a"),
        ("https://a/", "https://a"),
        ("http://a.example.org:8080/x/y/", "http://a.example.org:8080/x/y"),
        ("https://a/x//", "https://a/x"),
        ("https://[2001:db8::1]:1/x@y", "https://[2001:db8::1]:1/x@y"),
        ("https://10.0.0.1/%20", "https://10.0.0.1/%20"),
    ];
    let parse = |text: &str| BaseUrl::parse(text).map(|url| url.to_string());
    check_text(parse, &good.map(|(_, url)| url), &[]);
    check(parse, &good.map(|(text, url)| (text, url.to_owned())), &[]);
    let long = format!("https://a/{}", "x".repeat(2048));
    let bad = [
        "",
        "a",
        "//a",
        "ftp://a",
        "HTTPS://a",
        "https:a",
        "https://",
        "https:///x",
        "https://:80",
        "https://@a",
        "https://u@a",
        "https://u:p@a/x",
        "https://a?",
        "https://a?x",
        "https://a#",
        "https://a/#x",
        "https://a:0",
        "https://a:65536",
        "https://a:",
        "https://a_b",
        "https://-a",
        "https://[::1",
        "https://[1.2.3.4]",
        "https://ä",
        "https://a/ä",
        "https://a/ x",
        " https://a",
        "https://a\n",
        "https://a\\b",
        "https://a/\"",
        &long,
    ];
    check(parse, &[], &bad);
}

#[test]
fn hook_urls() {
    let good = [
        "https://a",
        "https://a/",
        "http://10.0.0.1:8080/x?y=z/?@",
        "https://user:pass@[::1]:443/x",
        "https://a?x",
        "https://a@b@c/",
    ];
    let long = format!("https://a/{}", "x".repeat(2048));
    let bad = [
        "",
        "a",
        "mailto:a@b",
        "https://",
        "https://u@",
        "https://?x",
        "https://a#",
        "https://a/?x#y",
        "https://a/ä",
    ];
    check_text(shape::hook_url, &good, &bad);
    check_text(shape::hook_url, &[], &[&long]);
}

#[test]
fn windows() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let good = [
        ("03:00-05:00", minutes(120)),
        ("03:00–05:00", minutes(120)),
        ("00:00-00:10", minutes(10)),
        ("23:50-00:00", minutes(10)),
        ("23:55-00:05", minutes(10)),
        ("22:00-06:00", minutes(480)),
        ("00:01-00:00", minutes(1439)),
        ("00:00-23:59", minutes(1439)),
    ];
    let bad = [
        "",
        "-",
        "03:00",
        "03:00-",
        "-05:00",
        "3:00-5:00",
        "03:00-5:00",
        "03:00 - 05:00",
        "03:00—05:00",
        "03:00--05:00",
        "03:00-05:00-06:00",
        "03.00-05.00",
        "0300-0500",
        "22:00-24:00",
        "24:00-02:00",
        "03:60-05:00",
        "+3:00-05:00",
        "03:00:00-05:00:00",
        "03:00-03:00",
        "03:00-03:09",
        "23:55-00:04",
        "３:00-05:00",
    ];
    check(|text| Window::parse(text).map(|window| window.length()), &good, &bad);
}

#[test]
fn time_zones() {
    let names = [
        "UTC",
        "Etc/UTC",
        "Europe/Berlin",
        "America/Argentina/Buenos_Aires",
        "Asia/Kolkata",
        "Etc/GMT+1",
        "CET",
    ];
    let bad = [
        "",
        " ",
        "utc",
        "europe/berlin",
        "Berlin",
        "Europe",
        "Etc/Unknown",
        "localtime",
        "../etc/passwd",
        "UTC ",
        "Ü",
    ];
    check_text(|text| TimeZone::parse(text).map(|zone| zone.name().to_owned()), &names, &bad);
    assert_eq!(TimeZone::parse("UTC"), Ok(TimeZone::default()));
    let near = [
        ("europe/berlin", "Europe/Berlin"),
        ("utc", "UTC"),
        ("berlin", "Europe/Berlin"),
        ("Los Angeles", "America/Los_Angeles"),
        ("Europe/Pariss", "Europe/Paris"),
    ];
    for (text, meant) in near {
        let hint = TimeZone::parse(text).err().and_then(|error| error.hint);
        assert_eq!(hint, Some(format!("did you mean \"{meant}\"?")), "{text}");
    }
}

#[test]
fn every_known_time_zone_is_accepted_by_its_name() {
    let database = jiff::tz::TimeZoneDatabase::bundled();
    let names: Vec<String> = database.available().map(|name| name.to_string()).collect();
    assert!(names.len() > 400, "{}", names.len());
    for name in names {
        let zone = TimeZone::parse(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((zone.name(), zone.zone().iana_name()), (name.as_str(), Some(name.as_str())));
    }
}
