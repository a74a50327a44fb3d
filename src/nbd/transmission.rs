//! Requests and simple replies. Pure.

use super::{Broken, Errno};

/// The length of a request's header, in bytes.
pub const REQUEST: usize = 28;
/// The length of a simple reply's header, in bytes.
pub const REPLY: usize = 16;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// The command of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// So many bytes.
    Read,
    /// The bytes that follow it are to be written.
    Write,
    /// The client leaves; there is no reply.
    Disconnect,
    /// Acknowledged writes are to last.
    Flush,
    /// Anything else, by its number.
    Other(u16),
}

impl Command {
    fn number(self) -> u16 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::Disconnect => 2,
            Self::Flush => 3,
            Self::Other(number) => number,
        }
    }
}

/// A request's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The command.
    pub command: Command,
    /// Flags of it; none is understood.
    pub flags: u16,
    /// The cookie by which its reply is told.
    pub cookie: u64,
    /// The offset at which it begins, in bytes.
    pub offset: u64,
    /// The length in bytes.
    pub length: u32,
}

impl Request {
    /// Read a request from its bytes.
    ///
    /// # Errors
    /// [`Broken`] if they are none.
    pub fn read(bytes: &[u8; REQUEST]) -> Result<Self, Broken> {
        let mut fields = Fields(bytes);
        if fields.u32() != REQUEST_MAGIC {
            return Err(Broken("what should be a request is none".into()));
        }
        let flags = fields.u16();
        let command = match fields.u16() {
            0 => Command::Read,
            1 => Command::Write,
            2 => Command::Disconnect,
            3 => Command::Flush,
            other => Command::Other(other),
        };
        Ok(Self { command, flags, cookie: fields.u64(), offset: fields.u64(), length: fields.u32() })
    }

    /// Write the request's bytes.
    pub fn written(&self) -> [u8; REQUEST] {
        let mut bytes = [0; REQUEST];
        bytes[0..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.command.number().to_be_bytes());
        bytes[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// Find that it can be served of an export of this size, with requests of at most so many bytes.
    ///
    /// # Errors
    /// The error that is to be replied.
    pub fn is_within(&self, size: u64, most: u32) -> Result<(), Errno> {
        let end = self.offset.checked_add(self.length.into());
        match self.command {
            _ if self.flags != 0 => Err(Errno::Invalid),
            Command::Flush | Command::Disconnect => Ok(()),
            Command::Other(_) => Err(Errno::Invalid),
            Command::Read | Command::Write if self.length > most => Err(Errno::Overflow),
            Command::Read if end.is_none_or(|end| end > size) => Err(Errno::Invalid),
            Command::Write if end.is_none_or(|end| end > size) => Err(Errno::NoSpace),
            Command::Read | Command::Write => Ok(()),
        }
    }
}

/// A simple reply's header. The data of a read that worked follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// 0, or the number of its error, which may be any.
    pub error: u32,
    /// The cookie of its request.
    pub cookie: u64,
}

impl Reply {
    /// Make the reply to a request that has worked, or has not.
    pub fn of(cookie: u64, result: Result<(), Errno>) -> Self {
        Self { error: result.err().map_or(0, |errno| errno as u32), cookie }
    }

    /// Read a reply from its bytes.
    ///
    /// # Errors
    /// [`Broken`] if they are none.
    pub fn read(bytes: &[u8; REPLY]) -> Result<Self, Broken> {
        let mut fields = Fields(bytes);
        if fields.u32() != REPLY_MAGIC {
            return Err(Broken("what should be a reply is none".into()));
        }
        Ok(Self { error: fields.u32(), cookie: fields.u64() })
    }

    /// Write the reply's bytes.
    pub fn written(&self) -> [u8; REPLY] {
        let mut bytes = [0; REPLY];
        bytes[0..4].copy_from_slice(&REPLY_MAGIC.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.error.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        bytes
    }
}

/// The fields of a header, one after the other; what is beyond its end is 0.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().map_or(([0; N], &[][..]), |(field, rest)| (*field, rest));
        self.0 = rest;
        field
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.next())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.next())
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(command in 0_u16..9, flags: u16, cookie: u64, offset: u64, length: u32, error: u32) {
            let command = match command {
                0 => Command::Read,
                1 => Command::Write,
                2 => Command::Disconnect,
                3 => Command::Flush,
                other => Command::Other(other),
            };
            let request = Request { command, flags, cookie, offset, length };
            prop_assert_eq!(Request::read(&request.written()), Ok(request));
            let reply = Reply { error, cookie };
            prop_assert_eq!(Reply::read(&reply.written()), Ok(reply));
        }

        #[test]
        fn any_bytes_are_a_request_or_are_not(bytes: [u8; REQUEST], size: u64, most: u32) {
            if let Ok(request) = Request::read(&bytes) {
                _ = request.is_within(size, most);
            }
        }
    }

    #[test]
    fn what_lies_outside_is_refused_with_its_reason() {
        let request = |command, offset, length| Request { command, flags: 0, cookie: 7, offset, length };
        for (command, offset, length, expected) in [
            (Command::Read, 0, 4096, Ok(())),
            (Command::Read, 4096, 4096, Ok(())),
            (Command::Read, 4097, 4096, Err(Errno::Invalid)),
            (Command::Write, 4097, 4096, Err(Errno::NoSpace)),
            (Command::Write, u64::MAX, 2, Err(Errno::NoSpace)),
            (Command::Read, 0, 8193, Err(Errno::Overflow)),
            (Command::Flush, u64::MAX, 0, Ok(())),
            (Command::Other(4), 0, 4096, Err(Errno::Invalid)),
        ] {
            assert_eq!(
                request(command, offset, length).is_within(8192, 8192),
                expected,
                "{command:?} {offset} {length}"
            );
        }
        let fua = Request { flags: 1, ..request(Command::Write, 0, 4096) };
        assert_eq!(fua.is_within(8192, 8192), Err(Errno::Invalid));
    }
}
