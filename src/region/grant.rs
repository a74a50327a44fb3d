//! Grant to the hosts of a volume: the highest generation, and who holds the last ticket. Only the text of it, which
//! is sealed by its digest; reading and writing the file is the act's. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The length of the text, in bytes: it is written in one piece.
pub const SLOT_BYTES: usize = 4096;
/// The most hosts that were cut off and are remembered, so that the text stays short.
pub const DENIED_LIMIT: usize = 32;

/// The grant of a volume: what its hosts were granted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Grows with every change: of two, the one with the higher number is the later.
    pub serial: u64,
    /// The highest generation that was ever granted.
    pub generation: u64,
    /// The holder of the last ticket, and since when.
    pub holder: Option<(IpAddr, Timestamp)>,
    /// Hosts that an operator has allowed beside the holder.
    pub allowed: BTreeSet<IpAddr>,
    /// Hosts that were cut off, and stay so until they are allowed or hold a ticket.
    pub denied: BTreeSet<IpAddr>,
    /// Whether the holder has let go of it: the ticket lets in nobody any more, and the next host waits for nobody. A
    /// record of before there was such a thing does not say it, and says that it has not.
    #[serde(default, skip_serializing_if = "is_not")]
    pub released: bool,
    /// The highest generation that was ever granted to another host than the holder; 0 if none was, or nobody knows:
    /// a record of before there was such a thing does not say it.
    #[serde(default, skip_serializing_if = "is_none")]
    pub others: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_not(what: &bool) -> bool {
    !what
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_none(what: &u64) -> bool {
    *what == 0
}

/// A grant with the digest of its text.
#[derive(Serialize, Deserialize)]
struct Sealed {
    grant: Grant,
    sha256: String,
}

impl Grant {
    /// The hosts of the map that may talk to the volume: before the first ticket all of them, from then on only who
    /// holds the last one, and whom an operator allowed beside it.
    pub fn admits(&self, hosts: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        let may = |host: &&IpAddr| match self.holder {
            None => true,
            Some((holder, _)) => holder == **host && !self.released || self.allowed.contains(*host),
        };
        hosts.iter().filter(may).filter(|host| !self.denied.contains(*host)).copied().collect()
    }

    /// The holder of the last ticket, and since when, unless it has let go of it or was cut off since.
    pub fn in_hand(&self) -> Option<(IpAddr, Timestamp)> {
        self.holder.filter(|(holder, _)| !self.released && !self.denied.contains(holder))
    }

    /// The next grant, for a ticket of this generation to this host; these others are cut off.
    pub fn to(&self, host: IpAddr, generation: u64, now: Timestamp, cut: &BTreeSet<IpAddr>) -> Self {
        let mut denied: BTreeSet<_> = self.denied.union(cut).filter(|other| **other != host).copied().collect();
        while denied.len() > DENIED_LIMIT {
            // The one that goes is not one of those that are cut off now.
            let older = denied.iter().find(|other| !cut.contains(other)).or(denied.first()).copied();
            older.map(|older| denied.remove(&older));
        }
        let others = match self.holder {
            Some((holder, _)) if holder != host => self.generation,
            _ => self.others,
        };
        let (holder, allowed) = (Some((host, now)), BTreeSet::new());
        Self { serial: self.serial + 1, generation, holder, allowed, denied, released: false, others }
    }

    /// The next grant, in which the holder has let go of its ticket.
    pub fn let_go(&self) -> Self {
        Self { released: true, ..self.again() }
    }

    /// The next grant, which says the same.
    pub fn again(&self) -> Self {
        Self { serial: self.serial + 1, ..self.clone() }
    }

    /// The next grant, in which an operator has allowed a host, or cut it off.
    pub fn with(&self, host: IpAddr, allowed: bool) -> Self {
        let mut next = self.again();
        if allowed {
            next.denied.remove(&host);
            next.allowed.insert(host);
        } else {
            next.allowed.remove(&host);
            next.denied.insert(host);
        }
        next
    }

    /// Write the text: exactly [`SLOT_BYTES`] bytes.
    ///
    /// # Errors
    /// The text is longer than that: too many hosts were allowed or cut off by hand.
    pub fn to_text(&self) -> Result<Vec<u8>, String> {
        let seal = || {
            let sealed = Sealed { grant: self.clone(), sha256: digest(self)? };
            serde_json::to_vec(&sealed)
        };
        let mut text = seal().map_err(|why| why.to_string())?;
        if text.len() >= SLOT_BYTES {
            return Err(format!("{} hosts are more than can be remembered", self.allowed.len() + self.denied.len()));
        }
        text.resize(SLOT_BYTES - 1, b' ');
        text.push(b'\n');
        Ok(text)
    }

    /// Read a text. `None` if it is none, or was written in part.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let sealed: Sealed = serde_json::from_slice(text).ok()?;
        (digest(&sealed.grant).ok()? == sealed.sha256).then_some(sealed.grant)
    }
}

fn digest(grant: &Grant) -> serde_json::Result<String> {
    Ok(Sha256::digest(serde_json::to_vec(grant)?).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 168, 4, last])
    }

    fn hosts(all: &[u8]) -> BTreeSet<IpAddr> {
        all.iter().map(|last| ip(*last)).collect()
    }

    #[test]
    fn the_last_holder_is_the_only_host_and_an_operator_may_add_one() {
        let map = hosts(&[1, 2, 3]);
        let none = Grant::default();
        assert_eq!(none.admits(&map), map);
        let one = none.to(ip(1), 7, Timestamp::UNIX_EPOCH, &hosts(&[]));
        assert_eq!((one.admits(&map), one.generation), (hosts(&[1]), 7));
        let beside = one.with(ip(3), true);
        assert_eq!(beside.admits(&map), hosts(&[1, 3]));
        assert_eq!(beside.with(ip(1), false).admits(&map), hosts(&[3]));
        // Taken over: the first one stays cut off until it is allowed, or asks for its own.
        let two = beside.to(ip(2), 8, Timestamp::UNIX_EPOCH, &hosts(&[1]));
        assert_eq!((two.admits(&map), two.denied.clone()), (hosts(&[2]), hosts(&[1])));
        assert_eq!(two.with(ip(1), true).admits(&map), hosts(&[1, 2]));
        let back = two.to(ip(1), 9, Timestamp::UNIX_EPOCH, &hosts(&[]));
        assert_eq!((back.admits(&map), back.denied), (hosts(&[1]), hosts(&[])));
        // The holder has left the map: that is no ticket for the others.
        assert_eq!(one.admits(&hosts(&[2, 3])), hosts(&[]));
        assert_eq!(beside.admits(&hosts(&[2, 3])), hosts(&[3]));
    }

    #[test]
    fn who_has_let_go_is_let_in_no_more_until_it_asks_again() {
        let map = hosts(&[1, 2, 3]);
        let one = Grant::default().to(ip(1), 7, Timestamp::UNIX_EPOCH, &hosts(&[2]));
        assert_eq!(one.in_hand().map(|(holder, _)| holder), Some(ip(1)));
        let gone = one.let_go();
        assert_eq!((gone.admits(&map), gone.in_hand(), gone.generation), (hosts(&[]), None, 7));
        assert!(gone.serial > one.serial);
        assert_eq!(one.with(ip(1), false).in_hand(), None);
        // A host that an operator allowed stays so until the next ticket.
        assert_eq!(one.with(ip(3), true).let_go().admits(&map), hosts(&[3]));
        let back = gone.to(ip(1), 8, Timestamp::UNIX_EPOCH, &hosts(&[]));
        assert_eq!((back.admits(&map), back.released), (hosts(&[1]), false));
        assert_eq!(Grant::parse(&gone.to_text().unwrap()), Some(gone));
    }

    /// The record as version 0.1.0 wrote it, before a holder could let go.
    #[test]
    fn an_older_record_is_read_and_its_holder_has_not_let_go() {
        let unsealed = concat!(
            r#"{"serial":3,"generation":9,"holder":["192.168.4.17","1970-01-01T00:00:00Z"],"allowed":[],"#,
            r#""denied":["192.168.4.175"]}"#
        );
        let seal: String = Sha256::digest(unsealed).iter().map(|byte| format!("{byte:02x}")).collect();
        let read = Grant::parse(format!("{{\"grant\":{unsealed},\"sha256\":\"{seal}\"}}").as_bytes()).unwrap();
        assert_eq!((read.serial, read.generation, read.released), (3, 9, false));
        assert_eq!(read.in_hand(), Some((ip(17), Timestamp::UNIX_EPOCH)));
        // A record with nothing new in it is written as before.
        assert!(!String::from_utf8(read.to_text().unwrap()).unwrap().contains("released"));
    }

    #[test]
    fn what_others_were_granted_is_known_however_often_the_holder_asks() {
        let at = Timestamp::UNIX_EPOCH;
        let none = hosts(&[]);
        let first = Grant::default().to(ip(1), 5, at, &none);
        let again = first.to(ip(1), 6, at, &none);
        assert_eq!((first.others, again.others), (0, 0));
        let other = again.to(ip(2), 9, at, &none).let_go();
        assert_eq!(other.others, 6);
        let back = other.to(ip(1), 12, at, &none);
        assert_eq!((back.others, back.to(ip(1), 13, at, &none).others), (9, 9));
        assert_eq!(Grant::parse(&back.to_text().unwrap()), Some(back));
        // A record with nothing new in it is written as before.
        assert!(!String::from_utf8(first.to_text().unwrap()).unwrap().contains("others"));
    }

    #[test]
    fn those_that_were_cut_off_stay_few_and_the_newest_stay() {
        let mut grant = Grant::default();
        for last in 0..=200 {
            grant = grant.to(ip(201), 1, Timestamp::UNIX_EPOCH, &hosts(&[last]));
            assert!(grant.denied.contains(&ip(last)));
            assert_eq!(Grant::parse(&grant.to_text().unwrap()), Some(grant.clone()));
        }
        assert_eq!(grant.denied.len(), DENIED_LIMIT);
    }

    proptest! {
        #[test]
        fn no_part_and_no_changed_byte_is_a_grant(at in 0usize..400, to in any::<u8>(), cut in 0usize..400) {
            let grant = Grant::default().to(ip(1), 1_795_380_000, Timestamp::UNIX_EPOCH, &hosts(&[2]));
            let text = grant.to_text().unwrap();
            prop_assert_eq!(text.len(), SLOT_BYTES);
            let mut changed = text.clone();
            changed[at] = to;
            prop_assert!(Grant::parse(&changed).is_none_or(|read| read == grant));
            let torn = [&text[..cut], &vec![0; SLOT_BYTES - cut]].concat();
            prop_assert!(Grant::parse(&torn).is_none());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            _ = Grant::parse(&bytes);
        }
    }
}
