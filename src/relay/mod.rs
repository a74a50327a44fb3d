//! The relay of a host: an NBD server for the host's own clients, which has upstream's `crucible-nbd-server` do
//! what they ask, one after the other when one is lost, and never lets them see that.
pub mod engine;
pub mod written;
