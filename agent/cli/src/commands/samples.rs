//! Wire values for the tests.

use agent_api::types::*;

pub(super) fn container() -> Container {
    Container {
        name: "site.web".into(),
        state: ContainerState::Healthy,
        reason: None,
        image: "registry.example.org/nginx:1".into(),
        digest: Some("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".into()),
        pid: Some(812),
        uptime: Some(4000),
        restarts: 0,
        last_exit: None,
        memory: Some(12_500_000),
        addresses: vec!["10.213.1.2".into(), "fd00::2".into()],
        ports: vec!["80:8080".into()],
    }
}

pub(super) fn update() -> UpdateStatus {
    UpdateStatus {
        state: UpdateState::Off,
        running: "0.1.0".into(),
        url: None,
        channel: None,
        policy: None,
        window: None,
        next: None,
        available: None,
        checked: None,
        expires: None,
        problem: None,
        lacking: vec![],
        staged: None,
        progress: None,
        last: None,
        failed: vec![],
        previous: None,
        scrub: None,
        damaged: vec![],
    }
}

pub(super) fn notify() -> NotifyStatus {
    NotifyStatus { enabled: false, standing: vec![], waiting: vec![], dropped: 0, last: None, next: None }
}

pub(super) fn status() -> Status {
    Status {
        health: Health::Healthy,
        problems: vec![],
        warnings: vec![],
        hostname: "hub1".into(),
        version: "0.1.0".into(),
        uptime: 93_784,
        user_data: UserDataStatus {
            channel: Some("nocloud".into()),
            generation: 3,
            errors: vec![],
            notes: vec![],
        },
        instances: vec![Instance {
            name: "site".into(),
            recipe: "nginx".into(),
            health: Health::Healthy,
            reason: None,
            steps: vec![],
        }],
        containers: vec![container()],
        interfaces: vec![Interface {
            name: "ens3".into(),
            mac: "52:54:00:12:34:56".into(),
            up: true,
            addresses: vec!["203.0.113.7/24".into()],
            gateways: vec!["203.0.113.1".into()],
            source: "dhcp".into(),
            dns: vec!["9.9.9.9".into()],
            mtu: 1500,
            problem: None,
        }],
        ports: vec![PublishedPort {
            container: "site.web".into(),
            address: None,
            host: 80,
            to: 8080,
            protocol: "tcp".into(),
            open: true,
        }],
        time: TimeStatus {
            now: "2026-11-21T06:00:00Z".into(),
            synchronized: true,
            server: Some("time.example.org".into()),
        },
        disk: Disk { size: 10 << 30, used: 1 << 30, available: 8 << 30 },
        memory: Memory {
            total: 1 << 30,
            available: 700 << 20,
            pss: 60 << 20,
            slab: 30 << 20,
            kernel: 40 << 20,
        },
        slots: Slots {
            running: "a".into(),
            next: "a".into(),
            good: "a".into(),
            tries: [("a".to_owned(), 3), ("b".to_owned(), 0)].into(),
        },
        update: update(),
        host_keys: vec!["SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA (ED25519)".into()],
    }
}

pub(super) fn plan() -> Plan {
    let action = |id: &str, action: &str, reason: &str, after: &[&str]| Action {
        id: id.into(),
        action: action.into(),
        reason: reason.into(),
        after: after.iter().map(|id| (*id).into()).collect(),
    };
    Plan {
        actions: vec![
            action("1", "fetch image registry.example.org/nginx:1", "not in the store", &[]),
            action("2", "start container site.web", "not running", &["1"]),
        ],
        removes: vec!["old".into()],
    }
}
