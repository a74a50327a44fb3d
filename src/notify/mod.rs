//! Notifications on their way out of the sled: a request of HTTP, made by a process of its own. The supervisor has no
//! network; systemd runs this for it, as a user that owns nothing ([`act::notify`](crate::act::notify)).
//!
//! | module | job |
//! |---|---|
//! | [`message`] | what a webhook and ntfy are sent. Pure |
//! | [`send`] | it is sent, by TLS if need be, and what came back |

pub mod message;
pub mod send;

use crate::wire::{Notification, Way};
use serde::{Deserialize, Serialize};

/// Order of one delivery, as the process that makes it reads it: a URL may let in whoever knows it, and so stands in
/// no command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The way.
    pub way: Way,
    /// The URL.
    pub url: String,
    /// What is to be told.
    pub notification: Notification,
}
