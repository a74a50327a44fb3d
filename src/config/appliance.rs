//! `[appliance]`: what only the image of a sled looks at, where nobody sets up a network by hand.
//! On a machine with an operating system of its own it means nothing.

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
    /// Where packets to other networks go; `None`: nowhere.
    pub gateway: Option<IpAddr>,
    /// Who is asked for names.
    pub dns: Vec<IpAddr>,
    /// Who is asked for the time; nobody in particular if empty.
    pub ntp: Vec<IpAddr>,
    /// All regions of the port map are created when the data disk is taken into use for the first
    /// time.
    pub create_on_first_boot: bool,
    /// Where updates come from.
    pub update: Option<UpdateSource>,
}

/// A directory of signed updates: on a web server, or on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateSource(String);

impl UpdateSource {
    /// As a URL without a slash at its end.
    pub fn url(&self) -> &str {
        &self.0
    }
}

impl FromStr for UpdateSource {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // It stands in a configuration file of systemd-sysupdate, in which % begins a specifier.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:~@[]".contains(c);
        let url = if text.starts_with('/') { format!("file://{text}") } else { text.to_owned() };
        let known = ["https://", "http://", "file:///"].iter().any(|scheme| url.starts_with(scheme));
        let rest = url.split_once("://").map_or("", |(_, rest)| rest).trim_end_matches('/');
        match known && !rest.is_empty() && url.chars().all(plain) {
            true => Ok(Self(url.trim_end_matches('/').to_owned())),
            false => Err("is neither a URL (https, http, file) nor a directory"),
        }
    }
}

impl fmt::Display for UpdateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads `[appliance]`.
pub(super) fn read(mut section: Section<'_>, faults: &mut Faults) -> Appliance {
    let prefix = section.integer("prefix", 1..=128, faults);
    let appliance = Appliance {
        prefix: prefix.and_then(|(bits, _)| bits.try_into().ok()),
        gateway: section.parsed("gateway", "write an address such as \"192.168.4.1\"", faults).map(|(value, _)| value),
        dns: addresses(&mut section, "dns", faults),
        ntp: addresses(&mut section, "ntp", faults),
        create_on_first_boot: section.boolean("create_on_first_boot", faults).unwrap_or(false),
        update: section
            .parsed("update", "write a URL such as \"https://updates.example/sled\", or a directory", faults)
            .map(|(value, _)| value),
    };
    section.finish(faults);
    appliance
}

/// Finds that the network suits the sled's address.
pub(super) fn check(appliance: &Appliance, address: IpAddr, origin: &Origin, faults: &mut Faults) {
    if address.is_ipv4() && appliance.prefix.is_some_and(|bits| bits > 32) {
        let problem = format!("the network of {address} has a prefix of at most 32 bits");
        faults.push(origin, "appliance.prefix", problem, "write a number from 1 to 32, such as 24");
    }
    if appliance.gateway.is_some_and(|gateway| gateway.is_ipv4() != address.is_ipv4()) {
        let problem = format!("it is no address of the kind that the sled's is, {address}");
        faults.push(origin, "appliance.gateway", problem, "write an address of the sled's own network");
    }
}

fn addresses(section: &mut Section<'_>, key: &str, faults: &mut Faults) -> Vec<IpAddr> {
    let path = section.path(key);
    let mut addresses = Vec::new();
    for (text, origin) in section.texts(key, faults).map(|(texts, _)| texts).unwrap_or_default() {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => faults.push(&origin, &path, format!("{text:?} is no address"), "write addresses, not names"),
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

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
