//! `crucible-attach`, on a host: whether a volume is won by what its sleds answer. The rest of it
//! follows.

pub mod ballot;
