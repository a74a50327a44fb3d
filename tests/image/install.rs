//! Installation from a stick: onto loop devices, and by a machine that was started from one.

use crate::flash::Loop;
use crate::guest::{BOOT, Disk, run};
use crucible_sled::check::Code;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::places::repository;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// The parts of an image, small ones; what a stick remembers.
const STICK: &str = r#"label: gpt
size=4M, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="esp"
size=4M, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="crucible-sled_1.0"
size=1M, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, name="crucible-sled-verity_1.0"
size=4M, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="_empty"
size=1M, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, name="_empty"
size=4M, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name="CONFIG"
size=8M, type=4D21B016-B534-45C2-A9FB-5C16E091FD2D, name="sled-var"
"#;
const DATA: &str = "type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=\"crucible\"\n";

/// A stick and a disk, as loop devices over files.
struct Machine {
    dir: TempDir,
    stick: Loop,
    disk: Loop,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let device = |name: &str, size: &str| {
            run(Command::new("truncate").args(["-s", size]).arg(dir.path().join(name)));
            Loop::over(dir.path().join(name))
        };
        let (stick, disk) = (device("stick", "64M"), device("disk", "2G"));
        fs::create_dir(dir.path().join("variables")).unwrap();
        fs::create_dir(dir.path().join("own")).unwrap();
        let machine = Self { dir, stick, disk };
        machine.partition(&machine.stick, STICK);
        for (index, at) in [1, 5, 9, 15].into_iter().enumerate() {
            let word = format!("part {index} of the stick");
            machine.file("stick").write_all_at(word.as_bytes(), at * MIB).unwrap();
        }
        machine
    }

    fn partition(&self, device: &Loop, table: &str) {
        let file = self.dir.path().join("table");
        fs::write(&file, table).unwrap();
        run(Command::new(repository("image/tools"))
            .args(["sh", "-c", "sfdisk --quiet \"$0\" <\"$1\""])
            .arg(device.path())
            .arg(&file));
    }

    fn file(&self, name: &str) -> fs::File {
        fs::File::options().read(true).write(true).open(self.dir.path().join(name)).unwrap()
    }

    /// The text at a place of the disk.
    fn reads(&self, at: u64, length: usize) -> String {
        let mut text = vec![0; length];
        self.file("disk").read_exact_at(&mut text, at).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn install(&self, disk: &Path, arguments: &[&str]) -> Output {
        let mut sledctl = Command::new(repository("image/tools"));
        sledctl.arg(env!("CARGO_BIN_EXE_sledctl")).args(["--json", "install"]).arg(disk);
        sledctl.arg("--from").arg(self.stick.path()).arg("--own").arg(self.dir.path().join("own"));
        sledctl.arg("--variables").arg(self.dir.path().join("variables"));
        sledctl.args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Installs on the disk, and returns what became of it.
    fn installs(&self, arguments: &[&str]) -> Value {
        let path = self.disk.path().to_str().unwrap();
        let output = self.install(self.disk.path(), &[&["--serial", path], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn refuses(&self, disk: &Path, arguments: &[&str], code: &str, why: &str) {
        let output = self.install(disk, arguments);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let error = &said["error"];
        let message = error["message"].as_str().unwrap_or_default();
        assert!(!output.status.success() && error["code"] == code && message.contains(why), "{why}: {output:?}");
    }
}

#[test]
fn an_image_goes_from_a_stick_onto_a_disk_and_keeps_its_regions_or_not_as_is_said() {
    let machine = Machine::new();
    let disk = machine.disk.path();
    let path = disk.to_str().unwrap();
    machine.refuses(machine.stick.path(), &["--serial", "x"], "DISK_REFUSED", "started from");
    machine.refuses(disk, &["--serial", "another"], "NOT_CONFIRMED", "nothing was done");
    machine.refuses(disk, &[], "NOT_CONFIRMED", "Nobody is there to ask");
    machine.refuses(disk, &["--serial", path, "--keep-regions"], "DISK_REFUSED", "no regions would be kept");

    // What was brought to it and has faults would be lost with it.
    let taken = machine.dir.path().join("own/taken.json");
    let faults = r#"{"digest": "", "at": "2026-11-30T22:00:00Z", "files": [], "refused": ["sled.toml:3: x"]}"#;
    fs::write(&taken, faults).unwrap();
    machine.refuses(disk, &["--serial", path], "NO_STICK", "not taken over: sled.toml:3: x");
    fs::remove_file(&taken).unwrap();
    let held = fs::File::options().read(true).write(true).custom_flags(nix::libc::O_EXCL).open(disk).unwrap();
    machine.refuses(disk, &["--serial", path], "DISK_REFUSED", "in use by somebody else");
    drop(held);

    let done = machine.installs(&[]);
    assert_eq!((&done["regions_kept"], &done["configuration"]), (&false.into(), &"none".into()), "{done}");
    let [stick, first] = [&machine.stick, &machine.disk].map(Loop::identities);
    assert_eq!(first.len(), 6, "{first:?}");
    for ((name, uuid), (_, theirs)) in first.iter().zip(&stick) {
        assert_eq!(uuid == theirs, name.starts_with("crucible-sled"), "{name}: the root is found by its hash");
    }
    for (index, at) in [(0, 1), (1, 5), (2, 9), (3, 15)] {
        assert_eq!(machine.reads(at * MIB, 19), format!("part {index} of the stick"));
    }

    // It became a sled's since.
    let layout = STICK.replace("size=8M,", "size=1100M,") + DATA;
    machine.partition(&machine.disk, &layout);
    let before = machine.disk.identities();
    machine.file("disk").write_all_at(b"a region's", 1500 * MIB).unwrap();
    machine.file("disk").write_all_at(b"its own", 15 * MIB).unwrap();
    machine.refuses(disk, &["--serial", path], "DISK_REFUSED", "--keep-regions keeps them");
    assert_eq!(machine.disk.identities(), before, "nothing was written");
    let done = machine.installs(&["--keep-regions"]);
    let kept = (&done["regions_kept"], &done["memory_kept"], &done["configuration"], &done["started_first"]);
    assert_eq!(kept, (&true.into(), &true.into(), &"disk".into(), &false.into()), "{done}");
    let after = machine.disk.identities();
    assert_eq!((after.len(), &after[6..]), (8, &before[6..]), "what it remembers and its data are the same");
    assert!(after[0] != before[0] && machine.reads(MIB, 19) == "part 0 of the stick");
    assert_eq!((machine.reads(1500 * MIB, 10), machine.reads(15 * MIB, 7)), ("a region's".into(), "its own".into()));
    // Started first, and given up.
    fs::write(machine.dir.path().join("variables/BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c"), [7, 0, 0, 0, 3, 0])
        .unwrap();
    let done = machine.installs(&["--erase-regions"]);
    assert_eq!((&done["regions_kept"], &done["started_first"]), (&false.into(), &true.into()), "{done}");
    assert_eq!(machine.disk.identities().len(), 6);
    assert_eq!(fs::read_dir(machine.dir.path().join("variables")).unwrap().count(), 2);
}

#[test]
fn a_stick_that_cannot_take_its_configuration_leaves_the_disk_as_it_was() {
    let machine = Machine::new();
    // Its CONFIG has no file system, and the disk is to have what is in force.
    let own = machine.dir.path().join("own/sled");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("sled.toml"), "").unwrap();
    let serial = machine.disk.path().to_str().unwrap();
    let nothing = "nothing was written to the disk: the configuration";
    machine.refuses(machine.disk.path(), &["--serial", serial], "INSTALL_FAILED", nothing);
    assert!(machine.reads(0, 1024).bytes().all(|byte| byte == 0));
}

/// A machine with an empty disk, and a stick that its firmware starts as the disk has nothing.
#[test]
fn a_stick_installs_itself_and_the_disk_is_started_with_the_stick_left_in() {
    let stick = Disk::new().configured(true);
    let disk = Disk::empty();
    run(Command::new("truncate").args(["-s", "6G"]).arg(disk.path()));
    // It is in this directory that the machine's console and sockets lie.
    for key in ["key", "key.pub"] {
        fs::copy(stick.file(key), disk.file(key)).unwrap();
    }
    let drive = format!("if=none,id=stick,format=raw,file={}", stick.path().display());
    let usb = ["-drive", &drive, "-device", "usb-storage,bus=usb.0,drive=stick,removable=on"];
    let mut guest = disk.boot_on(&usb);
    let sled = guest.until_up();
    assert!(sled.volumes.iter().all(|volume| !volume.ready), "a stick serves nothing");
    guest.until("STARTED_FROM_STICK", BOOT, |guest| {
        guest.sled()?.checks.iter().any(|check| check.code == Code::StartedFromStick).then_some(())
    });
    // Whoever answers polls does so before somebody may log in.
    guest.until_says("sledctl console --once", BOOT, |said| said.contains("Press i to install"));
    let listed: Value = serde_json::from_str(&guest.says("sledctl --json install")).unwrap();
    let named = |path: &str| listed.as_array().unwrap().iter().find(|disk| disk["path"] == path).cloned().unwrap();
    assert_eq!(named("/dev/vda")["holds"]["kind"], "nothing", "{listed}");
    assert_ne!(named("/dev/sda")["hindrances"], Value::Array(Vec::new()), "{listed}");
    println!("{}", guest.says("sledctl install"));
    // What only root may read is no less its own on the disk.
    let fragment = "/etc/sled/sled.toml.d/30-a-test.toml";
    let text = "[storage]\nverify_after_crash = \"all\"\n";
    guest.says(&format!("mkdir -p /etc/sled/sled.toml.d; umask 077; printf %s '{text}' >{fragment}"));
    let done = guest.says("sledctl --json install /dev/vda --serial /dev/vda");
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!((&done["configuration"], &done["started_first"]), (&"stick".into(), &true.into()), "{done}");
    assert!(guest.says("sledctl console --once").contains("Pull the stick"));
    // Left in: the disk is started all the same, becomes the sled, and says so.
    guest.forget_console();
    _ = guest.root("systemctl reboot");
    let left_in = "with an image is in this machine";
    guest.until(left_in, BOOT, |guest| guest.console_shows(left_in).then_some(()));
    assert!(guest.console_shows("\"Crucible sled\" from HD("), "{}", guest.console());
    guest.cut();
    // And by itself, in a machine whose firmware has never heard of it.
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    assert_eq!(guest.says("cat /run/sled-disk; ls /run/sled-stick 2>/dev/null; true"), "vda\n");
    let there = guest.says(&format!("stat -c '%U %a' {fragment}; cat {fragment}"));
    assert_eq!(there, format!("root 600\n{text}"));
}
