//! Fence in systemd's terms: as lines of a drop-in, as the properties that are set, and as those that a unit has
//! (systemd.resource-control(5), org.freedesktop.systemd1(5)). Pure.

use crate::port_map::{Fence, Prefix};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use zbus::{OwnedVariant, Variant};

/// The address families as D-Bus has them.
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;

const ALLOW: &str = "IPAddressAllow";
const DENY: &str = "IPAddressDeny";

/// A prefix as D-Bus has it: family, address, length.
type Item = (i32, Vec<u8>, u32);

/// Compose the lines of a drop-in; none for a fence that lets everybody in.
pub fn lines(fence: &Fence) -> String {
    let line = |key: &str, set: &BTreeSet<Prefix>| {
        if set.is_empty() {
            String::new()
        } else {
            format!("{key}={}\n", set.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        }
    };
    line(DENY, &fence.deny) + &line(ALLOW, &fence.allow)
}

/// Compose the settings that make a unit's fence this one, whatever it was.
pub fn settings(fence: &Fence) -> Vec<(&'static str, Variant<'static>)> {
    let items = |set: &BTreeSet<Prefix>| set.iter().map(item).collect::<Vec<_>>();
    // A list is added to the one that there is; an empty one takes that away. Everything comes
    // into force together, when systemd has read the last.
    let all = [(DENY, &fence.deny), (ALLOW, &fence.allow)].into_iter();
    let each = all.flat_map(|(key, set)| [(key, Vec::<Item>::new()), (key, items(set))]);
    each.map(|(key, list)| (key, list.into())).collect()
}

/// Read the fence that a unit has; `None` if systemd does not tell.
pub fn of(unit: &HashMap<String, OwnedVariant>) -> Option<Fence> {
    let set = |key: &str| -> Option<BTreeSet<Prefix>> {
        let list = Vec::<Item>::try_from(unit.get(key)?.clone()).ok()?;
        list.into_iter().map(prefix).collect()
    };
    Some(Fence { allow: set(ALLOW)?, deny: set(DENY)? })
}

fn item(prefix: &Prefix) -> Item {
    match prefix.address {
        IpAddr::V4(address) => (AF_INET, address.octets().into(), prefix.length.into()),
        IpAddr::V6(address) => (AF_INET6, address.octets().into(), prefix.length.into()),
    }
}

fn prefix((_, bytes, length): Item) -> Option<Prefix> {
    let four = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
    let address = four.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok()?;
    Some(Prefix { address, length: u8::try_from(length).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(settings: &[(&'static str, Variant<'static>)]) -> Option<Fence> {
        let owned =
            |(key, value): &(&'static str, Variant<'static>)| ((*key).to_owned(), value.try_to_owned().unwrap());
        of(&settings.iter().map(owned).collect())
    }

    #[test]
    fn a_fence_reads_back_as_it_was_set() {
        let prefix = |text: &str, length| Prefix { address: text.parse().unwrap(), length };
        let fence = Fence {
            allow: [prefix("192.168.4.17", 32), prefix("fd00::", 8), prefix("::1", 128)].into(),
            deny: [prefix("0.0.0.0", 0), prefix("::", 0)].into(),
        };
        assert_eq!(read_back(&settings(&fence)), Some(fence.clone()));
        assert_eq!(lines(&fence), "IPAddressDeny=0.0.0.0/0 ::/0\nIPAddressAllow=192.168.4.17/32 ::1/128 fd00::/8\n");
        assert_eq!(read_back(&settings(&Fence::default())), Some(Fence::default()));
        assert_eq!(lines(&Fence::default()), "");
        assert_eq!(of(&HashMap::new()), None);
    }
}
