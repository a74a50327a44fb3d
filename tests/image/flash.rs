//! What must not be written to is not flashed; `data::` boots what is.

use crate::guest::{image, run};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use support::places::repository;

/// A loop device over a file, detached when it is dropped.
pub struct Loop(PathBuf);

impl Loop {
    pub fn over(file: PathBuf) -> Self {
        let device = run(Command::new("losetup").args(["--find", "--show", "--partscan"]).arg(file));
        Self(device.trim().into())
    }

    pub fn flash(&self, arguments: &[&str]) -> Output {
        let mut flash = Command::new(repository("image/flash"));
        flash.arg(&self.0).arg("--image").arg(image("disk.img")).args(arguments).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
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
