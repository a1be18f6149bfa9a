//! Routing by source: the NICs' own tables and the rules that choose them.
//!
//! Ours are the tables and rules whose numbers and priorities lie in our ranges; nothing else is
//! looked at.

use agent_core::network::policy::{FIRST_TABLE, MOST_NICS, Policy, Rule};
use futures_util::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion};

use super::apply::{absent_is_fine, message};
use super::observe::{all_routes, output_interface, route_of};
use crate::Outcome;
use crate::netlink::{Context, NetlinkError, is};

/// Priorities of the three kinds of rules, all before the kernel's own for the main table, 32766.
const MAIN_FIRST: u32 = 1000;
const BY_SENDER: u32 = 1001;
const BY_MARK: u32 = 1002;
/// The main table.
const MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// Makes tables and rules what they should be: tables before the rules that look into them. What the kernel refuses
/// keeps nothing else out; the first of it is the error.
pub async fn converge_policy(handle: &Handle, desired: &Policy) -> Result<Outcome, NetlinkError> {
    let observed = observe(handle).await?;
    let changed = observed != *desired;
    let mut refused = Ok(());
    for rule in observed.rules.difference(&desired.rules) {
        let removed = handle.rule().del(rule_message(rule)).execute().await;
        let removed = absent_is_fine(removed).doing(|| format!("remove the rule {rule:?}"));
        refused = refused.and(removed);
    }
    for (nic, route) in observed.routes.difference(&desired.routes) {
        let removed = handle.route().del(message(*nic, route, Some(FIRST_TABLE + nic))).execute().await;
        let removed =
            absent_is_fine(removed).doing(|| format!("remove the route {} from a NIC's table", route.to));
        refused = refused.and(removed);
    }
    for (nic, route) in desired.routes.difference(&observed.routes) {
        let added =
            handle.route().add(message(*nic, route, Some(FIRST_TABLE + nic))).replace().execute().await;
        refused = refused.and(added.doing(|| format!("add the route {} to a NIC's table", route.to)));
    }
    for rule in desired.rules.difference(&observed.rules) {
        let mut request = handle.rule().add();
        *request.message_mut() = rule_message(rule);
        match request.execute().await {
            Err(error) if is(&error, Errno::EEXIST) => {}
            added => refused = refused.and(added.doing(|| format!("add the rule {rule:?}"))),
        }
    }
    refused.map(|()| Outcome::from_changed(changed))
}

async fn observe(handle: &Handle) -> Result<Policy, NetlinkError> {
    let mut policy = Policy::default();
    for route in all_routes(handle).await? {
        let Some(nic) = output_interface(&route) else { continue };
        let ours = table(&route) == FIRST_TABLE + nic && route.header.protocol == RouteProtocol::Static;
        if ours {
            policy.routes.extend(route_of(&route).map(|route| (nic, route)));
        }
    }
    for version in [IpVersion::V4, IpVersion::V6] {
        let rules: Result<Vec<RuleMessage>, _> = handle.rule().get(version).execute().try_collect().await;
        match rules {
            Ok(rules) => policy.rules.extend(rules.iter().filter_map(rule_of)),
            // A kernel without IPv6 has no rules for it.
            Err(error) if is(&error, Errno::EAFNOSUPPORT) || is(&error, Errno::EOPNOTSUPP) => {}
            Err(error) => return Err(error).doing(|| "list rules".to_owned()),
        }
    }
    Ok(policy)
}

fn table(route: &RouteMessage) -> u32 {
    let long = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    long.unwrap_or(route.header.table.into())
}

/// A rule of ours; none for every other.
fn rule_of(message: &RuleMessage) -> Option<Rule> {
    let (mut priority, mut table, mut source, mut mark) = (0, 0, None, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(value) => priority = *value,
            RuleAttribute::Table(value) => table = *value,
            RuleAttribute::Source(address) => source = Some(*address),
            RuleAttribute::FwMark(value) => mark = Some(*value),
            _ => {}
        }
    }
    let v6 = message.header.family == AddressFamily::Inet6;
    if (priority, table, source, mark) == (MAIN_FIRST, MAIN, None, None) {
        return Some(Rule::MainFirst { v6 });
    }
    let nic = table.checked_sub(FIRST_TABLE).filter(|nic| (1..=MOST_NICS).contains(nic))?;
    match (priority, source, mark) {
        (BY_SENDER, Some(address), None) => Some(Rule::From { nic, address }),
        (BY_MARK, None, Some(mark)) if mark == nic => Some(Rule::Mark { nic, v6 }),
        _ => None,
    }
}

/// The kernel's form of a rule.
fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.action = RuleAction::ToTable;
    let (priority, table, v6) = match rule {
        Rule::MainFirst { v6 } => {
            message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
            (MAIN_FIRST, MAIN, *v6)
        }
        Rule::From { nic, address } => {
            message.header.src_len = if address.is_ipv4() { 32 } else { 128 };
            message.attributes.push(RuleAttribute::Source(*address));
            (BY_SENDER, FIRST_TABLE + nic, address.is_ipv6())
        }
        Rule::Mark { nic, v6 } => {
            message.attributes.push(RuleAttribute::FwMark(*nic));
            (BY_MARK, FIRST_TABLE + nic, *v6)
        }
    };
    message.attributes.push(RuleAttribute::Priority(priority));
    message.attributes.push(RuleAttribute::Table(table));
    message.attributes.push(RuleAttribute::Protocol(RouteProtocol::Static));
    message.header.family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message
}
