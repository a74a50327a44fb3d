//! Where a request came in, on which it depends what may be asked for.

use std::net::IpAddr;

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Over TCP, from this address: reading, and asking for tickets.
    Tcp(IpAddr),
    /// Over the unix socket.
    Admin {
        /// From root or a member of the group `sled`.
        admitted: bool,
    },
}
