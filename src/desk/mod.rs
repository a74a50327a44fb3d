//! Desk between the faces and the loop: what is asked there, what is answered, and what was last published. The
//! faces know it and not the supervisor, which alone takes what is asked. Only types and their channels: nothing is
//! decided here, and nothing done.
//!
//! | module | job |
//! |---|---|
//! | [`request`] | what is wished, by whom, and where the answer goes |
//! | [`answer`] | what is answered, and with which status |
//! | [`bulletin`] | the verdict, and all else that is shown |
//! | [`body`] | a body of JSON, written once |
//! | [`metrics`] | the page of metrics, in its two forms |
//! | [`pulse`] | whether the loop turns |

pub mod answer;
pub mod body;
pub mod bulletin;
pub mod metrics;
pub mod pulse;
pub mod request;

use crate::events::Feed;
use bulletin::Bulletin;
use pulse::LoopPulse;
use request::Request;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Handle of the supervisor, which the faces and the rest of the daemon hold.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Last verdict, ready to be sent; `None` until the first picture is complete.
    pub bulletins: watch::Receiver<Option<Arc<Bulletin>>>,
    /// Channel for requests.
    pub requests: mpsc::Sender<Request>,
    /// Pulse of the loop: whether it turns.
    pub pulse: LoopPulse,
    /// Events, as they come and as they are kept.
    pub events: Feed,
}

/// Channel on which the verdicts are published.
pub type Publish = watch::Sender<Option<Arc<Bulletin>>>;
