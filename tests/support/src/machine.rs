//! A test machine: booted by `tests/machine/boot`, entered by nsenter, polled from the other
//! end of its cable. It is gone when its value is dropped, or when the test dies.

use crate::hosts::{EVENT_LIMIT, Host, Space, Switch, ask_at};
use crate::layer::Layer;
use crate::places::repository;
use crucible_sled::wire::{self, Region, Sled, Volume};
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running machine.
pub struct Machine {
    boot: Child,
    /// The words of the machine's systemd, for as long as the machine is.
    words: Receiver<String>,
    leader: u32,
    switch: Arc<Switch>,
    address: String,
    state: TempDir,
    _layer: TempDir,
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // One that has ended says nothing any more.
            if matches!(self.boot.try_wait(), Ok(None)) {
                let journal = self.run(&["journalctl", "-b", "--no-pager", "-n", "60", "-o", "short-monotonic"]);
                eprintln!("{}", String::from_utf8_lossy(&journal.stdout));
            }
            eprintln!("{}", fs::read_to_string(self.state.path().join("console")).unwrap_or_default());
        }
        drop(self.boot.stdin.take());
        self.boot.wait().unwrap();
    }
}

impl Machine {
    /// Boots it, on this switch, to which the cable's port of this name leads, or on one of its own.
    pub(crate) fn start(layer: Layer, at: Option<(Arc<Switch>, &str)>) -> Self {
        let state = tempfile::tempdir().unwrap();
        let notify = UnixDatagram::bind(state.path().join("notify")).unwrap();
        let words = listen(notify);
        let mut script = Command::new(repository("tests/machine/boot"));
        script.args(["--disk", layer.disk, "--state"]).arg(state.path()).arg("--layer").arg(layer.path());
        layer.on.iter().for_each(|file| _ = script.arg("--on").arg(file));
        script.args((!layer.bpf).then_some("--no-bpf"));
        if let Some((switch, port)) = &at {
            script.args(["--switch", &switch.space.path(), "--port", port]);
        }
        let boot = script.stdin(Stdio::piped()).spawn().unwrap();
        let own = at.is_none();
        // The switch of its own is found when the machine is up.
        let switch = at.map_or_else(|| Arc::new(Switch::at(Space::of(std::process::id()))), |(switch, _)| switch);
        let (address, _layer) = (layer.address, layer.dir);
        let mut machine = Self { boot, words, leader: 0, switch, address, state, _layer };
        machine.wait_until_up();
        if own {
            machine.switch = Arc::new(Switch::at(Space::of(machine.inside())));
        }
        machine
    }

    /// Waits until its systemd says that it is up: not the one before, which may have a word on its way yet.
    fn wait_until_up(&mut self) {
        let before = self.leader;
        while self.leader == before {
            self.wait_until_ready();
            self.leader = self.first().unwrap_or(before);
        }
    }

    /// Waits for its word, as long as it runs: nothing else comes from one that has ended.
    fn wait_until_ready(&mut self) {
        loop {
            let message = self.words.recv().unwrap();
            if let Some(ended) = self.boot.try_wait().unwrap() {
                let console = fs::read_to_string(self.state.path().join("console")).unwrap_or_default();
                panic!("no machine: its boot ended with {ended}\n{console}");
            }
            if message.lines().any(|line| line == "READY=1") {
                return;
            }
        }
    }

    /// The machine's first process: nspawn's child, or it was handed to the namespace's first. None while it is rebooted.
    fn first(&self) -> Option<u32> {
        let inside = self.inside();
        let nspawn = child(inside, "systemd-nspawn").unwrap();
        child(nspawn, "systemd").or_else(|| child(inside, "systemd"))
    }

    /// The process that has made the machine's namespaces.
    fn inside(&self) -> u32 {
        child(child(self.boot.id(), "unshare").unwrap(), "boot").unwrap()
    }

    /// A command that is run in the machine, as root.
    pub fn enter(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.leader.to_string(), "-m", "-u", "-i", "-n", "-p", "--"]).args(words);
        command.env("LC_ALL", "C.UTF-8").env_remove("NOTIFY_SOCKET");
        command
    }

    /// The supervisor's process, as it is seen out here.
    pub fn sledd(&self) -> procfs::process::Process {
        let inside = self.sh("systemctl show --value --property=MainPID sledd");
        let outside = self.outside_pid(inside.trim().parse().unwrap()).unwrap();
        procfs::process::Process::new(outside.cast_signed()).unwrap()
    }

    /// The id that a process of the machine has out here.
    pub fn outside_pid(&self, inside: u32) -> Option<u32> {
        let space = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = space(self.leader)?;
        let all = procfs::process::all_processes().unwrap().flatten();
        let mut same = all.filter(|process| space(process.pid.cast_unsigned()).as_ref() == Some(&own));
        let is_it = |process: &procfs::process::Process| {
            process
                .status()
                .is_ok_and(|status| status.nspid.is_some_and(|ids| ids.last() == Some(&inside.cast_signed())))
        };
        same.find(is_it).map(|process| process.pid.cast_unsigned())
    }

    /// The first process of the machine, by its id out here.
    pub fn leader(&self) -> u32 {
        self.leader
    }

    /// Runs a command in the machine, as root.
    pub fn run(&self, words: &[&str]) -> Output {
        self.enter(words).output().unwrap()
    }

    /// Runs a command in the machine that must succeed, and returns what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {}\n{error}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a shell script in the machine that must succeed.
    pub fn sh(&self, script: &str) -> String {
        // A loop in it that waits in vain must not hold up the test for ever.
        self.ok(&["timeout", "60", "sh", "-euc", script])
    }

    /// Waits until something is so, in words of the shell. What files hold and what commands print nobody tells of: it
    /// is asked often.
    pub fn until(&self, so: &str) {
        self.sh(&format!("until {so}; do sleep 0.05; done"));
    }

    /// Runs a command on the other end of the cable, which must succeed.
    pub fn outside(&self, words: &[&str]) {
        self.switch.space.ok(words);
    }

    /// Does something in the network on the other end of the cable.
    pub fn in_outside<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        self.switch.space.within(what)
    }

    /// A host at the other end of the cable, by its address.
    pub fn host(&self, address: &str) -> Host {
        self.switch.host(address)
    }

    /// A poller for threads of their own.
    pub fn poller(&self) -> Poller {
        Poller(self.switch.space.clone())
    }

    /// `GET` as a host: status and JSON body.
    pub fn get(&self, path: &str) -> (u16, Value) {
        self.get_from(&self.switch.space, path)
    }

    /// `GET` in the machine itself, which works without a cable.
    pub fn get_inside(&self, path: &str) -> (u16, Value) {
        self.get_from(&Space::of(self.leader), path)
    }

    fn get_from(&self, space: &Space, path: &str) -> (u16, Value) {
        let (address, path) = (self.address.clone(), path.to_owned());
        space.within(move || {
            let (status, body) = ask_at(&address, "GET", &path, "").unwrap();
            (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
        })
    }

    /// The volume as a host sees it now.
    pub fn volume(&self, name: &str) -> Volume {
        serde_json::from_value(self.get(&format!("/v1/volumes/{name}")).1).unwrap()
    }

    /// The region as a host sees it now.
    pub fn region(&self, name: &str) -> Region {
        let volume = self.volume(name.rsplit_once('-').unwrap().0);
        volume.regions.into_iter().find(|region| region.name.to_string() == name).unwrap()
    }

    /// The whole sled, over the unix socket.
    pub fn sled(&self) -> Sled {
        let output = self.run(&["sledctl", "--json", "status"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits, change by change, until a volume is as wanted.
    pub fn wait_for(&self, name: &str, wanted: impl Fn(&Volume) -> bool) -> Volume {
        let began = Instant::now();
        let mut volume = self.volume(name);
        while !wanted(&volume) {
            assert!(began.elapsed() < EVENT_LIMIT, "waited in vain; the last was {volume:#?}");
            let path = format!("/v1/volumes/{name}?wait=20&revision={}", volume.revision);
            volume = serde_json::from_value(self.get(&path).1).unwrap();
        }
        volume
    }

    /// Follows a volume, change by change, for so long: it must be as wanted all the time.
    pub fn stays(&self, name: &str, time: Duration, wanted: impl Fn(&Volume) -> bool) {
        let (began, mut volume) = (Instant::now(), self.volume(name));
        loop {
            assert!(wanted(&volume), "it did not stay so: {volume:#?}");
            let Some(rest) = time.checked_sub(began.elapsed()) else { return };
            let path = format!("/v1/volumes/{name}?wait={:.3}&revision={}", rest.as_secs_f64(), volume.revision);
            volume = serde_json::from_value(self.get(&path).1).unwrap();
        }
    }

    /// Waits until a volume shows a condition.
    pub fn wait_for_check(&self, name: &str, code: &str) -> wire::Check {
        let volume = self.wait_for(name, |volume| has(volume, code));
        volume.checks.into_iter().find(|check| check.code.as_str() == code).unwrap()
    }

    /// Kills the region's downstairs with this signal.
    pub fn kill(&self, signal: &str, region: &str) {
        self.ok(&["systemctl", "kill", "--kill-whom=main", &format!("--signal={signal}"), &unit(region)]);
    }

    /// Read a property of the region's unit from systemd.
    pub fn property(&self, region: &str, property: &str) -> String {
        self.ok(&["systemctl", "show", "--value", "--property", property, &unit(region)]).trim().to_owned()
    }

    /// Waits until nothing runs under the region's unit, nor will by itself.
    pub fn wait_until_stopped(&self, region: &str) {
        self.sh(&format!(
            "until systemctl show -P ActiveState {} | grep -q inactive; do sleep 0.1; done",
            unit(region)
        ));
    }

    /// Whether nothing runs under the region's unit, nor will by itself.
    pub fn is_stopped(&self, region: &str) -> bool {
        self.property(region, "ActiveState") == "inactive"
    }

    /// Hear what a unit writes, or systemd about it, within some seconds from now that matches.
    pub fn hear(&self, seconds: u32, unit: &str, pattern: &str) -> String {
        let (seconds, grep) = (seconds.to_string(), format!("--grep={pattern}"));
        let heard = self.run(&["timeout", &seconds, "journalctl", "-f", "-n0", "-o", "cat", "-u", unit, &grep]);
        String::from_utf8(heard.stdout).unwrap()
    }

    /// How many entries of a unit's journal since the boot match.
    pub fn count(&self, unit: &str, pattern: &str) -> usize {
        let heard = self.run(&["journalctl", "-b", "-o", "cat", "-u", unit, &format!("--grep={pattern}")]);
        String::from_utf8(heard.stdout).unwrap().lines().count()
    }

    /// Resets the machine at once, as a power cut does, and waits until it is up again: nothing is stopped, and nobody
    /// is told.
    pub fn cut(&mut self) {
        while self.words.try_recv().is_ok() {}
        self.run(&["systemctl", "reboot", "--force", "--force"]);
        self.wait_until_up();
    }

    /// Reboots the machine and waits until it is up again.
    pub fn reboot(&mut self) {
        // The daemon says that it is ready after each reload of its units, too.
        while self.words.try_recv().is_ok() {}
        self.run(&["systemctl", "--no-block", "reboot"]);
        self.wait_until_up();
    }

    /// The main processes of the regions' units, by systemd's word.
    pub fn pids(&self) -> Vec<String> {
        let list = "systemctl show --property=Id,MainPID 'crucible-downstairs@*' | paste - - - | sort";
        self.sh(list).lines().map(str::to_owned).collect()
    }
}

/// Takes every word of a machine's systemd: it waits for a reader, and does nothing else
/// meanwhile. Ends when nobody wants them any more.
fn listen(notify: UnixDatagram) -> Receiver<String> {
    let (tell, words) = mpsc::channel();
    notify.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    std::thread::spawn(move || {
        let mut message = [0; 4096];
        loop {
            let word = notify
                .recv(&mut message)
                .map_or_else(|_| String::new(), |n| String::from_utf8_lossy(&message[..n]).into());
            if tell.send(word).is_err() {
                return;
            }
        }
    });
    words
}

/// Whether a volume shows a condition.
pub fn has(volume: &Volume, code: &str) -> bool {
    cause(volume, code).is_some()
}

/// The cause of a condition that a volume shows.
pub fn cause<'a>(volume: &'a Volume, code: &str) -> Option<&'a str> {
    volume.checks.iter().find(|check| check.code.as_str() == code).map(|check| check.cause.as_str())
}

/// The unit of a region.
pub fn unit(region: &str) -> String {
    format!("crucible-downstairs@{region}.service")
}

/// Polls from a thread of its own.
pub struct Poller(Space);

impl Poller {
    /// Moves this thread to the other end of the cable.
    pub fn enter(self) {
        self.0.enter();
    }
}

/// The child of a process that has this name.
fn child(parent: u32, name: &str) -> Option<u32> {
    let mut all = procfs::process::all_processes().unwrap().flatten().filter_map(|process| process.stat().ok());
    let child = all.find(|stat| u32::try_from(stat.ppid) == Ok(parent) && stat.comm == name)?;
    Some(child.pid.cast_unsigned())
}
