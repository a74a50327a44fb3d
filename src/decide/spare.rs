//! Spare of the network's adapter: whether it carries in the first one's place, and whether it could.

use super::facts::Network;
use super::finding::Finding;
use crate::check::Code;
use crate::config::{BOND, Configuration};

/// The finding in place of one by which no host would reach the sled: the spare carries, so they do.
pub(super) fn instead(config: &Configuration, network: &Network, lost: &str) -> Option<Finding> {
    let spare = network.spare_in_use()?;
    let name = spare.known_as(config.sled.network.spare.as_deref()?);
    let slower = spare.link_mbps.map(|mbps| format!(", at {mbps} Mbit/s")).unwrap_or_default();
    let cause = format!("{lost}: the spare {name} carries{slower}, and nothing would take over from that");
    Some(Finding::new(Code::NicSpareInUse, subject(config), cause, Code::NicSpareInUse.remedy()))
}

/// The finding that the spare carries though the first could.
pub(super) fn beside(config: &Configuration, network: &Network, first: &str) -> Option<Finding> {
    let (spare, bond) = (network.spare_in_use()?, &network.bond.as_ref()?.name);
    let name = spare.known_as(config.sled.network.spare.as_deref()?);
    let cause = format!("{first} has a link, and the spare {name} carries all the same");
    let remedy =
        format!("wait some seconds, if the link is new; else: ip link set {bond} type bond active_slave {first}");
    Some(Finding::new(Code::NicSpareInUse, subject(config), cause, remedy))
}

/// The finding that the spare could not take over.
pub(super) fn down(config: &Configuration, network: &Network) -> Option<Finding> {
    let wanted = config.sled.network.spare.as_deref()?;
    let first = config.sled.network.nic.to_string();
    let bond = network.bond.as_ref();
    let joined =
        |bond: &str| network.spare.as_ref().is_some_and(|spare| spare.through.iter().any(|it| it.name == bond));
    let (cause, remedy) = match (&network.spare, bond) {
        (None, _) => (
            format!("there is no network interface {wanted}, which network.spare of sled.toml names"),
            "plug it in; if it is another adapter, write its name into network.spare of sled.toml".to_owned(),
        ),
        (Some(_), Some(bond)) if joined(&bond.name) && !bond.active_backup => (
            format!("{} of {wanted} is no bond of which one carries and the others wait (active-backup)", bond.name),
            format!("Mode=active-backup where {} is configured; with the image: reboot", bond.name),
        ),
        (Some(spare), Some(bond)) if joined(&bond.name) => {
            let name = spare.called(wanted);
            match (spare.up, spare.carrier) {
                (true, true) => return None,
                (false, _) => (format!("the spare {name} is switched off"), format!("ip link set {name} up")),
                (true, false) => {
                    let remedy = "check its cable, and whether the switch port is on".to_owned();
                    (format!("the spare {name} has no link"), remedy)
                }
            }
        }
        (Some(spare), _) => {
            let (name, bond) = (spare.called(wanted), bond.map_or(BOND, |bond| bond.name.as_str()));
            let remedy = format!(
                "with the image: reboot; set up by hand: a bond {bond} (active-backup) of the two as the port of {}, then: ip \
                 link set {name} down && ip link set {name} master {bond} && ip link set {name} up",
                config.sled.network.bridge
            );
            (format!("{name} is in no bond with {first}"), remedy)
        }
    };
    let cause = format!("{cause}: nothing takes over when {first} has no link");
    Some(Finding::new(Code::NicSpareDown, subject(config), cause, remedy))
}

fn subject(config: &Configuration) -> String {
    format!("nic {}", config.sled.network.nic)
}
