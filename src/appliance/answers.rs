//! Answers of whoever sets a sled up, as the files of its configuration. Pure.

use crate::config::Vlan;
use crate::names::SledName;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

/// An address and the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// The length of the prefix in bits.
    pub prefix: u8,
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "write an address with the length of its network's prefix, such as 192.168.4.189/24";
        let (address, prefix) = text.split_once('/').ok_or(WANTED)?;
        let address: IpAddr = address.parse().map_err(|_| WANTED)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.parse().ok().filter(|bits| (1..=most).contains(bits));
        Ok(Self { address, prefix: prefix.ok_or_else(|| format!("the prefix has from 1 to {most} bits"))? })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The way in which the sled's address is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressed {
    /// By the sled itself, with its network and the router to which packets to other networks go.
    Static(Cidr, Option<IpAddr>),
    /// By a DHCP server, which has reserved this address and says the rest.
    Dhcp(IpAddr),
}

impl Addressed {
    fn address(self) -> IpAddr {
        match self {
            Self::Static(cidr, _) => cidr.address,
            Self::Dhcp(address) => address,
        }
    }
}

/// The answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// The sled's name in the port map.
    pub name: SledName,
    /// The sled's address.
    pub address: Addressed,
    /// The network adapter in the bridge.
    pub nic: String,
    /// The adapter that takes over when that one has no link.
    pub spare: Option<String>,
    /// The VLAN of the sled's packets on the cable.
    pub vlan: Option<Vlan>,
    /// The servers that are asked for names.
    pub dns: Vec<IpAddr>,
    /// The servers that are asked for the time.
    pub ntp: Vec<IpAddr>,
    /// Whether all regions are created when the data disk is taken into use.
    pub create_on_first_boot: bool,
}

impl Answers {
    /// Compose `sled.toml`.
    pub fn sled_toml(&self) -> String {
        let mut text = format!(
            "# This machine. Every other key has its default: see etc/sled.toml of crucible-sled, or\n\
             # /usr/share/sled/example on a sled.\n\n\
             [sled]\nname = {}\n\n[network]\nnic = {}\n",
            quoted(self.name.as_str()),
            quoted(&self.nic),
        );
        if let Some(spare) = &self.spare {
            _ = writeln!(text, "spare = {}", quoted(spare));
        }
        if let Some(vlan) = self.vlan {
            _ = writeln!(text, "vlan = {vlan}");
        }
        match self.address {
            Addressed::Static(cidr, gateway) => {
                _ = writeln!(text, "\n[appliance]\nprefix = {}", cidr.prefix);
                if let Some(gateway) = gateway {
                    _ = writeln!(text, "gateway = \"{gateway}\"");
                }
            }
            Addressed::Dhcp(_) => text += "address = \"dhcp\"\n\n[appliance]\n",
        }
        for (key, addresses) in [("dns", &self.dns), ("ntp", &self.ntp)] {
            if !addresses.is_empty() {
                let list: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
                _ = writeln!(text, "{key} = [{}]", list.join(", "));
            }
        }
        if self.create_on_first_boot {
            text += "create_on_first_boot = true\n";
        }
        text
    }

    /// Compose a port map of this sled alone, without a volume: the fleet's takes its place.
    pub fn port_map(&self) -> String {
        format!(
            "# The fleet: the same file on every sled. This one knows of no volume yet; see etc/port-map.toml of\n\
             # crucible-sled, or /usr/share/sled/example on a sled, for how they are written.\n\n\
             [sleds.{}]\naddress = \"{}\"\n",
            self.name,
            self.address.address()
        )
    }
}

/// Quote a string of TOML; what JSON escapes, TOML does as well.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Addressing, Configuration, Sources, read};
    use crate::source::Source;

    #[test]
    fn an_address_has_a_network() {
        let read = |text: &str| text.parse::<Cidr>().map(|cidr| (cidr.address.to_string(), cidr.prefix));
        assert_eq!(read("192.168.4.189/24"), Ok(("192.168.4.189".into(), 24)));
        assert_eq!(read("fd00::1/64"), Ok(("fd00::1".into(), 64)));
        for wrong in ["192.168.4.189", "192.168.4/24", "192.168.4.1/0", "192.168.4.1/33", "fd00::1/129", "/24", ""] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    fn answers() -> Answers {
        let (own, gateway) = ("192.168.4.189/23".parse().unwrap(), "192.168.4.1".parse().ok());
        Answers {
            name: "proper-raptor".parse().unwrap(),
            address: Addressed::Static(own, gateway),
            nic: "enx00e04ca81110".into(),
            spare: None,
            vlan: None,
            dns: vec!["192.168.4.53".parse().unwrap(), "192.168.4.54".parse().unwrap()],
            ntp: vec!["192.168.4.1".parse().unwrap()],
            create_on_first_boot: true,
        }
    }

    fn configuration(answers: &Answers) -> Configuration {
        let source = |file: &str, text: String| Source { file: file.into(), text: Ok(text) };
        let sources = Sources {
            sled: vec![source("sled.toml", answers.sled_toml())],
            port_map: source("port-map.toml", answers.port_map()),
            ephemeral: 32768..=60999,
        };
        read(&sources).unwrap_or_else(|faults| panic!("{faults:?}\n{}", answers.sled_toml()))
    }

    #[test]
    fn answers_are_a_configuration_without_a_fault_that_says_the_same() {
        let answers = answers();
        let config = configuration(&answers);
        let appliance = &config.sled.appliance;
        assert_eq!((&config.sled.name, config.address), (&answers.name, answers.address.address()));
        assert_eq!((&*config.sled.network.nic, appliance.prefix), ("enx00e04ca81110", Some(23)));
        assert_eq!((appliance.gateway, config.sled.network.address), ("192.168.4.1".parse().ok(), Addressing::Static));
        assert_eq!((&appliance.dns, &appliance.ntp), (&answers.dns, &answers.ntp));
        assert_eq!((config.sled.network.spare, config.sled.network.vlan), (None, None));
        assert!(appliance.create_on_first_boot);
    }

    #[test]
    fn a_server_a_vlan_and_a_spare_are_said_as_they_are_meant() {
        let address = Addressed::Dhcp("192.168.4.189".parse().unwrap());
        let answers = Answers { address, spare: Some("eno1".into()), vlan: "5".parse().ok(), ..answers() };
        let config = configuration(&answers);
        let (network, appliance) = (&config.sled.network, &config.sled.appliance);
        assert_eq!((config.address, network.address), (address.address(), Addressing::Dhcp));
        assert_eq!((appliance.prefix, appliance.gateway), (None, None), "the server says these");
        assert_eq!((network.spare.as_deref(), network.vlan), (Some("eno1"), answers.vlan));
    }
}
