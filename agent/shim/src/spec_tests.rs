use serde_json::{Value, json};

use super::*;
use crate::annotations;

fn config() -> Value {
    let map = json!([{"containerID": 0, "hostID": 131072, "size": 65536}]);
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/bin/true"], "env": ["A=1"],
            "capabilities": {}, "noNewPrivileges": true,
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
            {"destination": "/etc/hosts", "type": "bind", "source": "/b/hosts", "options": ["bind", "ro"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {"destination": "/data/conf", "source": "/b/files/0", "options": ["rbind"]},
        ],
        "linux": {
            "cgroupsPath": "/system.slice/x.service/ctr",
            "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"},
                           {"type": "cgroup"}, {"type": "user"}],
            "uidMappings": map, "gidMappings": map,
        },
        "annotations": {
            "org.holdfast.layers": "[\"/l/a.erofs\"]",
            "org.holdfast.upper": "/c/x",
            "org.holdfast.idmap": "131072:65536",
            "org.holdfast.volumes": "[{\"source\":\"/v/1/data\",\"destination\":\"/data\",\"read_only\":true}]",
        },
    })
}

fn parsed(config: Value) -> (Spec, Annotations) {
    let spec: Spec = serde_json::from_value(config).unwrap();
    let annotations = annotations::parse(&spec.annotations().clone().unwrap()).unwrap();
    (spec, annotations)
}

/// Changes the good configuration at a JSON pointer (null removes) and expects a refusal.
fn refused(pointer: &str, value: Value, expected: SpecError) {
    let mut config = config();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(key);
    } else {
        parent.insert(key.to_owned(), value);
    }
    let (spec, annotations) = parsed(config);
    assert_eq!(check(&spec, &annotations), Err(expected), "{pointer}");
}

#[test]
fn a_full_configuration_is_accepted() {
    let (spec, annotations) = parsed(config());
    assert_eq!(check(&spec, &annotations), Ok(()));
}

#[test]
fn what_would_protect_less_is_refused() {
    refused("/process/capabilities", Value::Null, SpecError::Missing("process.capabilities"));
    refused("/process/args", json!([]), SpecError::Missing("process.args"));
    refused("/annotations/org.holdfast.idmap", Value::Null, SpecError::UserNamespace);
    refused("/annotations/org.holdfast.idmap", json!("5:65536"), SpecError::Mappings("uidMappings"));
    refused("/linux/gidMappings", Value::Null, SpecError::Mappings("gidMappings"));
    refused("/annotations/org.holdfast.upper", Value::Null, SpecError::NoUpper);
    refused("/linux/cgroupsPath", json!("x"), SpecError::CgroupsPath("x".into()));
    refused("/linux/cgroupsPath", json!("/"), SpecError::CgroupsPath("/".into()));
    let all = ["mount", "pid", "ipc", "uts", "cgroup", "user", "network"];
    let list = |without: &str| -> Value {
        all.iter().filter(|n| **n != without).map(|n| json!({"type": n})).collect()
    };
    refused("/linux/namespaces", list(""), SpecError::NetworkNamespace);
    let missing = |name| SpecError::Missing(name);
    refused("/linux/namespaces", list("mount"), missing("the mount namespace in `linux.namespaces`"));
    refused("/linux/namespaces", list("pid"), missing("the PID namespace in `linux.namespaces`"));
}

#[test]
fn a_read_only_root_needs_no_upper() {
    let mut config = config();
    config["root"]["readonly"] = json!(true);
    config["annotations"].as_object_mut().unwrap().remove("org.holdfast.upper");
    let (spec, annotations) = parsed(config);
    assert_eq!(check(&spec, &annotations), Ok(()));
}

#[test]
fn the_runtime_gets_only_prepared_sources_in_mounting_order() {
    let (spec, annotations) = parsed(config());
    let scratch = Scratch(Path::new("/s"));
    let spec = for_runtime(&spec, &annotations.volumes, &scratch, "/home/x");
    let mounts: Vec<_> = spec
        .mounts()
        .iter()
        .flatten()
        .map(|m| {
            let source = m.source().as_ref().unwrap().to_str().unwrap();
            let options = m.options().clone().unwrap_or_default().join(",");
            (m.destination().to_str().unwrap().to_owned(), source.to_owned(), options)
        })
        .collect();
    let expected = [
        ("/sys", "/s/sys", "bind,ro,nosuid,nodev,noexec"),
        ("/data", "/s/volume-0", "bind,nosuid,nodev,ro"),
        ("/etc/hosts", "/s/bind-1", "bind,ro"),
        ("/data/conf", "/s/bind-3", "rbind"),
        ("/sys/fs/cgroup", "cgroup", ""),
    ];
    let expected: Vec<_> = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())).into();
    assert_eq!(mounts, expected);
    assert_eq!(spec.root().as_ref().unwrap().path(), Path::new("/s/root"));
    let process = spec.process().as_ref().unwrap();
    let env = process.env().clone().unwrap();
    assert_eq!(env, ["A=1".to_owned(), format!("PATH={DEFAULT_PATH}"), "HOME=/home/x".to_owned()]);
}

#[test]
fn given_environment_stays() {
    let mut env = vec!["HOME=/r".to_owned(), "PATH=/p".to_owned()];
    complete_env(&mut env, "/x");
    assert_eq!(env, ["HOME=/r", "PATH=/p"]);
    let mut env = vec!["HOME=".to_owned(), "PATH=/p".to_owned()];
    complete_env(&mut env, "/x");
    assert_eq!(env, ["HOME=", "PATH=/p", "HOME=/x"]);
}
