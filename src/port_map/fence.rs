//! Fence of a region: the addresses that its unit lets in, and those that it does not, as systemd understands them
//! (systemd.resource-control(5), `IPAddressAllow=`): what is allowed may, else what is denied may not, else it may.
//! Pure.

use super::PortMap;
use crate::names::VolumeName;
use crate::region::Grant;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses: those that have the first `length` bits in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The first of them.
    pub address: IpAddr,
    /// The number of bits in common: up to 32, or 128.
    pub length: u8,
}

/// Every address there is.
const ANY: [Prefix; 2] = [
    Prefix { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 },
    Prefix { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 },
];
/// The machine itself.
const LOOPBACK: [Prefix; 2] = [
    Prefix { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), length: 8 },
    Prefix { address: IpAddr::V6(Ipv6Addr::LOCALHOST), length: 128 },
];

impl Prefix {
    /// The prefix of one address alone.
    pub fn only(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether an address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(four) => u128::from(four.to_bits()) << 96,
            IpAddr::V6(six) => six.to_bits(),
        };
        let differ = bits(self.address) ^ bits(address);
        self.address.is_ipv4() == address.is_ipv4() && differ.leading_zeros() >= u32::from(self.length)
    }

    /// The reserved use of an address that no interface of this network can have: its first one is the network
    /// itself, and over IPv4 its last one everybody in it.
    pub fn reserved(&self, address: IpAddr) -> Option<String> {
        let (IpAddr::V4(_), IpAddr::V4(four)) = (self.address, address) else { return None };
        if !self.contains(address) || self.length > 30 {
            return None;
        }
        let mask = u32::MAX.checked_shr(self.length.into()).unwrap_or_default();
        let network = Self { address: Ipv4Addr::from_bits(four.to_bits() & !mask).into(), length: self.length };
        match four.to_bits() & mask {
            0 => Some(format!("the network {network} itself")),
            host if host == mask => Some(format!("the broadcast address of {network}")),
            _ => None,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// The addresses that a unit lets in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fence {
    /// These may talk to it.
    pub allow: BTreeSet<Prefix>,
    /// Of all others these may not.
    pub deny: BTreeSet<Prefix>,
}

impl Fence {
    /// Build the fence around the regions of a volume: the fleet's sleds, for repair, and this machine itself are
    /// always let in; of hosts, those of the map, and once there was a ticket, only who holds the last one, and whom
    /// an operator allowed beside it. A volume without hosts in the map is open to all but those that were cut off.
    pub fn around(map: &PortMap, volume: &VolumeName, grant: Option<&Grant>) -> Self {
        let only = |addresses: BTreeSet<IpAddr>| addresses.into_iter().map(Prefix::only).collect::<BTreeSet<_>>();
        let hosts: BTreeSet<IpAddr> =
            map.volumes.get(volume).map(|volume| volume.hosts.iter().copied().collect()).unwrap_or_default();
        if hosts.is_empty() {
            let cut = grant.map(|grant| grant.denied.clone()).unwrap_or_default();
            return Self { allow: BTreeSet::new(), deny: only(cut) };
        }
        let mut fence = Self::shut(map);
        fence.allow.extend(only(grant.map_or_else(|| hosts.clone(), |grant| grant.admits(&hosts))));
        fence
    }

    /// Build a fence around the regions of a volume that lets in no host at all.
    pub fn shut(map: &PortMap) -> Self {
        let mut allow: BTreeSet<_> = map.sleds.values().map(|sled| Prefix::only(sled.address)).collect();
        allow.extend(LOOPBACK);
        Self { allow, deny: ANY.into() }
    }

    /// Narrow two fences to one that lets in only those whom both let in.
    pub fn narrow(&self, other: &Self) -> Self {
        Self { allow: &self.allow & &other.allow, deny: &self.deny | &other.deny }
    }

    /// Whether the fence lets an address in.
    pub fn admits(&self, address: IpAddr) -> bool {
        let any = |set: &BTreeSet<Prefix>| set.iter().any(|prefix| prefix.contains(address));
        any(&self.allow) || !any(&self.deny)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_has_its_bits_in_common() {
        let [four, six] = LOOPBACK;
        assert!(four.contains(ip("127.9.8.7")) && !four.contains(ip("128.0.0.1")) && !four.contains(ip("::1")));
        assert!(six.contains(ip("::1")) && !six.contains(ip("::2")) && !six.contains(ip("127.0.0.1")));
        assert!(ANY[0].contains(ip("1.2.3.4")) && !ANY[0].contains(ip("::")) && ANY[1].contains(ip("fe80::1")));
        assert_eq!(Prefix::only(ip("10.0.0.1")).to_string(), "10.0.0.1/32");
    }

    proptest! {
        #[test]
        fn a_prefix_contains_what_begins_as_it_does(a in any::<u32>(), b in any::<u32>(), length in 0u8..=32) {
            let prefix = Prefix { address: IpAddr::V4(a.into()), length };
            let mask = if length == 0 { 0 } else { u32::MAX << (32 - length) };
            prop_assert_eq!(prefix.contains(IpAddr::V4(b.into())), a & mask == b & mask);
        }
    }

    proptest! {
        #[test]
        fn the_narrow_one_lets_in_nobody_whom_one_of_both_does_not(sets in any::<[[[bool; 4]; 2]; 2]>(), who in 0u8..4) {
            let set = |which: [bool; 4]| {
                let each = which.into_iter().zip(0u8..).filter(|(is, _)| *is);
                each.map(|(_, last)| Prefix::only(IpAddr::from([10, 0, 0, last]))).collect()
            };
            let [one, other] = sets.map(|[allow, deny]| Fence { allow: set(allow), deny: set(deny) });
            let (both, who) = (one.narrow(&other), IpAddr::from([10, 0, 0, who]));
            prop_assert!(!both.admits(who) || one.admits(who) && other.admits(who));
            prop_assert_eq!(one.narrow(&one), one);
        }
    }

    #[test]
    fn the_first_and_the_last_address_of_a_network_are_nobodys() {
        let of =
            |network: &str, length: u8, address: &str| Prefix { address: ip(network), length }.reserved(ip(address));
        assert_eq!(of("10.0.0.7", 24, "10.0.0.0").as_deref(), Some("the network 10.0.0.0/24 itself"));
        assert_eq!(of("10.0.0.7", 24, "10.0.0.255").as_deref(), Some("the broadcast address of 10.0.0.0/24"));
        assert_eq!(of("10.0.5.7", 22, "10.0.7.255").as_deref(), Some("the broadcast address of 10.0.4.0/22"));
        for (network, length, address) in [
            ("10.0.5.7", 22, "10.0.5.255"),
            ("10.0.0.7", 24, "10.0.1.255"),
            ("10.0.0.7", 31, "10.0.0.7"),
            ("10.0.0.7", 32, "10.0.0.7"),
            ("fd00::1", 64, "fd00::"),
        ] {
            assert_eq!(of(network, length, address), None, "{address}");
        }
    }

    #[test]
    fn what_is_allowed_counts_before_what_is_denied() {
        let fence = Fence { allow: [Prefix::only(ip("10.0.0.1"))].into(), deny: ANY.into() };
        assert!(fence.admits(ip("10.0.0.1")) && !fence.admits(ip("10.0.0.2")) && !fence.admits(ip("::1")));
        assert!(Fence::default().admits(ip("10.0.0.2")));
        let cut = Fence { deny: [Prefix::only(ip("10.0.0.1"))].into(), ..Fence::default() };
        assert!(!cut.admits(ip("10.0.0.1")) && cut.admits(ip("10.0.0.2")));
    }
}
