//! Machine that has too little: memory for which processes wait and are killed, and a disk that does not answer. All of it
//! is the kernel's own word: its log, its counts, its pressure.

use crate::held_disk::{HeldDisk, in_private};
use crucible_sled::wire::{Check, Volume};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::layer::{Layer, SMALL};
use support::machine::{Machine, has, unit};

/// The longest that is waited for what the kernel tells as a share of a minute.
const LIMIT: Duration = Duration::from_secs(300);
/// The memory that a hog gets by itself, and one that shares it with a downstairs, in bytes.
const MEMORY: u64 = 24 << 20;
const SHARED: u64 = 256 << 20;
/// Where cgroup v1 has the memory, which v2 then has not.
const FIRST_VERSION: &str = "/sys/fs/cgroup/memory";
/// The beginning of the names of the groups that tests make there.
const GROUPS: &str = "crucible-sled-test.";

/// Waits, change by change, and longer than for what is told at once.
fn in_time(machine: &Machine, name: &str, wanted: impl Fn(&Volume) -> bool) -> Volume {
    let (began, mut volume) = (Instant::now(), machine.volume(name));
    while !wanted(&volume) {
        assert!(began.elapsed() < LIMIT, "waited in vain; the last was {volume:#?}");
        let path = format!("/v1/volumes/{name}?wait=20&revision={}", volume.revision);
        volume = serde_json::from_value(machine.get(&path).1).unwrap();
    }
    volume
}

fn check(volume: &Volume, code: &str) -> Check {
    volume.checks.iter().find(|check| check.code.as_str() == code).unwrap().clone()
}

/// Starts a process that waits for /run/go-NAME, in the control group of a unit, and then is this command; tells its id.
fn gated(machine: &Machine, name: &str, group: &str, command: &str) -> u32 {
    let join = format!("echo $$ >/sys/fs/cgroup$(systemctl show -P ControlGroup {group})/cgroup.procs");
    let wait = format!("until [ -e /run/go-{name} ]; do sleep 0.05; done");
    let script = format!("{join}; echo $$ >/run/pid-{name}; {wait}; exec {command}");
    machine.ok(&["systemd-run", "--quiet", "--expand-environment=no", &format!("--unit={name}"), "sh", "-c", &script]);
    machine
        .sh(&format!("until [ -s /run/pid-{name} ]; do sleep 0.05; done; cat /run/pid-{name}"))
        .trim()
        .parse()
        .unwrap()
}

fn go(machine: &Machine, name: &str) {
    machine.sh(&format!("touch /run/go-{name}"));
}

/// Limits of memory: of the machine's own units where it has that controller, else in groups of cgroup v1 out here, which
/// have the units' names and go when this is dropped.
struct Limits(Option<PathBuf>);

impl Limits {
    fn new() -> Self {
        let top = Path::new(FIRST_VERSION);
        // What tests have left that were killed: their names end in process ids of the dead.
        for entry in fs::read_dir(top).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let id = name.strip_prefix(GROUPS).and_then(|id| id.parse::<u32>().ok());
            if id.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
                drop(Self(Some(entry.path())));
            }
        }
        let own = top.join(format!("{GROUPS}{}", std::process::id()));
        Self(top.join("memory.limit_in_bytes").exists().then(|| {
            fs::create_dir(&own).unwrap();
            own
        }))
    }

    /// Limits a unit, and this process if that is another group's as well.
    fn set(&self, machine: &Machine, unit: &str, process: u32, bytes: u64) {
        let Some(own) = &self.0 else {
            let limits = [format!("MemoryMax={bytes}"), "MemorySwapMax=0".to_owned()];
            machine.ok(&["systemctl", "set-property", "--runtime", unit, &limits[0], &limits[1]]);
            return;
        };
        let group = own.join(unit);
        fs::create_dir(&group).unwrap();
        fs::write(group.join("memory.limit_in_bytes"), bytes.to_string()).unwrap();
        fs::write(group.join("cgroup.procs"), machine.outside_pid(process).unwrap().to_string()).unwrap();
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        let Some(own) = &self.0 else { return };
        let all = fs::read_dir(own).into_iter().flatten().flatten().map(|entry| entry.path());
        let groups: Vec<_> = all.filter(|path| path.is_dir()).collect();
        for group in groups.iter().chain([own]) {
            // The kernel takes a moment to let go of those that have ended.
            let began = Instant::now();
            while group.exists() && fs::remove_dir(group).is_err() && began.elapsed() < Duration::from_secs(10) {
                std::thread::yield_now();
            }
        }
    }
}

/// A machine whose supervisor reads the kernel's own files, as if it were no container, with a volume whose name no other
/// run has: the kernel's log is the same for all.
fn boot(volume: &str) -> Machine {
    let layer = Layer::shipped().with("etc/sled/port-map.toml", &SMALL.replace("still-fawn", volume));
    let machine = layer.as_a_machine().boot();
    machine.ok(&["sledctl", "region", "create", "--all"]);
    machine.wait_for(volume, |volume| volume.ready);
    machine
}

/// The machine is one whose memory is what this group has: /proc/pressure is of the whole, on which others run too.
fn measure(machine: &Machine, unit: &str) {
    machine.sh(&format!(
        "mknod /dev/kmsg c 1 11; group=/sys/fs/cgroup$(systemctl show -P ControlGroup {unit}); \
         mount --bind $group/memory.pressure /kernel/proc/pressure/memory; systemctl restart sledd.service"
    ));
}

#[test]
fn who_waits_for_memory_and_who_is_killed_for_it_is_told() {
    let volume = format!("v{}", std::process::id());
    let (limits, machine) = (Limits::new(), boot(&volume));
    // A reader at random of a file that is larger than its memory: what it reads, it has lost just before.
    let (file, blocks) = ("/crucible/lost+found/file", (MEMORY + (4 << 20)) / 4096);
    machine.sh(&format!(
        "dd if=/dev/urandom of={file} bs=4k count={blocks} conv=fsync status=none; dd if={file} iflag=nocache count=0 status=none"
    ));
    let read =
        format!("open F, q({file}); while (1) {{ sysseek F, 4096 * int(rand({blocks})), 0; sysread F, $b, 4096 }}");
    let reader = gated(&machine, "reader", "reader.service", &format!("perl -e '{read}'"));
    measure(&machine, "reader.service");
    machine.wait_for(&volume, |volume| volume.ready && !has(volume, "MEMORY_PRESSURE"));
    limits.set(&machine, "reader.service", reader, MEMORY);
    go(&machine, "reader");
    let seen = in_time(&machine, &volume, |volume| has(volume, "MEMORY_PRESSURE"));
    let told = check(&seen, "MEMORY_PRESSURE");
    assert!(
        seen.ready && told.cause.ends_with("% of the last minute nobody got on, as all waited for memory"),
        "{told:#?}"
    );
    assert_eq!(machine.count("sledd", "the kernel does not tell of .*memory"), 0);
    machine.ok(&["systemctl", "kill", "--signal=KILL", "reader.service"]);

    // The kernel kills a process of another unit; and then one of a region's.
    let foreign = gated(&machine, "foreign", "foreign.service", "tail /dev/zero");
    limits.set(&machine, "foreign.service", foreign, MEMORY);
    go(&machine, "foreign");
    let killed = |words: &[&str]| {
        let seen = in_time(&machine, &volume, |volume| {
            let told = volume.checks.iter().find(|check| check.code.as_str() == "OOM_KILLED");
            // systemd begins a unit anew of which something was killed.
            volume.ready && told.is_some_and(|told| words.iter().all(|word| told.cause.contains(word)))
        });
        check(&seen, "OOM_KILLED").cause
    };
    let region = format!("{volume}-0");
    let cause = killed(&["foreign.service,task=tail,"]);
    assert!(!cause.contains(&region), "{cause}");
    let own = gated(&machine, "own", &unit(&region), "tail /dev/zero");
    limits.set(&machine, &unit(&region), own, SHARED);
    go(&machine, "own");
    killed(&["among what was killed: ", &format!("1 of {region}")]);
}

#[test]
fn a_region_that_waits_for_its_disk_is_told_until_the_disk_answers() {
    in_private(|| {
        let disk = HeldDisk::new(4 << 30);
        let machine = Layer::small().on(&disk.file()).boot_and_create();
        let file = "/crucible/lost+found/file";
        machine.sh(&format!("dd if=/dev/zero of={file} bs=4k count=1 conv=fsync status=none"));
        let write = format!("dd if=/dev/zero of={file} bs=4k count=1 oflag=direct conv=notrunc status=none");
        gated(&machine, "writer", &unit("still-fawn-1"), &write);
        let held = disk.hold();
        go(&machine, "writer");
        let seen = in_time(&machine, "still-fawn", |volume| has(volume, "REGION_IO_STALLED"));
        let told: Vec<_> = seen.checks.iter().filter(|check| check.code.as_str() == "REGION_IO_STALLED").collect();
        let [told] = told[..] else { panic!("{seen:#?}") };
        assert_eq!(told.subject, "region still-fawn-1");
        assert!(told.cause.contains("% of the last minute its downstairs did not get on"), "{told:#?}");
        drop(held);
        in_time(&machine, "still-fawn", |volume| volume.ready && volume.checks.is_empty());
    });
}
