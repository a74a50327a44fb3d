//! Answers to the questions of a setup, and its arguments, as somebody types them. Pure.

use crate::appliance::answers::Cidr;
use crate::appliance::keys;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// Address of the sled, with its network or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Within(Cidr),
    Alone(IpAddr),
}

impl Place {
    pub(super) fn address(self) -> IpAddr {
        match self {
            Self::Within(cidr) => cidr.address,
            Self::Alone(address) => address,
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let within = |_| text.parse().map(Self::Within);
        text.parse().map(Self::Alone).or_else(within).map_err(|why: String| format!("{why}; with --dhcp it has none"))
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Within(cidr) => cidr.fmt(f),
            Self::Alone(address) => address.fmt(f),
        }
    }
}

/// Answer to the question for the address: the sled's own, with its network, or one that a DHCP server has reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Own(Cidr),
    Reserved(Ipv4Addr),
}

impl FromStr for Whose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((address, "dhcp")) = text.split_once(char::is_whitespace).map(|(one, word)| (one, word.trim())) else {
            return text.parse().map(Self::Own).map_err(|why: String| format!("{why}; or 192.168.4.189 dhcp"));
        };
        let reserved = address.parse().map(Self::Reserved);
        reserved.map_err(|_| "before dhcp stands the address that is reserved, of IPv4 and without a prefix".into())
    }
}

impl Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own(cidr) => cidr.fmt(f),
            Self::Reserved(address) => write!(f, "{address} dhcp"),
        }
    }
}

/// An answer, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Maybe<T>(pub(super) Option<T>);

impl<T: FromStr<Err: Display>> FromStr for Maybe<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "-" => Ok(Self(None)),
            text => text
                .parse()
                .map(|value| Self(Some(value)))
                .map_err(|why| format!("{why}; write another, or - for none")),
        }
    }
}

impl<T: Display> Display for Maybe<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// Key of whoever may log in, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(pub(super) Option<String>);

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "-" => Ok(Self(None)),
            text => keys::read(text.as_bytes()).map(|key| Self(Some(key))).map_err(|why| format!("the answer {why}")),
        }
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("-"))
    }
}
