//! Network of a configuration, as the files of systemd-networkd, the host's name and its resolvers. Pure.
//!
//! A VLAN is the bridge's own: it looks at the tags (VLAN filtering), the adapter's port has the VLAN tagged, and the bridge
//! itself untagged. So the adapter stays the bridge's port, whichever it is and however often it is replaced, and no
//! interface lies between them that goes with an adapter and has to be made anew for the next.

use crate::config::{Addressing, BOND, By, Configuration, Network, Nic, usual_prefix};
use std::fmt::Write as _;

/// Compose the files below `/var/etc`, each with its text; `None` for one that is not to be there.
pub fn files(config: &Configuration) -> Vec<(&'static str, Option<String>)> {
    let network = &config.sled.network;
    let [by_name, by_address, on_usb] = adapters(network);
    let [spare_by_name, spare_by_address, spare_on_usb] = spare(network);
    let [bond, bond_port] = bond(network);
    vec![
        ("hostname", Some(format!("{}\n", config.sled.name))),
        ("resolv.conf", Some(resolvers(config))),
        ("network/10-bridge.netdev", Some(netdev(config))),
        ("network/11-bond.netdev", bond),
        ("network/20-bridge.network", Some(bridge(config))),
        ("network/21-bond.network", bond_port),
        // The first file that an adapter fits is the one: whichever is on the USB comes after those that are named.
        ("network/30-nic.network", by_name),
        ("network/30-spare.network", spare_by_name),
        ("network/31-nic-by-address.network", by_address),
        ("network/31-spare-by-address.network", spare_by_address),
        ("network/32-nic-on-usb.network", on_usb),
        ("network/32-spare-on-usb.network", spare_on_usb),
    ]
}

/// Tell what is asked for with a network, a line each. By this one network is told from another, and not by its files, which
/// another version may write otherwise for the same. So no line ever changes, and a key that a later version knows has
/// one only where it is set.
pub fn asked(config: &Configuration) -> String {
    let (network, appliance) = (&config.sled.network, &config.sled.appliance);
    let prefix = appliance.prefix.unwrap_or_else(|| usual_prefix(config.address));
    let mut text = format!("name {}\naddress {}/{prefix} {}\n", config.sled.name, config.address, network.address);
    _ = writeln!(text, "bridge {}\nnic {}", network.bridge, meant(&network.nic));
    let spare = network.spare.as_ref().map(|spare| format!("spare {}\n", meant(spare)));
    let vlan = network.vlan.map(|vlan| format!("vlan {vlan}\n"));
    let gateway = appliance.gateway.map(|gateway| format!("gateway {gateway}\n"));
    text.extend([spare, vlan, gateway].into_iter().flatten());
    for (what, servers) in [("dns", &appliance.dns), ("ntp", &appliance.ntp)] {
        text.extend(servers.iter().map(|server| format!("{what} {server}\n")));
    }
    text
}

/// The ways in which an adapter is meant.
fn meant(nic: &Nic) -> String {
    let words = nic.all().iter().map(|by| match by {
        By::Name(name) => name.as_str(),
        By::Address(address) => address.as_str(),
        By::Usb => "usb",
    });
    words.collect::<Vec<_>>().join(" ")
}

fn resolvers(config: &Configuration) -> String {
    config.sled.appliance.dns.iter().map(|server| format!("nameserver {server}\n")).collect()
}

fn netdev(config: &Configuration) -> String {
    let bridge = &config.sled.network.bridge;
    // No VLAN is everybody's then: what comes without a tag goes nowhere.
    let filtering = if config.sled.network.vlan.is_some() { "VLANFiltering=yes\nDefaultPVID=none\n" } else { "" };
    format!("[NetDev]\nName={bridge}\nKind=bridge\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n{filtering}")
}

fn bridge(config: &Configuration) -> String {
    let (appliance, address) = (&config.sled.appliance, config.address);
    let prefix = appliance.prefix.unwrap_or_else(|| usual_prefix(address));
    let mut text = format!("[Match]\nName={}\n\n", config.sled.network.bridge);
    // A pulled cable holds up no boot and takes no address away: the supervisor tells of it.
    text += "[Link]\nRequiredForOnline=no\n\n";
    let dhcp = config.sled.network.address == Addressing::Dhcp;
    if dhcp {
        // What the server gave is kept while it does not answer: regions that serve do not lose their address by that.
        text += "[Network]\nDHCP=ipv4\nKeepConfiguration=dhcp\n";
    } else {
        _ = writeln!(text, "[Network]\nAddress={address}/{prefix}");
    }
    if let Some(gateway) = appliance.gateway {
        _ = writeln!(text, "Gateway={gateway}");
    }
    for server in &appliance.ntp {
        _ = writeln!(text, "NTP={server}");
    }
    text += "ConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n";
    if dhcp {
        // Reservations are by the hardware address, with every server; a name of its own the sled has already.
        _ = writeln!(text, "\n[DHCPv4]\nClientIdentifier=mac\nRequestAddress={address}\nUseHostname=no\nUseDomains=no");
    }
    if let Some(vlan) = config.sled.network.vlan {
        _ = writeln!(text, "\n[BridgeVLAN]\nVLAN={vlan}\nPVID={vlan}\nEgressUntagged={vlan}");
    }
    text
}

/// The bond of an adapter and its spare. The first carries whenever it has had a link for some seconds.
fn bond(network: &Network) -> [Option<String>; 2] {
    let bridge = &network.bridge;
    let netdev = format!(
        "[NetDev]\nName={BOND}\nKind=bond\n\n[Bond]\nMode=active-backup\nMIIMonitorSec=100ms\nUpDelaySec=2s\n\
         PrimaryReselectPolicy=always\n"
    );
    let port = format!(
        "[Match]\nName={BOND}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nBridge={bridge}\nLinkLocalAddressing=no\n{}",
        tagged(network)
    );
    [netdev, port].map(|text| network.spare.is_some().then_some(text))
}

/// The membership of the bridge's port in the VLAN.
fn tagged(network: &Network) -> String {
    network.vlan.map(|vlan| format!("\n[BridgeVLAN]\nVLAN={vlan}\n")).unwrap_or_default()
}

/// The adapters in the bridge: those with the names, with the hardware addresses, and on the USB. All that are meant are put
/// into it: the supervisor looks after the one that is wanted most. A bridge has the address of one of its ports.
fn adapters(network: &Network) -> [Option<String>; 3] {
    let to = match network.spare {
        Some(_) => format!("Bond={BOND}\nPrimarySlave=yes\nLinkLocalAddressing=no\n"),
        None => format!("Bridge={}\nLinkLocalAddressing=no\n{}", network.bridge, tagged(network)),
    };
    files_of(&network.nic, &to, network.spare.is_some())
}

/// The spare, as one port of the bond.
fn spare(network: &Network) -> [Option<String>; 3] {
    let to = format!("Bond={BOND}\nLinkLocalAddressing=no\n");
    network.spare.as_ref().map(|spare| files_of(spare, &to, true)).unwrap_or_default()
}

/// The files of the adapters that are meant. A port of a bond has the bond's hardware address, and is known by its own.
fn files_of(nic: &Nic, to: &str, bonded: bool) -> [Option<String>; 3] {
    let some = |of: fn(&By) -> Option<&str>| nic.all().iter().filter_map(of).collect::<Vec<_>>().join(" ");
    let names = some(|by| if let By::Name(name) = by { Some(name) } else { None });
    let addresses = some(|by| if let By::Address(address) = by { Some(address) } else { None });
    let on_usb = nic.all().contains(&By::Usb);
    let adapter = |matches: String| format!("[Match]\n{matches}\n[Link]\nRequiredForOnline=no\n\n[Network]\n{to}");
    let own = if bonded { "PermanentMACAddress" } else { "MACAddress" };
    [
        (!names.is_empty()).then(|| adapter(format!("Name={names}\n"))),
        (!addresses.is_empty()).then(|| adapter(format!("{own}={addresses}\nType=ether\n"))),
        on_usb.then(|| adapter("Type=ether\nProperty=ID_BUS=usb\n".into())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, read};
    use crate::source::Source;

    const SLED: &str = include_str!("../../etc/sled.toml");
    const MAP: &str = include_str!("../../etc/port-map.toml");

    fn configuration(sled: &str, map: &str) -> Configuration {
        let source = |file: &str, text: &str| Source { file: file.into(), text: Ok(text.into()) };
        let sources = Sources {
            sled: vec![source("sled.toml", sled)],
            port_map: source("port-map.toml", map),
            ephemeral: 32768..=60999,
        };
        read(&sources).unwrap()
    }

    fn text(sled: &str, map: &str, file: &str) -> String {
        let files = files(&configuration(sled, map));
        files.into_iter().find(|(name, _)| *name == file).unwrap().1.unwrap_or_default()
    }

    /// By these words a record of another version tells what was refused: they are the same in all of them.
    #[test]
    fn what_is_asked_for_is_told_in_words_that_stay() {
        let asked = |sled: &str| asked(&configuration(sled, MAP));
        let shipped = "name proper-raptor\naddress 192.168.4.189/24 static\nbridge br0\nnic enx00e04ca81110\n\
                       gateway 192.168.4.1\ndns 192.168.4.53\n";
        assert_eq!(asked(SLED), shipped);
        let other = SLED.replace("# vlan = 5", "vlan = 5").replace("# spare = \"eno1\"", "spare = \"usb\"");
        let with = shipped.replace("gateway", "spare usb\nvlan 5\ngateway");
        assert_eq!(asked(&other), with);
        // What makes no other network, and the usual, said or not.
        assert_eq!(asked(&SLED.replace("prefix = 24\n", "").replace("#age = \"90d\"", "age = \"7d\"")), shipped);
    }

    /// The lines that say something.
    fn said(text: &str) -> Vec<String> {
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(Into::into).collect()
    }

    #[test]
    fn the_shipped_configuration_is_the_network_that_is_shipped_for_hand_installed_sleds() {
        let netdev = include_str!("../../image/network/10-br0.netdev");
        assert_eq!(said(&text(SLED, MAP, "network/10-bridge.netdev")), said(netdev));
        // Names are asked for by resolv.conf in the image.
        let shipped = said(include_str!("../../image/network/20-br0.network"));
        let shipped: Vec<_> = shipped.into_iter().filter(|line| !line.starts_with("DNS=")).collect();
        assert_eq!(said(&text(SLED, MAP, "network/20-bridge.network")), shipped);
        assert_eq!(text(SLED, MAP, "resolv.conf"), "nameserver 192.168.4.53\n");
        assert_eq!(text(SLED, MAP, "hostname"), "proper-raptor\n");
        assert!(text(SLED, MAP, "network/30-nic.network").contains("Name=enx00e04ca81110\n"));
    }

    /// Without what the server says, and with what is no business of it.
    #[test]
    fn by_dhcp_the_address_of_the_map_is_asked_for() {
        let sled = SLED.replace("prefix = 24", "").replace("gateway = \"192.168.4.1\"", "");
        let sled = sled.replace("nic = ", "address = \"dhcp\"\nnic = ");
        let bridge = said(&text(&sled, MAP, "network/20-bridge.network"));
        for line in
            ["DHCP=ipv4", "KeepConfiguration=dhcp", "[DHCPv4]", "ClientIdentifier=mac", "RequestAddress=192.168.4.189"]
        {
            assert!(bridge.iter().any(|said| said == line), "{line} is not in {bridge:#?}");
        }
        assert!(!bridge.iter().any(|said| said.starts_with("Address=") || said.starts_with("Gateway=")), "{bridge:#?}");
        assert_eq!(text(&sled, MAP, "resolv.conf"), "nameserver 192.168.4.53\n");
    }

    /// The bond is the bridge's port in the adapters' place, with the VLAN, and the first adapter is the one that carries.
    #[test]
    fn a_spare_is_put_together_with_the_adapter() {
        let sled =
            SLED.replace("# vlan = 5", "vlan = 5").replace("# spare = \"eno1\"", "spare = \"02:00:00:00:00:07\"");
        let of = |file: &str| said(&text(&sled, MAP, &format!("network/{file}")));
        assert!(of("11-bond.netdev").contains(&"Mode=active-backup".into()));
        let port = of("21-bond.network");
        assert!(port.contains(&"Bridge=br0".into()) && port.ends_with(&["[BridgeVLAN]".into(), "VLAN=5".into()]));
        let nic = of("30-nic.network");
        assert!(nic.contains(&"Bond=bond0".into()) && nic.contains(&"PrimarySlave=yes".into()), "{nic:?}");
        assert!(!nic.iter().any(|line| line.starts_with("Bridge") || line.starts_with("[BridgeVLAN")), "{nic:?}");
        let spare = of("31-spare-by-address.network");
        assert!(spare.contains(&"PermanentMACAddress=02:00:00:00:00:07".into()), "{spare:?}");
        assert!(spare.contains(&"Bond=bond0".into()) && !spare.contains(&"PrimarySlave=yes".into()), "{spare:?}");
        for file in ["11-bond.netdev", "21-bond.network", "30-spare.network"] {
            assert_eq!(text(SLED, MAP, &format!("network/{file}")), "", "{file} is there without one");
        }
    }

    /// Tagged on the cable and untagged for the bridge, and nothing that has no tag.
    #[test]
    fn a_vlan_is_the_bridges_own() {
        let sled = SLED.replace("# vlan = 5", "vlan = 5");
        let of = |file: &str| said(&text(&sled, MAP, &format!("network/{file}")));
        assert!(of("10-bridge.netdev").ends_with(&["VLANFiltering=yes".into(), "DefaultPVID=none".into()]));
        let own = of("20-bridge.network");
        assert_eq!(own[own.len() - 4..], ["[BridgeVLAN]", "VLAN=5", "PVID=5", "EgressUntagged=5"]);
        let port = of("30-nic.network");
        assert_eq!(port[port.len() - 2..], ["[BridgeVLAN]", "VLAN=5"]);
    }

    #[test]
    fn an_adapter_is_found_as_it_is_meant() {
        let of = |nic: &str| {
            let sled = SLED.replace("nic = \"enx00e04ca81110\"", &format!("nic = {nic}"));
            ["30-nic", "31-nic-by-address", "32-nic-on-usb"].map(|file| {
                said(&text(&sled, MAP, &format!("network/{file}.network"))).get(1).cloned().unwrap_or_default()
            })
        };
        assert_eq!(of("\"usb\""), ["", "", "Type=ether"]);
        assert_eq!(of("\"00:E0:4C:A8:11:10\""), ["", "MACAddress=00:e0:4c:a8:11:10", ""]);
        assert_eq!(of("[\"enx1\", \"eth0\", \"usb\"]"), ["Name=enx1 eth0", "", "Type=ether"]);
    }

    #[test]
    fn without_a_word_of_the_network_there_is_an_address_and_nothing_else() {
        let sled = SLED.split("[appliance]").next().unwrap();
        let bridge = text(sled, MAP, "network/20-bridge.network");
        assert!(bridge.contains("Address=192.168.4.189/24\n"), "{bridge}");
        assert!(!bridge.contains("Gateway") && !bridge.contains("NTP"), "{bridge}");
        assert_eq!(text(sled, MAP, "resolv.conf"), "");
        let (sled, map) =
            (sled.to_owned() + "[appliance]\nntp = [\"192.168.4.1\"]\n", MAP.replace("192.168.4.189", "fd00::5"));
        let bridge = text(&sled, &map, "network/20-bridge.network");
        assert!(bridge.contains("Address=fd00::5/64\n") && bridge.contains("NTP=192.168.4.1\n"), "{bridge}");
    }
}
