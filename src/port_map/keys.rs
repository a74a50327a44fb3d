//! The keys of `port-map.toml`, as port-map.toml(5) describes them. Pure.

use crate::region::geometry::MOST_EXTENTS;
use crate::source::Absent::{Fault, Means, Value};
use crate::source::{Absent, Key};

const BLOCK: &str = "The bytes of a block. It is fixed when a region is created.";
const EXTENT: &str = "The blocks of an extent, which holds at most 512 MiB. It is fixed when a region is created.";
const COUNT: &str = "The extents of a region. It is fixed when a region is created.";
const A_NUMBER: &str = "a number from 1, so that an extent is not too large";
const BLOCKS: &str = "a power of two from 512 to 32768";
const OF_DEFAULTS: Absent = Means("the one of [defaults]");

/// Every key of the file, in the order in which the manual has them.
pub const KEYS: &[Key] = &[
    key(
        "sleds.NAME.address",
        "an address",
        Fault,
        "\"192.168.4.190\"",
        "The address that this sled's downstairs listen on. NAME is of up to 63 of the letters a-z, digits and -.",
    ),
    key(
        "hosts.NAME.address",
        "an address",
        Fault,
        "\"192.168.4.18\"",
        "The address from which this host attaches volumes. Its name is shown wherever the address is, and can stand in \
         place of it in a volume's `hosts`.",
    ),
    key("defaults.block_size", BLOCKS, Value("4096"), "512", BLOCK),
    key("defaults.extent_size", A_NUMBER, Value("32768"), "16384", EXTENT),
    Key {
        range: Some(1..=MOST_EXTENTS as u64),
        ..key("defaults.extent_count", "a number", Value("100"), "200", COUNT)
    },
    key("volumes.NAME.block_size", BLOCKS, OF_DEFAULTS, "512", BLOCK),
    key("volumes.NAME.extent_size", A_NUMBER, OF_DEFAULTS, "16384", EXTENT),
    Key {
        range: Some(1..=MOST_EXTENTS as u64),
        ..key("volumes.NAME.extent_count", "a number", OF_DEFAULTS, "200", COUNT)
    },
    key(
        "volumes.NAME.hosts",
        "a list of addresses, or names of [hosts]",
        Value("[]"),
        "[\"192.168.4.17\"]",
        "Who may attach the volume. Nobody else can even connect to its ports, but for the fleet's sleds. A volume \
         without hosts is open to anyone on the network, and is shown with a warning.",
    ),
    key(
        "volumes.NAME.regions",
        "a list of three \"SLED:PORT\"",
        Fault,
        "[\"proper-raptor:3830\", \"proper-raptor:3831\", \"proper-raptor:3832\"]",
        "Where the volume's three regions are served. A region takes two ports of its sled: PORT for data, and PORT + 4000 \
         for repair, so PORT is from 1024 to 61535. No two regions of a sled may share either, and none may lie in the \
         kernel's ephemeral range (32768-60999).",
    ),
];

const fn key(
    path: &'static str,
    values: &'static str,
    absent: Absent,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key { path, values, range: None, absent, example, meaning }
}
