//! A sled that runs the image in QEMU: polled from outside through its USB adapter, logged in to by
//! ssh, its cable pulled over QMP, its power cut. It is gone when its value is dropped, or when the
//! test dies.

use crucible_sled::wire::{Sled, Volume};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::places::repository;
use support::scratch;
use tempfile::TempDir;

/// How long a boot may take on a machine that is busy with others.
pub const BOOT: Duration = Duration::from_secs(300);
/// The words of the firmware at every boot.
pub const FIRMWARE: &str = "BdsDxe: loading";
/// The adapter's hardware address; the shipped configuration names it.
const MAC: &str = "00:e0:4c:a8:11:10";
/// The pause between two attempts to reach a machine that does not answer yet: nothing tells when it will.
const REACH_POLL: Duration = Duration::from_millis(500);

/// The beginning of the names of the disks' directories.
const DISKS: &str = "crucible-sled-image.";

/// The path of one of the images that `tests/image/images` has built.
pub fn image(name: &str) -> PathBuf {
    let dir = std::env::var_os("SLED_IMAGES").expect("SLED_IMAGES names the directory of tests/image/images");
    PathBuf::from(dir).join(name)
}

/// The shipped map with small regions; the test is a host of its volumes.
pub fn port_map() -> String {
    let map = fs::read_to_string(repository("etc/port-map.toml")).unwrap();
    map.replace("extent_size = 32768", "extent_size = 256")
        .replace("extent_count = 100", "extent_count = 4")
        .replace("hosts = [\"192.168.4.17\"]", "hosts = [\"192.168.4.17\", \"192.168.4.2\"]")
}

/// A disk with the image on it, and a key by which one may log in. Kept while its value is.
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    /// The image as it is built, on a disk of 6 GiB.
    pub fn new() -> Self {
        let disk = Self::empty();
        run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(image("disk.img")).arg(disk.path()));
        run(Command::new("truncate").args(["-s", "6G"]).arg(disk.path()));
        disk
    }

    /// No disk yet.
    pub fn empty() -> Self {
        let dir = scratch::new(DISKS);
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.path().join("key")));
        // Each region takes two seconds of a boot: one volume will do.
        Self { dir }.with(&["still-fawn"])
    }

    pub fn path(&self) -> PathBuf {
        self.file("disk.img")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// With these volumes of the shipped map: three regions each.
    pub fn with(self, volumes: &[&str]) -> Self {
        let map = port_map();
        let (head, tail) = map.split_once("[volumes.").unwrap();
        let wanted = tail.split("[volumes.").filter(|part| volumes.contains(&part.split(']').next().unwrap()));
        let kept = wanted.fold(head.to_owned(), |map, part| map + "[volumes." + part);
        fs::write(self.file("port-map.toml"), kept).unwrap();
        self
    }

    /// With all volumes of the shipped map: twelve regions.
    pub fn whole(self) -> Self {
        fs::write(self.file("port-map.toml"), port_map()).unwrap();
        self
    }

    /// Makes it one sled with `image/configure`.
    pub fn configured(self, create: bool) -> Self {
        self.configured_by("enx00e04ca81110", create)
    }

    /// Makes it one sled with an adapter that is called so.
    pub fn configured_by(self, nic: &str, create: bool) -> Self {
        let mut configure = Command::new(repository("image/configure"));
        configure.arg(self.path()).args(["--name", "proper-raptor", "--address", "192.168.4.189/24"]);
        configure.args(["--nic", nic, "--gateway", "192.168.4.2"]);
        configure.arg("--port-map").arg(self.file("port-map.toml"));
        configure.arg("--authorized-keys").arg(self.file("key.pub"));
        if create {
            configure.arg("--create-on-first-boot");
        }
        run(&mut configure);
        self
    }

    /// Boots it.
    pub fn boot(&self) -> Guest<'_> {
        self.boot_with(&[])
    }

    /// Boots it with more arguments for image/boot.
    pub fn boot_with(&self, arguments: &[&str]) -> Guest<'_> {
        self.start(arguments, &[])
    }

    /// Boots it on a machine that has more than others, by arguments for QEMU.
    pub fn boot_on(&self, machine: &[&str]) -> Guest<'_> {
        self.start(&[], machine)
    }

    /// Boots it with more arguments for image/boot, and for QEMU.
    pub fn start(&self, arguments: &[&str], machine: &[&str]) -> Guest<'_> {
        let [port, ssh] = [(); 2].map(|()| free_port());
        let qmp = self.file("qmp");
        _ = fs::remove_file(&qmp);
        let console = fs::File::options().create(true).append(true).open(self.file("console")).unwrap();
        let mut boot = Command::new(repository("image/boot"));
        boot.arg(self.path()).args(["--keep", "--port", &port.to_string(), "--ssh", &ssh.to_string()]).args(arguments);
        boot.arg("--").args(machine).arg("-qmp").arg(format!("unix:{},server=on,wait=off", qmp.display()));
        boot.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console).process_group(0);
        // Whatever ends this test ends the machine: image/boot hands it on.
        let child = die_with_parent(&mut boot).spawn().unwrap();
        Guest { child, disk: self, port, ssh, qmp }
    }
}

#[expect(unsafe_code, reason = "the standard library has no safe way to say it")]
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    // SAFETY: prctl(2) is one system call, which may be made between fork and exec.
    unsafe { command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)) }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A sled that runs.
pub struct Guest<'a> {
    child: Child,
    disk: &'a Disk,
    port: u16,
    ssh: u16,
    qmp: PathBuf,
}

impl Guest<'_> {
    /// Asks its HTTP endpoint; `None` if nobody answers.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(70))).ok()?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: sled\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Waits until something is so; `what` says what, when it never is.
    pub fn until<T>(&mut self, what: &str, patience: Duration, mut seen: impl FnMut(&Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(seen) = seen(self) {
                return seen;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "QEMU has ended: {}", self.console());
            assert!(began.elapsed() < patience, "{what} did not come in {patience:?}: {}", self.console());
            std::thread::sleep(REACH_POLL);
        }
    }

    /// The end of what its console showed.
    pub fn console(&self) -> String {
        let text = fs::read(self.disk.file("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.chars().rev().take(3000).collect::<Vec<_>>().into_iter().rev().collect()
    }

    /// Waits until a volume answers 200.
    pub fn until_ready(&mut self, volume: &str) -> Volume {
        self.until_answer(volume, 200)
    }

    /// Waits until a volume answers so.
    pub fn until_answer(&mut self, volume: &str, wanted: u16) -> Volume {
        let path = format!("/v1/volumes/{volume}");
        self.until(&format!("{wanted} of {volume}"), BOOT, |guest| {
            let (code, body) = guest.ask("GET", &path, "")?;
            (code == wanted).then(|| serde_json::from_str(&body).unwrap())
        })
    }

    /// Waits until it answers at all.
    pub fn until_up(&mut self) -> Sled {
        self.until("an answer", BOOT, Self::sled)
    }

    pub fn sled(&self) -> Option<Sled> {
        let (code, body) = self.ask("GET", "/v1/sled", "")?;
        (code == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    /// Whether its console, or that of a boot of the same disk before, has shown something since that
    /// was last forgotten.
    pub fn console_shows(&self, word: &str) -> bool {
        fs::read(self.disk.file("console")).is_ok_and(|text| String::from_utf8_lossy(&text).contains(word))
    }

    /// Forgets what its console has shown.
    pub fn forget_console(&self) {
        fs::File::options().write(true).truncate(true).open(self.disk.file("console")).unwrap();
    }

    fn ssh_to(&self, options: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-q", "-p", &self.ssh.to_string(), "-o", "StrictHostKeyChecking=no"]);
        ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=60", "-o", "ServerAliveInterval=15"]);
        ssh.args(options).arg("root@127.0.0.1").stdin(Stdio::null());
        ssh
    }

    /// ssh to it as root; a command is to follow.
    pub fn ssh(&self) -> Command {
        let key = self.disk.file("key").display().to_string();
        self.ssh_to(&["-i", &key, "-o", "IdentitiesOnly=yes"])
    }

    /// Runs a command on it, as root.
    pub fn root(&self, command: &str) -> Output {
        self.ssh().arg(command).output().unwrap()
    }

    /// Whether anybody gets in without a key.
    pub fn lets_in_without_key(&self) -> bool {
        let options = ["-o", "PreferredAuthentications=password,keyboard-interactive,none", "-o", "BatchMode=yes"];
        self.ssh_to(&options).arg("true").status().unwrap().success()
    }

    /// Runs a command on it that has to succeed, and returns what it says.
    pub fn says(&self, command: &str) -> String {
        let output = self.root(command);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// Waits until a command says something that is wanted.
    pub fn until_says(&mut self, command: &str, patience: Duration, wanted: impl Fn(&str) -> bool) -> String {
        self.until(command, patience, |guest| {
            let output = guest.root(command);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            wanted(&said).then_some(said)
        })
    }

    /// Copies a file to it.
    pub fn copy(&self, file: &Path, to: &str) {
        let status = self.ssh().arg(format!("cat >{to}")).stdin(fs::File::open(file).unwrap()).status().unwrap();
        assert!(status.success(), "{} was not copied", file.display());
    }

    /// Tells QEMU something.
    fn qmp(&self, command: &str, arguments: &Value) {
        let stream = UnixStream::connect(&self.qmp).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(|line| line.unwrap());
        lines.next().unwrap();
        let mut order = |text: Value| {
            writeln!(&stream, "{text}").unwrap();
            let answer = lines.find(|line| line.contains("\"return\"") || line.contains("\"error\"")).unwrap();
            assert!(!answer.contains("\"error\""), "{text}: {answer}");
        };
        order(json!({ "execute": "qmp_capabilities" }));
        order(json!({ "execute": command, "arguments": arguments }));
    }

    /// Pulls the USB adapter.
    pub fn unplug(&self) {
        self.qmp("device_del", &json!({ "id": "nic" }));
    }

    /// Plugs it in again.
    pub fn plug(&self) {
        self.plug_into("usb.0", None);
    }

    /// Plugs it into another controller's bus, or a port of one: `1.2` is the second port of a hub at the first.
    pub fn plug_into(&self, bus: &str, port: Option<&str>) {
        let mut adapter = json!({ "driver": "usb-net", "netdev": "net", "id": "nic", "mac": MAC, "bus": bus });
        if let Some(port) = port {
            adapter["port"] = port.into();
        }
        self.qmp("device_add", &adapter);
    }

    /// Cuts its power.
    pub fn cut(self) {
        drop(self);
    }

    /// Switches it off in an orderly way.
    pub fn switch_off(mut self) {
        _ = self.root("systemctl poweroff");
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < BOOT, "it does not switch off: {}", self.console());
            std::thread::sleep(REACH_POLL);
        }
    }

    /// Reboots it, and returns when another boot answers.
    pub fn reboot(&mut self) {
        self.reboots_after("systemctl reboot");
    }

    /// Runs a command on it that makes it start again, and returns when another boot answers.
    pub fn reboots_after(&mut self, command: &str) {
        let before = self.boot_id().unwrap();
        self.forget_console();
        _ = self.root(command);
        self.until("another boot", BOOT, |guest| guest.boot_id().filter(|now| *now != before));
    }

    fn boot_id(&self) -> Option<String> {
        let output = self.root("cat /proc/sys/kernel/random/boot_id");
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        // image/boot and all that it started: QEMU cannot tell it from a pulled plug.
        _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        _ = self.child.wait();
    }
}
