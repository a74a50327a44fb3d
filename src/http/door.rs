//! Doors of the HTTP endpoint: a TCP connection or the unix socket, on which it depends what may be asked for, and who
//! is told to have asked.

use crate::wire::Asker;
use nix::unistd::{Uid, User};
use std::fs;
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
        /// The peer, by the kernel's word.
        peer: Peer,
    },
}

/// Process at the other end of the unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    /// The user as whom it runs.
    pub(super) uid: u32,
    /// The process, if the kernel tells.
    pub(super) pid: Option<i32>,
}

impl Peer {
    /// The user who asks. Of one who has become another, by sudo(8) as a rule, the one who has logged in stands first.
    pub(super) fn asker(self) -> Asker {
        let name = name_of(self.uid);
        let login = self.pid.and_then(login_uid).filter(|login| *login != self.uid).map(name_of);
        Asker::User(login.map_or_else(|| name.clone(), |login| format!("{login} (as {name})")))
    }
}

/// The user who has logged in, of whom a process is, if one has (audit's login user).
fn login_uid(pid: i32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?;
    text.trim().parse().ok().filter(|uid| *uid != u32::MAX)
}

fn name_of(uid: u32) -> String {
    match uid {
        0 => "root".into(),
        _ => User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_named_and_one_without_a_name_numbered() {
        assert_eq!(Peer { uid: 0, pid: None }.asker(), Asker::User("root".into()));
        assert_eq!(Peer { uid: 4_000_000_000, pid: Some(-1) }.asker(), Asker::User("4000000000".into()));
    }
}
