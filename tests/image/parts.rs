//! Parts of an image before anything boots it: its size, the lists beside it, its signature; what goes into it, and
//! what is refused.

use crate::guest::{Disk, image, port_map, run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};
use support::places::repository;

const MIB: u64 = 1 << 20;
/// The bytes of a sector, in which sfdisk counts.
const SECTOR: u64 = 512;
/// The type of a partition for a root of x86-64 (Discoverable Partitions Specification).
const ROOT: &str = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";
/// The most that a slot for the root takes of a disk, and that a root takes of it: what comes later needs room, too.
const SLOT_MIB: u64 = 800;
const ROOT_MIB: u64 = 400;
/// The most that the compressed image takes.
const COMPRESSED_MIB: u64 = 250;

#[test]
fn an_image_is_small_and_beside_it_lies_what_is_in_it() {
    let dir = image("1.0");
    let beside = |suffix: &str| dir.join(format!("crucible-sled_1.0.{suffix}"));
    let compressed = fs::metadata(beside("img.zst")).unwrap().len();
    println!("{} MiB compressed", compressed / MIB);
    assert!(compressed <= COMPRESSED_MIB * MIB, "{compressed} bytes");
    let slots = slots(&beside("img"));
    assert!(slots.len() == 2 && slots.iter().all(|(_, size)| *size <= SLOT_MIB * MIB), "{slots:?}");
    let taken = taken(&beside("img"), slots[0].0);
    println!("{} MiB of a slot taken", taken / MIB);
    assert!(taken <= ROOT_MIB * MIB, "{taken} bytes");

    let packages = fs::read_to_string(beside("packages")).unwrap();
    assert!(packages.lines().any(|line| line.starts_with("systemd 257")), "{packages}");
    let bom: Value = serde_json::from_slice(&fs::read(beside("cdx.json")).unwrap()).unwrap();
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let components = bom["components"].as_array().unwrap();
    for (name, purl) in [
        ("libbpf1", "pkg:deb/debian/"),
        // Without it nothing is known of the disks' health.
        ("smartmontools", "pkg:deb/debian/"),
        ("tokio", "pkg:cargo/"),
        ("crucible-downstairs", "pkg:generic/"),
    ] {
        let found =
            components.iter().find(|component| component["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        assert!(found["purl"].as_str().unwrap().starts_with(purl), "{found}");
    }
    assert!(packages.lines().count() + 100 < components.len(), "{} components", components.len());
    let manifest: Value = serde_json::from_slice(&fs::read(beside("json")).unwrap()).unwrap();
    let needs = manifest["least"]["root_bytes"].as_u64().unwrap();
    assert!(needs > 0 && slots.iter().all(|(_, size)| needs <= *size), "{needs} of {slots:?}");
    run(Command::new("sha256sum").args(["--quiet", "-c", "SHA256SUMS"]).current_dir(&dir));
    let mut gpgv = Command::new("gpgv");
    gpgv.arg("--keyring").arg(image("keys/public.gpg"));
    run(gpgv.args(["SHA256SUMS.gpg", "SHA256SUMS"]).current_dir(&dir));
}

/// The bytes that the root's file system takes from an offset of the disk on (erofs, on-disk format: the superblock
/// begins after a KiB, and has the logarithm of a block's size at 12 and the number of blocks at 36).
fn taken(disk: &Path, start: u64) -> u64 {
    let mut superblock = [0; 128];
    fs::File::open(disk).unwrap().read_exact_at(&mut superblock, start + 1024).unwrap();
    let number = |at: usize| u32::from_le_bytes(superblock[at..at + 4].try_into().unwrap());
    assert_eq!(number(0), 0xe0f5_e1e2, "no root of erofs");
    u64::from(number(36)) << superblock[12]
}

/// Where the partitions for a root begin, and how large they are, in bytes.
pub(crate) fn slots(disk: &Path) -> Vec<(u64, u64)> {
    let mut sfdisk = Command::new(repository("image/tools"));
    let table = run(sfdisk.env("TOOLS_BIND", disk.parent().unwrap()).args(["sfdisk", "--json"]).arg(disk));
    let table: Value = serde_json::from_str(&table).unwrap();
    let partitions = table["partitiontable"]["partitions"].as_array().unwrap().iter();
    let roots = partitions.filter(|partition| partition["type"] == ROOT);
    let bytes = |partition: &Value, key: &str| partition[key].as_u64().unwrap() * SECTOR;
    roots.map(|partition| (bytes(partition, "start"), bytes(partition, "size"))).collect()
}

#[test]
fn a_second_key_is_one_that_may_be_given_away() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |key: &Path, why: &str| {
        let mut build = Command::new(repository("image/build"));
        build.arg("--trust").arg(key).arg("--out").arg(dir.path().join("out"));
        refuses(&build.arg("--keys").arg(dir.path().join("keys")).output().unwrap(), why);
        assert!(!dir.path().join("keys").exists(), "a key was made already");
    };
    refused(&dir.path().join("none"), "there is no key");
    let text = dir.path().join("text");
    fs::write(&text, "ssh-ed25519 AAAA somebody\n").unwrap();
    refused(&text, "is no public key of gpg");
}

#[test]
fn a_program_that_is_not_the_downstairs_is_refused_before_anything_is_built() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |why: &str| {
        let mut build = Command::new(repository("image/build"));
        let keys = dir.path().join("keys");
        build.arg("--crucible").arg(dir.path()).arg("--out").arg(dir.path().join("out")).arg("--keys").arg(&keys);
        refuses(&build.output().unwrap(), why);
        assert!(!keys.exists(), "a key was made already");
    };
    let program = dir.path().join("crucible-downstairs");
    refused("there is no crucible-downstairs in");
    fs::write(&program, "#!/bin/sh\necho Crucible Version: 1\necho Message Version: 13\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    refused("is no program for x86-64");
    fs::copy("/bin/true", &program).unwrap();
    refused("asked for its version it says");
}

#[test]
fn a_build_that_does_not_know_its_commit_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut build = Command::new(repository("image/build"));
    // As in a tree that git does not take for its user's; and nothing is built.
    build.env("GIT_DIR", dir.path()).arg("--crucible").arg(dir.path()).arg("--out").arg(dir.path().join("out"));
    refuses(&build.output().unwrap(), "the image does not know its commit: ");
}

#[test]
fn a_configuration_goes_into_an_image_whole_or_not_at_all() {
    let disk = Disk::new();
    let dir = tempfile::tempdir().unwrap();
    let configure = || {
        let mut configure = Command::new(repository("image/configure"));
        configure.arg(disk.path()).arg("--from").arg(dir.path()).output().unwrap()
    };
    let sled = fs::read_to_string(repository("etc/sled.toml")).unwrap();
    fs::write(dir.path().join("sled.toml"), &sled).unwrap();
    refuses(&configure(), "has no port-map.toml");
    fs::write(dir.path().join("port-map.toml"), port_map().replace("raptor:3820", "raptor:3821")).unwrap();
    let before = config(&disk);
    refuses(&configure(), "port-map.toml");
    assert_eq!(config(&disk), before, "nothing has changed");
    fs::write(dir.path().join("port-map.toml"), port_map()).unwrap();
    let output = configure();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = config(&disk);
    for (file, text) in [("sled.toml", sled), ("port-map.toml", port_map())] {
        assert!(after.contains(text.trim()), "{file} is not as it was given: {after}");
    }
}

/// All that lies on the CONFIG partition.
fn config(disk: &Disk) -> String {
    let script = "start=$(sfdisk --json \"$0\" | python3 -c 'import json, sys; \
                  print(next(p[\"start\"] for p in json.load(sys.stdin)[\"partitiontable\"][\"partitions\"] if p[\"name\"] == \"CONFIG\"))'); \
                  mtype -i \"$0@@$((start * 512))\" '::/*'";
    run(Command::new(repository("image/tools"))
        .env("TOOLS_BIND", "/var/tmp")
        .args(["sh", "-c", script])
        .arg(disk.path()))
}

fn refuses(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{why:?} is not what it says: {said}");
}
