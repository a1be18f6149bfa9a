//! `[box]` and the tables under it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use base64::Engine;
use toml::de::DeTable;

use super::update;
use crate::Secret;
use crate::document::{Node, Source, Table};
use crate::model::{BoxSettings, Interface, InterfaceMatch, Notify, Registry, Route};
use crate::shape::{self, AdminKey, Cidr, Mac, ShapeError, TimeZone};
use crate::spec;

/// Keys, servers, interfaces or registries that a box can have.
const MAX_ENTRIES: usize = 256;

/// Reads `[box]`; `instances` are those of the document, where it is read with them.
pub(crate) fn settings(table: &Table<'_>, instances: Option<&BTreeSet<&str>>) -> BoxSettings {
    let interfaces = tables(table, "interface", &spec::user_data::NIC);
    let registries = tables(table, "registry", &spec::user_data::REGISTRY_TABLE);
    let settings = BoxSettings {
        hostname: table.parse("hostname", shape::hostname),
        admins: few(table, "admins", |node| node.parse(AdminKey::parse)),
        provider_keys: table.boolean("provider_keys").unwrap_or(true),
        dns: few(table, "dns", |node| node.parse(address)),
        ntp: few(table, "ntp", |node| node.parse(server)),
        allow_privileged: table.boolean("allow_privileged").unwrap_or(false),
        interfaces: interfaces.iter().filter_map(interface).collect(),
        registries: registries.iter().filter_map(registry).collect(),
        timezone: table.parse("timezone", TimeZone::parse).unwrap_or_default(),
        update: inner(table, "update", &spec::user_data::UPDATE).and_then(|t| update::update(&t, instances)),
        notify: inner(table, "notify", &spec::user_data::NOTIFY).and_then(|t| notify(&t)),
    };
    twice(&interfaces, |table| {
        let matched = table.get("match")?;
        let matched = matched.as_table()?;
        let value = matched.get("mac").or_else(|| matched.get("name"))?;
        Some((table.key_span("match"), value.get_ref().as_str()?.to_ascii_lowercase()))
    });
    twice(&registries, |table| Some((table.key_span("host"), table.get("host")?.as_str()?.to_owned())));
    settings
}

/// The good keys of `admins`, whatever else is wrong: an invalid document must not lock its owner out.
pub(crate) fn admins(root: &DeTable<'_>) -> Vec<AdminKey> {
    let admins = root.get("box").and_then(|table| table.get_ref().get("admins"));
    let list = admins.and_then(|list| list.get_ref().as_array());
    let keys = list.into_iter().flat_map(|list| list.iter()).filter_map(|key| key.get_ref().as_str());
    keys.filter_map(|key| AdminKey::parse(key).ok()).take(MAX_ENTRIES).collect()
}

pub(super) fn few<'a, T>(
    table: &Table<'a>,
    key: &'static str,
    read: impl FnMut(Node<'a>) -> Option<T>,
) -> Vec<T> {
    let mut list = table.list(key, read).unwrap_or_default();
    if list.len() > MAX_ENTRIES {
        table.source.error(table.key_span(key), format!("`{key}` has more than {MAX_ENTRIES} entries"), None);
        list.truncate(MAX_ENTRIES);
    }
    list
}

fn tables<'a>(table: &Table<'a>, key: &'static str, spec: &'static spec::Spec) -> Vec<Table<'a>> {
    let mut tables = table.get(key).map(|node| node.tables(spec)).unwrap_or_default();
    if tables.len() > MAX_ENTRIES {
        table.source.error(table.key_span(key), format!("`{key}` has more than {MAX_ENTRIES} entries"), None);
        tables.truncate(MAX_ENTRIES);
    }
    tables
}

fn inner<'a>(table: &Table<'a>, key: &'static str, spec: &'static spec::Spec) -> Option<Table<'a>> {
    table.get(key)?.table(spec)
}

/// Notes entries that are for the same thing.
fn twice(tables: &[Table<'_>], key: impl Fn(&Table<'_>) -> Option<(std::ops::Range<usize>, String)>) {
    let mut seen = BTreeSet::new();
    for table in tables {
        if let Some((span, name)) = key(table)
            && !seen.insert(name)
        {
            table.source.error(span, "this one is described above already", Some("join the two".to_owned()));
        }
    }
}

fn address(text: &str) -> Result<IpAddr, ShapeError> {
    let hint = "write an IPv4 or IPv6 address, such as \"9.9.9.9\" or \"2620:fe::fe\"";
    text.parse().map_err(|_| ShapeError::new("not an IP address", hint))
}

fn server(text: &str) -> Result<String, ShapeError> {
    match address(text) {
        Ok(address) => Ok(address.to_string()),
        Err(_) => shape::hostname(text),
    }
}

fn interface(table: &Table<'_>) -> Option<Interface> {
    let matcher =
        table.need("match").and_then(|node| node.table(&spec::user_data::MATCH)).and_then(|t| matcher(&t));
    let addresses = few(table, "addresses", |node| node.parse(Cidr::parse));
    let v4 = addresses.iter().any(|cidr| cidr.address.is_ipv4());
    let v6 = addresses.iter().any(|cidr| cidr.address.is_ipv6());
    let dhcp4 = table.boolean("dhcp4").unwrap_or(!v4);
    let accept_ra = table.boolean("accept_ra").unwrap_or(true);
    let nodes = tables(table, "routes", &spec::user_data::ROUTE);
    let routes: Vec<(Route, Table<'_>)> = nodes.into_iter().filter_map(|t| Some((route(&t)?, t))).collect();
    for (route, at) in &routes {
        let Some(via) = route.via.filter(|_| !route.on_link) else { continue };
        let learnt = if via.is_ipv4() { dhcp4 } else { accept_ra || is_link_local(via) };
        if !learnt && !addresses.iter().any(|cidr| cidr.contains(via)) {
            let hint = "if it is reached on this link all the same, add `on_link = true`".to_owned();
            at.source.error(
                at.key_span("via"),
                "a gateway that no address of this interface covers",
                Some(hint),
            );
        }
    }
    let least = if v6 { 1280 } else { 68 };
    Some(Interface {
        matcher: matcher?,
        dhcp4,
        accept_ra,
        addresses,
        routes: routes.into_iter().map(|(route, _)| route).collect(),
        dns: few(table, "dns", |node| node.parse(address)),
        mtu: table.integer("mtu", least..=65_535).map(|mtu| mtu as u32),
    })
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn matcher(table: &Table<'_>) -> Option<InterfaceMatch> {
    let mac = table.parse("mac", Mac::parse).map(InterfaceMatch::Mac);
    let name = table.parse("name", interface_name).map(InterfaceMatch::Name);
    if table.has("mac") == table.has("name") {
        let hint = "write `{ mac = \"52:54:00:12:34:56\" }` or `{ name = \"ens3\" }`".to_owned();
        table.source.error(table.span(), "`match` takes one of `mac` and `name`", Some(hint));
        return None;
    }
    mac.or(name)
}

fn interface_name(text: &str) -> Result<String, ShapeError> {
    let good = matches!(text.len(), 1..=15)
        && !matches!(text, "." | ".." | "lo")
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"/:".contains(&b));
    let wrong =
        || ShapeError::new("not the name of an interface", "write the kernel's name, such as \"ens3\"");
    good.then(|| text.to_owned()).ok_or_else(wrong)
}

fn route(table: &Table<'_>) -> Option<Route> {
    let via = table.get("via").map(|node| node.parse(address));
    let to = table.need("to")?;
    let on_link = table.boolean("on_link").unwrap_or(false);
    let metric = table.integer("metric", 0..=i64::from(u32::MAX)).map(|n| n as u32);
    let via = match via {
        Some(via) => Some(via?),
        None => None,
    };
    let to_span = to.span();
    let to = match (to.as_str(), via) {
        (Some("default"), None) => {
            let hint = "add `via = \"203.0.113.1\"`: its family is the route's".to_owned();
            table.source.error(to_span, "a default route without `via`", Some(hint));
            return None;
        }
        (Some("default"), Some(via)) => default_route(via),
        _ => to.parse(network)?,
    };
    if via.is_some_and(|via| via.is_ipv4() != to.address.is_ipv4()) {
        let hint = "both are IPv4, or both are IPv6".to_owned();
        table.source.error(table.key_span("via"), "a gateway of another family than its route", Some(hint));
        return None;
    }
    if on_link && via.is_none() {
        let hint = "a route without `via` is a link route already".to_owned();
        table.source.error(table.key_span("on_link"), "`on_link` without `via`", Some(hint));
    }
    Some(Route { to, via, on_link, metric })
}

fn default_route(via: IpAddr) -> Cidr {
    let address = match via {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    Cidr { address, prefix: 0 }
}

/// A destination: an address without host bits.
fn network(text: &str) -> Result<Cidr, ShapeError> {
    let cidr = Cidr::parse(text)?;
    let network = cidr.network();
    match network == cidr.address {
        true => Ok(cidr),
        false => {
            let hint = format!("the network is \"{network}/{}\"", cidr.prefix);
            Err(ShapeError::new("a destination with host bits", hint))
        }
    }
}

fn registry(table: &Table<'_>) -> Option<Registry> {
    let host = table.need("host").and_then(|node| node.parse(shape::registry_host));
    let username = table.line("username", 255);
    let password = table.get("password").and_then(|node| node.line(4096)).map(Secret::new);
    let plain_http = table.boolean("plain_http").unwrap_or(false);
    if table.has("username") != table.has("password") {
        let hint = "basic authentication takes `username` and `password`".to_owned();
        let given = if table.has("username") { "username" } else { "password" };
        table.source.error(table.key_span(given), "one of `username` and `password` alone", Some(hint));
    }
    if username.as_deref().is_some_and(|name| name.contains(':')) {
        table.source.error(
            table.key_span("username"),
            "`username` has a colon in it, which basic authentication cannot send",
            Some("give the name before the colon, and `password` apart".to_owned()),
        );
    }
    if plain_http && table.has("ca") {
        let hint = "without TLS there is no certificate to check: keep one of the two".to_owned();
        table.source.error(table.key_span("ca"), "`ca` together with `plain_http = true`", Some(hint));
    }
    let ca = table.parse("ca", certificates);
    Some(Registry { host: host?, ca, username, password, plain_http })
}

fn notify(table: &Table<'_>) -> Option<Notify> {
    let url = table.need("url")?.parse(shape::hook_url)?;
    Some(Notify { url: Secret::new(url) })
}

/// One or more certificates in PEM (RFC 7468).
fn certificates(text: &str) -> Result<String, ShapeError> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let hint = "put the whole of a PEM file between `\"\"\"` and `\"\"\"`";
    if text.contains("PRIVATE KEY-----") {
        return Err(ShapeError::new("a private key: only certificates belong here", hint));
    }
    let mut rest = text;
    let mut found = 0;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let Some((body, after)) = after.split_once(END) else {
            return Err(ShapeError::new("a certificate that is cut short", hint));
        };
        let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body);
        if der.map_or(true, |der| der.first() != Some(&0x30)) {
            return Err(ShapeError::new("a certificate that is damaged", hint));
        }
        found += 1;
        rest = after;
    }
    if found == 0 {
        return Err(ShapeError::new("not a certificate in PEM", hint));
    }
    Ok(text.to_owned())
}

/// Reads `[box]` out of a document, and nothing else of it.
pub(crate) fn settings_of(source: &Source<'_>, root: &DeTable<'_>) -> Option<BoxSettings> {
    let value = root.get("box")?;
    let table = value.get_ref().as_table()?;
    Some(settings(&Table::new(source, table, value.span(), &spec::user_data::BOX), None))
}
