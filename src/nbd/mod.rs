//! The NBD protocol, as bytes and what they mean: fixed newstyle, simple replies. Pure: whoever reads
//! and writes sockets is elsewhere, and nothing here knows what a request is for.
//!
//! | module | job |
//! |---|---|
//! | [`negotiation`] | the server's half of the handshake |
//! | [`entry`] | the client's half, as far as a server of one export needs it |
//! | [`handshake`] | the client's half with any server, and not a byte more than it: for the kernel |
//! | [`transmission`] | requests and replies |
//!
//! The source of every number is the NBD project's `doc/proto.md`.

pub mod entry;
pub mod handshake;
pub mod negotiation;
pub mod transmission;

/// The first word of a server.
pub(crate) const GREETING: [u8; 8] = *b"NBDMAGIC";
/// The second word of a server, and what opens each option of a client.
pub(crate) const OPTION: [u8; 8] = *b"IHAVEOPT";
/// A flag of both sides' first words: they know options that they do not know.
pub(crate) const FIXED_NEWSTYLE: u16 = 1;
/// A flag of both: no 124 zeroes after `EXPORT_NAME`.
pub(crate) const NO_ZEROES: u16 = 1 << 1;
/// The option that asks for an export, and has no refusal but a closed connection.
pub(crate) const EXPORT_NAME: u32 = 1;
/// The number of zeroes that follow the answer to it.
pub(crate) const ZEROES: usize = 124;
/// The option that asks for an export and its block sizes, and can be refused.
pub(crate) const GO: u32 = 7;
/// The word that opens each answer to an option.
pub(crate) const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
/// Answers to an option: it is done, and a part of what is told before.
pub(crate) const ACK: u32 = 1;
pub(crate) const INFORMATION: u32 = 3;
/// The bit of those that are refusals; that the option is not known, and that the export is not.
pub(crate) const REFUSAL: u32 = 1 << 31;
pub(crate) const UNSUPPORTED: u32 = REFUSAL | 1;
pub(crate) const UNKNOWN: u32 = REFUSAL | 6;
/// Kinds of information: the export's size and flags, and its block sizes.
pub(crate) const INFO_EXPORT: u16 = 0;
pub(crate) const INFO_BLOCK_SIZE: u16 = 3;

/// Flags of an export.
pub mod flags {
    /// There are flags at all.
    pub const HAS_FLAGS: u16 = 1;
    /// Nothing may be written.
    pub const READ_ONLY: u16 = 1 << 1;
    /// `FLUSH` is understood.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// A flush on one connection is one of all.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
}

/// The error of a request, as a reply says it: numbers of Linux' errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Errno {
    /// Reading or writing did not work (EIO).
    Io = 5,
    /// The request makes no sense (EINVAL).
    Invalid = 22,
    /// The request goes beyond the end (ENOSPC), of a write.
    NoSpace = 28,
    /// The request is too long (EOVERFLOW).
    Overflow = 75,
    /// The server is about to end (ESHUTDOWN).
    Shutdown = 108,
}

/// A break of the conversation: the peer does not speak this protocol, or says what makes no sense in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// The first `N` bytes, taken away, if there are so many.
pub(crate) fn take<const N: usize>(input: &mut bytes::BytesMut) -> Option<[u8; N]> {
    let taken = input.first_chunk().copied()?;
    bytes::Buf::advance(input, N);
    Some(taken)
}
