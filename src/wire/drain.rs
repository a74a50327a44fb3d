//! Drain of a volume: whoever has it is asked to detach it, and what has come of that. Pure.

use super::ticket::LARGEST_ASKED;
use crate::times::Rfc3339;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A drain: the volume is to be free, whoever has it is asked to detach, and nobody else gets a ticket for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drain {
    /// The number that tells it from an earlier one of the volume: an answer names it.
    pub id: u64,
    /// The time since when it is asked for.
    #[serde(with = "Rfc3339")]
    pub since: Timestamp,
    /// The reason, in words.
    #[serde(default)]
    pub reason: Option<String>,
    /// The last answer of the host that has the volume; absent while it has said nothing.
    #[serde(default)]
    pub said: Option<DrainSaid>,
}

/// The answer of a host to that it is to detach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrainSaid {
    /// The address of the host.
    pub host: IpAddr,
    /// The state that it is in.
    pub state: DrainState,
    /// The users of the volume there, if that is why it is not detached.
    #[serde(default)]
    pub users: Vec<String>,
    /// The reason why it is not detached, in a sentence.
    #[serde(default)]
    pub message: Option<String>,
    /// The time at which it said so, by the sled's clock.
    #[serde(with = "Rfc3339")]
    pub at: Timestamp,
}

/// The state of a host that is to detach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrainState {
    /// The host is at it.
    Detaching,
    /// The host has detached the volume.
    Detached,
    /// Something uses the volume there: it is as it was.
    InUse,
    /// The host could not.
    Failed,
}

/// The body of `POST /v1/volumes/{volume}/drained`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drained {
    /// The number of the drain that it answers.
    pub id: u64,
    /// The state that the host is in.
    pub state: DrainState,
    /// The users of the volume.
    #[serde(default)]
    pub users: Vec<String>,
    /// The reason why it is not detached.
    #[serde(default)]
    pub message: Option<String>,
}

/// The part of each text of a [`Drained`] that is told, in characters.
const TEXT_LIMIT_CHARS: usize = 200;

impl Drained {
    /// Fit it to what a sled reads: with as many of those that use the volume as a body has room for
    /// ([`LARGEST_ASKED`]).
    #[must_use]
    pub fn fitting(mut self) -> Self {
        let short = |text: &mut String| *text = text.chars().take(TEXT_LIMIT_CHARS).collect();
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
