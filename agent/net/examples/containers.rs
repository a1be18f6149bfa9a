//! Makes the networks of two instances and their ruleset, twice, and says what changed; with `rm`
//! it removes them. For a look by hand in `unshare -mn`, where it cannot harm the host.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::container::{Port, Protocol};
use agent_core::network::{InstanceNetwork, ruleset};
use agent_core::{Allocation, ContainerName};
use agent_net::containers::{Attachment, ContainerNetworks};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let networks = ContainerNetworks::open()?;
    if std::env::args().nth(1).as_deref() == Some("rm") {
        println!("removed: {:?}", networks.prune(&BTreeSet::new(), &BTreeSet::new()).await?);
        return Ok(());
    }
    println!("forwarding: {:?}", agent_net::sysctl::set_forwarding()?);
    for round in 1..=2 {
        let mut all = Vec::new();
        for index in [1, 2] {
            let allocation = allocation(index)?;
            let port = |address, host| Port { address, host, container: 80, protocol: Protocol::Tcp };
            let ports =
                [port(None, 8080 + index as u16), port(Some("127.0.0.1".parse()?), 9080 + index as u16)];
            let network = InstanceNetwork::new(&allocation, [("web", &ports[..])]);
            println!("{round} bridge {index}: {:?}", networks.ensure_bridge(&network).await?);
            for container in allocation.addresses.keys() {
                let name = ContainerName::new(format!("i{index}"), container);
                let place = Attachment::new(&name, &allocation).ok_or("no address")?;
                println!("{round} {name}: {:?}", networks.ensure_container(&place).await?);
            }
            all.push(network);
        }
        println!("{round} nft: {:?}", agent_net::nft::apply_if_changed(&ruleset(&all)).await?);
    }
    println!("{:?}\n{:?}", networks.observe().await?, networks.host_subnets().await?);
    Ok(())
}

fn allocation(index: u32) -> Result<Allocation, Box<dyn std::error::Error>> {
    let mut addresses = BTreeMap::new();
    for (host, name) in [(2, "web"), (3, "app")] {
        let v4 = format!("10.213.{index}.{host}").parse()?;
        addresses.insert(name.to_owned(), (v4, format!("fd00:1:2:{index}::{host}").parse()?));
    }
    Ok(Allocation {
        id_base: 0,
        index,
        gateway4: format!("10.213.{index}.1").parse()?,
        gateway6: format!("fd00:1:2:{index}::1").parse()?,
        addresses,
    })
}
