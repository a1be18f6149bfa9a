//! Serves the NICs whose names begin with the given prefix, with the settings of a JSON file if one
//! is given, and prints status and events. For a look by hand in a network namespace.

use agent_core::network::HostConfig;
use agent_net::host::{HostNetwork, HostOptions};
use agent_net::links::Link;

fn is_test_nic(link: &Link) -> bool {
    link.mac.is_some() && link.name.starts_with("nic")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = std::path::PathBuf::from(arguments.next().ok_or("usage: host DIRECTORY [SETTINGS]")?);
    let config: HostConfig = match arguments.next() {
        Some(path) => serde_json::from_str(&std::fs::read_to_string(path)?)?,
        None => HostConfig::default(),
    };
    let options = HostOptions {
        state: directory.join("state"),
        volatile: directory.join("volatile"),
        resolv_conf: directory.join("resolv.conf"),
        hostname: Some("box".to_owned()),
        is_nic: is_test_nic,
    };
    let began = tokio::time::Instant::now();
    let (network, mut events) = HostNetwork::start(options)?;
    network.configure(config);
    let mut status = network.status();
    loop {
        tokio::select! {
            Some(event) = events.recv() => {
                println!("{:6.2} event {} {}: {}", began.elapsed().as_secs_f32(), event.nic, event.kind, event.message);
            }
            changed = status.changed() => {
                changed?;
                println!("{:6.2} {}", began.elapsed().as_secs_f32(), serde_json::to_string(&*status.borrow())?);
            }
        }
    }
}
