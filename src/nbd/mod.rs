//! The NBD protocol, as bytes and what they mean: fixed newstyle, simple replies. Pure: whoever reads
//! and writes sockets is elsewhere, and nothing here knows what a request is for.
//!
//! | module | job |
//! |---|---|
//! | [`negotiation`] | the server's half of the handshake |
//! | [`entry`] | the client's half, as far as a server of one export needs it |
//! | [`transmission`] | requests and replies |
//!
//! The source of every number is the NBD project's `doc/proto.md`.

pub mod entry;
pub mod negotiation;
pub mod transmission;

/// What a server says first.
pub(crate) const GREETING: [u8; 8] = *b"NBDMAGIC";
/// What it says next, and what opens each option of a client.
pub(crate) const OPTION: [u8; 8] = *b"IHAVEOPT";
/// A flag of both sides' first words: they know options that they do not know.
pub(crate) const FIXED_NEWSTYLE: u16 = 1;
/// A flag of both: no 124 zeroes after `EXPORT_NAME`.
pub(crate) const NO_ZEROES: u16 = 1 << 1;
/// The option that asks for an export, and has no refusal but a closed connection.
pub(crate) const EXPORT_NAME: u32 = 1;
/// How many zeroes follow the answer to it.
pub(crate) const ZEROES: usize = 124;

/// Flags of an export.
pub mod flags {
    /// There are flags at all.
    pub const HAS_FLAGS: u16 = 1;
    /// Nothing may be written.
    pub const READ_ONLY: u16 = 1 << 1;
    /// `FLUSH` is understood.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// What one connection flushes is flushed of all.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
}

/// Why a request failed, as a reply says it: numbers of Linux' errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Errno {
    /// Reading or writing did not work (EIO).
    Io = 5,
    /// The request makes no sense (EINVAL).
    Invalid = 22,
    /// It goes beyond the end (ENOSPC), of a write.
    NoSpace = 28,
    /// It is too long (EOVERFLOW).
    Overflow = 75,
    /// The server is about to end (ESHUTDOWN).
    Shutdown = 108,
}

/// What breaks a conversation: the peer does not speak this protocol, or says what makes no sense in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// The first `N` bytes, taken away, if there are so many.
pub(crate) fn take<const N: usize>(input: &mut bytes::BytesMut) -> Option<[u8; N]> {
    let taken = input.first_chunk().copied()?;
    bytes::Buf::advance(input, N);
    Some(taken)
}
