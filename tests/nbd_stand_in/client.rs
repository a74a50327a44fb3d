//! A client of a block device, small and exact: it sends what it is told, and takes what comes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The address on which the server listens.
pub const ADDRESS: &str = "127.0.0.1:10809";

/// Fixed newstyle, without zeroes.
pub const FLAGS: u32 = 0b11;
/// To choose an export by its name.
pub const EXPORT_NAME: u32 = 1;

pub const READ: u16 = 0;
pub const WRITE: u16 = 1;
pub const FLUSH: u16 = 3;
pub const TRIM: u16 = 4;
pub const WRITE_ZEROES: u16 = 6;

/// Numbers in EIO and ENOSYS.
pub const EIO: u32 = 5;
pub const ENOSYS: u32 = 38;

/// A connection.
pub struct Client {
    /// The stream that it goes by.
    pub stream: TcpStream,
    /// The bytes of the volume, once they are known.
    pub size: u64,
    cookie: u64,
}

impl Client {
    /// Connected, and nothing more.
    pub fn connect() -> io::Result<Self> {
        let stream = TcpStream::connect(ADDRESS)?;
        stream.set_nodelay(true)?;
        // Longer than anything takes: who waits so long waits for ever.
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Self { stream, size: 0, cookie: 0 })
    }

    /// Connected, and greeted.
    pub fn greeted(flags: u32) -> io::Result<Self> {
        let mut client = Self::connect()?;
        assert_eq!(client.take()?, *b"NBDMAGICIHAVEOPT\0\x03");
        client.stream.write_all(&flags.to_be_bytes())?;
        Ok(client)
    }

    /// Ready to read and write.
    pub fn attached() -> io::Result<Self> {
        let mut client = Self::greeted(FLAGS)?;
        client.option(EXPORT_NAME, b"")?;
        client.size = u64::from_be_bytes(client.take()?);
        assert_eq!(u16::from_be_bytes(client.take()?), 0b101, "it has flags, and takes flushes");
        Ok(client)
    }

    /// Sends an option.
    pub fn option(&mut self, option: u32, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u32).to_be_bytes();
        self.stream.write_all(&[b"IHAVEOPT", &option.to_be_bytes()[..], &length, data].concat())
    }

    /// The answer to an option: what it is, and its data.
    pub fn option_answer(&mut self, option: u32) -> io::Result<(u32, Vec<u8>)> {
        assert_eq!(u64::from_be_bytes(self.take()?), 0x0003_E889_0455_65A9);
        assert_eq!(u32::from_be_bytes(self.take()?), option);
        let kind = u32::from_be_bytes(self.take()?);
        let length = u32::from_be_bytes(self.take()?);
        Ok((kind, self.bytes(length as usize)?))
    }

    /// Sends a request, and its payload.
    pub fn send(&mut self, kind: u16, offset: u64, length: usize, payload: &[u8]) -> io::Result<()> {
        self.cookie += 1;
        let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
        request.extend([0, 0]);
        request.extend(kind.to_be_bytes());
        request.extend(self.cookie.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend((length as u32).to_be_bytes());
        request.extend(payload);
        self.stream.write_all(&request)
    }

    /// The error in the answer to the last request, or 0.
    pub fn answer(&mut self) -> io::Result<u32> {
        assert_eq!(u32::from_be_bytes(self.take()?), 0x6744_6698);
        let error = u32::from_be_bytes(self.take()?);
        assert_eq!(u64::from_be_bytes(self.take()?), self.cookie);
        Ok(error)
    }

    /// Asks for something of a length that comes without data.
    pub fn ask(&mut self, kind: u16, offset: u64, length: usize) -> io::Result<u32> {
        self.send(kind, offset, length, b"")?;
        self.answer()
    }

    /// Writes: 0, or the error.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<u32> {
        self.send(WRITE, offset, bytes.len(), bytes)?;
        self.answer()
    }

    /// Reads what is there.
    pub fn read(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        match self.ask(READ, offset, length)? {
            0 => self.bytes(length),
            error => Err(io::Error::from_raw_os_error(error as i32)),
        }
    }

    /// Flushes.
    pub fn flush(&mut self) -> io::Result<u32> {
        self.ask(FLUSH, 0, 0)
    }

    /// So many bytes of what comes next.
    pub fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether nothing has come by now.
    pub fn is_silent(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let silent = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        matches!(silent, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Whether the connection ends, and nothing else comes before.
    pub fn is_dropped(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        }
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
