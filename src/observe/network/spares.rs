//! Spare of the adapter, and the bond by which it takes over.

use super::adapter;
use super::cable::nic_by_link;
use crate::config;
use crate::decide::facts::{Bond, Nic};
use crate::kernel::links::{bond as bond_of, master, name, wanted as chosen};
use crate::observe::observer::Kernel;
use netlink_packet_route::link::LinkMessage;

/// Find the spare: another adapter than the one that is wanted first.
pub(super) fn find<'a>(
    links: &'a [LinkMessage],
    wanted: &config::Network,
    nic: Option<&LinkMessage>,
    is_usb: impl Fn(&str) -> bool,
) -> Option<&'a LinkMessage> {
    let first = nic.and_then(name);
    let is_other = |name: &str| first.is_none_or(|first| first != name) && is_usb(name);
    let found = chosen(links, wanted.spare.as_ref()?, None, is_other);
    found.filter(|found| nic.is_none_or(|nic| nic.header.index != found.header.index))
}

/// Find the bond that an adapter is a port of.
pub(super) fn bond(of: Option<&LinkMessage>, links: &[LinkMessage]) -> Option<Bond> {
    let above = master(of?)?;
    let link = links.iter().find(|link| link.header.index == above)?;
    let (active_backup, active) = bond_of(link)?;
    Some(Bond { name: name(link)?.clone(), active_backup, active })
}

/// Read all that is known of the spare. One that fails can take its time to tell its speed.
pub(super) async fn spare(link: &LinkMessage, links: &[LinkMessage], wanted: &config::Network, kernel: &Kernel) -> Nic {
    let (sysfs, own) = (kernel.sysfs.clone(), name(link).cloned().unwrap_or_default());
    let named = own.clone();
    let told = tokio::task::spawn_blocking(move || adapter::told(&sysfs, &own)).await.unwrap_or_default();
    nic_by_link(Nic { index: link.header.index, name: Some(named), ..told }, link, links, wanted)
}
