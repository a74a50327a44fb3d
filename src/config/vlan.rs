//! VLANs: the numbers that there are, in `sled.toml` and as somebody types them. Pure.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The VLANs that there are (IEEE 802.1Q): 0 is none, and 4095 is reserved.
pub(super) const VLANS: RangeInclusive<u64> = 1..=4094;

/// A VLAN of IEEE 802.1Q.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan(u16);

impl Vlan {
    /// The number of the VLAN, from 1 to 4094.
    pub fn id(self) -> u16 {
        self.0
    }

    /// The VLAN of a number; `None`: there is no such VLAN.
    pub(super) fn of(id: u64) -> Option<Self> {
        u16::try_from(id).ok().filter(|_| VLANS.contains(&id)).map(Self)
    }
}

impl FromStr for Vlan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = VLANS.into_inner();
        let vlan = text.parse().ok().and_then(Self::of);
        vlan.ok_or_else(|| format!("{text} is no VLAN, which are the numbers from {first} to {last}"))
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_is_one_of_those_that_there_are() {
        for (text, id) in [("1", Some(1)), ("4094", Some(4094)), ("0", None), ("4095", None), ("-1", None), ("x", None)]
        {
            assert_eq!(text.parse::<Vlan>().ok().map(Vlan::id), id, "{text}");
        }
        assert_eq!("4095".parse::<Vlan>(), Err("4095 is no VLAN, which are the numbers from 1 to 4094".into()));
    }
}
