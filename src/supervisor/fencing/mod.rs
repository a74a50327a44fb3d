//! Who reaches a volume: tickets, the fence that goes with them, and who is seen at it.
//!
//! | module | job |
//! |---|---|
//! | [`queue`] | who waits for a ticket, one at a time for a volume |
//! | [`grant`] | what is done for one of them, aside from the loop |
//! | [`visitors`] | who comes to a volume's ports |
//! | [`holder_absence`] | for how long the holder of a ticket has been away |
//! | [`lacking_hosts`] | for how long a host has lacked a region |

pub(super) mod grant;
pub(super) mod holder_absence;
pub(super) mod lacking_hosts;
pub(super) mod queue;
pub(super) mod visitors;
