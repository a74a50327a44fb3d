//! Hosts, and the switch that joins them with the cables of machines: each is a network namespace
//! without a process in it, gone with the last value that holds it, or when the test dies.

use crate::places::repository;
use crucible_sled::protocol;
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The address at which the sled answers, as the shipped port map says.
pub const SLED: &str = "192.168.4.189";
/// The longest that anything is waited for.
pub const EVENT_LIMIT: Duration = Duration::from_secs(60);
/// How long a connection may take to come about: on a network of no length, that is long.
pub const CONNECT: Duration = Duration::from_millis(1500);
/// The address of the switch itself, as `tests/machine/switch` has it.
const OWN: &str = "192.168.4.17";

/// A network namespace.
#[derive(Clone)]
pub struct Space(Arc<File>);

impl Space {
    /// An empty one.
    pub fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        Self(Arc::new(made.join().unwrap()))
    }

    /// The network of a process.
    pub fn of(pid: u32) -> Self {
        Self(Arc::new(File::open(format!("/proc/{pid}/ns/net")).unwrap()))
    }

    /// The path at which programs find it, for as long as this process holds it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Moves this thread there, for good.
    pub fn enter(&self) {
        setns(&*self.0, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Does something there, on a thread of its own.
    pub fn within<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        let space = self.clone();
        let thread = std::thread::spawn(move || {
            space.enter();
            what()
        });
        thread.join().unwrap_or_else(|why| std::panic::resume_unwind(why))
    }

    /// A command that runs there, and not for longer than the thread that starts it.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", &format!("--net={}", self.path()), "--"]).args(words);
        command.env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a command there that must succeed, and returns what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {}\n{error}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A bridge to whose ports the cables of machines and of hosts lead. Its namespace is a host, too.
pub struct Switch {
    /// Its namespace.
    pub space: Space,
    hosts: Mutex<BTreeMap<String, Host>>,
}

impl Switch {
    /// Make one of its own, for several machines.
    pub fn new() -> Self {
        let space = Space::new();
        let script = repository("tests/machine/switch");
        space.ok(&[script.to_str().unwrap()]);
        Self::at(space)
    }

    /// The one that there is in a namespace.
    pub fn at(space: Space) -> Self {
        let own = Host { space: space.clone(), address: OWN.to_owned() };
        Self { space, hosts: Mutex::new([(OWN.to_owned(), own)].into()) }
    }

    /// The host with this address; made when it is first asked for.
    pub fn host(&self, address: &str) -> Host {
        let mut hosts = self.hosts.lock().unwrap();
        hosts.entry(address.to_owned()).or_insert_with(|| self.join(address)).clone()
    }

    fn join(&self, address: &str) -> Host {
        let (space, port) = (Space::new(), format!("host-{}", address.rsplit_once('.').unwrap().1));
        let words = ["ip", "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &space.path()];
        self.space.ok(&words);
        self.space.ok(&["ip", "link", "set", &port, "master", "switch", "up"]);
        space.ok(&["ip", "address", "add", &format!("{address}/24"), "dev", "eth0"]);
        space.ok(&["ip", "link", "set", "lo", "up"]);
        space.ok(&["ip", "link", "set", "eth0", "up"]);
        Host { space, address: address.to_owned() }
    }
}

/// A machine that attaches volumes, as far as a sled sees it.
#[derive(Clone)]
pub struct Host {
    /// Its network.
    pub space: Space,
    /// Its address.
    pub address: String,
}

impl Host {
    /// Runs a command in its network.
    pub fn run(&self, words: &[&str]) -> Output {
        self.space.command(words).output().unwrap()
    }

    /// Runs a command in its network that must succeed, and returns what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        self.space.ok(words)
    }

    /// Does something in its network, on a thread of its own.
    pub fn within<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        self.space.within(what)
    }

    /// Connects to a port of the sled.
    pub fn connect(&self, port: u16) -> io::Result<TcpStream> {
        self.connect_to(SLED, port)
    }

    /// Connects to a port of one of several sleds.
    pub fn connect_to(&self, sled: &str, port: u16) -> io::Result<TcpStream> {
        let address = SocketAddr::new(sled.parse().unwrap(), port);
        self.within(move || {
            let stream = TcpStream::connect_timeout(&address, CONNECT)?;
            stream.set_read_timeout(Some(CONNECT))?;
            stream.set_write_timeout(Some(CONNECT))?;
            Ok(stream)
        })
    }

    /// Whether a region that listens at this port of the sled answers it.
    pub fn reaches(&self, port: u16) -> bool {
        self.reaches_at(SLED, port)
    }

    /// The same of one of several sleds.
    pub fn reaches_at(&self, sled: &str, port: u16) -> bool {
        let Ok(mut stream) = self.connect_to(sled, port) else { return false };
        let answered = is_well(&mut stream);
        if answered {
            hang_up(&mut stream);
        }
        answered
    }

    /// Make one HTTP request to the sled: status and JSON body.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.ask_at(SLED, method, path, body).unwrap()
    }

    /// Make one HTTP request to one of several sleds.
    pub fn ask_at(&self, sled: &str, method: &str, path: &str, body: &str) -> io::Result<(u16, Value)> {
        let [sled, method, path, body] = [sled, method, path, body].map(str::to_owned);
        self.within(move || {
            let (status, body) = ask_at(&sled, &method, &path, &body)?;
            Ok((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
        })
    }

    /// Its address as an address.
    pub fn ip(&self) -> IpAddr {
        self.address.parse().unwrap()
    }
}

/// Whether the region on a connection answers that it is well.
pub fn is_well(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 8];
    let asked = stream.write_all(&protocol::RUOK).and_then(|()| stream.read_exact(&mut answer));
    asked.is_ok() && answer == protocol::IMOK
}

/// Closes a connection, and waits until the other side has no socket of it any more.
pub fn hang_up(stream: &mut TcpStream) {
    // A stream that was cut has nothing to wait for.
    _ = stream.shutdown(Shutdown::Write).and_then(|()| stream.read_to_end(&mut Vec::new()));
}

/// Make one HTTP request on a connection of its own.
pub fn ask(method: &str, path: &str) -> io::Result<(u16, String)> {
    ask_at(SLED, method, path, "")
}

/// Make one HTTP request with a body to one of several sleds.
pub fn ask_at(sled: &str, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(sled.parse().unwrap(), 3800), EVENT_LIMIT)?;
    stream.set_read_timeout(Some(EVENT_LIMIT))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: sled\r\nConnection: close\r\n")?;
    if !body.is_empty() {
        write!(stream, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())?;
    }
    write!(stream, "\r\n{body}")?;
    read_answer(stream)
}

/// Read the answer on a connection: the status and the body.
pub fn read_answer(mut stream: TcpStream) -> io::Result<(u16, String)> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let odd = || io::Error::other(format!("odd answer {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(odd)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(odd)?;
    Ok((status, body.to_owned()))
}
