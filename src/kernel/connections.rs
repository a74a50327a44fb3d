//! Connections to ports of this machine, in the kernel's own words: listed, and destroyed one by one as `ss -K` does;
//! and the packets that a listener dropped. No socket is touched that was not shown; who may be connected is decided
//! elsewhere.

use crate::kernel::sock_diag::{self, FAMILIES, More, Told};
use nix::libc::{ENOENT, EOPNOTSUPP};
use procfs::net::TcpState;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The states of a connection: all but those of a socket that listens, and of what the kernel alone remembers for a
/// while (`TIME_WAIT`). One of which only the first packet has come is among them.
const OPEN: u32 = 0b1111_1111_1110 & !(LISTENING | TIME_WAIT);
const LISTENING: u32 = 1 << 10;
const TIME_WAIT: u32 = 1 << 6;
/// The states of one that was not made yet, and of none (`SYN_SENT`, `SYN_RECV`, `CLOSE`).
const UNMADE: u32 = 1 << 2 | 1 << 3 | 1 << 7;

/// A connection, or one that is on the way to be one, or to be none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The end on this machine.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// The state of TCP that it is in.
    pub state: TcpState,
    /// The inode of its socket; 0 if no process has it: it is not accepted yet, or was closed.
    pub inode: u64,
    /// The bytes that were written to it and that its other end has not acknowledged.
    pub unsent: u32,
    /// A number that no other socket has had since the machine was booted.
    pub cookie: u64,
    name: sock_diag::Name,
}

impl Connection {
    /// Whether its process has closed it: no process will ever read from it, and the kernel alone
    /// sends its last and waits for the peer's.
    pub fn is_over(&self) -> bool {
        use TcpState::{Closing, FinWait1, FinWait2, LastAck};
        // A socket that was shut down for writing is in such a state, too, but its process has it.
        self.inode == 0 && matches!(self.state, FinWait1 | FinWait2 | Closing | LastAck)
    }
}

/// List the connections with a local port among these, over IPv4 and IPv6. The kernel picks them out: what it sends
/// does not grow with the connections of others.
///
/// # Errors
/// The kernel does not tell.
pub fn open(ports: &[u16]) -> io::Result<Vec<Connection>> {
    let connection = |told: Told| {
        let name = told.name;
        Some(Connection {
            local: name.local(),
            peer: name.peer(),
            state: TcpState::from_u8(told.state)?,
            inode: told.inode.into(),
            unsent: told.unsent,
            cookie: name.cookie(),
            name,
        })
    };
    Ok(told(OPEN, ports, More::Nothing)?.into_iter().filter_map(connection).collect())
}

/// The bytes that were written to the connection between these two and that the other end has not acknowledged;
/// `None` if there is no such connection any more. It costs the same however many there are.
///
/// # Errors
/// The kernel does not tell.
pub fn unsent(local: SocketAddr, peer: SocketAddr) -> io::Result<Option<u32>> {
    let whole = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let told = match sock_diag::between(local, peer) {
        Err(why) if why.raw_os_error() == Some(ENOENT) => None,
        told => told?,
    };
    let is_open = |state: u8| 1_u32.checked_shl(state.into()).is_some_and(|state| OPEN & state > 0);
    let ends = (whole(local), whole(peer));
    let its = told.filter(|told| (told.name.local(), told.name.peer()) == ends && is_open(told.state));
    Ok(its.map(|told| told.unsent))
}

/// Destroy exactly this connection: whoever has it gets `ECONNABORTED`, and its peer a reset, if that is let through.
/// False if it has gone already; one that came later in its place stays. Of one that is over a kernel before Linux
/// 6.11 may say so and still have it.
///
/// # Errors
/// The kernel cannot do it, or `CAP_NET_ADMIN` is missing.
pub fn destroy(connection: &Connection) -> io::Result<bool> {
    match sock_diag::destroy(&connection.name) {
        Ok(()) => Ok(true),
        Err(why) if why.raw_os_error() == Some(ENOENT) => Ok(false),
        // Before Linux 6.0 the kernel does not destroy what is left in FIN_WAIT2, as it does nothing
        // in TIME_WAIT.
        Err(why) if why.raw_os_error() == Some(EOPNOTSUPP) && connection.is_over() => Ok(false),
        Err(why) if why.raw_os_error() == Some(EOPNOTSUPP) => {
            Err(io::Error::new(why.kind(), "the kernel cannot destroy sockets (CONFIG_INET_DIAG_DESTROY)"))
        }
        Err(why) => Err(why),
    }
}

/// The packets that the listeners at these ports dropped since they were opened, by port. A port without a listener
/// is not among them.
///
/// Packets that a unit's `IPAddressDeny=` keeps from a listener are counted here: on Linux 6.18 with systemd 257,
/// each SYN of a host that was denied added exactly one, its repetitions after 1, 2 and 3 s too. So do connections
/// that come while too many wait to be accepted; a packet for a connection that exists is counted by that one.
///
/// # Errors
/// The kernel does not tell.
pub fn drops(ports: &[u16]) -> io::Result<BTreeMap<u16, u32>> {
    let mut drops = BTreeMap::new();
    for listener in told(LISTENING, ports, More::Drops)? {
        let sum: &mut u32 = drops.entry(listener.name.local().port()).or_default();
        *sum = sum.saturating_add(listener.drops.unwrap_or_default());
    }
    Ok(drops)
}

/// The other ends of connections that were made at these ports, each with the time since it has last sent data, or since the
/// connection was made. One that was ended from this side is among them for a while, by its other end's last word.
///
/// # Errors
/// The kernel does not tell.
pub fn heard(ports: &[u16]) -> io::Result<Vec<(SocketAddr, Duration)>> {
    let all = told((OPEN & !UNMADE) | TIME_WAIT, ports, More::Silence)?.into_iter();
    Ok(all.filter_map(|told| Some((told.name.peer(), Duration::from_millis(told.silent?.into())))).collect())
}

fn told(states: u32, ports: &[u16], more: More) -> io::Result<Vec<Told>> {
    let mut all = Vec::new();
    // The kernel would tell of every socket without a port.
    for family in FAMILIES.into_iter().filter(|_| !ports.is_empty()) {
        all.extend(sock_diag::list(family, states, ports, more)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Ipv6Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
    use std::os::fd::{AsFd, AsRawFd};
    use std::time::Instant;

    fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// The least that the kernel's timers tell apart.
    const TICK: Duration = Duration::from_millis(20);

    fn port(listener: &TcpListener) -> u16 {
        listener.local_addr().unwrap().port()
    }

    /// The connection whose local end this is.
    fn of(stream: &TcpStream, open: &[Connection]) -> Option<Connection> {
        let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        open.iter().find(|one| one.local == local && one.peer == peer).cloned()
    }

    #[test]
    fn one_connection_is_destroyed_and_no_other() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: only root destroys sockets");
        }
        let (first, second) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (mut near, mut far) = pair(&first);
        let (mut other, mut kept) = pair(&first);
        let (_elsewhere, third) = pair(&second);
        let seen = open(&[port(&first)]).unwrap();
        assert!(seen.iter().all(|one| one.state == TcpState::Established && one.local.port() == port(&first)));
        assert_eq!((seen.len(), of(&third, &seen)), (2, None));
        let target = of(&far, &seen).unwrap();
        let inode = nix::sys::stat::fstat(far.as_fd()).unwrap().st_ino;
        assert_eq!((target.peer, target.inode), (near.local_addr().unwrap(), inode));

        assert!(destroy(&target).unwrap());
        assert_eq!(near.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(far.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
        assert!(!destroy(&target).unwrap(), "it was destroyed twice");
        other.write_all(b"x").unwrap();
        kept.read_exact(&mut [0]).unwrap();
        assert_eq!(open(&[port(&first), port(&second)]).unwrap().len(), 2);
    }

    /// By what it sends, and not by how long it is connected.
    #[test]
    fn a_peer_is_heard_when_it_sends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut near, mut far) = pair(&listener);
        let of = || {
            let all = heard(&[port(&listener)]).unwrap();
            all.into_iter().find(|(peer, _)| *peer == near.local_addr().unwrap()).unwrap().1
        };
        let began = Instant::now();
        while of() < Duration::from_millis(50) {
            assert!(began.elapsed() < Duration::from_secs(60), "it has grown no older than {:?}", of());
        }
        let before = Instant::now();
        (&near).write_all(b"x").unwrap();
        far.read_exact(&mut [0]).unwrap();
        assert!(of() <= before.elapsed() + Duration::from_millis(10));
        near.flush().unwrap();
    }

    /// A request that was answered, and ended, between two looks.
    #[test]
    fn a_peer_was_heard_on_a_connection_that_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (near, far) = pair(&listener);
        let peer = near.local_addr().unwrap();
        drop(far);
        let began = Instant::now();
        drop(near);
        let at = [port(&listener)];
        // A process that another test is just starting has them as well, until it becomes its program.
        while told(TIME_WAIT, &at, More::Nothing).unwrap().is_empty() {
            assert!(began.elapsed() < Duration::from_secs(50));
            std::thread::yield_now();
        }
        let all = heard(&at).unwrap();
        assert!(all.iter().any(|(other, silent)| *other == peer && *silent <= began.elapsed() + TICK), "{all:?}");
    }

    /// A socket at an end, connected to another.
    fn connected(from: SocketAddrV4, to: SocketAddrV4) -> TcpStream {
        let end = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(end.as_raw_fd(), &SockaddrIn::from(from)).unwrap();
        connect(end.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
        TcpStream::from(end)
    }

    /// Another connection between the very same ends is not the one that was seen.
    #[test]
    fn what_came_in_its_place_stays() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: only root destroys sockets");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(at) = listener.local_addr().unwrap() else { panic!("it is of IPv4") };
        // Of an address that nobody else uses: else its port may be somebody's before it is bound again.
        let near = connected("127.61.0.1:0".parse().unwrap(), at);
        let far = listener.accept().unwrap().0;
        let gone = of(&far, &open(&[port(&listener)]).unwrap()).unwrap();
        let (SocketAddr::V4(local), SocketAddr::V4(peer)) = (near.local_addr().unwrap(), near.peer_addr().unwrap())
        else {
            panic!("these are of IPv4")
        };
        assert!(destroy(&gone).unwrap());
        drop(near);
        let mut again = connected(local, peer);
        let mut accepted = listener.accept().unwrap().0;
        let new = of(&accepted, &open(&[port(&listener)]).unwrap()).unwrap();
        assert_eq!((new.local, new.peer), (gone.local, gone.peer));
        assert_ne!(new.cookie, gone.cookie);
        assert!(!destroy(&gone).unwrap());
        again.write_all(b"x").unwrap();
        accepted.read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn an_ipv4_peer_of_an_ipv6_listener_is_told_as_ipv4() {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let client = TcpStream::connect(("127.0.0.1", port(&listener))).unwrap();
        let accepted = listener.accept().unwrap().0;
        let seen = open(&[1, port(&listener), 2]).unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].local, seen[0].peer), (client.peer_addr().unwrap(), client.local_addr().unwrap()));
        if nix::unistd::geteuid().is_root() {
            assert!(destroy(&seen[0]).unwrap());
            assert_eq!((&accepted).read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
        }
    }

    #[test]
    fn of_one_connection_it_is_told_what_its_other_end_has_not_taken() {
        for (at, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let listener = TcpListener::bind(at).unwrap();
            let near = TcpStream::connect((to, port(&listener))).unwrap();
            let (mut far, other) = (listener.accept().unwrap().0, pair(&listener));
            let ends = |stream: &TcpStream| (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let told = |(local, peer)| unsent(local, peer).unwrap();
            assert_eq!(told(ends(&far)), Some(0), "{at} {to}");
            far.set_nonblocking(true).unwrap();
            while far.write(&[0; 65536]).is_ok() {}
            assert!(told(ends(&far)) > Some(0), "{at} {to}");
            assert_eq!((told(ends(&other.1)), told(ends(&near))), (Some(0), Some(0)), "{at} {to}");
            // A listener there is no connection; nor is what the kernel alone remembers.
            let (local, peer) = ends(&far);
            assert_eq!(told((local, SocketAddr::new(peer.ip(), 1))), None, "{at} {to}");
            drop(listener);
            assert_eq!(told((local, SocketAddr::new(peer.ip(), 1))), None, "{at} {to}");
        }
    }

    /// A connection that nobody has accepted is there, and has no process.
    #[test]
    fn one_that_waits_to_be_accepted_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let seen = open(&[port(&listener)]).unwrap();
        assert_eq!(seen.iter().map(|one| one.inode).collect::<Vec<_>>(), [0]);
    }

    /// A connection that a process has closed is over; one that it has only shut down for writing is not, as it still
    /// reads.
    #[test]
    fn what_no_process_reads_from_any_more_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (_near, far) = pair(&listener);
        let seen = || open(&[port(&listener)]).unwrap().remove(0);
        assert!(!seen().is_over());
        far.shutdown(Shutdown::Write).unwrap();
        // The peer's kernel acknowledges that soon, or has already.
        let ends = |one: &Connection| matches!(one.state, TcpState::FinWait1 | TcpState::FinWait2);
        let half = seen();
        assert!(ends(&half) && !half.is_over(), "{half:?}");
        drop(far);
        // A process that another test is just starting has it as well, until it becomes its program.
        let began = Instant::now();
        while !seen().is_over() {
            assert!(began.elapsed() < Duration::from_secs(50), "{:?}", seen());
            std::thread::yield_now();
        }
        let whole = seen();
        assert!(ends(&whole), "{whole:?}");
    }

    #[test]
    fn listeners_tell_their_drops_and_only_listeners() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (client, _accepted) = pair(&listener);
        let ports = [port(&listener), client.local_addr().unwrap().port(), 1];
        assert_eq!(drops(&ports).unwrap(), [(port(&listener), 0)].into());
        assert_eq!((drops(&[]).unwrap().len(), open(&[]).unwrap().len()), (0, 0));
    }
}
