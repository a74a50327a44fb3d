//! wip
pub mod config;
pub mod names;
pub mod port_map;
pub mod protocol;
pub mod region;
