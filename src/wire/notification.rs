//! Notifications: what is told of a check that is raised or over, and what came of telling it.

use super::Check;
use crate::names::SledName;
use crate::times::Rfc3339;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The occasion of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    /// The check holds.
    Raised,
    /// The check holds no more.
    Over,
    /// Somebody tries whether notifications arrive; there is no check.
    Test,
}

/// A notification, as a webhook and a program get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    /// The sled that tells it.
    pub sled: SledName,
    /// The occasion.
    pub occasion: Occasion,
    /// The check; `null` for a test.
    pub check: Option<Check>,
    /// The time at which it was told first.
    #[serde(with = "Rfc3339")]
    pub time: Timestamp,
    /// The number of notifications before it that were left out: too many in an hour, or none could be delivered.
    pub left_out: u64,
}

/// The way by which a notification goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// A program is run.
    Program,
    /// A URL is posted to.
    Webhook,
    /// A topic of ntfy is published under.
    Ntfy,
}

impl Way {
    /// The way as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Webhook => "webhook",
            Self::Ntfy => "ntfy",
        }
    }
}

/// A delivery by one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// The way.
    pub way: Way,
    /// The program, or the host of the URL.
    pub to: String,
    /// What came back; absent if it was not delivered.
    pub answer: Option<String>,
    /// The reason why it was not delivered.
    pub error: Option<String>,
}

/// The answer to `POST /v1/notify/test`: what came of it by each way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notified {
    /// The deliveries, one for each way.
    pub deliveries: Vec<Delivery>,
}
