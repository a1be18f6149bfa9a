//! What the fuzz target does with an input. An ordinary test does the same with the corpus and its mutants.

use std::collections::BTreeSet;
use std::path::Path;

use agent_metadata::network::Kind;
use agent_metadata::{MAX_UNPACKED, explain_document, open};

/// Reads a document, and holds what it gives to what is promised of it; whether there was anything.
pub(crate) fn document(data: &[u8]) -> bool {
    user_data(data);
    let found = match explain_document(Path::new("document"), data) {
        Ok(found) => found,
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "an error is one line");
            return false;
        }
    };
    let Some(network) = &found.network else { return true };
    let mut ids = BTreeSet::new();
    for link in &network.links {
        assert!(ids.insert(&link.id), "ids are unique");
        assert!(link.mtu.is_none_or(|mtu| (68..=65_535).contains(&mtu)));
        for route in &link.routes {
            assert!(route.via.is_none_or(|via| via.is_ipv4() == route.to.addr().is_ipv4()));
            assert_eq!(route.to, route.to.trunc(), "destinations are subnets");
        }
        for four in [true, false] {
            let defaults =
                link.routes.iter().filter(|r| r.to.prefix_len() == 0 && r.to.addr().is_ipv4() == four);
            let metrics: Vec<_> = defaults.map(|route| route.metric).collect();
            let different: BTreeSet<_> = metrics.iter().collect();
            assert_eq!(metrics.len(), different.len(), "one default route of each family and metric");
        }
    }
    for link in &network.links {
        let below: Vec<&String> = match &link.kind {
            Kind::Nic(which) => {
                assert!(which.mac.is_some() || which.name.is_some());
                continue;
            }
            Kind::Bond(bond) => bond.links.iter().collect(),
            Kind::Vlan(vlan) => vec![&vlan.link],
        };
        assert!(!below.is_empty() && below.into_iter().all(|id| *id != link.id && ids.contains(id)));
    }
    let page = found.to_string();
    assert!(page.lines().all(|line| !line.contains(char::is_control)), "a page is plain text");
    true
}

/// Opens user-data: what is told and who is let in are lines.
fn user_data(data: &[u8]) {
    let opened = open(data);
    let error = opened.document.as_ref().err().map(ToString::to_string);
    let lines = opened.keys.iter().chain(&opened.notes).chain(&error);
    assert!(lines.into_iter().all(|line| !line.is_empty() && !line.contains(char::is_control)));
    assert!(opened.document.is_ok_and(|document| document.len() <= MAX_UNPACKED) || error.is_some());
}
