//! Socket diagnosis of the kernel over netlink (sock_diag(7)): requests and answers as bytes. It knows nothing of
//! regions and decides nothing; what an answer means is known elsewhere.
//!
//! The numbers are those of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.

use crate::kernel::broker::{self, Wanted};
use nix::sys::socket::{MsgFlags, recv, send};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// A question about sockets (`SOCK_DIAG_BY_FAMILY`).
const BY_FAMILY: u16 = 20;
/// The order to destroy one (`SOCK_DESTROY`).
const DESTROY: u16 = 21;
/// The kinds of the kernel's messages: an error or an acknowledgement, and the end of a list.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// A request, one that is acknowledged, and one for a list.
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const LIST: u16 = 0x300;
/// The length of a netlink header, and of what an answer says before its attributes.
const HEADER_BYTES: usize = 16;
const FIXED_BYTES: usize = 72;
/// The attribute that makes the kernel filter (`INET_DIAG_REQ_BYTECODE`).
const BYTECODE: u16 = 1;
/// The attribute with a socket's memory and drops (`INET_DIAG_SKMEMINFO`), and where in it, counted
/// in numbers of 32 bits, the drops are (`SK_MEMINFO_DROPS`).
const MEMORY: u16 = 7;
const DROPS: usize = 8;
/// The attribute with what TCP knows of a connection (`INET_DIAG_INFO`), and where in it the time since data came is, in
/// milliseconds (`tcpi_last_data_recv`).
const INFO: u16 = 2;
const LAST_DATA: usize = 52;
/// The state of a connection that only the kernel remembers (`TCP_TIME_WAIT`), where in an answer the milliseconds are that
/// it still does, and for how many it does from its peer's last word on (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT: u8 = 6;
const EXPIRES: usize = 52;
const REMEMBERED: u32 = 60_000;
/// Operations of the filter: is this the local port (a second operation holds it), and go on there.
const LOCAL_PORT_IS: u8 = 11;
const JUMP: u8 = 1;
/// The kernel never fills more than 32 KiB at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// The two families of addresses; a socket of the second may be connected over the first.
pub const FAMILIES: [u8; 2] = [nix::libc::AF_INET as u8, nix::libc::AF_INET6 as u8];

/// A socket as the kernel names it: its family, and its ports, addresses, interface and cookie
/// (`inet_diag_sockid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    family: u8,
    id: [u8; 48],
}

/// A socket as the kernel tells of it.
#[derive(Debug, Clone)]
pub struct Told {
    pub name: Name,
    /// The number of the socket's state (net/tcp_states.h).
    pub state: u8,
    /// The socket's inode; 0 if no process has it.
    pub inode: u32,
    /// The bytes that its peer has not acknowledged, sent or not.
    pub unsent: u32,
    /// The packets that it dropped, if that was asked for.
    pub drops: Option<u32>,
    /// The milliseconds since its peer has last sent data, if that was asked for; since its last word, if only the kernel
    /// remembers it.
    pub silent: Option<u32>,
}

/// What is told of a socket beside the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// Nothing.
    Nothing,
    /// The packets that it dropped.
    Drops,
    /// The time since its peer has last sent data.
    Silence,
}

impl Name {
    /// Name whichever socket has these two ends: with no cookie (`INET_DIAG_NOCOOKIE`).
    fn between(local: SocketAddr, peer: SocketAddr) -> Self {
        let mut id = [0; 48];
        for (end, port, address) in [(local, 0, 4), (peer, 2, 20)] {
            id[port..port + 2].copy_from_slice(&end.port().to_be_bytes());
            match end.ip().to_canonical() {
                IpAddr::V4(ip) => id[address..address + 4].copy_from_slice(&ip.octets()),
                IpAddr::V6(ip) => id[address..address + 16].copy_from_slice(&ip.octets()),
            }
        }
        if let SocketAddr::V6(local) = local {
            id[36..40].copy_from_slice(&local.scope_id().to_ne_bytes());
        }
        id[40..].fill(u8::MAX);
        Self { family: FAMILIES[usize::from(local.ip().to_canonical().is_ipv6())], id }
    }

    /// The socket's own address. One that is IPv4's, written as IPv6's, is told as IPv4's.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.address(4), self.port(0))
    }

    /// The address of the socket's peer.
    pub fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.address(20), self.port(2))
    }

    /// A number that no other socket has had since the machine was booted.
    pub fn cookie(&self) -> u64 {
        let half = |at| u64::from(number(&self.id, at));
        half(40) | half(44) << 32
    }

    fn port(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.id[at], self.id[at + 1]])
    }

    fn address(&self, at: usize) -> IpAddr {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.id[at..at + 16]);
        if self.family == FAMILIES[0] {
            Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
        } else {
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
    }
}

/// List the TCP sockets of one family in these states (a bit each) with a local port among these.
///
/// # Errors
/// The kernel's answer.
pub fn list(family: u8, states: u32, ports: &[u16], more: More) -> io::Result<Vec<Told>> {
    let wanted = match more {
        More::Nothing => 0,
        More::Drops => 1 << (MEMORY - 1),
        More::Silence => 1 << (INFO - 1),
    };
    let mut body = request(family, wanted, states, &[0; 48]);
    body.extend(attribute(BYTECODE, &filter(ports)?)?);
    let mut found = Vec::new();
    exchange(BY_FAMILY, REQUEST | LIST, &body, |answer| found.extend(told(answer)))?;
    Ok(found)
}

/// Find the TCP socket with these two ends; where there is none, the kernel may tell of one that listens at the
/// first. It looks in the place where such a socket has to be, and goes through no list.
///
/// # Errors
/// The kernel's answer: `ENOENT` if there is neither.
pub fn between(local: SocketAddr, peer: SocketAddr) -> io::Result<Option<Told>> {
    let name = Name::between(local, peer);
    let mut found = None;
    let asked = request(name.family, 0, u32::MAX, &name.id);
    exchange(BY_FAMILY, REQUEST | ACKNOWLEDGE, &asked, |answer| found = told(answer))?;
    Ok(found)
}

/// Destroy a socket: who has it is told `ECONNABORTED`, and its peer gets a reset.
///
/// # Errors
/// The kernel's answer: `ENOENT` if it has gone.
pub fn destroy(name: &Name) -> io::Result<()> {
    exchange(DESTROY, REQUEST | ACKNOWLEDGE, &request(name.family, 0, u32::MAX, &name.id), |_| ())
}

/// Compose an `inet_diag_req_v2`.
fn request(family: u8, wanted: u8, states: u32, id: &[u8; 48]) -> Vec<u8> {
    let mut body = vec![family, nix::libc::IPPROTO_TCP as u8, wanted, 0];
    body.extend(states.to_ne_bytes());
    body.extend(id);
    body
}

/// The program that lets a socket pass whose local port is one of these. Each port takes three
/// operations of four bytes: a test that goes on to the jump if it holds and else behind it, the
/// port, and the jump to the end. The last one needs no jump: behind it lies what is too far,
/// which is "no".
fn filter(ports: &[u16]) -> io::Result<Vec<u8>> {
    let Some(last) = ports.len().checked_sub(1) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no port to look for"));
    };
    let mut program = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let mut step = |code: u8, yes: u8, no: u16| {
            program.extend([code, yes]);
            program.extend(no.to_ne_bytes());
        };
        step(LOCAL_PORT_IS, 8, 12);
        step(0, 0, *port);
        if at < last {
            let end = 12 * (last - at);
            step(JUMP, 4, u16::try_from(end).map_err(|_| io::Error::other("too many ports"))?);
        }
    }
    Ok(program)
}

fn attribute(kind: u16, content: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(content.len() + 4).map_err(io::Error::other)?;
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend(content);
    Ok(attribute)
}

/// Sockets on which everything that was asked has been answered.
static IDLE: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// Ask, and pass on what is answered. The kernel answers while it is asked: nothing is waited for.
fn exchange(kind: u16, flags: u16, body: &[u8], each: impl FnMut(&[u8])) -> io::Result<()> {
    let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let kernel = idle.map_or_else(|| broker::open(Wanted::Diagnosis), Ok)?;
    let answer = converse(&kernel, kind, flags, body, each)?;
    // A socket that has broken off in the middle is not asked again.
    IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(kernel);
    answer
}

/// Read what the kernel has answered; the outer error is one of the conversation.
fn converse(
    kernel: &OwnedFd,
    kind: u16,
    flags: u16,
    body: &[u8],
    mut each: impl FnMut(&[u8]),
) -> io::Result<io::Result<()>> {
    let length = u32::try_from(HEADER_BYTES + body.len()).map_err(io::Error::other)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    send(kernel.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = recv(kernel.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        while let Some((kind, body, next)) = message_of(rest) {
            match kind {
                DONE | ERROR => return Ok(ended(body)),
                BY_FAMILY => each(body),
                _ => {}
            }
            rest = next;
        }
    }
}

/// The first message: its kind, its body, and what follows it.
fn message_of(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let header = bytes.get(..HEADER_BYTES)?;
    let length = number(header, 0) as usize;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let body = bytes.get(HEADER_BYTES..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Read the beginning of both kinds of last message: 0, or an error's negative number.
fn ended(body: &[u8]) -> io::Result<()> {
    match body.get(..4).map(|code| number(code, 0).cast_signed()) {
        None | Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
    }
}

/// Read an `inet_diag_msg` and its attributes.
fn told(answer: &[u8]) -> Option<Told> {
    let (fixed, mut rest) = answer.split_at_checked(FIXED_BYTES)?;
    let ended = fixed[1] == TIME_WAIT;
    let (mut drops, mut silent) = (None, REMEMBERED.checked_sub(number(fixed, EXPIRES)).filter(|_| ended));
    while let Some(length) = rest.get(..2).map(|length| usize::from(u16::from_ne_bytes([length[0], length[1]]))) {
        let Some(attribute) = rest.get(..length).filter(|attribute| attribute.len() >= 4) else { break };
        match u16::from_ne_bytes([attribute[2], attribute[3]]) {
            MEMORY => drops = attribute.get(4 * (1 + DROPS)..4 * (2 + DROPS)).map(|drops| number(drops, 0)),
            INFO => silent = attribute.get(4 + LAST_DATA..8 + LAST_DATA).map(|silent| number(silent, 0)),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let mut id = [0; 48];
    id.copy_from_slice(&fixed[4..52]);
    let name = Name { family: fixed[0], id };
    Some(Told { name, state: fixed[1], unsent: number(fixed, 60), inode: number(fixed, 68), drops, silent })
}

/// Read a number of 32 bits, as this machine writes them. The caller knows that it is there.
fn number(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(number)
}
