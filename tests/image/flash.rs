//! What must not be written to is not flashed; `data::` boots what is.

use crate::guest::{Disk, image, run};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::places::repository;

/// A loop device over a file. It is gone with the last descriptor of it: also when the test was killed.
pub struct Loop(PathBuf, #[expect(dead_code, reason = "open for as long as the device is wanted")] File);

impl Loop {
    pub fn over(file: PathBuf) -> Self {
        let device = run(Command::new("losetup").args(["--find", "--show", "--partscan"]).arg(file));
        let device = PathBuf::from(device.trim());
        let open = File::open(&device).unwrap();
        // Of a device that is open this asks for its end at the last close.
        run(Command::new("losetup").arg("--detach").arg(&device));
        Self(device, open)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn flash(&self, arguments: &[&str]) -> Output {
        let mut flash = Command::new(repository("image/flash"));
        flash.arg(&self.0).arg("--image").arg(image("disk.img")).args(arguments).stdin(Stdio::null()).output().unwrap()
    }
}

impl Loop {
    /// The identity of each partition by its name, in the order of the table.
    pub fn identities(&self) -> Vec<(String, String)> {
        let table = run(Command::new(repository("image/tools")).args(["sfdisk", "--json"]).arg(&self.0));
        let table: serde_json::Value = serde_json::from_str(&table).unwrap();
        let partitions = table["partitiontable"]["partitions"].as_array().unwrap().iter();
        let text = |partition: &serde_json::Value, key: &str| partition[key].as_str().unwrap_or_default().to_owned();
        partitions.map(|partition| (text(partition, "name"), text(partition, "uuid"))).collect()
    }
}

/// The words in which it tells what it does.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_mounted_or_too_small_or_no_disk_is_refused() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let file = dir.path().join("disk");
    run(Command::new("truncate").args(["-s", "64M"]).arg(&file));
    let device = Loop::over(file);
    let small = device.flash(&["--yes"]);
    assert!(!small.status.success() && said(&small).contains("smaller than the image"), "{}", said(&small));
    run(Command::new("mkfs.ext4").arg("-q").arg(&device.0));
    let mounted = dir.path().join("mounted");
    std::fs::create_dir(&mounted).unwrap();
    run(Command::new("mount").arg(&device.0).arg(&mounted));
    let refused = device.flash(&["--yes"]);
    run(Command::new("umount").arg(&mounted));
    assert!(!refused.status.success() && said(&refused).contains("is mounted at"), "{}", said(&refused));
    let root = run(Command::new("findmnt").args(["-nro", "SOURCE", "/"]));
    let flash = Command::new(repository("image/flash"))
        .arg(root.trim())
        .arg("--image")
        .arg(image("disk.img"))
        .arg("--yes")
        .output();
    assert!(!flash.unwrap().status.success());
}

/// The parts as they lay when a slot had 400 MiB, a memory, and the data.
const OLDER: &str = r#"label: gpt
size=512M, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="esp"
size=400M, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="crucible-sled_0.1"
size=8M, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, name="crucible-sled-verity_0.1"
size=400M, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="_empty"
size=8M, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, name="_empty"
size=40M, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name="CONFIG"
size=2G, type=4D21B016-B534-45C2-A9FB-5C16E091FD2D, name="sled-var"
type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="crucible"
"#;

#[test]
fn a_disk_whose_parts_lay_elsewhere_keeps_its_data_and_nothing_else() {
    let disk = Disk::empty();
    run(Command::new("truncate").args(["-s", "6G"]).arg(disk.path()));
    let device = Loop::over(disk.path());
    // Whoever has the memory forgotten wants the regions, and on this disk none are found.
    let refused = device.flash(&["--yes", "--reset-memory"]);
    assert!(!refused.status.success() && said(&refused).contains("no regions are found"), "{}", said(&refused));
    let layout = disk.file("layout");
    std::fs::write(&layout, OLDER).unwrap();
    let mut sfdisk = Command::new(repository("image/tools"));
    sfdisk.args(["sh", "-c", "sfdisk --quiet \"$0\" <\"$1\""]).arg(&device.0).arg(&layout);
    run(&mut sfdisk);
    let data = |identities: Vec<(String, String)>| identities.into_iter().find(|(name, _)| name == "crucible").unwrap();
    let before = data(device.identities());

    let refused = device.flash(&["--yes"]);
    assert!(
        !refused.status.success() && said(&refused).contains("--reset-memory keeps its regions"),
        "{}",
        said(&refused)
    );
    // Its configuration would be lost with the memory, and no other is given.
    let refused = device.flash(&["--yes", "--reset-memory"]);
    assert!(!refused.status.success() && said(&refused).contains("image/configure"), "{}", said(&refused));
    assert_eq!(data(device.identities()), before, "nothing was written");

    let given = disk.file("given.img");
    run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(image("disk.img")).arg(&given));
    let mut configure = Command::new(repository("image/configure"));
    run(configure.arg(&given).args(["--name", "proper-raptor", "--address", "192.168.4.189/24", "--nic", "usb"]));
    let mut flash = Command::new(repository("image/flash"));
    let flashed = flash.arg(&device.0).arg("--image").arg(&given).args(["--yes", "--reset-memory"]).output().unwrap();
    assert!(flashed.status.success(), "{}", said(&flashed));
    let after = device.identities();
    assert_eq!((after.len(), data(after)), (7, before), "the memory is gone, and the data is there");
}
