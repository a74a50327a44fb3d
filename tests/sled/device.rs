//! Upstream's block device on a host, and the little of NBD that it takes to use it.

use crucible_sled::wire::Ticket;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::hosts::{CONNECT, Host};
use support::places::crucible;

/// The address on which it listens once it is active, on the host itself alone.
const OWN: ([u8; 4], u16) = ([127, 0, 0, 1], 10809);
/// How long a request may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The real program, if it is there.
pub fn program() -> Option<PathBuf> {
    Some(crucible().join("crucible-nbd-server")).filter(|program| program.exists())
}

/// A block device on a host: upstream's server, ended with this value.
pub struct Device {
    host: Host,
    server: Child,
}

impl Device {
    /// Starts the server with what a ticket says.
    pub fn start(host: &Host, ticket: &Ticket) -> Self {
        let (program, generation) = (program().unwrap(), ticket.generation.to_string());
        let mut command = host.space.command(&[program.to_str().unwrap(), "--gen", &generation]);
        ticket.targets.iter().for_each(|target| _ = command.args(["--target", &target.to_string()]));
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { host: host.clone(), server }
    }

    /// Waits until the volume is active, for so long at most, and opens it.
    pub fn open_within(&self, time: Duration) -> Blocks {
        let began = Instant::now();
        loop {
            match Blocks::open(&self.host) {
                Ok(blocks) => return blocks,
                Err(why) => assert!(began.elapsed() < time, "{} is not active: {why}", self.host.address),
            }
            // That somebody listens is told to nobody.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the server still runs.
    pub fn runs(&mut self) -> bool {
        self.server.try_wait().unwrap().is_none()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        _ = self.server.kill();
        _ = self.server.wait();
    }
}

/// An open block device: one client at a time has it.
pub struct Blocks {
    stream: TcpStream,
    /// How large it is, in bytes.
    pub size: u64,
    requests: u64,
}

impl Blocks {
    fn open(host: &Host) -> io::Result<Self> {
        let stream = host.within(|| TcpStream::connect_timeout(&SocketAddr::from(OWN), CONNECT))?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let mut blocks = Self { stream, size: 0, requests: 0 };
        blocks.greet()?;
        Ok(blocks)
    }

    /// The fixed newstyle handshake, with the export without a name.
    fn greet(&mut self) -> io::Result<()> {
        let mut greeting = [0; 18];
        self.stream.read_exact(&mut greeting)?;
        self.stream.write_all(&[&1u32.to_be_bytes(), &b"IHAVEOPT"[..], &1u32.to_be_bytes(), &[0; 4]].concat())?;
        let mut export = [0; 8 + 2 + 124];
        self.stream.read_exact(&mut export)?;
        self.size = u64::from_be_bytes(export[..8].try_into().unwrap());
        Ok(())
    }

    /// Make one request: 0 reads, 1 writes, 3 flushes.
    fn request(&mut self, kind: u16, offset: u64, length: usize, data: &[u8]) -> io::Result<()> {
        self.requests += 1;
        let (magic, handle) = (0x2560_9513_u32.to_be_bytes(), self.requests.to_be_bytes());
        let length = u32::try_from(length).unwrap().to_be_bytes();
        let kind = u32::from(kind).to_be_bytes();
        self.stream.write_all(&[&magic[..], &kind, &handle, &offset.to_be_bytes(), &length, data].concat())?;
        let mut answer = [0; 16];
        self.stream.read_exact(&mut answer)?;
        assert_eq!((&answer[..4], &answer[8..]), (&0x6744_6698_u32.to_be_bytes()[..], &handle[..]));
        match u32::from_be_bytes(answer[4..8].try_into().unwrap()) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno.cast_signed())),
        }
    }

    /// Reads so many bytes from there on.
    pub fn read(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.request(0, offset, length, &[])?;
        let mut data = vec![0; length];
        self.stream.read_exact(&mut data)?;
        Ok(data)
    }

    /// Writes there, and flushes.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.request(1, offset, data.len(), data)?;
        self.request(3, 0, 0, &[])
    }
}
