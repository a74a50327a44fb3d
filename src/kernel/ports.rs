//! Ports of a region, tried for a moment as its downstairs is going to; and if one cannot be had, who has it. Nothing
//! is left of a try, and nobody is ever sent away.
//!
//! A downstairs binds with `SO_REUSEADDR` and then listens. Binding the same way is all it takes to
//! know: what the kernel looks at again when a socket listens is what it looked at before, and
//! somebody who has bound with `SO_REUSEADDR` and does not listen yet is in nobody's way. So no port
//! is ever open here to a host that would believe to have found its region.

use crate::decide::facts::Stranger;
use crate::kernel::broker;
use crate::kernel::processes::stranger;
use crate::kernel::sock_diag::{self, FAMILIES, More, Told};
use crate::port_map::LocalRegion;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

/// The numbers of states (net/tcp_states.h). A socket that is bound and does neither listen nor connect is told as
/// closed, since Linux 6.8.
const TIME_WAIT: u8 = 6;
const BOUND: u8 = 7;
const LISTEN: u8 = 10;

/// A port that a region's downstairs would not get, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Another has this port.
    Port(u16, By),
    /// The address is not one of this machine's.
    NoAddress(IpAddr),
    /// This port cannot be bound, and why.
    Refused(u16, String),
}

/// The holder of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// This process listens there.
    Listener(Stranger),
    /// This process has bound it, and does not listen.
    Binder(Stranger),
    /// This process has a connection that began there.
    Client(Stranger),
    /// Nobody any more: the kernel keeps it for a minute after a connection that began there.
    Nobody,
    /// A process that does not listen yet, or cannot be seen.
    Unseen,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port, by) => write!(f, "port {port} is taken: {by}"),
            Self::NoAddress(address) => write!(f, "{address} is not an address of this machine"),
            Self::Refused(port, why) => write!(f, "port {port} cannot be bound: {why}"),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, what) = match self {
            Self::Listener(who) => (who, "listens there"),
            Self::Binder(who) => (who, "has bound it, and does not listen yet"),
            Self::Client(who) => (who, "has a connection from there"),
            Self::Nobody => return f.write_str("the kernel keeps it for a minute after a connection from there"),
            Self::Unseen => return f.write_str("a process has it that does not listen yet, or cannot be seen"),
        };
        match who.pid {
            Some(pid) => write!(f, "process {pid} ({})", who.command)?,
            None => write!(f, "a process that cannot be seen")?,
        }
        match &who.unit {
            Some(unit) => write!(f, " of {unit} {what}"),
            None => write!(f, " {what}"),
        }
    }
}

/// Find that both ports of a region can be had at the sled's address now.
///
/// # Errors
/// Why the first of them that cannot be had cannot.
pub fn free(address: IpAddr, local: &LocalRegion) -> Result<(), Taken> {
    [local.port, local.repair_port()].into_iter().try_for_each(|port| match try_bind(address, port) {
        Ok(()) => Ok(()),
        Err(why) if why.kind() == ErrorKind::AddrInUse => Err(Taken::Port(port, holder(address, port))),
        Err(why) if why.kind() == ErrorKind::AddrNotAvailable => Err(Taken::NoAddress(address)),
        Err(why) => Err(Taken::Refused(port, why.to_string())),
    })
}

fn try_bind(address: IpAddr, port: u16) -> io::Result<()> {
    let address = SocketAddr::new(address, port);
    // The trial needs a socket: without one the downstairs itself will say.
    let Ok(trial) = broker::reusing(address) else { return Ok(()) };
    Ok(rustix::net::bind(&trial, &address)?)
}

/// The holder of a port, of those whose socket is in the way: listeners first, then who has bound it.
fn holder(address: IpAddr, port: u16) -> By {
    let told = FAMILIES.into_iter().flat_map(|family| sock_diag::list(family, u32::MAX, &[port], More::Nothing));
    let here = |told: &Told| {
        let ip = told.name.local().ip();
        ip == address || ip.is_unspecified()
    };
    let mut sockets: Vec<_> = told.flatten().filter(here).collect();
    sockets.sort_by_key(|told| (told.state != LISTEN, told.state != BOUND));
    let seen = sockets.iter().filter(|told| told.inode != 0).map(|told| (told.state, stranger(told.inode.into())));
    match seen.into_iter().find(|(_, stranger)| stranger.pid.is_some()) {
        Some((LISTEN, stranger)) => By::Listener(stranger),
        Some((BOUND, stranger)) => By::Binder(stranger),
        Some((_, stranger)) => By::Client(stranger),
        None if sockets.iter().any(|told| told.state == TIME_WAIT) => By::Nobody,
        None => By::Unseen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::Geometry;
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt, socket, sockopt,
    };
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, OwnedFd};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn region(port: u16) -> LocalRegion {
        let geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
        LocalRegion { name: "still-fawn-0".parse().unwrap(), port, geometry }
    }

    /// A port that nobody has, nor the one 4000 above it.
    fn port() -> u16 {
        let mut all = std::iter::repeat_with(|| TcpListener::bind((HERE, 0)).unwrap().local_addr().unwrap().port());
        all.find(|port| *port <= 61535 && free(HERE, &region(*port)).is_ok()).unwrap()
    }

    fn at(address: SocketAddr) -> SockaddrStorage {
        match address {
            SocketAddr::V4(four) => four.into(),
            SocketAddr::V6(six) => six.into(),
        }
    }

    fn bound(address: IpAddr, port: u16, reuse: bool) -> OwnedFd {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&socket, sockopt::ReuseAddr, &reuse).unwrap();
        bind(socket.as_raw_fd(), &at(SocketAddr::new(address, port))).unwrap();
        socket
    }

    fn listening(address: IpAddr, port: u16) -> OwnedFd {
        let socket = bound(address, port, true);
        listen(&socket, Backlog::new(1).unwrap()).unwrap();
        socket
    }

    /// A connection from a port, and both ends and the listener of it.
    fn connected(port: u16, reuse: bool) -> (OwnedFd, TcpStream, TcpListener) {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let client = bound(HERE, port, reuse);
        connect(client.as_raw_fd(), &at(listener.local_addr().unwrap())).unwrap();
        let accepted = listener.accept().unwrap().0;
        (client, accepted, listener)
    }

    /// A connection from a port, ended by that end first.
    fn remembered(port: u16) -> TcpListener {
        let (client, mut accepted, listener) = connected(port, false);
        drop(client);
        std::io::Read::read(&mut accepted, &mut [0]).unwrap();
        listener
    }

    /// The word on a port while something is so; and a downstairs fares as was said.
    fn said<T>(port: u16, so: impl FnOnce(u16) -> T) -> Result<(), Taken> {
        let _so = so(port);
        let said = free(HERE, &region(port));
        assert_eq!(said.is_ok(), TcpListener::bind((HERE, port)).is_ok(), "{said:?}");
        said
    }

    fn taken_by(said: Result<(), Taken>) -> By {
        match said {
            Err(Taken::Port(_, by)) => by,
            other => panic!("{other:?}"),
        }
    }

    fn is_me(stranger: &Stranger) -> bool {
        stranger.pid == Some(std::process::id()) && !stranger.command.is_empty()
    }

    #[test]
    fn a_listener_is_in_the_way_at_its_own_or_every_address() {
        for address in [HERE, Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()] {
            let by = taken_by(said(port(), |port| listening(address, port)));
            assert!(matches!(&by, By::Listener(who) if is_me(who)), "{address}: {by:?}");
            assert!(by.to_string().starts_with(&format!("process {} (", std::process::id())), "{by}");
        }
        assert_eq!(said(port(), |port| listening(Ipv4Addr::new(127, 0, 0, 2).into(), port)), Ok(()));
    }

    #[test]
    fn the_repair_port_is_tried_too() {
        let port = port();
        let _there = listening(HERE, port + 4000);
        let said = free(HERE, &region(port));
        assert!(matches!(&said, Err(Taken::Port(at, By::Listener(_))) if *at == port + 4000), "{said:?}");
    }

    #[test]
    fn whoever_bound_it_is_in_the_way_unless_he_shares_it() {
        let by = taken_by(said(port(), |port| bound(HERE, port, false)));
        // An older kernel does not tell of him.
        assert!(matches!(&by, By::Binder(who) if is_me(who)) || by == By::Unseen, "{by:?}");
        assert_eq!(said(port(), |port| bound(HERE, port, true)), Ok(()));
    }

    #[test]
    fn a_connection_from_there_is_in_the_way_until_the_kernel_forgets_it() {
        let by = taken_by(said(port(), |port| connected(port, false)));
        assert!(matches!(&by, By::Client(who) if is_me(who)), "{by:?}");
        assert_eq!(taken_by(said(port(), remembered)), By::Nobody);
    }

    /// A downstairs that was killed leaves its connections behind, and can be started again.
    #[test]
    fn what_is_left_of_a_downstairs_is_not_in_the_way() {
        let port = port();
        let server = TcpListener::bind((HERE, port)).unwrap();
        let mut client = TcpStream::connect((HERE, port)).unwrap();
        let accepted = server.accept().unwrap().0;
        drop(server);
        assert_eq!(said(port, |_| ()), Ok(()));
        drop(accepted);
        std::io::Read::read(&mut client, &mut [0]).unwrap();
        drop(client);
        assert_eq!(said(port, |_| ()), Ok(()));
    }

    #[test]
    fn an_address_that_is_not_here_is_told_as_that() {
        // TEST-NET-1 (RFC 5737).
        let address = Ipv4Addr::new(192, 0, 2, 1).into();
        assert_eq!(free(address, &region(port())), Err(Taken::NoAddress(address)));
    }
}
