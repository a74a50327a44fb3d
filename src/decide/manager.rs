//! Remedies that last, in the words of whatever configures the machine's network.

use super::facts::Manager;

/// What makes a remedy for now last, to be put behind that: where systemd-networkd has it ([`of_network`],
/// [`of_netdev`]), and the option below which ifupdown has it.
pub(super) fn lasting(by: Option<Manager>, interface: &str, networkd: &str, ifupdown: &str) -> String {
    match by {
        Some(Manager::Networkd) => {
            format!("; that it stays so: {networkd} below /etc/systemd/network, then: networkctl reload")
        }
        Some(Manager::Ifupdown) => format!(
            "; that it stays so: {ifupdown} below iface {interface} in /etc/network/interfaces, and with ifupdown2: \
             ifreload -a"
        ),
        None => format!("; that it stays so: the same where {interface} is configured"),
    }
}

/// What an interface has of networkd, and what it is a part of.
pub(super) fn of_network(setting: &str, interface: &str) -> String {
    format!("{setting} in the .network file of {interface}")
}

/// What a virtual interface itself is like: a `.network` file may have a section of that name, which means something else.
pub(super) fn of_netdev(setting: &str, interface: &str) -> String {
    format!("{setting} in the .netdev file of {interface}")
}

/// Where to see why an interface is not as it is to be.
pub(super) fn status(by: Option<Manager>, interface: &str) -> String {
    match by {
        Some(Manager::Networkd) => format!("networkctl status {interface}"),
        Some(Manager::Ifupdown) => format!("ifup {interface}; journalctl -b -u networking"),
        None => format!("systemd-networkd: networkctl status {interface}; ifupdown: ifup {interface}"),
    }
}
