//! Handshake of NBD, the client's half as bytes: fixed newstyle, `NBD_OPT_GO` with the sizes of blocks, and
//! `NBD_OPT_EXPORT_NAME` with servers that do not know that. It asks for nothing that the kernel does not speak (no
//! structured replies, no extended headers, no TLS), and for no byte more than belongs to the handshake: what follows
//! is the kernel's.
//!
//! The numbers are those of the protocol's description (doc/proto.md of nbd).

use super::{
    ACK, EXPORT_NAME, FIXED_NEWSTYLE, GO, GREETING, INFO_BLOCK_SIZE, INFO_EXPORT, INFORMATION, NO_ZEROES, OPTION,
    OPTION_REPLY, REFUSAL, UNKNOWN, UNSUPPORTED, ZEROES,
};
use std::mem;

/// The first words of servers of before 2011, in place of "IHAVEOPT".
const OLD_STYLE: [u8; 8] = 0x0000_4202_8186_1253_u64.to_be_bytes();
/// Refusals that only a client has to know: TLS first, and that the server is about to end.
const TLS_REQUIRED: u32 = REFUSAL | 5;
const SHUTDOWN: u32 = REFUSAL | 7;

/// The length of what a server says first, of an answer's header, and of the answer to [`EXPORT_NAME`] without its zeroes.
const OPENING_BYTES: usize = 18;
const HEADER_BYTES: usize = 20;
const OLD_ANSWER_BYTES: usize = 10;
/// The longest name of an export, and the longest answer that is read, in bytes: the protocol limits texts to
/// the first, and an answer has one text at most.
pub const NAME_LIMIT_BYTES: usize = 4096;
const ANSWER_LIMIT_BYTES: usize = 2 * NAME_LIMIT_BYTES;

/// The server's word on its export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export {
    /// The size in bytes.
    pub size: u64,
    /// The server's abilities (`NBD_FLAG_*`).
    pub flags: u16,
    /// The sizes of its blocks, if it says so.
    pub blocks: Option<Blocks>,
}

/// The sizes of an export's blocks, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// The smallest that can be asked for.
    pub minimum: u32,
    /// The one that it does best with.
    pub preferred: u32,
    /// The largest that can be asked for.
    pub maximum: u32,
}

/// A handshake without an export, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The other side speaks something else.
    #[error("what answers is no NBD server")]
    NoServer,
    /// The server speaks what was spoken before names of exports.
    #[error("it is an NBD server of the old style, without options")]
    OldStyle,
    /// The server's words are against the protocol.
    #[error("the NBD server does not keep to the protocol: {0}")]
    Broken(&'static str),
    /// The name is too long.
    #[error("the name of an export has at most {NAME_LIMIT_BYTES} bytes")]
    LongName,
    /// The server has nothing of this name; the text is its own.
    #[error("the NBD server has no export of this name{}", said(.0))]
    Unknown(String),
    /// The server wants TLS, which the kernel does not speak.
    #[error("the NBD server wants TLS, which the kernel does not speak{}", said(.0))]
    Tls(String),
    /// The server is about to end.
    #[error("the NBD server is about to end{}", said(.0))]
    ShutsDown(String),
    /// The server refuses for another reason: the number of its answer without the highest bit, and its text.
    #[error("the NBD server refuses the export (error {number}){}", said(.text))]
    Refused {
        /// The number.
        number: u32,
        /// The text.
        text: String,
    },
}

fn said(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(", and says: {text}") }
}

/// The next thing to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send this, if it is anything, and then read exactly so many bytes, at least one.
    Exchange(Vec<u8>, usize),
    /// The handshake is over, and the server waits for requests.
    Done(Export),
}

/// A handshake on its way.
#[derive(Debug, Clone)]
pub struct Handshake {
    name: String,
    expects: Expects,
    /// Whether the server leaves the zeroes away.
    no_zeroes: bool,
    /// The size and flags that it has said so far.
    export: Option<(u64, u16)>,
    blocks: Option<Blocks>,
}

/// The kind of the next bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    Greeting,
    Header,
    /// The content of an answer of this kind.
    Content(u32),
    OldAnswer,
}

impl Handshake {
    /// Begin for an export of this name (the empty one is the server's default); the first thing to be done is to
    /// read so many bytes.
    ///
    /// # Errors
    /// [`HandshakeError::LongName`].
    pub fn begin(name: &str) -> Result<(Self, usize), HandshakeError> {
        if name.len() > NAME_LIMIT_BYTES {
            return Err(HandshakeError::LongName);
        }
        let expects = Expects::Greeting;
        Ok((Self { name: name.into(), expects, no_zeroes: false, export: None, blocks: None }, OPENING_BYTES))
    }

    /// Take the bytes that were to be read, and say what follows from them.
    ///
    /// # Errors
    /// Why there is no export.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Next, HandshakeError> {
        let mut reader = Reader(bytes);
        match self.expects {
            Expects::Greeting => self.greeted(&mut reader),
            Expects::Header => self.header(&mut reader),
            Expects::Content(kind) => self.answered(kind, bytes),
            Expects::OldAnswer => {
                let (size, flags) = (reader.u64()?, reader.u16()?);
                Ok(Next::Done(Export { size, flags, blocks: None }))
            }
        }
    }

    fn greeted(&mut self, reader: &mut Reader<'_>) -> Result<Next, HandshakeError> {
        if reader.next()? != GREETING {
            return Err(HandshakeError::NoServer);
        }
        match reader.next()? {
            OPTION => {}
            OLD_STYLE => return Err(HandshakeError::OldStyle),
            _ => return Err(HandshakeError::NoServer),
        }
        let flags = reader.u16()? & (FIXED_NEWSTYLE | NO_ZEROES);
        self.no_zeroes = flags & NO_ZEROES != 0;
        let mine = u32::from(flags).to_be_bytes().to_vec();
        // Without fixed newstyle there is no answer to an option that is not known.
        Ok(if flags & FIXED_NEWSTYLE == 0 { self.by_name(mine) } else { self.go(mine) })
    }

    fn go(&mut self, mut to: Vec<u8>) -> Next {
        let mut wish = (self.name.len() as u32).to_be_bytes().to_vec();
        wish.extend(self.name.as_bytes());
        wish.extend(1u16.to_be_bytes());
        wish.extend(INFO_BLOCK_SIZE.to_be_bytes());
        to.extend(option(GO, &wish));
        self.expects = Expects::Header;
        Next::Exchange(to, HEADER_BYTES)
    }

    fn by_name(&mut self, mut to: Vec<u8>) -> Next {
        to.extend(option(EXPORT_NAME, self.name.as_bytes()));
        self.expects = Expects::OldAnswer;
        Next::Exchange(to, if self.no_zeroes { OLD_ANSWER_BYTES } else { OLD_ANSWER_BYTES + ZEROES })
    }

    fn header(&mut self, reader: &mut Reader<'_>) -> Result<Next, HandshakeError> {
        if reader.u64()? != OPTION_REPLY {
            return Err(HandshakeError::Broken("an answer without its mark"));
        }
        if reader.u32()? != GO {
            return Err(HandshakeError::Broken("an answer to what was not asked"));
        }
        let (kind, length) = (reader.u32()?, reader.u32()? as usize);
        if length > ANSWER_LIMIT_BYTES {
            return Err(HandshakeError::Broken("an answer that is too long"));
        }
        if length == 0 {
            return self.answered(kind, &[]);
        }
        self.expects = Expects::Content(kind);
        Ok(Next::Exchange(Vec::new(), length))
    }

    fn answered(&mut self, kind: u32, content: &[u8]) -> Result<Next, HandshakeError> {
        match kind {
            ACK => {
                let (size, flags) = self.export.ok_or(HandshakeError::Broken("an export without its size"))?;
                return Ok(Next::Done(Export { size, flags, blocks: self.blocks }));
            }
            INFORMATION => self.told(content)?,
            UNSUPPORTED => return Ok(self.by_name(Vec::new())),
            error if error & REFUSAL != 0 => return Err(refused(error, content)),
            // Answers that are not known are to be passed over, as the protocol says.
            _ => {}
        }
        self.expects = Expects::Header;
        Ok(Next::Exchange(Vec::new(), HEADER_BYTES))
    }

    fn told(&mut self, content: &[u8]) -> Result<(), HandshakeError> {
        let mut reader = Reader(content);
        match reader.u16()? {
            INFO_EXPORT => self.export = Some((reader.u64()?, reader.u16()?)),
            INFO_BLOCK_SIZE => {
                let (minimum, preferred, maximum) = (reader.u32()?, reader.u32()?, reader.u32()?);
                if !minimum.is_power_of_two() || minimum > preferred || preferred > maximum {
                    return Err(HandshakeError::Broken("sizes of blocks that cannot be"));
                }
                self.blocks = Some(Blocks { minimum, preferred, maximum });
            }
            _ => {}
        }
        Ok(())
    }
}

fn refused(kind: u32, content: &[u8]) -> HandshakeError {
    let text = String::from_utf8_lossy(content).trim().to_owned();
    match kind {
        UNKNOWN => HandshakeError::Unknown(text),
        TLS_REQUIRED => HandshakeError::Tls(text),
        SHUTDOWN => HandshakeError::ShutsDown(text),
        _ => HandshakeError::Refused { number: kind & !REFUSAL, text },
    }
}

fn option(which: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = OPTION.to_vec();
    bytes.extend(which.to_be_bytes());
    bytes.extend((content.len() as u32).to_be_bytes());
    bytes.extend(content);
    bytes
}

/// The rest of some bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn next<const N: usize>(&mut self) -> Result<[u8; N], HandshakeError> {
        let (number, rest) =
            mem::take(&mut self.0).split_first_chunk().ok_or(HandshakeError::Broken("an answer that is too short"))?;
        self.0 = rest;
        Ok(*number)
    }

    fn u16(&mut self) -> Result<u16, HandshakeError> {
        self.next().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, HandshakeError> {
        self.next().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, HandshakeError> {
        self.next().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests;
