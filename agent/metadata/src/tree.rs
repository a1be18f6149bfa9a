//! Documents of providers as trees whose values know their place.
//!
//! JSON and YAML are read into the same tree, in the document's order. A value that is wrong is told
//! with its place (`networks[1].netmask`), what stands there and what would be right; nothing is
//! guessed. Providers write numbers as text and `null` or `""` for "none": both are taken.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::network::Mac;

/// Most characters of a value that an error repeats.
const SHOWN: usize = 60;

/// A value of a document that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Wrong {
    /// Where: keys and positions from the top, `networks[1].netmask`.
    pub place: String,
    /// What stands there and what would be right, in one line.
    pub problem: String,
}

/// A document, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Tree>),
    /// In the document's order; no key twice.
    Map(Vec<(String, Tree)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let (mut map, mut present): (Vec<(String, Tree)>, HashSet<String>) = Default::default();
        while let Some((Key(key), value)) = entries.next_entry()? {
            if !present.insert(key.clone()) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
            map.push((key, value));
        }
        Ok(Tree::Map(map))
    }
}

/// A key of a map: text, or what YAML takes for a number or a truth.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        match Tree::deserialize(deserializer)? {
            Tree::Text(key) | Tree::Number(key) => Ok(Key(key)),
            Tree::Bool(key) => Ok(Key(key.to_string())),
            _ => Err(D::Error::custom("a key that is no text")),
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    tree: &'a Tree,
    place: String,
}

impl<'a> Node<'a> {
    /// The top of a document.
    pub(crate) fn top(tree: &'a Tree) -> Node<'a> {
        Node { tree, place: String::new() }
    }

    /// The value is wrong: `problem` says why.
    pub(crate) fn wrong(&self, problem: impl Into<String>) -> Wrong {
        let place = if self.place.is_empty() { "document".to_owned() } else { self.place.clone() };
        Wrong { place, problem: problem.into() }
    }

    /// The value is something else than wanted.
    fn is_not(&self, wanted: &str) -> Wrong {
        self.wrong(format!("{} is not {wanted}", self.shown()))
    }

    /// The value as errors repeat it: one line, not too long.
    fn shown(&self) -> String {
        let text = match self.tree {
            Tree::Null => return "null".to_owned(),
            Tree::Bool(value) => return value.to_string(),
            Tree::Number(text) => return text.clone(),
            Tree::List(_) => return "a list".to_owned(),
            Tree::Map(_) => return "an object".to_owned(),
            Tree::Text(text) => text,
        };
        if text.chars().count() <= SHOWN {
            return format!("{text:?}");
        }
        let start: String = text.chars().take(SHOWN).collect();
        format!("{start:?}…")
    }

    /// Whether there is nothing: `null`, `""`.
    fn is_none(&self) -> bool {
        match self.tree {
            Tree::Null => true,
            Tree::Text(text) => text.trim().is_empty(),
            _ => false,
        }
    }

    /// The value of a key; none where it is absent, `null` or `""`, or where this is no object.
    pub(crate) fn get(&self, key: &str) -> Option<Node<'a>> {
        let Tree::Map(entries) = self.tree else { return None };
        let (_, tree) = entries.iter().find(|(name, _)| name == key)?;
        let place = if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) };
        let node = Node { tree, place };
        (!node.is_none()).then_some(node)
    }

    /// The value of the first of these keys that has one.
    pub(crate) fn first(&self, keys: &[&str]) -> Option<Node<'a>> {
        keys.iter().find_map(|key| self.get(key))
    }

    /// The value of a key that must be there.
    pub(crate) fn need(&self, key: &str) -> Result<Node<'a>, Wrong> {
        self.get(key).ok_or_else(|| self.wrong(format!("`{key}` is missing")))
    }

    /// The entries of an object.
    pub(crate) fn entries(&self) -> Result<Vec<(&'a str, Node<'a>)>, Wrong> {
        let Tree::Map(entries) = self.tree else { return Err(self.is_not("an object")) };
        let place = |key: &str| match self.place.as_str() {
            "" => key.to_owned(),
            above => format!("{above}.{key}"),
        };
        Ok(entries.iter().map(|(key, tree)| (key.as_str(), Node { tree, place: place(key) })).collect())
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Result<Vec<Node<'a>>, Wrong> {
        let Tree::List(items) = self.tree else { return Err(self.is_not("a list")) };
        let at = |(i, tree)| Node { tree, place: format!("{}[{i}]", self.place) };
        Ok(items.iter().enumerate().map(at).collect())
    }

    /// The items of the list at a key; none where there is none.
    pub(crate) fn list(&self, key: &str) -> Result<Vec<Node<'a>>, Wrong> {
        self.get(key).map_or(Ok(Vec::new()), |node| node.items())
    }

    /// The items of the list at a key, or the one value that stands there alone.
    pub(crate) fn some(&self, key: &str) -> Result<Vec<Node<'a>>, Wrong> {
        match self.get(key) {
            Some(node) if matches!(node.tree, Tree::List(_)) => node.items(),
            node => Ok(node.into_iter().collect()),
        }
    }

    /// The object in a list of one, or itself.
    pub(crate) fn unwrapped(self) -> Node<'a> {
        match self.tree {
            Tree::List(items) if items.len() == 1 => {
                Node { tree: &items[0], place: format!("{}[0]", self.place) }
            }
            _ => self,
        }
    }

    /// Whether this is an object.
    pub(crate) fn is_map(&self) -> bool {
        matches!(self.tree, Tree::Map(_))
    }

    /// A text, or a number as one.
    pub(crate) fn text(&self) -> Result<&'a str, Wrong> {
        match self.tree {
            Tree::Text(text) | Tree::Number(text) => Ok(text.trim()),
            _ => Err(self.is_not("a text")),
        }
    }

    /// The same, white space and all.
    pub(crate) fn raw(&self) -> Result<&'a str, Wrong> {
        match self.tree {
            Tree::Text(text) => Ok(text),
            _ => self.text(),
        }
    }

    fn parse<T: FromStr>(&self, wanted: &str) -> Result<T, Wrong> {
        self.text().ok().and_then(|text| text.parse().ok()).ok_or_else(|| self.is_not(wanted))
    }

    /// A truth: `true` or `false`, or YAML 1.1's words for them.
    pub(crate) fn truth(&self) -> Result<bool, Wrong> {
        match self.tree {
            Tree::Bool(value) => Ok(*value),
            Tree::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Ok(true),
                "false" | "no" | "off" => Ok(false),
                _ => Err(self.is_not("true or false")),
            },
            _ => Err(self.is_not("true or false")),
        }
    }

    /// A whole number in a range.
    pub(crate) fn number(&self, range: std::ops::RangeInclusive<u32>) -> Result<u32, Wrong> {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        let number = self.parse(&wanted)?;
        if range.contains(&number) { Ok(number) } else { Err(self.is_not(&wanted)) }
    }

    /// A hardware address.
    pub(crate) fn mac(&self) -> Result<Mac, Wrong> {
        self.parse("a hardware address, such as \"52:54:00:12:34:56\"")
    }

    /// An address without a prefix length.
    pub(crate) fn address(&self) -> Result<IpAddr, Wrong> {
        self.parse("an IP address")
    }

    /// An address of a host: not a group's, not the loopback's, not 0.
    pub(crate) fn host(&self) -> Result<IpAddr, Wrong> {
        let address = self.address()?;
        self.check_host(address)?;
        Ok(address)
    }

    fn check_host(&self, address: IpAddr) -> Result<(), Wrong> {
        let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast {
            return Err(self.is_not("the address of a host"));
        }
        Ok(())
    }

    /// An interface's address, with its prefix length here or by the netmask beside it. An IPv4
    /// address without either is alone, as DHCP would say it (/32).
    pub(crate) fn interface(&self, netmask: Option<Node<'_>>) -> Result<IpNet, Wrong> {
        let text = self.text()?;
        let wanted = "an address with its prefix length, such as \"203.0.113.7/24\"";
        let net = if text.contains('/') {
            text.parse().map_err(|_| self.is_not(wanted))?
        } else {
            let address = self.address()?;
            let prefix = match netmask {
                Some(netmask) => netmask.prefix(address.is_ipv4())?,
                None if address.is_ipv4() => 32,
                None => return Err(self.wrong(format!("{text:?} has neither prefix length nor netmask"))),
            };
            IpNet::new(address, prefix).map_err(|_| self.is_not(wanted))?
        };
        self.check_host(net.addr())?;
        Ok(net)
    }

    /// A netmask's prefix length: `255.255.255.0`, `ffff:ffff::`, or the length itself.
    pub(crate) fn prefix(&self, v4: bool) -> Result<u8, Wrong> {
        let wanted =
            if v4 { "a netmask, such as \"255.255.255.0\"" } else { "a netmask, such as \"ffff:ffff::\"" };
        let text = self.text().map_err(|_| self.is_not(wanted))?;
        let most = if v4 { 32 } else { 128 };
        if let Ok(length) = text.trim_start_matches('/').parse::<u8>() {
            return if length <= most { Ok(length) } else { Err(self.is_not(wanted)) };
        }
        let length = match text.parse() {
            Ok(IpAddr::V4(mask)) if v4 => ipnet::ip_mask_to_prefix(IpAddr::V4(mask)).ok(),
            Ok(IpAddr::V6(mask)) if !v4 => ipnet::ip_mask_to_prefix(IpAddr::V6(mask)).ok(),
            _ => None,
        };
        length.ok_or_else(|| self.is_not(wanted))
    }

    /// A route's destination: `default`, a subnet, or an address with the netmask beside it. Host
    /// bits are dropped. `like` gives the family of `default`.
    pub(crate) fn destination(&self, netmask: Option<Node<'_>>, like: IpAddr) -> Result<IpNet, Wrong> {
        let text = self.text()?;
        if text == "default" {
            return Ok(default_route(like));
        }
        if text.contains('/') {
            return self
                .parse::<IpNet>("a subnet, such as \"10.0.0.0/8\", or \"default\"")
                .map(|net| net.trunc());
        }
        let address = self.address()?;
        let prefix = match netmask {
            Some(netmask) => netmask.prefix(address.is_ipv4())?,
            None if address.is_unspecified() => 0,
            None => {
                if address.is_ipv4() {
                    32
                } else {
                    128
                }
            }
        };
        Ok(IpNet::new(address, prefix).expect("a netmask's length fits its family").trunc())
    }

    /// Keys of an object that are none of these.
    pub(crate) fn others(&self, known: &[&str]) -> Vec<&'a str> {
        let Tree::Map(entries) = self.tree else { return Vec::new() };
        entries.iter().map(|(key, _)| key.as_str()).filter(|key| !known.contains(key)).collect()
    }

    /// Its place, for notes.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }
}

/// `0.0.0.0/0` or `::/0`.
pub(crate) fn default_route(like: IpAddr) -> IpNet {
    match like {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
        IpAddr::V6(_) => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(json: &str) -> Tree {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_wrong_value_tells_its_place() {
        let tree = tree(r#"{"networks": [{}, {"netmask": "255.0.255.0", "mtu": "many", "ip": "::1"}]}"#);
        let network = Node::top(&tree).list("networks").unwrap().remove(1);
        let told = |wrong: Wrong| wrong.to_string();
        insta::assert_snapshot!(
            told(network.get("netmask").unwrap().prefix(true).unwrap_err()),
            @r#"networks[1].netmask: "255.0.255.0" is not a netmask, such as "255.255.255.0""#
        );
        insta::assert_snapshot!(
            told(network.get("mtu").unwrap().number(68..=65_535).unwrap_err()),
            @r#"networks[1].mtu: "many" is not a number from 68 to 65535"#
        );
        insta::assert_snapshot!(
            told(network.get("ip").unwrap().host().unwrap_err()),
            @r#"networks[1].ip: "::1" is not the address of a host"#
        );
        insta::assert_snapshot!(told(network.need("link").unwrap_err()), @"networks[1]: `link` is missing");
        insta::assert_snapshot!(told(network.items().unwrap_err()), @"networks[1]: an object is not a list");
    }

    #[test]
    fn null_and_empty_text_are_none() {
        let tree = tree(r#"{"a": null, "b": "", "c": 0, "d": [], "e": "  "}"#);
        let there: Vec<bool> =
            ["a", "b", "c", "d", "e", "f"].map(|key| Node::top(&tree).get(key).is_some()).into();
        assert_eq!(there, [false, false, true, true, false, false]);
    }

    #[test]
    fn addresses_take_their_length_from_either_side() {
        let check = |address: &str, netmask: &str, expect: Option<&str>| {
            let tree = tree(&format!(r#"{{"a": "{address}", "m": "{netmask}"}}"#));
            let top = Node::top(&tree);
            let got = top.get("a").unwrap().interface(top.get("m")).ok();
            assert_eq!(got.map(|net| net.to_string()).as_deref(), expect, "{address} {netmask}");
        };
        check("192.0.2.7", "255.255.255.0", Some("192.0.2.7/24"));
        check("192.0.2.7", "24", Some("192.0.2.7/24"));
        check("192.0.2.7/25", "255.255.255.0", Some("192.0.2.7/25"));
        check("192.0.2.7", "", Some("192.0.2.7/32"));
        check("192.0.2.7", "255.0.255.0", None);
        check("192.0.2.7", "ffff::", None);
        check("192.0.2.7/33", "", None);
        check("2001:DB8::7", "ffff:ffff:ffff:ffff::", Some("2001:db8::7/64"));
        check("2001:db8::7", "64", Some("2001:db8::7/64"));
        check("2001:db8::7", "", None);
        check("2001:db8::7", "ff:ff::", None);
        check("224.0.0.1", "255.255.255.0", None);
        check("0.0.0.0", "255.255.255.0", None);
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error() {
        assert!(serde_json::from_str::<Tree>(r#"{"a": 1, "a": 2}"#).is_err());
        assert!(serde_saphyr::from_str::<Tree>("a: 1\na: 2\n").is_err());
    }
}
