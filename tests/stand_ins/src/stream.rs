//! A connection to an upstairs, plain or decrypted. It never looks at what passes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connection.
pub enum Stream {
    /// As it came.
    Plain(TcpStream),
    /// The stream that was decrypted.
    Decrypted(UnixStream),
}

impl Stream {
    /// Bounds how long a read and a write may take.
    pub fn limit(&self, read: Duration, write: Duration) -> io::Result<()> {
        match self {
            Self::Plain(stream) => {
                stream.set_read_timeout(Some(read))?;
                stream.set_write_timeout(Some(write))?;
                stream.set_nodelay(true)
            }
            Self::Decrypted(stream) => {
                stream.set_read_timeout(Some(read))?;
                stream.set_write_timeout(Some(write))
            }
        }
    }

    /// The same connection, for somebody else.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Plain(stream) => stream.try_clone().map(Self::Plain),
            Self::Decrypted(stream) => stream.try_clone().map(Self::Decrypted),
        }
    }

    /// Ends it, copies and all.
    pub fn close(&self) {
        let _ = match self {
            Self::Plain(stream) => stream.shutdown(Shutdown::Both),
            Self::Decrypted(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Decrypted(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Decrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Decrypted(stream) => stream.flush(),
        }
    }
}
