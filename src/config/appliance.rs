//! `[appliance]`: the keys that only the image of a sled looks at, where nobody sets up a network by hand. On a
//! machine with an operating system of its own they mean nothing.

use crate::port_map::Prefix;
use crate::source::{Faults, Origin, Section};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `[appliance]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appliance {
    /// The length of the network's prefix that the sled's address lies in, in bits; 24 or 64 unless
    /// it is said.
    pub prefix: Option<u8>,
    /// The router to which packets to other networks go; `None`: nowhere.
    pub gateway: Option<IpAddr>,
    /// The servers that are asked for names.
    pub dns: Vec<IpAddr>,
    /// The servers that are asked for the time; nobody in particular if empty.
    pub ntp: Vec<IpAddr>,
    /// All regions of the port map are created when the data disk is taken into use for the first
    /// time.
    pub create_on_first_boot: bool,
    /// The source of updates.
    pub update: Option<UpdateSource>,
    /// The serial line on which the screen is shown as well.
    pub serial: Option<Serial>,
}

/// A serial line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serial {
    /// The kernel's name of it, for example `ttyS1`.
    pub line: String,
    /// The speed in bits a second.
    pub speed: u32,
}

/// The speeds of a line, in bits a second (termios(3)).
const SPEEDS: [u32; 8] = [9600, 19200, 38400, 57600, 115_200, 230_400, 460_800, 921_600];

impl FromStr for Serial {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (line, speed) = text.split_once(',').unwrap_or((text, "115200"));
        let kind = line.trim_end_matches(|c: char| c.is_ascii_digit());
        let known =
            ["ttyS", "ttyUSB", "ttyACM", "ttyAMA"].contains(&kind) && kind.len() < line.len() && line.len() < 16;
        let speed = speed.parse().ok().filter(|speed| SPEEDS.contains(speed));
        match (known, speed) {
            (true, Some(speed)) => Ok(Self { line: line.into(), speed }),
            (false, _) => Err("names no serial line"),
            (true, None) => Err("has no speed of a serial line"),
        }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.line, self.speed)
    }
}

/// A directory of signed updates: on a web server, or on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateSource(String);

impl UpdateSource {
    /// The source as a URL without a slash at its end.
    pub fn url(&self) -> &str {
        &self.0
    }
}

impl FromStr for UpdateSource {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The source stands in a configuration file of systemd-sysupdate, in which % begins a specifier.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:~@[]".contains(c);
        let url = if text.starts_with('/') { format!("file://{text}") } else { text.to_owned() };
        let known = ["https://", "http://", "file:///"].iter().any(|scheme| url.starts_with(scheme));
        let rest = url.split_once("://").map_or("", |(_, rest)| rest).trim_end_matches('/');
        if known && !rest.is_empty() && url.chars().all(plain) {
            Ok(Self(url.trim_end_matches('/').to_owned()))
        } else {
            Err("is neither a URL (https, http, file) nor a directory")
        }
    }
}

impl fmt::Display for UpdateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The part of `[appliance]` that could be read, with the places that later checks point at.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) appliance: Appliance,
    pub(super) network: Network,
}

/// The network that the sled's address lies in, as the section has it, and where.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) prefix: Option<(u8, Origin)>,
    gateway: Option<(IpAddr, Origin)>,
}

/// Read `[appliance]`.
pub(super) fn read(mut section: Section<'_>, faults: &mut Faults) -> Draft {
    let prefix = section.integer("prefix", 1..=128, faults);
    let prefix = prefix.and_then(|(bits, origin)| Some((u8::try_from(bits).ok()?, origin)));
    let gateway = section.parsed::<IpAddr>("gateway", "write an address such as \"192.168.4.1\"", faults);
    let network = Network { prefix, gateway: gateway.map(|(address, origin)| (address.to_canonical(), origin)) };
    let appliance = Appliance {
        prefix: network.prefix.as_ref().map(|(bits, _)| *bits),
        gateway: network.gateway.as_ref().map(|(address, _)| *address),
        dns: addresses(&mut section, "dns", faults),
        ntp: addresses(&mut section, "ntp", faults),
        create_on_first_boot: section.boolean("create_on_first_boot", faults).unwrap_or(false),
        update: section
            .parsed("update", "write a URL such as \"https://updates.example/sled\", or a directory", faults)
            .map(|(value, _)| value),
        serial: section
            .parsed("serial", "write a line and its speed in bits a second, such as \"ttyS0,115200\"", faults)
            .map(|(value, _)| value),
    };
    section.finish(faults);
    Draft { appliance, network }
}

impl Network {
    /// Find that the network suits the sled's address; of one that a DHCP server describes nothing is said here.
    pub(super) fn check(&self, address: IpAddr, dhcp: bool, faults: &mut Faults) {
        if dhcp {
            return self.is_unsaid(faults);
        }
        let most = if address.is_ipv4() { 32 } else { 128 };
        match &self.prefix {
            Some((bits, origin)) if *bits > most => {
                let problem = format!("the network of {address} has a prefix of at most {most} bits");
                faults.push(origin, "appliance.prefix", problem, "write a number from 1 to 32, such as 24");
            }
            _ => self.check_gateway(address, faults),
        }
    }

    fn is_unsaid(&self, faults: &mut Faults) {
        let prefix = self.prefix.as_ref().map(|(_, origin)| ("appliance.prefix", origin));
        let gateway = self.gateway.as_ref().map(|(_, origin)| ("appliance.gateway", origin));
        for (key, origin) in prefix.into_iter().chain(gateway) {
            let problem = "the DHCP server says this, as network.address is \"dhcp\"";
            faults.push(origin, key, problem, "leave it out, or write network.address = \"static\"");
        }
    }

    fn check_gateway(&self, address: IpAddr, faults: &mut Faults) {
        let Some((gateway, origin)) = &self.gateway else { return };
        let length = self.prefix.as_ref().map_or_else(|| usual_prefix(address), |(bits, _)| *bits);
        if let Some(problem) = no_gateway(*gateway, address, Prefix { address, length }) {
            faults.push(origin, "appliance.gateway", problem, "write the router's address in the sled's own network");
        }
    }
}

/// The prefix of an address's network if nobody says it.
pub fn usual_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}

/// Find why packets to other networks cannot go there, if they cannot.
fn no_gateway(gateway: IpAddr, address: IpAddr, network: Prefix) -> Option<String> {
    // A router of IPv6 is called by its address on the link, and it is said on which.
    let on_link = matches!(gateway, IpAddr::V6(six) if six.is_unicast_link_local());
    if gateway.is_ipv4() != address.is_ipv4() {
        return Some(format!("{gateway} is no address of the kind that the sled's is, {address}"));
    }
    if gateway == address {
        return Some(format!("{gateway} is the sled itself"));
    }
    if gateway.is_unspecified() || gateway.is_multicast() || gateway.is_loopback() {
        return Some(format!("{gateway} is no address of a router"));
    }
    if let Some(what) = network.reserved(gateway) {
        return Some(format!("{gateway} is {what}"));
    }
    let outside = !on_link && !network.contains(gateway);
    outside.then(|| format!("{gateway} is not in the network of the sled, {address}/{}", network.length))
}

fn addresses(section: &mut Section<'_>, key: &str, faults: &mut Faults) -> Vec<IpAddr> {
    let path = section.path(key);
    let mut addresses = Vec::new();
    for (text, origin) in section.texts(key, faults).map(|(texts, _)| texts).unwrap_or_default() {
        let problem = match text.parse::<IpAddr>() {
            Err(_) => format!("{text:?} is no address"),
            Ok(address) if address.is_unspecified() || address.is_multicast() => {
                format!("{text} is no server's address")
            }
            Ok(address) if addresses.contains(&address) => format!("{text} is listed twice"),
            Ok(address) => {
                addresses.push(address);
                continue;
            }
        };
        faults.push(&origin, &path, problem, "write the servers' addresses, each once; names are not known yet");
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_line_has_a_name_and_a_speed() {
        let read = |text: &str| text.parse::<Serial>().map(|serial| serial.to_string());
        assert_eq!(read("ttyS1,9600").as_deref(), Ok("ttyS1,9600"));
        assert_eq!(read("ttyUSB0").as_deref(), Ok("ttyUSB0,115200"));
        for wrong in ["", "ttyS", "tty1", "/dev/ttyS0", "ttyS0,", "ttyS0,115200n8", "ttyS0,1", "ttyS0\n,9600", "ttySx1"]
        {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn updates_come_from_a_url_or_a_directory() {
        let read = |text: &str| text.parse::<UpdateSource>().map(|source| source.url().to_owned());
        assert_eq!(read("https://updates.example/sled/").as_deref(), Ok("https://updates.example/sled"));
        assert_eq!(read("/mnt/stick").as_deref(), Ok("file:///mnt/stick"));
        for wrong in ["", "/", "sled", "ftp://x/y", "https://", "http://x/%20", "http://x/a b", "http://x/\n"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
