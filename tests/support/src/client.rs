//! A client of the relay's socket, or of a server itself: it sends what it is told, several at once if it likes, and
//! takes what comes.

use bytes::BytesMut;
use crucible_sled::nbd::entry::Entry;
use crucible_sled::nbd::transmission::{Command, REPLY, Reply, Request};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection on which requests are made.
pub struct Client<S = UnixStream> {
    /// The stream that it goes by.
    pub stream: S,
    /// The bytes of the volume.
    pub size: u64,
    cookie: u64,
}

impl Client {
    /// Connected, and ready to ask.
    pub fn attached(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        // Longer than anything takes: who waits so long waits for ever.
        stream.set_read_timeout(Some(Duration::from_secs(300)))?;
        Self::over(stream)
    }
}

impl<S: Read + Write> Client<S> {
    /// Ready to ask, over a connection on which nothing was said.
    pub fn over(mut stream: S) -> io::Result<Self> {
        let (mut entry, mut input, mut out) = (Entry::default(), BytesMut::new(), Vec::new());
        loop {
            let mut byte = [0; 1];
            stream.read_exact(&mut byte)?;
            input.extend_from_slice(&byte);
            let entered = entry.hear(&mut input, &mut out).map_err(io::Error::other)?;
            stream.write_all(&std::mem::take(&mut out))?;
            if let Some(entered) = entered {
                return Ok(Self { stream, size: entered.size, cookie: 0 });
            }
        }
    }

    /// Sends a request; what its answer is told by.
    pub fn send(&mut self, command: Command, offset: u64, length: usize, data: &[u8]) -> io::Result<u64> {
        self.cookie += 1;
        let request = Request { command, flags: 0, cookie: self.cookie, offset, length: length as u32 };
        self.stream.write_all(&[&request.written()[..], data].concat())?;
        Ok(self.cookie)
    }

    /// The next answer: of which request, and its error, if it has one.
    pub fn answer(&mut self) -> io::Result<(u64, Result<(), u32>)> {
        let mut header = [0; REPLY];
        self.stream.read_exact(&mut header)?;
        let reply = Reply::read(&header).map_err(io::Error::other)?;
        Ok((reply.cookie, if reply.error == 0 { Ok(()) } else { Err(reply.error) }))
    }

    fn ask(&mut self, command: Command, offset: u64, length: usize, data: &[u8]) -> io::Result<()> {
        let cookie = self.send(command, offset, length, data)?;
        let (of, result) = self.answer()?;
        assert_eq!(of, cookie);
        result.map_err(|error| io::Error::from_raw_os_error(error.cast_signed()))
    }

    /// Writes, and waits for the answer.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.ask(Command::Write, offset, data.len(), data)
    }

    /// Flushes, and waits for the answer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.ask(Command::Flush, 0, 0, &[])
    }

    /// Read what is there.
    pub fn read(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.ask(Command::Read, offset, length, &[])?;
        let mut data = vec![0; length];
        self.stream.read_exact(&mut data)?;
        Ok(data)
    }
}
