//! The names of the field: sleds, hosts, volumes and regions.
//!
//! A name that exists as one of these types is legal: it can stand in a path, a unit name
//! and a URL without quoting. Nothing here knows whether what it names exists.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The longest legal name in bytes: a DNS label, so that a sled's name can be its host name
/// and `crucible-downstairs@NAME-0.service` stays far below systemd's limit of 255.
pub const LONGEST_NAME: usize = 63;

/// A text that is no name, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The text has more than [`LONGEST_NAME`] bytes; the number is how many.
    #[error("a name has at most {LONGEST_NAME} characters, this one has {0}")]
    TooLong(usize),
    /// The text has a character that is not `a-z`, `0-9` or `-`, or begins or ends with `-`.
    #[error("a name consists of a-z, 0-9 and -, and begins and ends with a letter or digit")]
    Character,
    /// The text does not end in `-0`, `-1` or `-2` behind a volume's name.
    #[error("a region is named VOLUME-0, VOLUME-1 or VOLUME-2")]
    NoRegion,
}

/// The pattern of a legal name, its length left out.
const LEGAL: &str = "[a-z0-9]([a-z0-9-]*[a-z0-9])?";

fn legal(text: &str) -> Result<(), NameError> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    match bytes {
        [] => Err(NameError::Empty),
        _ if bytes.len() > LONGEST_NAME => Err(NameError::TooLong(text.chars().count())),
        [first, .., last] | [first @ last]
            if plain(*first) && plain(*last) && bytes.iter().all(|c| plain(*c) || *c == b'-') =>
        {
            Ok(())
        }
        _ => Err(NameError::Character),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": format!("^{LEGAL}$"),
                    "minLength": 1,
                    "maxLength": LONGEST_NAME,
                })
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                legal(text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                legal(&text).map(|()| Self(text))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name! {
    /// A sled: the machine, as the port map calls it.
    SledName
}

name! {
    /// A host: a machine that attaches volumes, as the port map calls it.
    HostName
}

name! {
    /// A volume: the disk that a host attaches; three regions carry it.
    VolumeName
}

/// A region: replica `index` (0, 1 or 2) of a volume, written `VOLUME-INDEX`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionName {
    volume: VolumeName,
    index: u8,
}

impl RegionName {
    /// Region `index` of `volume`; `None` if the index is not 0, 1 or 2.
    pub fn new(volume: VolumeName, index: usize) -> Option<Self> {
        let index = u8::try_from(index).ok().filter(|i| *i < 3)?;
        Some(Self { volume, index })
    }

    /// The volume that this region is a replica of.
    pub fn volume(&self) -> &VolumeName {
        &self.volume
    }

    /// The replica that it is: 0, 1 or 2.
    pub fn index(&self) -> u8 {
        self.index
    }
}

impl JsonSchema for RegionName {
    fn schema_name() -> Cow<'static, str> {
        "RegionName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": format!("^{LEGAL}-[0-2]$"),
            "minLength": "a-0".len(),
            "maxLength": LONGEST_NAME + "-0".len(),
        })
    }
}

impl FromStr for RegionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (volume, index) = text.rsplit_once('-').ok_or(NameError::NoRegion)?;
        let index = match index {
            "0" => 0,
            "1" => 1,
            "2" => 2,
            _ => return Err(NameError::NoRegion),
        };
        let volume = volume.parse()?;
        Ok(Self { volume, index })
    }
}

impl TryFrom<String> for RegionName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<RegionName> for String {
    fn from(name: RegionName) -> String {
        name.to_string()
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.volume, self.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_name_says_why() {
        let long = "a".repeat(64);
        for (text, why) in [
            ("", NameError::Empty),
            (long.as_str(), NameError::TooLong(64)),
            ("../x", NameError::Character),
            ("Still-Fawn", NameError::Character),
            ("-a", NameError::Character),
            ("a-", NameError::Character),
            ("faön", NameError::Character),
            ("a b", NameError::Character),
        ] {
            assert_eq!(text.parse::<VolumeName>(), Err(why), "{text:?}");
        }
        for text in ["still-fawn", "a", "0", "pve"] {
            assert!(text.parse::<VolumeName>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_region_is_a_volume_and_an_index() {
        let region: RegionName = "still-fawn-2".parse().unwrap();
        assert_eq!((region.volume().as_str(), region.index()), ("still-fawn", 2));
        for text in ["still-fawn", "still-fawn-3", "still-fawn-00", "-0", "x-+1", ""] {
            assert!(text.parse::<RegionName>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_legal_region_reads_back_as_it_was_written(volume in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", index in 0usize..3) {
            let region = RegionName::new(volume.parse().unwrap(), index).unwrap();
            prop_assert_eq!(region.to_string().parse::<RegionName>().unwrap(), region);
        }

        #[test]
        fn no_accepted_name_can_leave_its_directory(text in "\\PC{0,80}") {
            if let Ok(name) = text.parse::<VolumeName>() {
                prop_assert!(!name.as_str().contains(['/', '.', ' ', '%', '@']));
            }
        }
    }
}
