//! A host with a relay, a sled that is none, three downstairs, and the servers that the relay begins: the stand-ins,
//! or with `CRUCIBLE_BIN` the real programs. Each in a network of its own, but for those that are one host's.

use crate::client::Client;
use crate::fleet::{Sled, fleet, fleet_of};
use crate::places::{program, programs};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the volume: 4 extents of 1024 blocks.
pub const SIZE: u64 = 4 * 1024 * BLOCK as u64;
/// Bytes of a block.
pub const BLOCK: usize = 4096;

/// Waits until something is so; it is asked often, for nothing tells.
pub fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A host, and all that its relay needs. All of it is gone with this value.
pub struct Host {
    /// The directory of everything.
    pub dir: tempfile::TempDir,
    /// The sled of its volume.
    pub sled: Arc<Sled>,
    /// The lock that keeps the servers of one host apart.
    lock: PathBuf,
    downstairs: Vec<Option<Child>>,
    relay: Option<Child>,
    relays: usize,
}

impl Host {
    /// Everything but the relay.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        Self::with(fleet(7, 1).remove(0), dir, lock)
    }

    /// The same host, and another volume of another sled: 127.`net`.0.1.
    pub fn beside(&self, volume: &'static str, net: u8) -> Self {
        Self::with(fleet_of(volume, net, 1).remove(0), tempfile::tempdir().unwrap(), self.lock.clone())
    }

    fn with(sled: Arc<Sled>, dir: tempfile::TempDir, lock: PathBuf) -> Self {
        sled.tell(|mind| mind.size = SIZE);
        sled.lives();
        let mut host = Self { dir, sled, lock, downstairs: Vec::new(), relay: None, relays: 0 };
        for index in 0..3 {
            let region = host.dir.path().join(format!("region-{index}"));
            let uuid = format!("1111111{index}-1111-4111-8111-111111111111");
            let mut create = Command::new(program("crucible-downstairs"));
            create.args(["create", "--uuid", &uuid, "--block-size", "4096", "--extent-size", "1024"]);
            create.args(["--extent-count", "4", "--data"]).arg(&region).stdout(Stdio::null());
            assert!(create.status().unwrap().success());
            host.downstairs.push(None);
        }
        (0..3).for_each(|index| host.start(index));
        host
    }

    /// Starts a downstairs, and returns when it listens.
    pub fn start(&mut self, index: usize) {
        let (region, port) = (self.dir.path().join(format!("region-{index}")), 3830 + index as u16);
        let mut run = Command::new(program("crucible-downstairs"));
        run.args(["run", "--address", &self.sled.address.to_string(), "--port", &port.to_string(), "--data"]);
        self.downstairs[index] = Some(run.arg(region).stdout(Stdio::null()).spawn().unwrap());
        until(|| TcpStream::connect(SocketAddr::from((self.sled.address, port))).is_ok());
    }

    /// Kills a downstairs.
    pub fn kill(&mut self, index: usize) {
        let mut child = self.downstairs[index].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The same, with a relay that serves.
    pub fn serving() -> Self {
        let mut host = Self::new();
        host.serve();
        host
    }

    /// Begins a relay, and returns when it has won the volume.
    pub fn serve(&mut self) {
        self.begin();
        until(|| self.said().contains("its server begins"));
    }

    /// The lock of the host.
    pub fn lock(&self) -> &Path {
        &self.lock
    }

    /// The socket on which the relay serves.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("still-fawn.sock")
    }

    /// The relay's answer to a request on its control socket: its status, and its body.
    pub fn control(&self, request: &str) -> std::io::Result<(u16, serde_json::Value)> {
        let mut stream = UnixStream::connect(self.dir.path().join("still-fawn.control"))?;
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok((status, serde_json::from_str(body).unwrap()))
    }

    /// The answer of a command that looks at this host: its exit code and what it prints. `etc` in this host's
    /// directory is for its configurations.
    pub fn asked(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(programs().join("crucible-attach"));
        command.env_remove("CRUCIBLE_SLEDS").args(words).arg("--run").arg(self.dir.path());
        let output = command.arg("--config").arg(self.dir.path().join("etc")).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    /// How the relay is, which has begun or is about to.
    pub fn state(&self) -> serde_json::Value {
        let mut state = None;
        until(|| {
            state = self.control("GET /v1/relay").ok();
            state.is_some()
        });
        state.unwrap().1
    }

    /// Waits until the relay says that something is so.
    pub fn until_state(&self, so: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let mut state = self.state();
        while !so(&state) {
            state = self.state();
        }
        state
    }

    /// The command that begins a relay.
    pub fn command(&self) -> Command {
        let mut command = Command::new(programs().join("crucible-attach"));
        command.env_remove("CRUCIBLE_SLEDS").env_remove("NOTIFY_SOCKET");
        command.args(["serve", self.sled.volume, "--sled", &self.sled.address.to_string()]);
        command.arg("--program").arg(program("crucible-nbd-server"));
        command.arg("--socket").arg(self.socket()).arg("--state").arg(self.dir.path().join("state"));
        command.arg("--lock").arg(&self.lock).env_remove("RUST_BACKTRACE");
        command.env("STAND_IN_STORE", self.dir.path().join("store")).env("STAND_IN_SIZE", SIZE.to_string());
        command
    }

    /// Begins a relay.
    pub fn begin(&mut self) {
        let command = self.command();
        self.begin_as(command);
    }

    /// Begins a relay by this command.
    pub fn begin_as(&mut self, mut command: Command) {
        self.relays += 1;
        self.relay = Some(command.stderr(File::create(self.told()).unwrap()).spawn().unwrap());
    }

    fn told(&self) -> PathBuf {
        self.dir.path().join(format!("said-{}", self.relays))
    }

    /// The words of the last relay.
    pub fn said(&self) -> String {
        fs::read_to_string(self.told()).unwrap_or_default()
    }

    /// A client of the relay, which listens or is about to.
    pub fn client(&self) -> Client {
        let mut client = None;
        until(|| {
            client = Client::attached(&self.socket()).ok();
            client.is_some()
        });
        client.unwrap()
    }

    /// The process of the server that the relay has just now, if it has one.
    pub fn server(&self) -> Option<u32> {
        // Whichever of its threads has begun it.
        let threads = fs::read_dir(format!("/proc/{}/task", self.relay()?)).ok()?.flatten();
        let children = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        threads.map(children).find_map(|children| children.split_whitespace().next()?.parse().ok())
    }

    /// The process of the relay, if there is one.
    pub fn relay(&self) -> Option<u32> {
        self.relay.as_ref().map(Child::id)
    }

    /// Kills the server; another one follows.
    pub fn kill_server(&self) {
        let mut server = None;
        until(|| {
            server = self.server();
            server.is_some()
        });
        signal(server.unwrap(), "KILL");
    }

    /// Asks the stand-in to do wrong from now on.
    pub fn fault(&self, lines: &str) {
        let (new, store) = (self.dir.path().join("fault"), self.dir.path().join("store"));
        fs::create_dir_all(&store).unwrap();
        fs::write(&new, lines).unwrap();
        fs::rename(new, store.join("stand-in-fault")).unwrap();
    }

    /// The faults that it is still asked for.
    pub fn faults(&self) -> String {
        fs::read_to_string(self.dir.path().join("store/stand-in-fault")).unwrap_or_default()
    }

    /// Ends the relay by a signal, and returns how it ended.
    pub fn end(&mut self, name: &str) -> ExitStatus {
        let mut relay = self.relay.take().unwrap();
        signal(relay.id(), name);
        relay.wait().unwrap()
    }

    /// Waits until the relay ends by itself.
    pub fn ended(&mut self) -> ExitStatus {
        self.relay.take().unwrap().wait().unwrap()
    }
}

/// Sends a process a signal, by its name.
pub fn signal(process: u32, name: &str) {
    // The process may have ended by itself meanwhile.
    _ = Command::new("kill").args(["-s", name, &process.to_string()]).stderr(Stdio::null()).status().unwrap();
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the relay said:\n{}", self.said());
        }
        for child in self.relay.iter_mut().chain(self.downstairs.iter_mut().flatten()) {
            _ = child.kill();
            _ = child.wait();
        }
    }
}
