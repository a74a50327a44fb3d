//! Doors of the HTTP endpoint: a TCP connection or the unix socket, on which it depends what may be asked for.

use std::net::IpAddr;

/// Door by which a request came in.
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
