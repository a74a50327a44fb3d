//! Texts of a configuration's files: the one in force is kept in this form, and what lies in the directory is
//! compared with it. Pure.

use super::Sources;
use crate::source::Source;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

/// The file of this machine.
pub const SLED: &str = "sled.toml";
/// The directory of the fragments that override it.
pub const FRAGMENTS: &str = "sled.toml.d";
/// The file of the fleet.
pub const PORT_MAP: &str = "port-map.toml";

/// The files of a configuration by their names below its directory; `sled.toml` and `port-map.toml` are always among
/// them. Of each its text, or why it could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Texts(pub BTreeMap<String, Result<String, String>>);

impl Texts {
    /// `sha256:` and a digest of the names and texts, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for (name, text) in &self.0 {
            let (kind, text) = match text {
                Ok(text) => ("text", text),
                Err(why) => ("error", why),
            };
            digest.update(format!("{name}\n{kind} {}\n{text}\n", text.len()));
        }
        digest.finalize().iter().fold("sha256:".into(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// The sources as they are read, with the names that they have below `dir`.
    pub fn sources(&self, dir: &Path, ephemeral: RangeInclusive<u16>) -> Sources {
        let source = |name: &str| Source {
            file: dir.join(name).display().to_string(),
            text: self.0.get(name).cloned().unwrap_or_else(|| Err("is missing".into())),
        };
        let fragments = self.0.keys().filter(|name| name.starts_with(FRAGMENTS));
        let sled = [SLED].into_iter().chain(fragments.map(String::as_str)).map(source).collect();
        Sources { sled, port_map: source(PORT_MAP), ephemeral }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_apart_by_their_digest_and_read_in_their_order() {
        let texts = |all: &[(&str, &str)]| {
            Texts(all.iter().map(|(name, text)| ((*name).to_owned(), Ok((*text).to_owned()))).collect())
        };
        let one = texts(&[(SLED, "a"), ("sled.toml.d/20.toml", "c"), ("sled.toml.d/10.toml", "b"), (PORT_MAP, "d")]);
        let sources = one.sources(Path::new("/etc/sled"), 1..=2);
        let files: Vec<_> = sources.sled.iter().map(|source| source.file.as_str()).collect();
        assert_eq!(files, ["/etc/sled/sled.toml", "/etc/sled/sled.toml.d/10.toml", "/etc/sled/sled.toml.d/20.toml"]);
        assert_eq!(sources.port_map.text.as_deref(), Ok("d"));
        assert_eq!(one.digest(), one.clone().digest());
        // Characters at one file's end are not those at another's beginning.
        let (left, right) = (texts(&[(PORT_MAP, "ab"), (SLED, "c")]), texts(&[(PORT_MAP, "a"), (SLED, "bc")]));
        assert_ne!(left.digest(), right.digest());
        let unread = Texts([(SLED.to_owned(), Err("a".to_owned()))].into());
        assert_ne!(unread.digest(), texts(&[(SLED, "a")]).digest());
        assert!(unread.sources(Path::new("/x"), 1..=2).port_map.text.is_err());
    }
}
