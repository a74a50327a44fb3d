//! Manifest of a release: what it says of itself beside the parts that are written, in a file that is signed as they
//! are. A release that has none says nothing, and nothing is made up for it. Pure.

use super::NAME;
use super::layout::Least;
use super::release::Release;
use crate::clean;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most lines that are shown of what changes, and the most characters of each.
const LINES: usize = 20;
const LINE_CHARS: usize = 200;

/// The manifest of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the release.
    pub version: String,
    /// The time at which it was released.
    #[serde(default)]
    pub released: Option<Timestamp>,
    /// The digest of everything in it but the downstairs program.
    #[serde(default)]
    pub base: Option<String>,
    /// The version of its downstairs program.
    #[serde(default)]
    pub downstairs: Option<String>,
    /// The changes since the release before it, a line each, in its own words.
    #[serde(default)]
    pub changes: Vec<String>,
    /// The least layout that it needs of a machine.
    #[serde(default)]
    pub least: Least,
}

/// Name the file of a version's manifest.
pub fn file(version: &str) -> String {
    format!("{NAME}_{version}.json")
}

/// Find the digest of a file in a list of digests, as sha256sum(1) writes it; `None` if it does not name the file.
pub fn listed(sums: &str, file: &str) -> Option<String> {
    let mut lines = sums.lines().filter_map(|line| line.split_once([' ', '\t']));
    let (digest, _) = lines.find(|(_, name)| name.trim_start_matches([' ', '*']) == file)?;
    let whole = digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit());
    whole.then(|| digest.to_ascii_lowercase())
}

impl Manifest {
    /// Read the manifest of this version.
    ///
    /// # Errors
    /// It is none, or of another version.
    pub fn parse(text: &[u8], version: &str) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|why| format!("{}: {why}", file(version)))?;
        if manifest.version == version {
            Ok(manifest)
        } else {
            Err(format!("{} is of version {}", file(version), clean::line(&manifest.version)))
        }
    }

    /// Tell what changes with it for a sled that runs another release: its own words first, then what is seen by
    /// comparing the two.
    pub fn changes_for(&self, running: &Release) -> Vec<String> {
        let shorten = |line: &String| clean::line(line.trim()).chars().take(LINE_CHARS).collect::<String>();
        let mut all: Vec<_> = self.changes.iter().map(shorten).filter(|line| !line.is_empty()).take(LINES).collect();
        if let Some(downstairs) = self.downstairs.as_ref().filter(|new| **new != running.downstairs) {
            all.push(format!("the downstairs program is {}", shorten(downstairs)));
        }
        match &self.base {
            Some(base) if *base == running.base => all.push("nothing needs a reboot".into()),
            Some(_) => all.push("it needs a reboot".into()),
            None => {}
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_found_by_its_digest_and_is_of_its_version() {
        let digest = "a".repeat(64);
        let sums = format!("{}  crucible-sled_2.efi\n{digest} *crucible-sled_2.json\n", "b".repeat(64));
        assert_eq!(listed(&sums, &file("2")), Some(digest));
        assert_eq!(listed(&sums, &file("3")), None);
        assert_eq!(listed("abc  crucible-sled_2.json\n", &file("2")), None, "that is no digest");
        let text = br#"{"version": "2", "released": "2026-11-01T00:00:00Z", "more": 1}"#;
        assert_eq!(Manifest::parse(text, "2").unwrap().released, "2026-11-01T00:00:00Z".parse().ok());
        assert!(Manifest::parse(text, "3").unwrap_err().contains("is of version 2"));
        assert!(Manifest::parse(b"{", "2").is_err());
    }

    #[test]
    fn changes_are_the_releases_own_words_and_what_is_seen() {
        let text = |text: &str| text.to_owned();
        let (commit, demonstration, firmware) = (String::new(), false, None);
        let running =
            Release { version: text("1"), commit, base: text("b1"), downstairs: text("d1"), demonstration, firmware };
        let manifest = Manifest {
            version: text("2"),
            base: Some(text("b1")),
            downstairs: Some(text("d2")),
            changes: vec![text(" repairs are faster\u{1b}[2J\n"), text(""), "x".repeat(500)],
            ..Manifest::default()
        };
        let told = manifest.changes_for(&running);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told[0].starts_with("repairs are faster") && !told[0].contains('\u{1b}'), "{told:?}");
        assert_eq!(told[1].len(), LINE_CHARS);
        assert_eq!(told[2..], ["the downstairs program is d2", "nothing needs a reboot"]);
        let other = Manifest { base: Some(text("b2")), downstairs: Some(text("d1")), ..Manifest::default() };
        assert_eq!(other.changes_for(&running), ["it needs a reboot"]);
        assert!(Manifest::default().changes_for(&running).is_empty(), "nothing is made up");
    }
}
