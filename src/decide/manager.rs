//! Remedies that last, in the words of whatever configures the machine's network.

use super::facts::Manager;

/// What makes a remedy for now last, to be put behind that: a setting as systemd-networkd has it, and as ifupdown has.
pub(super) fn lasting(by: Option<Manager>, interface: &str, networkd: &str, ifupdown: &str) -> String {
    match by {
        Some(Manager::Networkd) => {
            format!(
                "; that it stays so: {networkd} in the file of {interface} below /etc/systemd/network, then: networkctl reload"
            )
        }
        Some(Manager::Ifupdown) => format!(
            "; that it stays so: {ifupdown} below iface {interface} in /etc/network/interfaces, and with ifupdown2: \
             ifreload -a"
        ),
        None => format!("; that it stays so: the same where {interface} is configured"),
    }
}
