//! The frames between upstairs and downstairs, as far as the stand-in goes.
//!
//! A frame is a u32 length that counts itself, then a u32 tag and what belongs
//! to it, little endian. Nothing here knows what a message is good for.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use uuid::Uuid;

const HERE_I_AM: u32 = 0;
const YES_ITS_ME: u32 = 1;
const VERSION_MISMATCH: u32 = 2;
const READ_ONLY_MISMATCH: u32 = 3;
const ENCRYPTED_MISMATCH: u32 = 4;
const PROMOTE_TO_ACTIVE: u32 = 5;
const YOU_ARE_NOW_ACTIVE: u32 = 6;
const YOU_ARE_NO_LONGER_ACTIVE: u32 = 7;
const RUOK: u32 = 9;
const IMOK: u32 = 10;

/// More than any message needs that the stand-in understands.
const FRAME_LIMIT_BYTES: u32 = 64 << 20;

/// The identity of an upstairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstairs {
    /// The upstairs, the same through its life.
    pub upstairs_id: Uuid,
    /// The session, new each time it activates.
    pub session_id: Uuid,
    /// Its generation.
    pub generation: u64,
}

impl fmt::Display for Upstairs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { upstairs_id, session_id, generation } = self;
        write!(
            out,
            "UpstairsConnection {{ upstairs_id: {upstairs_id}, \
             session_id: {session_id}, generation: {generation} }}"
        )
    }
}

/// The requests of an upstairs.
pub enum Request {
    /// Are you there?
    Ruok,
    /// The opening of a negotiation.
    HereIAm {
        /// The message version it speaks.
        version: u32,
        /// The upstairs that it is.
        upstairs: Upstairs,
        /// Whether it will only read.
        read_only: bool,
        /// Whether it encrypts.
        encrypted: bool,
    },
    /// The upstairs wants to be the one that reads and writes.
    PromoteToActive(Upstairs),
    /// A message the stand-in has no answer to, by its tag.
    Other(u32),
}

/// The replies of the downstairs.
pub enum Reply {
    /// I am here.
    Imok,
    /// The negotiation goes on; repair is done at this address.
    YesItsMe(SocketAddr),
    /// This downstairs speaks another version.
    VersionMismatch(u32),
    /// This downstairs is read-only, or is not.
    ReadOnlyMismatch(bool),
    /// This downstairs is encrypted, or is not.
    EncryptedMismatch(bool),
    /// The upstairs reads and writes from now on.
    YouAreNowActive(Upstairs),
    /// Another one reads and writes.
    YouAreNoLongerActive(Upstairs),
}

/// Why there is no further frame.
pub enum End {
    /// The peer went away.
    Closed,
    /// The peer said nothing for too long.
    Idle,
    /// The peer said what cannot be understood.
    Nonsense(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Idle,
            _ => Self::Closed,
        }
    }
}

/// Reads the next message. A frame shorter than its own length field takes the
/// whole process down, as it does the real one.
pub fn receive(stream: &mut impl Read) -> Result<Request, End> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    let Some(rest) = length.checked_sub(4) else {
        panic!("a frame of {length} bytes is shorter than its own length field");
    };
    if length > FRAME_LIMIT_BYTES {
        return Err(End::Nonsense(format!("a frame of {length} bytes")));
    }
    let mut body = vec![0; rest as usize];
    stream.read_exact(&mut body)?;
    Fields(&body).request().ok_or_else(|| End::Nonsense(format!("cannot decode a frame of {length} bytes")))
}

/// Sends a message.
pub fn send(stream: &mut impl Write, reply: &Reply) -> io::Result<()> {
    let body = encode(reply);
    let length = u32::try_from(body.len() + 4).expect("replies are short");
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend(body);
    stream.write_all(&frame)
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn bool(&mut self) -> Option<bool> {
        let [byte] = self.take()?;
        (byte < 2).then_some(byte == 1)
    }

    fn uuid(&mut self) -> Option<Uuid> {
        let length = self.u64()?;
        (length == 16).then_some(())?;
        self.take().map(Uuid::from_bytes)
    }

    fn upstairs(&mut self) -> Option<Upstairs> {
        Some(Upstairs { upstairs_id: self.uuid()?, session_id: self.uuid()?, generation: self.u64()? })
    }

    fn request(&mut self) -> Option<Request> {
        Some(match self.u32()? {
            RUOK => Request::Ruok,
            HERE_I_AM => Request::HereIAm {
                version: self.u32()?,
                upstairs: self.upstairs()?,
                read_only: self.bool()?,
                encrypted: self.bool()?,
            },
            PROMOTE_TO_ACTIVE => Request::PromoteToActive(self.upstairs()?),
            tag => Request::Other(tag),
        })
    }
}

fn encode(reply: &Reply) -> Vec<u8> {
    let tagged = |tag: u32, payload: &[u8]| [&tag.to_le_bytes(), payload].concat();
    match reply {
        Reply::Imok => tagged(IMOK, &[]),
        Reply::YesItsMe(repair) => tagged(YES_ITS_ME, &[&version_bytes()[..], &address_bytes(*repair)].concat()),
        Reply::VersionMismatch(version) => tagged(VERSION_MISMATCH, &version.to_le_bytes()),
        Reply::ReadOnlyMismatch(ours) => tagged(READ_ONLY_MISMATCH, &[u8::from(*ours)]),
        Reply::EncryptedMismatch(ours) => tagged(ENCRYPTED_MISMATCH, &[u8::from(*ours)]),
        Reply::YouAreNowActive(upstairs) => tagged(YOU_ARE_NOW_ACTIVE, &upstairs_bytes(upstairs)),
        Reply::YouAreNoLongerActive(upstairs) => tagged(YOU_ARE_NO_LONGER_ACTIVE, &upstairs_bytes(upstairs)),
    }
}

fn version_bytes() -> [u8; 4] {
    crate::version::MESSAGE_VERSION.to_le_bytes()
}

fn address_bytes(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_le_bytes();
    match address.ip() {
        IpAddr::V4(ip) => [&0u32.to_le_bytes()[..], &ip.octets(), &port].concat(),
        IpAddr::V6(ip) => [&1u32.to_le_bytes()[..], &ip.octets(), &port].concat(),
    }
}

fn upstairs_bytes(upstairs: &Upstairs) -> Vec<u8> {
    let mut bytes = Vec::new();
    for uuid in [upstairs.upstairs_id, upstairs.session_id] {
        bytes.extend(16u64.to_le_bytes());
        bytes.extend(uuid.as_bytes());
    }
    bytes.extend(upstairs.generation.to_le_bytes());
    bytes
}
