//! That whoever has a volume is asked to detach it, and what has come of that. Pure.

use super::ticket::LARGEST_ASKED;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A volume is to be free: whoever has it is asked to detach, and nobody else gets a ticket for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// What tells it from an earlier one of the volume: an answer names it.
    pub id: u64,
    /// Since when.
    pub since: Timestamp,
    /// Why, in words.
    #[serde(default)]
    pub reason: Option<String>,
    /// What the host that has the volume has said to it last; absent while it has said nothing.
    #[serde(default)]
    pub said: Option<DrainSaid>,
}

/// What a host says to that it is to detach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainSaid {
    /// The address of the host.
    pub host: IpAddr,
    /// How far it is.
    pub state: DrainState,
    /// What uses the volume there, if that is why it is not detached.
    #[serde(default)]
    pub users: Vec<String>,
    /// Why it is not detached, in a sentence.
    #[serde(default)]
    pub message: Option<String>,
    /// When it said so, by the sled's clock.
    pub at: Timestamp,
}

/// How far a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainState {
    /// It is at it.
    Detaching,
    /// It has detached the volume.
    Detached,
    /// Something uses the volume there: it is as it was.
    InUse,
    /// It could not.
    Failed,
}

/// The body of `POST /v1/volumes/{volume}/drained`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drained {
    /// Which wish it answers.
    pub id: u64,
    /// How far it is.
    pub state: DrainState,
    /// What uses the volume.
    #[serde(default)]
    pub users: Vec<String>,
    /// Why it is not detached.
    #[serde(default)]
    pub message: Option<String>,
}

/// So much of each text of a [`Drained`] is told, in characters.
const LONGEST: usize = 200;

impl Drained {
    /// It as a sled reads it: with as many of those that use the volume as a body has room for ([`LARGEST_ASKED`]).
    #[must_use]
    pub fn fitting(mut self) -> Self {
        let short = |text: &mut String| *text = text.chars().take(LONGEST).collect();
        self.message.iter_mut().chain(&mut self.users).for_each(short);
        while !self.users.is_empty() && serde_json::to_vec(&self).is_ok_and(|body| body.len() > LARGEST_ASKED) {
            self.users.pop();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_use_it_a_sled_reads_it() {
        let users: Vec<_> = (0..500).map(|number| format!("process {number} (\u{1}{})", "ä".repeat(300))).collect();
        let all = Drained { id: u64::MAX, state: DrainState::InUse, message: Some(users.join(", ")), users };
        let fitting = all.fitting();
        assert!(serde_json::to_vec(&fitting).unwrap().len() <= LARGEST_ASKED && fitting.users.len() > 3);
        let few = Drained { users: vec!["process 7 (qemu)".into()], message: None, ..fitting };
        assert_eq!(few.clone().fitting(), few);
    }
}
