//! `[http]` of `sled.toml`: where the HTTP endpoint listens, and to which names it answers. systemd opens these sockets one after
//! the other, and none of them if one cannot be opened. Pure.

use crate::source::{Faults, Origin, Section};
use std::net::{IpAddr, SocketAddr};

/// Read the section: the addresses, empty if it names none, and the names in small letters.
pub(super) fn read(mut section: Section<'_>, faults: &mut Faults) -> (Vec<SocketAddr>, Vec<String>) {
    let read = (listen(&mut section, faults), names(&mut section, faults));
    section.finish(faults);
    read
}

fn names(section: &mut Section<'_>, faults: &mut Faults) -> Vec<String> {
    const REMEDY: &str = "write the name by which the sled is asked, without a port, as \"storage.example.com\"";
    let (texts, _) = section.texts("names", faults).unwrap_or_else(|| (Vec::new(), section.origin().clone()));
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.len() <= 63 && label.chars().all(plain)
    };
    let mut names = Vec::new();
    for (text, origin) in texts {
        let number = text.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()));
        if text.split('.').all(label) && text.len() <= 253 && !number {
            names.push(text.to_ascii_lowercase());
        } else {
            faults.push(&origin, "http.names", format!("{text:?} is no name of a machine"), REMEDY);
        }
    }
    names
}

fn listen(section: &mut Section<'_>, faults: &mut Faults) -> Vec<SocketAddr> {
    let (texts, _) = section.texts("listen", faults).unwrap_or_else(|| (Vec::new(), section.origin().clone()));
    let mut taken: Vec<(SocketAddr, &str, Origin)> = Vec::new();
    for (text, origin) in texts {
        const REMEDY: &str = "write the sled's address and a port, for example \"192.168.4.189:3800\"";
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => {
                let address = canonical(address);
                if let Some(problem) = nobody_listens(address) {
                    faults.push(&origin, "http.listen", format!("{text:?} {problem}"), REMEDY);
                } else if let Some((_, first, at)) = taken.iter().find(|(other, ..)| meet(address, *other)) {
                    let line = at.line.map(|line| format!(", line {line}")).unwrap_or_default();
                    let problem = format!("{text:?} is taken by {first:?} already ({}{line})", at.file);
                    faults.push(&origin, "http.listen", problem, "keep one of the two: that one listens here, too");
                }
                taken.push((address, text, origin));
            }
            _ => faults.push(&origin, "http.listen", format!("{text:?} is no address with a port"), REMEDY),
        }
    }
    taken.into_iter().map(|(address, ..)| address).collect()
}

/// The shorter form of an address; the zone of one of IPv6 is kept.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        four @ IpAddr::V4(_) => SocketAddr::new(four, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Find why no socket can listen at an address, if none can.
fn nobody_listens(address: SocketAddr) -> Option<&'static str> {
    match address {
        SocketAddr::V4(four) if four.ip().is_broadcast() => Some("is everybody's address, and nobody's to listen at"),
        SocketAddr::V6(six) if six.ip().is_unicast_link_local() && six.scope_id() == 0 => {
            Some("is good on one link only, and does not say on which: behind it goes %, and the interface's number")
        }
        _ if address.ip().is_multicast() => Some("is the address of a group, and nobody's to listen at"),
        _ => None,
    }
}

/// Whether the second of two sockets cannot be opened: one of them listens where the other does. At
/// every address of IPv6 means at every address: Linux lets such a socket have IPv4 as well.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: SocketAddr, narrow: SocketAddr| match wide.ip() {
        IpAddr::V6(six) => six.is_unspecified(),
        IpAddr::V4(four) => four.is_unspecified() && narrow.is_ipv4(),
    };
    one.port() == other.port() && (one == other || covers(one, other) || covers(other, one))
}
