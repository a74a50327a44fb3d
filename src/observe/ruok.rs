//! Connection to a data port, on which `Ruok` is asked and nothing else.
//!
//! It is looked at when somebody looks, and at no other time: the kernel tells the runtime of
//! nothing that arrives on it, so that twelve answers do not wake the supervisor twelve times.
//! It is the same over TLS: only hands are shaken with the runtime's help, before.

use crate::observe::tls::dial::Session;
use crate::protocol::{IMOK, RUOK};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use tokio_rustls::rustls::ClientConnection;

/// The connection.
#[derive(Debug)]
pub(super) struct Line {
    stream: Stream,
    answer: [u8; IMOK.len()],
    /// Number of the answer's bytes that have come.
    read: usize,
}

impl Line {
    /// Make a connection of a stream of tokio's, which it takes from the runtime's hands.
    pub(super) fn new(stream: tokio::net::TcpStream) -> io::Result<Self> {
        Ok(Self { stream: Stream::Plain(stream.into_std()?), answer: [0; IMOK.len()], read: 0 })
    }

    /// The same over TLS, once hands were shaken.
    pub(super) fn secret((stream, secrets): Session) -> io::Result<Self> {
        let stream = Stream::Secret(stream.into_std()?, Box::new(secrets));
        Ok(Self { stream, answer: [0; IMOK.len()], read: 0 })
    }

    /// Asks, if the peer is there and has said nothing unasked. Not to be asked again before
    /// the answer has come.
    pub(super) fn ask(&mut self) -> io::Result<()> {
        match self.stream.read(&mut [0]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Err(io::Error::other("it spoke unasked")),
            Err(why) if why.kind() == ErrorKind::WouldBlock => {}
            Err(why) => return Err(why),
        }
        // A peer that has read every question so far has room for eight bytes.
        self.stream.write_all(&RUOK)
    }

    /// Tell whether the answer has come.
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

/// Plain, or over TLS. Never waits: what would block says so.
#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Secret(TcpStream, Box<ClientConnection>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (stream, secrets) = match self {
            Self::Plain(stream) => return stream.read(buffer),
            Self::Secret(stream, secrets) => (stream, secrets),
        };
        loop {
            match secrets.reader().read(buffer) {
                Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            // Nothing is left of what had come; whether more has, the kernel says.
            secrets.read_tls(stream)?;
            let taken = secrets.process_new_packets();
            // An answer to what is no data, or why it is not accepted; it is lost if there is no room.
            let told = flush(stream, secrets);
            taken.map_err(io::Error::other)?;
            told?;
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Secret(stream, secrets) => {
                let written = secrets.writer().write(bytes)?;
                flush(stream, secrets)?;
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Secret(stream, secrets) => flush(stream, secrets),
        }
    }
}

impl Drop for Stream {
    /// Says goodbye, as the downstairs logs an error otherwise.
    fn drop(&mut self) {
        if let Self::Secret(stream, secrets) = self {
            secrets.send_close_notify();
            _ = flush(stream, secrets);
        }
    }
}

/// Sends what there is to send.
fn flush(stream: &mut TcpStream, secrets: &mut ClientConnection) -> io::Result<()> {
    while secrets.wants_write() {
        secrets.write_tls(stream)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Shutdown, TcpListener};

    /// Whether any answer is taken for one before the peer, who says this in these pieces, hangs up.
    fn heard(pieces: &[Vec<u8>]) -> io::Result<bool> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        let (mut peer, _) = listener.accept()?;
        let mut line = Line { stream: Stream::Plain(stream), answer: [0; IMOK.len()], read: 0 };
        for piece in pieces {
            peer.write_all(piece)?;
        }
        peer.shutdown(Shutdown::Write)?;
        // Nothing blocks: all of it is there, and then the end.
        while !line.answered()? {}
        Ok(true)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn only_the_answer_is_one_whatever_is_said_and_in_whatever_pieces(
            said in proptest::collection::vec(any::<u8>(), 0..40),
            cuts in proptest::collection::vec(0usize..40, 0..4),
            genuine in any::<bool>(),
        ) {
            let said = if genuine { [&IMOK[..], &said].concat() } else { said };
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(said.len())).chain([0, said.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| said[pair[0]..pair[1]].to_vec()).collect();
            let heard = heard(&pieces).unwrap_or(false);
            prop_assert_eq!(heard, said.starts_with(&IMOK));
        }
    }
}
