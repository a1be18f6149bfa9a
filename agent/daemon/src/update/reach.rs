//! What the box reaches: gateways and servers.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::agent::Agent;

/// How long a gateway or a server may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The gateways of default routes that answer ARP or NDP, as text.
pub(super) async fn gateways(agent: &Agent) -> BTreeSet<String> {
    let nics = agent.live().network.nics.clone();
    let all = nics
        .into_iter()
        .flat_map(|nic| nic.gateways.into_iter().map(move |gateway| (nic.name.clone(), gateway)));
    let asked = all.map(|(nic, gateway)| async move {
        let answers = tokio::time::timeout(LIMIT, agent_net::host::answers(&nic, gateway)).await;
        matches!(answers, Ok(Ok(_))).then(|| gateway.to_string())
    });
    futures_util::future::join_all(asked).await.into_iter().flatten().collect()
}

/// The servers that the box depends on, `HOST:PORT`: the update source, and registries of images.
pub(super) fn endpoints(agent: &Agent) -> BTreeSet<String> {
    let live = agent.live();
    let source = live.document.settings.update.iter().filter_map(|update| of_url(update.url.as_str()));
    let plain = |host: &str| live.document.settings.registries.iter().any(|r| r.host == host && r.plain_http);
    let registries = live.desired.instances.values().flat_map(|wanted| {
        let hosts = wanted.references().into_iter().filter_map(|r| r.split('/').next().map(str::to_owned));
        hosts
            .filter(|host| host != "localhost")
            .map(|host| with_port(&host, plain(&host)))
            .collect::<Vec<_>>()
    });
    source.chain(registries).collect()
}

/// Those of `endpoints` that take a connection.
pub(super) async fn reached(endpoints: &BTreeSet<String>) -> BTreeSet<String> {
    let asked = endpoints.iter().map(|endpoint| async move {
        let connected = tokio::time::timeout(LIMIT, TcpStream::connect(endpoint.as_str())).await;
        matches!(connected, Ok(Ok(_))).then(|| endpoint.clone())
    });
    futures_util::future::join_all(asked).await.into_iter().flatten().collect()
}

fn of_url(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    Some(with_port(authority, scheme == "http"))
}

fn with_port(authority: &str, plain: bool) -> String {
    let after_address = authority.rsplit(']').next().unwrap_or(authority);
    match after_address.contains(':') {
        true => authority.to_owned(),
        false => format!("{authority}:{}", if plain { 80 } else { 443 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port() {
        for (url, expect) in [
            ("http://u.example", "u.example:80"),
            ("https://u.example/a/b", "u.example:443"),
            ("https://u.example:8443/a", "u.example:8443"),
            ("http://[2001:db8::1]/x", "[2001:db8::1]:80"),
            ("http://[2001:db8::1]:81", "[2001:db8::1]:81"),
        ] {
            assert_eq!(of_url(url).as_deref(), Some(expect));
        }
    }
}
