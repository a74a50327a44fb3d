//! One connection to a data port, on which `Ruok` is asked and nothing else.
//!
//! It is looked at when somebody looks, and at no other time: the kernel tells the runtime of
//! nothing that arrives on it, so that twelve answers do not wake the supervisor twelve times.

use crate::protocol::{IMOK, RUOK};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// The connection.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    answer: [u8; IMOK.len()],
    /// How much of the answer has come.
    read: usize,
}

impl Line {
    /// On a stream of tokio's, which it takes from the runtime's hands.
    pub(super) fn new(stream: tokio::net::TcpStream) -> io::Result<Self> {
        Ok(Self { stream: stream.into_std()?, answer: [0; IMOK.len()], read: 0 })
    }

    /// Asks, if the peer is there and has said nothing unasked. Not to be asked again before
    /// the answer has come.
    pub(super) fn ask(&mut self) -> io::Result<()> {
        match self.stream.peek(&mut [0]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Err(io::Error::other("it spoke unasked")),
            Err(why) if why.kind() == ErrorKind::WouldBlock => {}
            Err(why) => return Err(why),
        }
        // A peer that has read every question so far has room for eight bytes.
        self.stream.write_all(&RUOK)
    }

    /// Whether the answer has come.
    pub(super) fn answered(&mut self) -> io::Result<bool> {
        match self.stream.read(&mut self.answer[self.read..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(more) => self.read += more,
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(false),
            Err(why) => return Err(why),
        }
        if self.read < self.answer.len() {
            return Ok(false);
        }
        self.read = 0;
        match self.answer {
            IMOK => Ok(true),
            answer => Err(io::Error::other(format!("it answered {answer:02x?} to Ruok"))),
        }
    }
}
