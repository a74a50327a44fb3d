//! Endpoint of a sled, where it is asked: `http://192.168.4.189:3800`, or less of it.

use crate::port_map::HTTP_PORT;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The address and port at which a sled answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Endpoint {
    /// An address or a name.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Endpoint {
    /// The endpoint of a sled with this address if nobody says otherwise.
    pub(super) fn usual(address: IpAddr) -> Self {
        Self { host: address.to_string(), port: HTTP_PORT }
    }

    /// The endpoint's address, if it is given as one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err("is no URL of a sled: sleds speak http"),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = parts(rest).ok_or("is no address, ADDRESS:PORT or http://ADDRESS:PORT")?;
        let port = match port {
            None => HTTP_PORT,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or("has no port from 1 to 65535")?,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        // A name that ends in a number is an address, and has to be one: 0177.0.0.1 would be read as another.
        let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        let number = last.starts_with(|c: char| c.is_ascii_digit());
        let name = host.starts_with(char::is_alphanumeric) && host.chars().all(plain) && !number;
        let legal = name || host.parse::<IpAddr>().is_ok();
        if legal {
            Ok(Self { host: host.to_owned(), port })
        } else {
            Err("is no address, ADDRESS:PORT or http://ADDRESS:PORT")
        }
    }
}

/// The host and the port of `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT` or `V6`.
fn parts(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').filter(|(host, _)| host.parse::<Ipv6Addr>().is_ok())?;
        return if rest.is_empty() { Some((host, None)) } else { Some((host, Some(rest.strip_prefix(':')?))) };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_sled_is_named_by_a_url_or_less() {
        for (text, shown) in [
            ("192.168.4.189", "192.168.4.189:3800"),
            ("192.168.4.189:3801", "192.168.4.189:3801"),
            ("http://192.168.4.189", "192.168.4.189:3800"),
            ("http://192.168.4.189:3801/", "192.168.4.189:3801"),
            ("proper-raptor.lan", "proper-raptor.lan:3800"),
            ("HTTP://192.168.4.189:3801/", "192.168.4.189:3801"),
            ("192.168.4.189/", "192.168.4.189:3800"),
            ("proper-raptor:3801/", "proper-raptor:3801"),
            ("fd00::1", "[fd00::1]:3800"),
            ("http://[fd00::1]:3801", "[fd00::1]:3801"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for wrong in ["0177.0.0.1", "127.1", "2130706433", "0x7f.1", "1.2.3.4.5", "a//", "/"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
        for wrong in ["", ":", "a:", "a:0", "a:65536", "https://a", "a/b", "a b", "http://", "[::1", "[x]", "::g", "-a"]
        {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_reads_back(text in "\\PC{0,30}") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
            }
        }
    }
}
