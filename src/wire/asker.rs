//! Asker: the one at whose word something is done. What another version knows of askers that this one does not is
//! kept as it was written. Pure.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// The one who asked for something, in JSON `user:NAME`, `host:ADDRESS`, `sledd` or `systemd`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asker {
    /// An operator at the unix socket, by the name of his user.
    User(String),
    /// A host, by the address from which it asked.
    Host(IpAddr),
    /// The supervisor itself.
    Sledd,
    /// systemd, or whoever told it to: `systemctl stop`, `systemctl reload`.
    Systemd,
    /// An asker of another version's, as it is written there.
    Other(String),
}

const USER: &str = "user:";
const HOST: &str = "host:";
const SLEDD: &str = "sledd";
const SYSTEMD: &str = "systemd";

impl Asker {
    /// Read an asker as JSON has it.
    pub fn read(text: &str) -> Self {
        let host = || text.strip_prefix(HOST)?.parse().ok();
        match text {
            SLEDD => Self::Sledd,
            SYSTEMD => Self::Systemd,
            _ => match (text.strip_prefix(USER), host()) {
                (Some(name), _) => Self::User(name.to_owned()),
                (None, Some(address)) => Self::Host(address),
                (None, None) => Self::Other(text.to_owned()),
            },
        }
    }

    /// Write the asker as JSON has it.
    pub fn write(&self) -> String {
        match self {
            Self::User(name) => format!("{USER}{name}"),
            Self::Host(address) => format!("{HOST}{address}"),
            Self::Sledd | Self::Systemd | Self::Other(_) => self.to_string(),
        }
    }
}

/// The asker as people read it.
impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(text) | Self::Other(text) => f.pad(text),
            Self::Host(address) => f.pad(&address.to_string()),
            Self::Sledd => f.pad(SLEDD),
            Self::Systemd => f.pad(SYSTEMD),
        }
    }
}

impl Serialize for Asker {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.write())
    }
}

impl JsonSchema for Asker {
    fn schema_name() -> Cow<'static, str> {
        "Asker".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The one who asked for something: `user:NAME`, `host:ADDRESS`, `sledd` or `systemd`; another \
                version may know of more.",
            "examples": ["user:root", "host:192.168.4.17", SLEDD, SYSTEMD],
        })
    }
}

impl<'de> Deserialize<'de> for Asker {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self::read(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_asker_reads_back_as_it_was_written_and_an_unknown_one_is_kept() {
        for (asker, written, shown) in [
            (Asker::User("root".into()), "user:root", "root"),
            (Asker::Host("192.168.4.17".parse().unwrap()), "host:192.168.4.17", "192.168.4.17"),
            (Asker::Host("fd00::17".parse().unwrap()), "host:fd00::17", "fd00::17"),
            (Asker::Sledd, "sledd", "sledd"),
            (Asker::Systemd, "systemd", "systemd"),
            (Asker::Other("robot:7".into()), "robot:7", "robot:7"),
            (Asker::Other("host:nowhere".into()), "host:nowhere", "host:nowhere"),
        ] {
            assert_eq!((asker.write().as_str(), asker.to_string().as_str()), (written, shown));
            assert_eq!(Asker::read(written), asker);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_asker_and_stays_what_it_is(text in any::<String>()) {
            let asker = Asker::read(&text);
            prop_assert_eq!(Asker::read(&asker.write()), asker);
        }
    }
}
