//! Verdict as the faces show it.
//!
//! | module | job |
//! |---|---|
//! | [`publisher`] | puts times to a verdict, and publishes it |
//! | [`network_view`] | what is shown of the network and of the ports |
//! | [`hardware_view`] | what is shown of the hardware |
//! | [`storage_view`] | what is shown of the data disk alone |
//! | [`targets`] | where Prometheus finds the sleds of the map |
//! | [`page_view`] | what the page at `/` is made from |
//! | [`events`], [`days`] | what has changed from one verdict to the next, and what the page draws of it |
//! | [`since`] | since when things are so, for the next supervisor |

mod days;
pub(super) mod events;
pub(super) mod hardware_view;
pub(super) mod network_view;
pub(super) mod page_view;
pub(super) mod publisher;
pub(super) mod since;
pub(super) mod storage_view;
mod targets;
