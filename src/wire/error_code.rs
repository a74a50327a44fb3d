//! The code of an error as it goes over the wire: a refusal, a condition of the table of checks, or a code that only
//! another version knows, kept as it was written. Pure.

use super::refusal::Refusal;
use crate::check::Code;
use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// The code of an error: a refusal, a condition that is the reason, or one that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorCode {
    /// A refusal.
    Refusal(Refusal),
    /// A condition of the sled, which `sledctl checks` shows as well.
    Check(Code),
    /// A code of another version, as it is written there.
    Other(String),
}

impl ErrorCode {
    /// The code as it is written everywhere.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Refusal(refusal) => refusal.as_str(),
            Self::Check(code) => code.as_str(),
            Self::Other(text) => text,
        }
    }

    /// The status with which HTTP says it, the same at every door: a condition of a region, of a port or of the
    /// configuration conflicts with what is asked for, and one of the sled or of a volume may pass.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Refusal(refusal) => refusal.status().unwrap_or(StatusCode::CONFLICT),
            Self::Check(Code::ConfigInvalid | Code::PortTaken | Code::ProgramsUnreadable | Code::UnitsOutdated) => {
                StatusCode::CONFLICT
            }
            Self::Check(code) if code.as_str().starts_with("REGION_") => StatusCode::CONFLICT,
            Self::Check(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Other(_) => StatusCode::CONFLICT,
        }
    }
}

impl From<Refusal> for ErrorCode {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<Code> for ErrorCode {
    fn from(code: Code) -> Self {
        Self::Check(code)
    }
}

impl From<&str> for ErrorCode {
    /// Read a code, leniently: what is not known here is another version's.
    fn from(text: &str) -> Self {
        let refusal = Refusal::ALL.iter().find(|refusal| refusal.as_str() == text);
        let check = || Code::ALL.iter().find(|code| code.as_str() == text);
        match refusal {
            Some(refusal) => Self::Refusal(*refusal),
            None => check().map_or_else(|| Self::Other(text.to_owned()), |code| Self::Check(*code)),
        }
    }
}

impl PartialEq<Refusal> for ErrorCode {
    fn eq(&self, refusal: &Refusal) -> bool {
        matches!(self, Self::Refusal(own) if own == refusal)
    }
}

impl PartialEq<Code> for ErrorCode {
    fn eq(&self, code: &Code) -> bool {
        matches!(self, Self::Check(own) if own == code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl JsonSchema for ErrorCode {
    fn schema_name() -> Cow<'static, str> {
        "ErrorCode".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let over_http = Refusal::ALL.iter().filter(|refusal| refusal.status().is_some());
        let refusals: Vec<_> = over_http.map(|refusal| refusal.as_str()).collect();
        json_schema!({
            "description": "A stable code: a refusal, a condition of the sled, or one that another version knows.",
            "anyOf": [
                { "type": "string", "enum": refusals },
                generator.subschema_for::<Code>(),
                { "type": "string", "pattern": "^[A-Z0-9_]+$" },
            ],
        })
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self::from(text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_code_is_in_one_table_and_is_read_as_it_is_written() {
        let mut seen = BTreeSet::new();
        let codes = Refusal::ALL.iter().map(|refusal| ErrorCode::from(*refusal));
        for code in codes.chain(Code::ALL.iter().map(|code| ErrorCode::from(*code))) {
            assert!(code.as_str().chars().all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit()), "{code}");
            assert!(seen.insert(code.as_str().to_owned()), "{code} is there twice");
            let written = serde_json::to_string(&code).unwrap();
            assert_eq!(serde_json::from_str::<ErrorCode>(&written).unwrap(), code);
        }
    }

    #[test]
    fn the_code_of_another_version_is_kept_as_it_is() {
        let read: ErrorCode = serde_json::from_str("\"FROM_LATER\"").unwrap();
        assert_eq!(read, ErrorCode::Other("FROM_LATER".into()));
        assert_eq!(serde_json::to_string(&read).unwrap(), "\"FROM_LATER\"");
        assert!(read != Refusal::Failed && read != Code::RegionDown);
    }
}
