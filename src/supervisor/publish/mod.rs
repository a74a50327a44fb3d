//! Verdict as the faces show it.
//!
//! | module | job |
//! |---|---|
//! | [`publisher`] | puts times to a verdict, and publishes it |
//! | [`network_view`] | what is shown of the network and of the ports |
//! | [`storage_view`] | what is shown of the data disk alone |
//! | [`page_view`] | what the page at `/` is made from |
//! | [`since`] | since when things are so, for the next supervisor |

pub(super) mod network_view;
pub(super) mod page_view;
pub(super) mod publisher;
pub(super) mod since;
pub(super) mod storage_view;
