//! A host: a Debian 13 with its own full kernel in QEMU, given commands through ports of QEMU's, whether it
//! has a network or not, from early in its boot until it has ended. It is gone when its value is dropped, or
//! when the test dies.
//!
//! What a test puts into the host's directory is `/shared` in the machine. This machine's loopback is 10.0.2.2
//! there.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use support::places::repository;
use support::scratch;
use tempfile::TempDir;

/// How long a boot, or a command, may take on a machine that is busy with others.
pub const EVENT_LIMIT: Duration = Duration::from_secs(300);
/// Between two looks at what nothing tells of.
const EVENT_POLL: Duration = Duration::from_millis(200);
/// How many commands can run at once, beside that which tells why a test has failed.
const SHELLS: usize = 3;
/// In MiB, if nothing else is said.
const MEMORY: u32 = 1024;

/// The adapter that leads to this machine; each host has the same.
const OWN: &str = "52:54:00:12:34:56";

/// The beginning of the names of the disks' directories.
pub const DISKS: &str = "crucible-host.";

/// A host that is switched off: its disk, and what it shares with the test.
pub struct Host {
    dir: TempDir,
    kernel: PathBuf,
    /// In MiB.
    memory: u32,
    /// The other devices that it has.
    devices: Vec<OsString>,
}

/// A host that runs.
pub struct Machine<'a> {
    qemu: Mutex<Child>,
    host: &'a Host,
    shells: Vec<Mutex<BufReader<UnixStream>>>,
}

/// The result of a command.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub printed: String,
    pub errors: String,
}

impl Host {
    /// Make one as it was installed.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// The same, with what is put into this directory on top of it.
    pub fn with(lay: impl FnOnce(&Path)) -> Self {
        let made = Command::new(repository("tests/host/rootfs")).stderr(Stdio::inherit()).output().unwrap();
        assert!(made.status.success(), "tests/host/rootfs failed");
        let kernel = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
        let host = Self { dir: scratch::new(DISKS), kernel, memory: MEMORY, devices: Vec::new() };
        for name in ["shared", "layer"] {
            fs::create_dir(host.file(name)).unwrap();
            fs::set_permissions(host.file(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        lay(&host.file("layer"));
        let mut disk = Command::new(repository("tests/host/disk"));
        disk.arg(host.kernel.join("disk.img")).arg(host.file("layer")).arg(host.file("disk"));
        assert!(disk.status().unwrap().success(), "tests/host/disk failed");
        host
    }

    /// With more arguments for QEMU.
    pub fn and(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.devices.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With so much memory, in MiB.
    pub fn of_memory(self, memory: u32) -> Self {
        Self { memory, ..self }
    }

    /// A path beside its disk.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file into `/shared`, and returns its path there.
    pub fn share(&self, file: &Path) -> String {
        let name = file.file_name().unwrap().to_str().unwrap();
        fs::copy(file, self.file("shared").join(name)).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        format!("/shared/{name}")
    }

    /// Switches it on.
    pub fn boot(&self) -> Machine<'_> {
        let listeners: Vec<_> = (0..=SHELLS).map(|shell| self.listen(shell)).collect();
        let qemu = Mutex::new(self.qemu().spawn().unwrap());
        let mut machine = Machine { qemu, host: self, shells: Vec::new() };
        for listener in listeners {
            let stream = machine.until("QEMU's connection", || listener.accept().ok()).0;
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(EVENT_POLL)).unwrap();
            machine.shells.push(Mutex::new(BufReader::new(stream)));
        }
        machine
    }

    fn listen(&self, shell: usize) -> UnixListener {
        let path = self.file(&format!("shell{shell}"));
        _ = fs::remove_file(&path);
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    }

    fn qemu(&self) -> Command {
        // Whatever ends this test ends the machine: image/tools hands it on.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL"]).arg(repository("image/tools")).arg("qemu-system-x86_64");
        let dirs = format!("{} {}", self.dir.path().display(), self.kernel.display());
        qemu.env("TOOLS_BIND", dirs).stdin(Stdio::null()).process_group(0);
        // As image/boot has it, which says why.
        qemu.args(["-machine", "q35", "-cpu", "max,-sha-ni,-erms,-fsrm,-fsrs,-fzrm,-la57,-smap", "-smp", "1"]);
        // A machine that starts again is another one: so it is seen when it does.
        qemu.args(["-m", &self.memory.to_string(), "-nodefaults", "-nographic", "-no-reboot"]);
        qemu.arg("-serial").arg(format!("file:{}", self.file("console").display()));
        qemu.arg("-kernel").arg(self.kernel.join("vmlinuz")).arg("-initrd").arg(self.kernel.join("initrd"));
        // Emulated and beside others, its timer is not always as fast as the kernel wants it to be when it looks.
        qemu.args(["-append", "root=/dev/vda rw console=ttyS0 mitigations=off audit=0 quiet no_timer_check"]);
        // Written data is there when QEMU is killed: it lies with this machine's kernel.
        qemu.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=unsafe", self.file("disk").display()));
        let own = format!("virtio-net,netdev=net,mac={OWN},romfile=");
        qemu.args(["-netdev", "user,id=net", "-device", &own, "-device", "virtio-rng"]);
        let shared = self.file("shared");
        qemu.arg("-virtfs");
        qemu.arg(format!("local,path={},mount_tag=shared,security_model=none", shared.display()));
        qemu.args(["-device", "virtio-serial"]);
        for shell in 0..=SHELLS {
            let path = self.file(&format!("shell{shell}"));
            qemu.arg("-chardev").arg(format!("socket,id=shell{shell},path={}", path.display()));
            qemu.arg("-device").arg(format!("virtserialport,chardev=shell{shell},name=shell{shell}"));
        }
        qemu.args(&self.devices);
        qemu
    }
}

impl Machine<'_> {
    /// Waits until something is so; `what` says what, when it never is.
    pub fn until<T>(&self, what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(seen) = seen() {
                return seen;
            }
            assert!(!self.has_ended(), "QEMU has ended: {}", self.console());
            assert!(began.elapsed() < EVENT_LIMIT, "{what} did not come in {EVENT_LIMIT:?}: {}", self.console());
            std::thread::sleep(EVENT_POLL);
        }
    }

    fn has_ended(&self) -> bool {
        self.qemu.lock().unwrap_or_else(PoisonError::into_inner).try_wait().unwrap().is_some()
    }

    /// The end of what its console showed.
    pub fn console(&self) -> String {
        let text = fs::read(self.host.file("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.chars().rev().take(3000).collect::<Vec<_>>().into_iter().rev().collect()
    }

    /// Runs a command as root; one that is given while the machine boots is run as soon as it can be. Several
    /// can run at once, from several threads.
    pub fn run(&self, command: &str) -> Outcome {
        self.run_by(self.shell(), command)
    }

    fn run_by(&self, mut shell: MutexGuard<'_, BufReader<UnixStream>>, command: &str) -> Outcome {
        shell.get_mut().write_all(format!("{}\n{command}", command.len()).as_bytes()).unwrap();
        let mut line = Vec::new();
        self.read(command, || shell.read_until(b'\n', &mut line));
        let line = String::from_utf8(line).unwrap();
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [code, printed, errors] = numbers[..] else { panic!("{command}: its answer was cut short: {line:?}") };
        let mut text = |length| {
            let mut bytes = Vec::new();
            let mut rest = (&mut *shell).take(length);
            self.read(command, || rest.read_to_end(&mut bytes));
            assert_eq!(bytes.len() as u64, length, "{command}: its answer was cut short");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (printed, errors) = (text(printed), text(errors));
        Outcome { code: code.try_into().unwrap(), printed, errors }
    }

    /// A shell that nobody uses, or the first as soon as it is free.
    fn shell(&self) -> MutexGuard<'_, BufReader<UnixStream>> {
        let free = self.shells[..SHELLS].iter().find_map(|shell| match shell.try_lock() {
            Ok(free) => Some(free),
            Err(TryLockError::Poisoned(free)) => Some(free.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.unwrap_or_else(|| self.shells[0].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads on for as long as there is something to wait for.
    fn read(&self, command: &str, mut more: impl FnMut() -> io::Result<usize>) {
        let began = Instant::now();
        while let Err(why) = more() {
            assert!(matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{command}: {why}");
            assert!(!self.has_ended(), "{command}: QEMU has ended: {}", self.console());
            assert!(began.elapsed() < EVENT_LIMIT, "{command}: no answer in {EVENT_LIMIT:?}: {}", self.console());
        }
    }

    /// Runs a command that has to succeed, and returns what it prints, without the last end of a line.
    pub fn says(&self, command: &str) -> String {
        let outcome = self.run(command);
        assert_eq!(outcome.code, 0, "{command}: {}{}", outcome.printed, outcome.errors);
        outcome.printed.trim_end_matches('\n').to_owned()
    }

    /// Runs a command that has to fail, and returns what it says as errors.
    pub fn refuses(&self, command: &str) -> String {
        let outcome = self.run(command);
        assert_ne!(outcome.code, 0, "{command}: {}{}", outcome.printed, outcome.errors);
        outcome.errors
    }

    /// Waits until a command prints what is wanted.
    pub fn until_says(&self, command: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let what = format!("what is wanted of {command}");
        self.until(&what, || {
            last = self.run(command).printed;
            wanted(&last).then(|| last.trim_end_matches('\n').to_owned())
        })
    }

    /// Waits until its boot is over, and nothing has failed in it.
    pub fn until_booted(&self) {
        self.run("systemctl is-system-running --wait");
        assert_eq!(self.says("systemctl --failed --plain --no-legend"), "");
    }

    /// Switches it off in an orderly way.
    pub fn switch_off(self) {
        self.ends_after("systemctl --no-block poweroff");
    }

    /// Restarts it in an orderly way, and returns it as it boots. (To cut its power, drop it.)
    pub fn reboot(self) -> Self {
        let host = self.host;
        self.ends_after("systemctl --no-block reboot");
        drop(self);
        host.boot()
    }

    /// Shows what its journal has, of a test that has failed.
    fn last_words(&self) {
        let words = "hostname; echo w >/proc/sysrq-trigger; journalctl -q -b --no-pager -n 80 -o short-monotonic; systemctl list-jobs --no-legend";
        // On a thread of its own: that this fails as well must not end the test before it has told why it did.
        let said =
            std::thread::scope(|scope| scope.spawn(|| self.run_by(self.shells[SHELLS].lock().unwrap(), words)).join());
        if let Ok(said) = said {
            eprintln!("{}", said.printed);
        }
    }

    fn ends_after(&self, command: &str) {
        self.says(command);
        let began = Instant::now();
        while !self.has_ended() {
            assert!(began.elapsed() < EVENT_LIMIT, "it does not end: {}", self.console());
            std::thread::sleep(EVENT_POLL);
        }
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.last_words();
        }
        let qemu = self.qemu.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The tools and all that they started: QEMU cannot tell it from a pulled plug.
        _ = killpg(Pid::from_raw(qemu.id().cast_signed()), Signal::SIGKILL);
        _ = qemu.wait();
    }
}
