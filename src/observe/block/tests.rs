//! Block devices as sysfs lays them out, and an error that ext4 tells of.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

/// A disk with a partition, on which the file system that is mounted at `/` is.
fn tree(number: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for dir in ["devices/sda/sda1", "devices/sda/queue", "devices/sda/device", "dev/block"] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    for (file, text) in [
        ("sda1/partition", "1"),
        ("size", "2048"),
        ("queue/rotational", "0"),
        ("queue/discard_max_bytes", "2147450880"),
        ("device/model", "Samsung SSD 870"),
        ("device/ioerr_cnt", "0x1f"),
        ("stat", "10 0 0 10 10 0 0 10 0 0 0"),
    ] {
        fs::write(at("devices/sda").join(file), format!("{text}\n")).unwrap();
    }
    symlink(at("devices/sda/sda1"), at("dev/block").join(number)).unwrap();
    root
}

#[test]
fn a_disk_and_the_errors_on_record_are_read_from_sysfs() {
    let mount = mount_at(Path::new("/")).unwrap();
    let tree = tree(&mount.number);
    let record = tree.path().join("fs").join(&mount.kind).join("sda1");
    let mut histories = BTreeMap::new();
    let mut look = |minute| look(Path::new("/"), tree.path(), Duration::from_mins(minute), &mut histories).unwrap();
    let seen = look(0);
    assert_eq!((seen.device.as_deref(), &seen.errors), (Some("sda1"), &None));
    let [disk] = &seen.disks[..] else { panic!("{seen:?}") };
    assert!(disk.name == "sda" && disk.bytes == 1 << 20 && disk.discards && !disk.rotational, "{disk:?}");
    assert_eq!((disk.failed, disk.model.as_deref()), (Some(0), Some("Samsung SSD 870")));
    fs::create_dir_all(&record).unwrap();
    for (file, text) in [
        ("errors_count", "2"),
        ("first_error_time", "0"),
        ("last_error_time", "1796034179"),
        ("last_error_func", "ext4_find_entry"),
        ("last_error_block", "77"),
    ] {
        fs::write(record.join(file), format!("{text}\n")).unwrap();
    }
    fs::write(tree.path().join("devices/sda/device/ioerr_cnt"), "0x2f\n").unwrap();
    let seen = look(1);
    let last = Timestamp::from_second(1_796_034_179).ok();
    let errors = FsErrors { count: 2, first: None, last, function: Some("ext4_find_entry".into()), block: Some(77) };
    assert_eq!((seen.errors, seen.disks[0].failed), (Some(errors), Some(16)));
    // What another disk has done that had its name is not held against this one.
    fs::write(tree.path().join("devices/sda/diskseq"), "9\n").unwrap();
    let other = look(2);
    assert_eq!((other.disks[0].failed, other.disks[0].identity.as_deref()), (Some(0), Some("diskseq 9")));
}

#[test]
fn where_a_disk_hangs_is_told_as_the_kernels_log_names_it() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| {
        let dir = root.path().join(path);
        fs::create_dir_all(&dir).unwrap();
        hangs_on(&dir)
    };
    assert_eq!(at("devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda"), ["ata3"]);
    assert_eq!(at("devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1"), ["nvme0"]);
    at("devices/virtual/nvme-subsystem/nvme-subsys1/nvme1n1/device/nvme1");
    assert_eq!(at("devices/virtual/nvme-subsystem/nvme-subsys1/nvme1n1"), ["nvme1"]);
    assert_eq!(at("devices/pci0000:00/usb2/2-1/host3/target3:0:0/3:0:0:0/block/sdb"), [""; 0]);
}

/// A file system on a loop device of the test's own; all of it is gone with its value.
struct Loop(tempfile::TempDir, PathBuf);

impl Loop {
    fn mounted() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = "truncate -s 16M $0/file && mkfs.ext4 -q $0/file && mkdir $0/at && mount -o loop $0/file $0/at";
        assert!(std::process::Command::new("sh").args(["-c", script]).arg(dir.path()).status().unwrap().success());
        let at = dir.path().join("at");
        Self(dir, at)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        assert!(std::process::Command::new("umount").arg(&self.1).status().unwrap().success());
        _ = &self.0;
    }
}

/// The kernel's own word, on a file system of this test.
#[tokio::test]
async fn an_error_that_ext4_meets_is_told_at_once() {
    let (disk, sysfs) = (Loop::mounted(), Path::new("/sys"));
    let look = || look(&disk.1, sysfs, Duration::ZERO, &mut BTreeMap::new()).unwrap();
    let before = look();
    assert_eq!(before.errors.as_ref().map(|errors| errors.count), Some(0), "{before:?}");
    let mut errors = Errors::default();
    let dir = record(sysfs, Some(&before));
    errors.of(dir.clone());
    for met in 1..=2 {
        fs::write(dir.as_ref().unwrap().join("trigger_fs_error"), "a test").unwrap();
        tokio::time::timeout(Duration::from_secs(60), errors.told()).await.unwrap();
        let seen = look().errors.unwrap();
        assert_eq!((seen.count, seen.function.as_deref()), (met, Some("trigger_test_error")), "{seen:?}");
    }
}
