//! Broker of the machine's network, for a supervisor that has none of its own.
//!
//! sledd.service lives in an empty network (`PrivateNetwork=`) and may open no socket but a local
//! one. Hosts reach it through the sockets of sledd.socket. The little that it needs beside those it
//! asks of sled-sockets.service, in which [`serve`] runs: that opens something in the machine's
//! network and hands over the descriptor. A TCP socket that it gave reaches this sled's own address
//! and no other; systemd sees to that (`IPAddressAllow=` of the broker's unit goes with the sockets).
//! So what hosts send it cannot make the supervisor speak to anybody. It is no wall against one that
//! does whatever it is told: that could ask systemd for anything.
//!
//! The broker reads one byte of a question, and never what goes through what it gave. Where none is
//! named in the environment (on the command line, in tests, `sledd` by hand), everything is opened in
//! place.

use procfs::ProcResult;
use procfs::net::TcpNetEntry;
use procfs::process::Process;
use rustix::net::sockopt::{Timeout, set_socket_reuseaddr, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect_unspec, netlink, recvmsg, sendmsg, socket_with,
};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The variable of the environment that names the broker's socket; sledd.service sets it.
pub const VARIABLE: &str = "SLED_SOCKETS";
/// The ports that the kernel gives to outgoing connections.
pub const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// The ports that the kernel gives to nobody who asks for any.
pub const RESERVED_PORTS: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// The time that either side waits for the other. The broker answers in far less than a millisecond.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// The time that a broker that did not answer is not asked again: who asks has other things to do.
const DEAF_PAUSE: Duration = Duration::from_secs(5);
/// The longest text of a setting, in bytes: the kernel takes 65536 ports, of five digits and a comma each.
const SETTING_LIMIT_BYTES: usize = 512 * 1024;
/// The process whose network is the machine's.
const INIT: i32 = 1;

/// A thing that can be asked for. In the kernel a network's settings are those of whoever opens the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A TCP socket over IPv4, connected to nothing; it does not block.
    Tcp4,
    /// The same over IPv6.
    Tcp6,
    /// Netlink's rtnetlink(7).
    Route,
    /// Netlink's sock_diag(7).
    Diagnosis,
    /// [`PORT_RANGE`], to be read.
    PortRange,
    /// [`RESERVED_PORTS`], to be read.
    ReservedPorts,
}

impl Wanted {
    const ALL: [Self; 6] = [Self::Tcp4, Self::Tcp6, Self::Route, Self::Diagnosis, Self::PortRange, Self::ReservedPorts];

    /// A TCP socket that may connect to this address.
    pub fn to(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::Tcp4 } else { Self::Tcp6 }
    }

    /// The byte that asks for it.
    fn byte(self) -> u8 {
        match self {
            Self::Tcp4 => b'4',
            Self::Tcp6 => b'6',
            Self::Route => b'r',
            Self::Diagnosis => b'd',
            Self::PortRange => b'p',
            Self::ReservedPorts => b'k',
        }
    }

    /// Open it in the network of this very process.
    fn here(self) -> io::Result<OwnedFd> {
        let own = SocketFlags::CLOEXEC;
        let tcp = |family| socket_with(family, SocketType::STREAM, own | SocketFlags::NONBLOCK, None);
        let kernel = |protocol| socket_with(AddressFamily::NETLINK, SocketType::RAW, own, protocol);
        match self {
            Self::Tcp4 => Ok(tcp(AddressFamily::INET)?),
            Self::Tcp6 => Ok(tcp(AddressFamily::INET6)?),
            // NETLINK_ROUTE is 0, the default.
            Self::Route => Ok(kernel(None)?),
            Self::Diagnosis => Ok(kernel(Some(netlink::SOCK_DIAG))?),
            Self::PortRange => Ok(File::open(PORT_RANGE)?.into()),
            Self::ReservedPorts => Ok(File::open(RESERVED_PORTS)?.into()),
        }
    }
}

/// Open something in the machine's network.
///
/// # Errors
/// Why it cannot be opened, or that the broker does not answer.
pub fn open(wanted: Wanted) -> io::Result<OwnedFd> {
    /// The instant at which the broker did not answer.
    static DEAF: Mutex<Option<Instant>> = Mutex::new(None);
    let Some(broker) = broker() else { return wanted.here() };
    let mut deaf = DEAF.lock().unwrap_or_else(PoisonError::into_inner);
    let silent = |why: &dyn std::fmt::Display| {
        io::Error::new(ErrorKind::TimedOut, format!("sled-sockets.service gives no sockets: {why}"))
    };
    if deaf.is_some_and(|when| when.elapsed() < DEAF_PAUSE) {
        return Err(silent(&"it did not answer a moment ago"));
    }
    // A broker that was killed in the middle of an answer, or a signal, is no reason to be without.
    let again = [ErrorKind::Interrupted, ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    let asked =
        ask(&broker, wanted).or_else(|why| if again.contains(&why.kind()) { ask(&broker, wanted) } else { Err(why) });
    match asked {
        Ok(answer) => {
            *deaf = None;
            answer
        }
        Err(why) => {
            *deaf = Some(Instant::now());
            match why.kind() {
                ErrorKind::WouldBlock => Err(silent(&"it does not answer")),
                _ => Err(silent(&why)),
            }
        }
    }
}

/// Read a setting of the machine's network.
///
/// # Errors
/// The setting cannot be read.
pub fn read(wanted: Wanted) -> io::Result<String> {
    read_at_once(File::from(open(wanted)?))
}

/// Read a file of the kernel's in one read: of a list of ports the kernel tells only what fits into the first one,
/// and the second is told that this was the end.
///
/// # Errors
/// The file cannot be read.
pub fn read_at_once(mut file: File) -> io::Result<String> {
    let mut text = vec![0; SETTING_LIMIT_BYTES];
    let length = file.read(&mut text)?;
    text.truncate(length);
    String::from_utf8(text).map_err(io::Error::other)
}

/// Open a TCP socket that can be bound where another was a moment ago, as a downstairs binds.
///
/// # Errors
/// As those of [`open`].
pub fn reusing(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = open(Wanted::to(address))?;
    set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}

/// A connection that failed, and why.
#[derive(Debug)]
pub enum NoConnection {
    /// No socket was there to connect with.
    NoSocket(io::Error),
    /// Nobody answers there.
    Refused(io::Error),
}

impl NoConnection {
    /// The error behind it.
    pub fn into_inner(self) -> io::Error {
        match self {
            Self::NoSocket(why) | Self::Refused(why) => why,
        }
    }
}

/// Dialler over TCP. An address where nobody listens may be tried a hundred times a second: a socket that was refused
/// is told to forget it (connect(2), `AF_UNSPEC`), and kept.
#[derive(Debug, Default)]
pub struct Dialer(Option<OwnedFd>);

impl Dialer {
    /// Connect.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(&mut self, address: SocketAddr) -> Result<tokio::net::TcpStream, NoConnection> {
        let socket = self.0.take().map_or_else(|| open(Wanted::to(address)), Ok).map_err(NoConnection::NoSocket)?;
        let again = socket.try_clone().map_err(NoConnection::NoSocket)?;
        let socket = tokio::net::TcpSocket::from_std_stream(TcpStream::from(socket));
        socket.connect(address).await.map_err(|why| {
            if why.kind() == ErrorKind::ConnectionRefused && connect_unspec(&again).is_ok() {
                self.0 = Some(again);
            }
            NoConnection::Refused(why)
        })
    }
}

/// Read the machine's TCP sockets over IPv4, as proc(5) has them.
///
/// # Errors
/// procfs does not tell.
pub fn tcp() -> ProcResult<Vec<TcpNetEntry>> {
    match broker() {
        Some(_) => Process::new(INIT)?.tcp(),
        None => procfs::net::tcp(),
    }
}

/// The same over IPv6; none on a kernel without it, which has no such file.
pub fn tcp6() -> Vec<TcpNetEntry> {
    let table = match broker() {
        Some(_) => Process::new(INIT).and_then(|init| init.tcp6()),
        None => procfs::net::tcp6(),
    };
    table.unwrap_or_default()
}

/// The broker's socket, where there is one.
fn broker() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).map(PathBuf::from)
}

/// Ask the broker. The error is one of the asking; the answer may be an error of its own.
fn ask(broker: &Path, wanted: Wanted) -> io::Result<io::Result<OwnedFd>> {
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The time-out holds for connecting as well: a broker that hangs has a queue, and it may be full.
    for direction in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&stream, direction, Some(ANSWER_LIMIT))?;
    }
    rustix::net::connect(&stream, &SocketAddrUnix::new(broker)?)?;
    rustix::io::write(&stream, &[wanted.byte()])?;
    let mut code = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut space = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(&stream, &mut [IoSliceMut::new(&mut code)], &mut space, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes < code.len() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let given = space.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match (i32::from_ne_bytes(code), given) {
        (0, Some(given)) => Ok(Ok(given)),
        (0, None) => Err(io::Error::other("it gave nothing")),
        (code, _) => Ok(Err(io::Error::from_raw_os_error(code))),
    }
}

/// Give whoever asks what is asked for, one after the other, for ever.
///
/// # Errors
/// Nobody can ask any more.
pub fn serve(listener: &UnixListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        if let Err(why) = answer(&stream) {
            eprintln!("a question was not answered: {why}");
        }
    }
}

/// Open something with no more rights than it takes. To netlink it counts who opened a socket: with this unit's
/// `CAP_NET_ADMIN` one could change addresses and routes, and nobody here is to. Only who destroys connections needs
/// it.
fn modestly(wanted: Wanted) -> io::Result<OwnedFd> {
    let own = capabilities(None)?;
    let effective = match wanted {
        Wanted::Diagnosis => own.permitted,
        _ => CapabilitySet::empty(),
    };
    set_capabilities(None, CapabilitySets { effective, ..own })?;
    wanted.here()
}

/// Answer a question: with 0 and a descriptor, or with the number of an error.
fn answer(stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut byte = [0];
    (&*stream).read_exact(&mut byte)?;
    let wanted = Wanted::ALL.into_iter().find(|wanted| wanted.byte() == byte[0]);
    let opened = wanted.ok_or(ErrorKind::InvalidInput.into()).and_then(modestly);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let given = opened.as_ref().map(|given| [given.as_fd()]);
    let code = match &given {
        Ok(given) => {
            rights.push(SendAncillaryMessage::ScmRights(given));
            0
        }
        Err(why) => why.raw_os_error().unwrap_or(nix::libc::EINVAL),
    };
    sendmsg(stream, &[IoSlice::new(&code.to_ne_bytes())], &mut rights, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A broker at a socket of its own.
    fn broker(dir: &tempfile::TempDir) -> PathBuf {
        let path = dir.path().join("sockets");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || serve(&listener));
        path
    }

    #[test]
    fn what_is_asked_for_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let broker = broker(&dir);
        for wanted in Wanted::ALL {
            ask(&broker, wanted).unwrap().unwrap();
        }
        let mut range = String::new();
        File::from(ask(&broker, Wanted::PortRange).unwrap().unwrap()).read_to_string(&mut range).unwrap();
        assert_eq!(range.split_whitespace().count(), 2, "{range}");
    }

    #[test]
    fn a_socket_that_was_given_connects_when_somebody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let broker = broker(&dir);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let there = listener.local_addr().unwrap();
        let mut dialer = Dialer(Some(ask(&broker, Wanted::Tcp4).unwrap().unwrap()));
        drop(listener);
        runtime.block_on(async {
            for _ in 0..10 {
                assert!(matches!(dialer.connect(there).await, Err(NoConnection::Refused(_))));
                assert!(dialer.0.is_some(), "it is kept");
            }
            let listener = TcpListener::bind(there).unwrap();
            let stream = dialer.connect(there).await.unwrap();
            assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
            assert!(dialer.0.is_none());
        });
    }

    /// A broker that hangs costs a second, also when its queue is full.
    #[test]
    fn a_broker_that_hangs_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sockets");
        let _hangs = UnixListener::bind(&path).unwrap();
        let address = SocketAddrUnix::new(&path).unwrap();
        let mut queue = Vec::new();
        loop {
            // A child of another test that ends may interrupt it; whoever asks in earnest asks again then.
            let asked = || Some(ask(&path, Wanted::Tcp4).unwrap_err());
            let why = std::iter::from_fn(asked).find(|why| why.kind() != ErrorKind::Interrupted).unwrap();
            assert_eq!(why.kind(), ErrorKind::WouldBlock, "{why}");
            if !queue.is_empty() {
                break;
            }
            let one = || {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
                rustix::net::connect(&socket, &address).is_ok().then_some(socket)
            };
            queue.extend(std::iter::from_fn(one));
        }
    }

    /// A client that says nothing, or nonsense, holds nobody else up for long.
    #[test]
    fn nonsense_is_refused_and_silence_ends() {
        let dir = tempfile::tempdir().unwrap();
        let broker = broker(&dir);
        let silent = UnixStream::connect(&broker).unwrap();
        rustix::io::write(&silent, b"4").unwrap();
        let mut stranger = UnixStream::connect(&broker).unwrap();
        rustix::io::write(&stranger, b"?").unwrap();
        let mut code = [0; 4];
        stranger.read_exact(&mut code).unwrap();
        assert_ne!(i32::from_ne_bytes(code), 0);
        drop(UnixStream::connect(&broker).unwrap());
        ask(&broker, Wanted::Tcp6).unwrap().unwrap();
    }

    #[test]
    fn a_broker_that_is_not_there_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ask(&dir.path().join("none"), Wanted::Tcp4).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
