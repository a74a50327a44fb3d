//! Machine as a test lays it out, and the kernel's word on a control group of the test's own.

use super::*;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

fn write(root: &Path, file: &str, text: &str) {
    let file = root.join(file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

#[tokio::test]
async fn a_machine_is_read_from_what_is_laid_out() {
    let tree = tempfile::tempdir().unwrap();
    let kernel = Kernel { sysfs: tree.path().join("sys"), proc: tree.path().join("proc"), log: None };
    let mut memory = Memory { crashes: tree.path().join("pstore"), ..Memory::new(&kernel) };
    let region: RegionName = "still-fawn-0".parse().unwrap();
    let pids: Pids = [(region, 7)].into();
    let bare = memory.look(&kernel, &pids);
    let clock = bare.clock;
    assert_eq!(bare, Machine { clock, ..Machine::default() });
    for (file, text) in [
        ("proc/pressure/memory", "full avg10=1.00 avg60=30.20 avg300=0.00 total=1\n"),
        ("proc/pressure/io", "full avg10=2.00 avg60=90.00 avg300=0.00 total=1\n"),
        ("proc/vmstat", "nr_free_pages 1\noom_kill 3\n"),
        ("proc/sys/kernel/tainted", "4224\n"),
        ("proc/7/cgroup", "0::/system.slice/crucible-downstairs@still-fawn-0.service\n"),
        (
            "sys/fs/cgroup/system.slice/crucible-downstairs@still-fawn-0.service/memory.events",
            "low 0\noom 2\noom_kill 1\n",
        ),
        ("sys/class/watchdog/watchdog0/state", "inactive\n"),
        ("sys/class/watchdog/watchdog0/identity", "SP5100 TCO timer\n"),
        ("sys/class/watchdog/watchdog0/timeout", "60\n"),
        ("sys/class/watchdog/watchdog0/bootstatus", "32\n"),
    ] {
        write(tree.path(), file, text);
    }
    let seen = memory.look(&kernel, &pids);
    assert_eq!((seen.memory_stalled, seen.io_stalled, seen.killed, seen.taint), (Some(30), Some(90), 0, Some(4224)));
    assert_eq!(seen.killed_in, [("still-fawn-0".to_owned(), 1)].into());
    let watchdog = Watchdog {
        device: "watchdog0".into(),
        identity: Some("SP5100 TCO timer".into()),
        armed: Some(false),
        timeout_s: Some(60),
        reset: true,
    };
    assert_eq!(seen.watchdogs, [watchdog]);
    write(tree.path(), "proc/vmstat", "oom_kill 5\n");
    assert_eq!(memory.look(&kernel, &pids).killed, 2);
    // The number of the process has been given to another's, in whose group something was killed.
    write(tree.path(), "proc/7/cgroup", "0::/system.slice/other.service\n");
    write(tree.path(), "sys/fs/cgroup/system.slice/other.service/memory.events", "oom_kill 1\n");
    assert_eq!(memory.look(&kernel, &pids).killed_in, BTreeMap::new());
}

/// A control group of this test's, in which a process does nothing but wait for the disk.
struct Group {
    dir: PathBuf,
    child: Child,
    /// The directory is removed after the process has ended.
    _disk: tempfile::TempDir,
}

impl Group {
    fn waiting() -> Self {
        let top = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let top = top.into_iter().find(|top| top.join("cgroup.procs").exists()).unwrap();
        let dir = top.join(format!("sled-pressure.{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let disk = tempfile::tempdir_in("/var/tmp").unwrap();
        let script = "echo $$ >$0/cgroup.procs; while :; do dd if=/dev/zero of=$1/file bs=4k count=4096 \
                      conv=notrunc oflag=direct,dsync 2>&-; done";
        let child = Command::new("sh").args(["-c", script]).arg(&dir).arg(disk.path()).spawn().unwrap();
        Self { dir, child, _disk: disk }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fs::write(self.dir.join("cgroup.kill"), "1").unwrap();
        self.child.wait().unwrap();
        // The kernel takes a moment to let go of those that have ended.
        while fs::remove_dir(&self.dir).is_err() {
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn the_kernel_tells_when_nobody_gets_on() {
    let group = Group::waiting();
    let file = group.dir.join("io.pressure");
    let told = pressure::trigger(&file, Duration::from_millis(5)).unwrap();
    let mut stall = Stall(Some(register(told, Interest::PRIORITY).unwrap()));
    for _ in 0..2 {
        tokio::time::timeout(Duration::from_secs(60), stall.told(None)).await.unwrap();
    }
    assert!(pressure::read(&file).is_some());
}

/// A file that is laid out stays as it is: nobody can wait on it, and nothing is written to it.
#[tokio::test]
async fn a_file_that_is_laid_out_is_read_and_not_written_to() {
    let tree = tempfile::tempdir().unwrap();
    write(tree.path(), "memory", "full avg10=1.00 avg60=2.00\n");
    assert!(Stall::new(&tree.path().join("memory")).0.is_none());
    assert_eq!(fs::read_to_string(tree.path().join("memory")).unwrap(), "full avg10=1.00 avg60=2.00\n");
}
