//! Those that are compared: upstream's server by itself, the relay before it, the relay with its server apart, and
//! QEMU's.

use nix::fcntl::{Flock, FlockArg};
use procfs::process::Process;
use rustix::net::sockopt::set_tcp_quickack;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::client;
use support::figures::is_short;
use support::places::program;
use support::relay::{Host, SIZE, until};

const SERVER: &str = "127.0.0.1:10809";

/// The subject that is asked, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The server, by a client as the runbook's.
    Untouched,
    /// The server, by a client that acknowledges at once.
    Quick,
    /// The relay.
    Relay,
    /// The relay of a host's second volume.
    Apart,
    /// A file of this machine, by QEMU.
    Qemu,
}

impl Subject {
    pub const ALL: [Self; 5] = [Self::Untouched, Self::Quick, Self::Relay, Self::Apart, Self::Qemu];

    pub fn name(self) -> &'static str {
        match self {
            Self::Untouched => "the server, loopback untouched",
            Self::Quick => "the server, with quickack",
            Self::Relay => "the relay",
            Self::Apart => "the relay, its server apart",
            Self::Qemu => "qemu-nbd of a local file",
        }
    }
}

/// A client of any of them.
pub type Client = client::Client<Line>;

/// The line that a client goes by.
pub enum Line {
    Unix(UnixStream),
    Plain(TcpStream),
    Quick(TcpStream),
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Plain(stream) => stream.read(buffer),
            Self::Quick(stream) => {
                // Before it sleeps: it is not permanent.
                set_tcp_quickack(&*stream, true)?;
                stream.read(buffer)
            }
        }
    }
}

impl Write for Line {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(buffer),
            Self::Plain(stream) | Self::Quick(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server without a relay. It is killed when this is dropped.
pub struct Alone(Child);

impl Drop for Alone {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Alone {
    /// Begins one, and returns when it is active and listens; how long that took.
    pub fn begin(host: &Host) -> (Self, TcpStream, Duration) {
        let mut generation = 0;
        host.sled.tell(|mind| {
            mind.granted = mind.granted.max(mind.clock) + 1;
            generation = mind.granted;
        });
        let mut command = Command::new(program("crucible-nbd-server"));
        for port in 3830..3833 {
            command.args(["--target", &format!("{}:{port}", host.sled.address)]);
        }
        command.args(["--gen", &generation.to_string()]).stdout(Stdio::null()).env_remove("RUST_BACKTRACE");
        command.envs(as_the_real_one()).env("STAND_IN_STORE", host.dir.path().join("store"));
        let began = Instant::now();
        let server = Self(command.env("STAND_IN_SIZE", SIZE.to_string()).spawn().unwrap());
        let mut stream = None;
        until(|| {
            stream = TcpStream::connect(SERVER).ok();
            stream.is_some()
        });
        (server, no_delay(stream.unwrap()), began.elapsed())
    }
}

/// The settings that make a stand-in as the real one: Nagle's algorithm, and ten seconds until it looks for a replica
/// again.
fn as_the_real_one() -> [(&'static str, &'static str); 2] {
    [("STAND_IN_NAGLE", "1"), ("STAND_IN_RETRY", if is_short() { "200" } else { "10000" })]
}

fn no_delay(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream
}

/// Begins the relay.
pub fn relay(host: &mut Host) {
    let mut command = host.command();
    command.envs(as_the_real_one());
    host.begin_as(command);
    until(|| host.said().contains("its server begins"));
}

/// Begins the relay as that of a second volume: as long as this is kept, the host's place is somebody's.
pub fn relay_apart(host: &mut Host) -> Flock<File> {
    let place = File::options().write(true).create(true).truncate(true).open(host.lock()).unwrap();
    let place = Flock::lock(place, FlockArg::LockExclusive).unwrap();
    relay(host);
    assert!(host.said().contains("a network of its own"), "{}", host.said());
    place
}

/// Processes, by what they have had of the processors so far.
pub struct Processes(Vec<u32>);

impl Processes {
    /// How long they have run, on whichever processor: a figure that other programs of the machine change little.
    pub fn spent(&self) -> Duration {
        self.0.iter().map(|process| ran(*process)).sum()
    }
}

/// How long the threads of a process have run that live.
fn ran(process: u32) -> Duration {
    let tasks = Process::new(process.cast_signed()).unwrap().tasks().unwrap().flatten();
    tasks.filter_map(|task| task.schedstat().ok()).map(|stat| Duration::from_nanos(stat.sum_exec_runtime)).sum()
}

/// Lets each of them have a turn, with the relay's process, if there is one, and the server's; those that are not
/// installed have none.
pub fn each(host: &mut Host, subjects: &[Subject], mut turn: impl FnMut(Subject, &mut Client, &Processes, &Processes)) {
    let has = |subject| subjects.contains(&subject);
    let mut turn = |subject, line, relay: Option<u32>, server: Option<u32>| {
        let [relay, server] = [relay, server].map(|process| Processes(process.into_iter().collect()));
        turn(subject, &mut Client::over(line).unwrap(), &relay, &server);
    };
    {
        let (alone, stream, _) = Alone::begin(host);
        let server = Some(alone.0.id());
        // One client after the other.
        if has(Subject::Untouched) {
            turn(Subject::Untouched, Line::Plain(stream), None, server);
        } else {
            drop(stream);
        }
        if has(Subject::Quick) {
            turn(Subject::Quick, Line::Quick(no_delay(TcpStream::connect(SERVER).unwrap())), None, server);
        }
    }
    relay(host);
    turn(Subject::Relay, Line::Unix(connected(&host.socket())), host.relay(), host.server());
    host.end("TERM");
    let place = relay_apart(host);
    turn(Subject::Apart, Line::Unix(connected(&host.socket())), host.relay(), host.server());
    host.end("TERM");
    drop(place);
    if has(Subject::Qemu)
        && let Some((qemu, stream)) = qemu(host)
    {
        turn(Subject::Qemu, Line::Unix(stream), None, Some(qemu.0.id()));
    }
}

/// A connection to a socket that is there, or about to be.
fn connected(path: &Path) -> UnixStream {
    let mut stream = None;
    until(|| {
        stream = UnixStream::connect(path).ok();
        stream.is_some()
    });
    stream.unwrap()
}

/// QEMU's server of a file that lies beside the regions.
fn qemu(host: &Host) -> Option<(Alone, UnixStream)> {
    let (file, socket) = (host.dir.path().join("qemu.raw"), host.dir.path().join("qemu.sock"));
    File::create(&file).unwrap().set_len(SIZE).unwrap();
    let mut command = Command::new("qemu-nbd");
    command.args(["--format", "raw", "--persistent", "--socket"]).arg(&socket).arg(&file);
    let child = command.stdout(Stdio::null()).spawn().ok()?;
    Some((Alone(child), connected(&socket)))
}
