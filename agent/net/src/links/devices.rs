//! Bonds and VLANs: made, given their ports, and removed.
//!
//! A device is known by its alias, which says all that it is: one that should be another is made anew. On a
//! box nobody else makes bonds or VLANs, but for the `bond0` that the kernel makes with its module.

use agent_core::network::{Bond, Device, DeviceKind, LinkMatch, LinkSettings};
use rtnetlink::packet_route::link::{BondLacpRate, BondMode, BondXmitHashPolicy, LinkMessage};
use rtnetlink::{Handle, LinkBond, LinkUnspec, LinkVlan};

use super::apply::{absent_is_fine, converge};
use super::observe::{Link, links};
use crate::Outcome;
use crate::netlink::{Context, NetlinkError};

/// LACP: the one mode with a rate (IEEE 802.1AX).
const LACP: u8 = 4;

/// Makes the bonds and VLANs what they should be: removes those that are not wanted, makes those that are
/// missing as far as what they stand on is there, and gives bonds their ports. The kernel takes a port's
/// addresses out of use; they are removed.
pub async fn converge_devices(handle: &Handle, wanted: &[Device]) -> Result<Outcome, NetlinkError> {
    let mut present = links(handle).await?;
    let mut outcome = Outcome::Unchanged;
    for link in present.iter().filter(|link| link.is_device()) {
        let right = |device: &&Device| device.name == link.name && link.alias == Some(device.to_string());
        if !wanted.iter().any(|device| right(&device)) {
            let removed = handle.link().del(link.index).execute().await;
            absent_is_fine(removed).doing(|| format!("remove `{}`", link.name))?;
            outcome = Outcome::Changed;
        }
    }
    for device in wanted {
        if outcome == Outcome::Changed {
            present = links(handle).await?;
        }
        outcome = outcome.or(make(handle, device, &present).await?);
        if let DeviceKind::Bond(bond) = &device.kind {
            outcome = outcome.or(join(handle, &device.name, bond).await?);
        }
    }
    Ok(outcome)
}

async fn make(handle: &Handle, device: &Device, present: &[Link]) -> Result<Outcome, NetlinkError> {
    let name = &device.name;
    match present.iter().find(|link| link.name == *name) {
        Some(link) if link.is_device() => return Ok(Outcome::Unchanged),
        Some(_) => return Err(NetlinkError::Taken(name.clone())),
        None => {}
    }
    let Some(message) = message(device, present) else { return Ok(Outcome::Unchanged) };
    handle.link().add(message).execute().await.doing(|| format!("make `{device}` as `{name}`"))?;
    // Without its alias it would be taken for another, and be made anew.
    let alias = LinkUnspec::new_with_name(name).alias(device.to_string()).build();
    handle.link().set(alias).execute().await.doing(|| format!("name `{name}`"))?;
    Ok(Outcome::Changed)
}

/// The kernel's form of a device; none while what it stands on is not there.
fn message(device: &Device, present: &[Link]) -> Option<LinkMessage> {
    let name = &device.name;
    match &device.kind {
        DeviceKind::Bond(bond) => {
            let mut builder = LinkBond::new(name).mode(BondMode::from(bond.mode)).miimon(bond.miimon);
            if bond.miimon > 0 {
                builder = builder.updelay(bond.up_delay).downdelay(bond.down_delay);
            }
            if let Some(policy) = bond.hash_policy {
                builder = builder.xmit_hash_policy(BondXmitHashPolicy::from(policy));
            }
            if bond.mode == LACP && bond.lacp_fast {
                builder = builder.ad_lacp_rate(BondLacpRate::Fast);
            }
            // Left to itself the kernel, or udev, makes one up, which providers let nobody send from.
            let first = || bond.ports.iter().find_map(|port| find(present, port)?.mac);
            let mac = device.mac.or_else(first)?;
            Some(builder.address(mac.0.to_vec()).build())
        }
        DeviceKind::Vlan { on, tag } => {
            let parent = find(present, on)?;
            let builder = LinkVlan::new(name, parent.index, *tag);
            Some(match device.mac {
                Some(mac) => builder.address(mac.0.to_vec()).build(),
                None => builder.build(),
            })
        }
    }
}

/// The link that is meant: a NIC, or a device by its name.
fn find<'a>(present: &'a [Link], meant: &LinkMatch) -> Option<&'a Link> {
    present.iter().find(|link| match meant {
        LinkMatch::Name(name) => link.name == *name,
        _ => !link.is_device() && link.mac.is_some_and(|mac| meant.is(&link.name, mac)),
    })
}

/// Gives a bond the NICs that are to be in it and are not, and sends away those that are not to be.
async fn join(handle: &Handle, name: &str, bond: &Bond) -> Result<Outcome, NetlinkError> {
    let present = links(handle).await?;
    let Some(own) = present.iter().find(|link| link.name == name) else { return Ok(Outcome::Unchanged) };
    let is_port = |link: &&Link| {
        let meant = |port: &LinkMatch| link.mac.is_some_and(|mac| port.is(&link.name, mac));
        link.kind.is_none() && bond.ports.iter().any(meant)
    };
    let mut outcome = Outcome::Unchanged;
    for other in present.iter().filter(|link| link.controller == Some(own.index) && !is_port(link)) {
        let leave = LinkUnspec::new_with_index(other.index).nocontroller().build();
        handle
            .link()
            .set(leave)
            .execute()
            .await
            .doing(|| format!("take `{}` out of `{name}`", other.name))?;
        outcome = Outcome::Changed;
    }
    for port in present.iter().filter(is_port).filter(|link| link.controller != Some(own.index)) {
        let _flushed = converge(handle, &port.name, &LinkSettings::default()).await?;
        let down = LinkUnspec::new_with_index(port.index).down().build();
        handle.link().set(down).execute().await.doing(|| format!("take `{}` down", port.name))?;
        let join = LinkUnspec::new_with_index(port.index).controller(own.index).build();
        handle.link().set(join).execute().await.doing(|| format!("put `{}` into `{name}`", port.name))?;
        outcome = Outcome::Changed;
    }
    Ok(outcome)
}
