//! Three downstairs and the server of a test, the stand-ins or with `CRUCIBLE_BIN` the real programs.
//!
//! Each test has a network of its own (`loopback`), so that all of them use the same ports.

use crate::client::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use support::loopback;
use support::places::program;

/// The address at which the server tells of itself.
pub const CONTROL: &str = "127.0.0.1:7777";
/// Bytes of the volume: 4 extents of 1024 blocks.
pub const SIZE: u64 = 4 * 1024 * BLOCK as u64;
/// Bytes of a block.
pub const BLOCK: usize = 4096;

/// A volume on three downstairs, all of which are gone when it is.
pub struct Volume {
    /// The directory of all of it.
    pub dir: tempfile::TempDir,
    replicas: Vec<Option<Child>>,
    servers: std::cell::Cell<usize>,
}

impl Volume {
    /// In a network of its own, with the first `up` of its downstairs.
    pub fn new(up: usize) -> Self {
        Self::of(up, &["--block-size", "4096", "--extent-size", "1024", "--extent-count", "4"])
    }

    /// The same, whose regions are created with these options.
    pub fn of(up: usize, options: &[&str]) -> Self {
        loopback::enter();
        let dir = tempfile::tempdir().unwrap();
        let mut volume = Self { dir, replicas: vec![None, None, None], servers: Default::default() };
        for replica in 0..3 {
            let uuid = format!("1111111{replica}-1111-4111-8111-111111111111");
            let region = volume.region(replica);
            let mut create = Command::new(program("crucible-downstairs"));
            create.args(["create", "--uuid", &uuid]).args(options).arg("--data").arg(region).stdout(Stdio::null());
            assert!(create.status().unwrap().success());
        }
        (0..up).for_each(|replica| volume.start(replica));
        volume
    }

    /// The directory of a region.
    pub fn region(&self, replica: usize) -> PathBuf {
        self.dir.path().join(format!("region-{replica}"))
    }

    /// Starts a downstairs, and returns once it answers.
    pub fn start(&mut self, replica: usize) {
        self.start_as(replica, |_| ());
    }

    /// Starts one with more options.
    pub fn start_as(&mut self, replica: usize, with: impl Fn(&mut Command)) {
        let port = port(replica);
        let mut run = Command::new(program("crucible-downstairs"));
        run.args(["run", "--address", "127.0.0.1", "--port", &port.to_string(), "--data"]);
        run.arg(self.region(replica)).stdout(Stdio::null());
        with(&mut run);
        self.replicas[replica] = Some(run.spawn().unwrap());
        until("a downstairs listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Kills a downstairs.
    pub fn kill(&mut self, replica: usize) {
        end(self.replicas[replica].as_mut().unwrap());
        self.replicas[replica] = None;
    }

    /// Sends a downstairs a signal.
    pub fn signal(&self, replica: usize, signal: Signal) {
        let pid = self.replicas[replica].as_ref().unwrap().id();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    /// The command that starts a server.
    pub fn command(&self, generation: u64) -> Command {
        let mut command = Command::new(program("crucible-nbd-server"));
        for replica in 0..3 {
            command.args(["--target", &format!("127.0.0.1:{}", port(replica))]);
        }
        command.args(["--gen", &generation.to_string()]).env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
        command.env("STAND_IN_STORE", self.store()).env("STAND_IN_SIZE", SIZE.to_string());
        command
    }

    /// A server that has been started.
    pub fn server(&self, generation: u64) -> Server {
        self.started(self.command(generation).args(["--control", CONTROL]))
    }

    /// A server that has been started like this.
    pub fn started(&self, command: &mut Command) -> Server {
        self.servers.set(self.servers.get() + 1);
        let said = self.dir.path().join(format!("server-{}", self.servers.get()));
        let child = command.stdout(Stdio::null()).stderr(File::create(&said).unwrap()).spawn().unwrap();
        Server { child, said }
    }

    /// A client of the server that listens, or is about to.
    pub fn client(&self) -> Client {
        until("a server listens", || TcpStream::connect(crate::client::ADDRESS).is_ok());
        Client::attached().unwrap()
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Asks the stand-in to do wrong from now on.
    pub fn fault(&self, lines: &str) {
        let new = self.dir.path().join("fault");
        fs::create_dir_all(self.store()).unwrap();
        fs::write(&new, lines).unwrap();
        fs::rename(new, self.store().join("stand-in-fault")).unwrap();
    }

    /// The faults that it is asked for.
    pub fn faults(&self) -> String {
        fs::read_to_string(self.store().join("stand-in-fault")).unwrap_or_default()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.replicas.iter_mut().flatten().for_each(end);
    }
}

fn port(replica: usize) -> u16 {
    9100 + 10 * replica as u16
}

/// A server.
pub struct Server {
    child: Child,
    said: PathBuf,
}

impl Server {
    /// A connection by which it has been asked how it is.
    pub fn ask(&self) -> TcpStream {
        until("the control port listens", || TcpStream::connect(CONTROL).is_ok());
        let mut stream = TcpStream::connect(CONTROL).unwrap();
        stream.write_all(b"GET /info HTTP/1.1\r\nhost: it\r\nconnection: close\r\n\r\n").unwrap();
        stream
    }

    /// The server's word on itself.
    pub fn info(&self) -> serde_json::Value {
        let (mut stream, mut answer) = (self.ask(), String::new());
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// How its replicas are: `active`, or how the connection is made.
    pub fn replicas(&self) -> Vec<String> {
        let word = |state: &serde_json::Value| match state["value"]["mode"].as_str() {
            Some(mode) => format!("{mode} {}", state["value"]["state"]["type"].as_str().unwrap()),
            None => state["type"].as_str().unwrap().to_owned(),
        };
        self.info()["ds_state"].as_array().unwrap().iter().map(word).collect()
    }

    /// Kills it, as nothing else does.
    pub fn kill(&mut self) {
        end(&mut self.child);
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// How it ends by itself, and what it said before.
    pub fn end(&mut self) -> (ExitStatus, String) {
        (self.child.wait().unwrap(), fs::read_to_string(&self.said).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn end(child: &mut Child) {
    _ = child.kill();
    _ = child.wait();
}

/// Waits for something of which nobody tells, a minute and a half at most: the real programs take ten seconds to come
/// back.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..9000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came to this: {what}");
}
