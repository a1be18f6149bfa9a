//! An explanation as a page for people.

use std::fmt::{self, Write};

use crate::kind::Kind;
use crate::network::{self, Link, Match, Network, Route};
use crate::{Explained, Explanation};

impl fmt::Display for Explanation {
    /// A page for people; what a terminal would obey becomes `?`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&page(self))
    }
}

fn page(found: &Explanation) -> String {
    let mut page = String::new();
    line(&mut page, "source", found.source);
    line(&mut page, "instance", found.instance_id.as_deref().unwrap_or("-"));
    line(&mut page, "hostname", found.hostname.as_deref().unwrap_or("-"));
    for (at, key) in found.public_keys.iter().enumerate() {
        line(&mut page, if at == 0 { "keys" } else { "" }, key);
    }
    if found.public_keys.is_empty() {
        line(&mut page, "keys", "-");
    }
    match &found.user_data {
        Some(data) => page.push_str(&user_data(data)),
        None => line(&mut page, "user-data", "-"),
    }
    match &found.network {
        Some(network) => page.push_str(&links(network)),
        None => line(&mut page, "network", "-"),
    }
    let notes = found.notes.iter().chain(found.network.iter().flat_map(|network| &network.notes));
    for note in notes {
        let _ = writeln!(page, "note: {}", plain(note));
    }
    page
}

fn line(page: &mut String, name: &str, value: &str) {
    let _ = writeln!(page, "{name:<12}{}", plain(value));
}

fn user_data(data: &Explained) -> String {
    let what = match (data.kind, data.parts.iter().find(|part| part.document)) {
        (Kind::Toml | Kind::Empty, _) => String::new(),
        (_, Some(part)) => format!("; part {} counts, which is {}", part.number, part.kind),
        (Kind::Multipart, None) => "; no part is a document of Holdfast".to_owned(),
        _ => "; not a document of Holdfast".to_owned(),
    };
    let mut page = String::new();
    line(&mut page, "user-data", &format!("{}, {} bytes{what}", data.kind, data.bytes));
    for part in &data.parts {
        let bytes = part.bytes.map_or("cannot be decoded".to_owned(), |bytes| format!("{bytes} bytes"));
        let mark = if part.document { ": the document" } else { "" };
        let name = format!("part {}", part.number);
        let said = format!("{}, {bytes}, as {}{mark}", part.kind, part.media_type);
        let _ = writeln!(page, "  {name:<10}{}", plain(&said));
    }
    for key in &data.public_keys {
        let _ = writeln!(page, "  {:<10}{}", "key", plain(key));
    }
    page
}

fn links(network: &Network) -> String {
    let mut page = String::new();
    for link in &network.links {
        line(&mut page, "interface", &subject(link));
        for (name, value) in properties(link) {
            let _ = writeln!(page, "  {name:<10}{}", plain(&value));
        }
    }
    for (name, values) in [("dns", join(&network.dns)), ("search", join(&network.search))] {
        if !values.is_empty() {
            line(&mut page, name, &values);
        }
    }
    page
}

/// What a link is and which one.
fn subject(link: &Link) -> String {
    let (what, mac) = match &link.kind {
        network::Kind::Nic(Match { mac: Some(mac), .. }) => (format!("the NIC {mac}"), None),
        network::Kind::Nic(Match { name, .. }) => {
            (format!("the NIC named {}", name.as_deref().unwrap_or_default()), None)
        }
        network::Kind::Bond(bond) => (format!("bond of {}", bond.links.join(", ")), bond.mac),
        network::Kind::Vlan(vlan) => (format!("VLAN {} on {}", vlan.tag, vlan.link), vlan.mac),
    };
    let mac = mac.map(|mac| format!(", as {mac}")).unwrap_or_default();
    format!("{}: {what}{mac}", link.id)
}

fn properties(link: &Link) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let network::Kind::Bond(bond) = &link.kind {
        let policy = bond.xmit_hash_policy.as_ref().map(|policy| format!(", {policy}"));
        rows.push(("mode", format!("{}{}", bond.mode, policy.unwrap_or_default())));
    }
    let mut automatic = Vec::new();
    if link.dhcp4 {
        automatic.push("DHCP");
    }
    match link.accept_ra {
        Some(true) => automatic.push("router advertisements"),
        Some(false) => automatic.push("no router advertisements"),
        None => {}
    }
    automatic.extend(link.dhcp6.map(|how| how.describe()));
    rows.push(("automatic", automatic.join(", ")));
    rows.push(("addresses", join(&link.addresses)));
    rows.extend(link.routes.iter().map(|route| ("route", self::route(route))));
    rows.push(("dns", join(&link.dns)));
    rows.push(("search", join(&link.search)));
    rows.push(("mtu", link.mtu.map(|mtu| mtu.to_string()).unwrap_or_default()));
    rows.retain(|(_, value)| !value.is_empty());
    rows
}

/// As `ip route` writes it.
fn route(route: &Route) -> String {
    let to = if route.to.prefix_len() == 0 { "default".to_owned() } else { route.to.to_string() };
    let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
    let on_link = if route.on_link { " onlink" } else { "" };
    let metric = route.metric.map(|metric| format!(" metric {metric}")).unwrap_or_default();
    format!("{to}{via}{on_link}{metric}")
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// A text on one line.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
