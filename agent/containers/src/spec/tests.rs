use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use agent_core::container::{FileConfig, VolumeMount};

use super::*;
use crate::{Digest, ImageConfig, LayerRecord};

fn image() -> ImageRecord {
    let layer = |name: &str, opaque_root| LayerRecord {
        diff_id: Digest::of(name.as_bytes()),
        name: name.to_owned(),
        bytes: 10,
        verity: Digest::of(b"seal"),
        opaque_root,
    };
    ImageRecord {
        format: ImageRecord::FORMAT,
        digest: Digest::of(b"manifest"),
        config_digest: Digest::of(b"config"),
        config: ImageConfig {
            user: "app".into(),
            env: vec!["PATH=/bin".into(), "MODE=image".into(), "PATH=/again".into(), "odd".into()],
            entrypoint: vec!["/init".into()],
            cmd: vec!["serve".into(), "--now".into()],
            working_dir: "/srv".into(),
            stop_signal: "SIGQUIT".into(),
            ..ImageConfig::default()
        },
        layers: vec![layer("hidden", false), layer("low", true), layer("high", false)],
        passwd: Some("root:x:0:0::/:\napp:x:1000:1001::/:\n".into()),
        group: Some("app:x:1001:\nextra:x:7:app\n".into()),
    }
}

fn config() -> ContainerConfig {
    ContainerConfig {
        name: ContainerName::new("site", "web"),
        image: "r.example/web:1".into(),
        entrypoint: None,
        command: None,
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        files: BTreeMap::new(),
        volumes: BTreeMap::new(),
        tmpfs: Vec::new(),
        ports: Vec::new(),
        user: None,
        working_dir: None,
        read_only: false,
        memory: None,
        millicpus: None,
        pids: 2048,
        cap_add: Vec::new(),
        userns: Userns::Auto,
        privileged: false,
        stop_signal: None,
        stop_timeout_ms: 10_000,
    }
}

fn allocation() -> Allocation {
    Allocation {
        id_base: 131_072,
        index: 3,
        gateway4: "10.213.3.1".parse().unwrap(),
        gateway6: "fd00:0:0:3::1".parse().unwrap(),
        addresses: BTreeMap::from([
            ("db".to_owned(), ("10.213.3.2".parse().unwrap(), "fd00:0:0:3::2".parse().unwrap())),
            ("web".to_owned(), ("10.213.3.3".parse().unwrap(), "fd00:0:0:3::3".parse().unwrap())),
        ]),
    }
}

const SECCOMP: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [
        { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
        { "names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": ["CAP_SYS_CHROOT"] },
        { "names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": ["CAP_SYS_ADMIN"] },
        { "names": ["both"], "action": "SCMP_ACT_ALLOW", "includes": ["CAP_SYS_ADMIN", "CAP_SYS_TIME"] },
        { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": ["CAP_SYS_ADMIN", "CAP_SYS_NICE"] }
    ]
}"#;

/// Builds a bundle, and reads it as the shim does first.
fn built(config: &ContainerConfig, image: &ImageRecord) -> Result<Bundle, SpecError> {
    let seccomp = SeccompProfile::parse(SECCOMP).unwrap();
    let bundle = build(&Input {
        config,
        image,
        allocation: &allocation(),
        folders: &Folders::default(),
        seccomp: &seccomp,
        dns: &["127.0.0.53".parse().unwrap(), "9.9.9.9".parse().unwrap(), "2620:fe::fe".parse().unwrap()],
    })?;
    let read: oci_spec::runtime::Spec = serde_json::from_value(bundle.config.clone()).unwrap();
    assert_eq!(read.version(), "1.2.0");
    Ok(bundle)
}

/// Changes the plain configuration and builds it.
fn with(change: impl FnOnce(&mut ContainerConfig)) -> Bundle {
    let mut config = config();
    change(&mut config);
    built(&config, &image()).unwrap()
}

fn at<'a>(bundle: &'a Bundle, pointer: &str) -> &'a Value {
    bundle.config.pointer(pointer).unwrap_or(&Value::Null)
}

#[test]
fn a_plain_container() {
    insta::assert_snapshot!("plain", pretty(&with(|_| {}).config));
}

#[test]
fn the_kernel_takes_no_share_of_cpu_below_a_millisecond() {
    let bundle = with(|config| config.millicpus = Some(1));
    assert_eq!(at(&bundle, "/linux/resources/cpu/quota"), &json!(1000));
}

#[test]
fn a_container_with_everything() {
    let bundle = with(everything);
    insta::assert_snapshot!("everything", pretty(&bundle.config));
    let files: Vec<_> = bundle
        .files
        .iter()
        .map(|file| {
            let content = file.content.expose();
            format!("{} {:o} {:?} {content:?}", file.path.display(), file.mode, file.owner)
        })
        .collect();
    insta::assert_snapshot!("everything-files", files.join("\n"));
}

fn everything(config: &mut ContainerConfig) {
    config.entrypoint = Some(vec!["/run".into()]);
    config.command = Some(vec!["a".into(), "b c".into()]);
    config.env = BTreeMap::from([
        ("MODE".to_owned(), Secret::new("recipe")),
        ("KEY".to_owned(), Secret::new("a=b\nc")),
    ]);
    config.secrets = BTreeMap::from([("key".to_owned(), Secret::new("hush"))]);
    let file = |content: &str, mode, uid| FileConfig { content: Secret::new(content), mode, uid, gid: 0 };
    config.files = BTreeMap::from([
        ("/etc/app.toml".to_owned(), file("x = 1", 0o644, 0)),
        ("/run/start".to_owned(), file("#!", 0o755, 5)),
    ]);
    let volume = |read_only| VolumeMount { source: "/var/lib/holdfast/volumes/1/data".into(), read_only };
    config.volumes = BTreeMap::from([("/data".to_owned(), volume(false)), ("/ro".to_owned(), volume(true))]);
    config.tmpfs = vec!["/run".into(), "/tmp".into()];
    config.user = Some("1000:1000".into());
    config.working_dir = Some("/".into());
    config.read_only = true;
    config.memory = Some(256 << 20);
    config.millicpus = Some(500);
    config.pids = 512;
    config.cap_add = vec!["NET_RAW".into()];
    config.stop_signal = Some("SIGINT".into());
}

/// Objects by name: another crate of the build may make serde_json keep the order of insertion.
fn pretty(value: &Value) -> String {
    fn sort(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let sorted: BTreeMap<&String, Value> = map.iter().map(|(k, v)| (k, sort(v))).collect();
                sorted.into_iter().map(|(k, v)| (k.clone(), v)).collect()
            }
            Value::Array(items) => items.iter().map(sort).collect(),
            other => other.clone(),
        }
    }
    serde_json::to_string_pretty(&sort(value)).unwrap()
}

#[test]
fn what_is_run() {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    for (entrypoint, command, expect) in [
        (None, None, json!(["/init", "serve", "--now"])),
        (None, words(&["x"]), json!(["/init", "x"])),
        (words(&["/e"]), None, json!(["/e"])),
        (words(&["/e"]), words(&["x"]), json!(["/e", "x"])),
        (words(&[]), words(&["/x"]), json!(["/x"])),
        (None, words(&[]), json!(["/init"])),
    ] {
        let bundle = with(|config| (config.entrypoint, config.command) = (entrypoint, command));
        assert_eq!(at(&bundle, "/process/args"), &expect);
    }
    let mut config = config();
    config.entrypoint = Some(Vec::new());
    assert!(matches!(built(&config, &image()), Err(SpecError::NoCommand(_))));
}

#[test]
fn an_added_capability_opens_the_system_calls_that_need_it() {
    for (added, expect) in [
        (&[][..], &["read", "chroot", "clone"][..]),
        (&["SYS_ADMIN"], &["read", "chroot", "mount"]),
        (&["SYS_TIME"], &["read", "chroot", "clone"]),
        (&["SYS_ADMIN", "SYS_TIME"], &["read", "chroot", "mount", "both"]),
        (&["SYS_NICE"], &["read", "chroot"]),
    ] {
        let bundle = with(|config| config.cap_add = added.iter().map(|&name| name.to_owned()).collect());
        let rules = at(&bundle, "/linux/seccomp/syscalls").as_array().unwrap();
        let names: Vec<_> = rules.iter().map(|rule| rule["names"][0].as_str().unwrap()).collect();
        assert_eq!(names, expect, "{added:?}");
        assert!(rules.iter().all(|rule| rule.get("includes").or(rule.get("excludes")).is_none()));
    }
}

#[test]
fn without_a_user_namespace() {
    let bundle = with(|config| {
        config.userns = Userns::Host;
        config.user = Some("70000".into());
    });
    assert_eq!(at(&bundle, "/annotations/org.holdfast.idmap"), &Value::Null);
    assert_eq!(at(&bundle, "/linux/uidMappings"), &Value::Null);
    let namespaces = at(&bundle, "/linux/namespaces").to_string();
    assert!(!namespaces.contains("user") && !namespaces.contains("network"), "{namespaces}");
    assert!(bundle.files.iter().all(|file| file.owner == (0, 0)));
}

#[test]
fn privileged() {
    let bundle = with(|config| config.privileged = true);
    for pointer in ["/linux/seccomp", "/linux/maskedPaths", "/linux/readonlyPaths"] {
        assert_eq!(at(&bundle, pointer), &Value::Null);
    }
    assert_eq!(at(&bundle, "/process/capabilities/effective").as_array().unwrap().len(), 41);
    assert_eq!(at(&bundle, "/linux/resources/devices"), &json!([{ "allow": true, "access": "rwm" }]));
}

/// What the runtime would silently leave out, were it not asked for in just this way.
#[test]
fn protections_that_are_never_left_out() {
    for bundle in [with(|_| {}), with(everything), with(|config| config.userns = Userns::Host)] {
        assert!(at(&bundle, "/process/capabilities/bounding").is_array());
        assert_eq!(at(&bundle, "/process/noNewPrivileges"), &json!(true));
        assert_eq!(at(&bundle, "/linux/resources/unified/memory.swap.max"), &json!("0"));
        assert_eq!(at(&bundle, "/linux/resources/memory/swap"), &Value::Null);
        assert_eq!(at(&bundle, "/linux/resources/devices/0"), &json!({ "allow": false, "access": "rwm" }));
        assert!(at(&bundle, "/linux/seccomp/defaultAction").is_string());
    }
}

#[test]
fn capabilities_follow_the_user() {
    let added = |user: &str| {
        with(|config| {
            config.user = Some(user.into());
            config.cap_add = vec!["NET_RAW".into()];
        })
    };
    let root = added("0");
    assert_eq!(at(&root, "/process/capabilities/effective").as_array().unwrap().len(), 12);
    assert_eq!(at(&root, "/process/capabilities/ambient"), &json!([]));
    let other = added("5");
    for set in ["effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(at(&other, &format!("/process/capabilities/{set}")), &json!(["CAP_NET_RAW"]));
    }
    assert_eq!(at(&other, "/process/capabilities/bounding").as_array().unwrap().len(), 12);
}

#[test]
fn what_cannot_run_is_refused() {
    let refused = |change: fn(&mut ContainerConfig)| {
        let mut config = config();
        change(&mut config);
        built(&config, &image()).unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        [
            refused(|config| config.user = Some("nobody".into())),
            refused(|config| config.user = Some("70000".into())),
            refused(|config| config.working_dir = Some("srv".into())),
            refused(|config| config.cap_add = vec!["CAP_NET_RAW".into()]),
            refused(|config| config.tmpfs = vec!["/".into()]),
            refused(|config| config.tmpfs = vec!["/a/../b".into()]),
            refused(|config| config.tmpfs = vec!["tmp".into()]),
        ]
        .join("\n"),
        @r"
    container `site.web`: the image has no user `nobody`
    container `site.web`: id 70000 is not below 65536
    container `site.web`: working directory `srv` is not absolute
    container `site.web`: `CAP_NET_RAW` is not a capability
    container `site.web`: `/` cannot be mounted on
    container `site.web`: `/a/../b` cannot be mounted on
    container `site.web`: `tmp` cannot be mounted on
    "
    );
}

#[test]
fn equal_input_gives_equal_bytes() {
    assert_eq!(with(everything).config.to_string(), with(everything).config.to_string());
}

/// Owners are the test's own: only root can give files away.
#[test]
fn a_bundle_is_written_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let own = std::fs::metadata(folder.path()).unwrap();
    let mut bundle = with(everything);
    bundle.path = folder.path().join("bundles/site.web");
    for file in &mut bundle.files {
        file.owner = (own.uid(), own.gid());
    }
    write(&bundle).unwrap();
    std::fs::write(bundle.path.join("old"), "").unwrap();
    write(&bundle).unwrap();
    assert!(!bundle.path.join("old").exists());
    let mode = |path: &str| bundle.path.join(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(""), 0o700);
    assert_eq!((mode("secrets"), mode("secrets/key"), mode("files/1")), (0o755, 0o400, 0o755));
    assert_eq!(mode("config.json"), 0o600);
    let config: Value =
        serde_json::from_slice(&std::fs::read(bundle.path.join("config.json")).unwrap()).unwrap();
    assert_eq!(config, bundle.config);
    assert!(remove(&bundle.path).unwrap());
    assert!(!remove(&bundle.path).unwrap());
}
