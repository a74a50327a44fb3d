//! Files of the data disk and of the machine's memory (`/var/lib/sled`, `/run/sled`): each module has one file, or
//! one kind of them, durably and whole. Decides nothing, and asks neither systemd nor the network.
//!
//! | module | file |
//! |---|---|
//! | [`layout`] | what lies where below a storage root |
//! | [`mark`] | the data disk's mark, and the machine's memory of it |
//! | [`ledger`] | which regions are there, and what is so of each |
//! | [`grants`] | the tickets of a volume |
//! | [`places`], [`region_dir`], [`generations`] | a region's directory: where it lies, what lies in it, and the highest generation in its extents |
//! | [`extent_scrub`], [`scrubs`] | whether the blocks of an extent are what their contexts say; how a region's scrubs went |
//! | [`in_force`] | the configurations that are and were in force |
//! | [`maintenance`], [`drains`] | what hosts are asked |
//! | [`jobs`], [`since`], [`lived`], [`boots`] | how jobs ended, since when things are so, how long the sled has lived, how its last boot ended |
//! | [`verification`] | what is to be verified since that end, and the signs of life that tell when it was |
//! | [`events`] | what happened, in a ring |

pub mod boots;
pub mod drains;
pub mod events;
pub mod extent_scrub;
pub mod generations;
pub mod grants;
pub mod in_force;
pub mod jobs;
pub mod layout;
pub mod ledger;
pub mod lived;
pub mod maintenance;
pub mod mark;
pub mod places;
pub mod region_dir;
pub mod scrubs;
pub mod since;
pub mod verification;
