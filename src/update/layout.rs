//! Layout that a release needs of a machine at least: room in the slots, and the data disk's texts in a form that it
//! still reads. What is missing is said before anything is taken. Of what is not known nothing is said.

use super::NAME;
use crate::size::spoken;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The directory of the kernel's block devices, and the bytes of a sector there.
const BLOCK: &str = "/sys/class/block";
const SECTOR_BYTES: u64 = 512;
/// The name of the disk that the image was started from, as its initrd has found it: another one may have slots as well.
const OWN_DISK: &str = "/run/sled-disk";

/// The least layout that a release needs; what it does not name it does not need.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Least {
    /// The size of its root, in bytes: a slot must hold it.
    pub root_bytes: u64,
    /// The size of its hashes, in bytes: the partition beside the slot must hold them.
    pub verity_bytes: u64,
    /// The oldest version of the data disk's mark that it reads.
    pub mark: u32,
    /// The oldest version of the data disk's ledger that it reads.
    pub ledger: u32,
}

/// The layout of a machine, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// The size of the smallest slot, in bytes.
    pub root_bytes: Option<u64>,
    /// The size of the smallest partition for hashes, in bytes.
    pub verity_bytes: Option<u64>,
    /// The version of the data disk's mark.
    pub mark: Option<u32>,
    /// The version of the data disk's ledger.
    pub ledger: Option<u32>,
}

impl Least {
    /// Find what a machine lacks, in a sentence each.
    pub fn lacks(&self, there: &Layout) -> Vec<String> {
        let room = |what: &str, needs: u64, has: Option<u64>| {
            let has = has.filter(|has| *has < needs)?;
            Some(format!("its {what} has {}, and the partition for it {}", spoken(needs), spoken(has)))
        };
        let text = |what: &str, needs: u32, has: Option<u32>| {
            let has = has.filter(|has| *has < needs)?;
            Some(format!("it reads the data disk's {what} from version {needs} on, and this one has version {has}"))
        };
        let all = [
            room("root", self.root_bytes, there.root_bytes),
            room("hashes", self.verity_bytes, there.verity_bytes),
            text("mark", self.mark, there.mark),
            text("ledger", self.ledger, there.ledger),
        ];
        all.into_iter().flatten().collect()
    }
}

impl Layout {
    /// Look at this machine, whose data disk is mounted at `root`.
    pub fn read(root: &Path) -> Self {
        let own = fs::read_to_string(OWN_DISK).map(|disk| Path::new(BLOCK).join(disk.trim()));
        let slots = partitions(&own.unwrap_or_else(|_| BLOCK.into()));
        let least =
            |label: String| slots.iter().filter(|(name, _)| name.starts_with(&label)).map(|(_, size)| *size).min();
        Self {
            root_bytes: least(format!("{NAME}_")),
            verity_bytes: least(format!("{NAME}-verity_")),
            mark: version(&root.join(".sled/disk.json")),
            ledger: version(&root.join(".sled/ledger.json")),
        }
    }
}

/// The partitions with a name, with their sizes in bytes.
fn partitions(block: &Path) -> Vec<(String, u64)> {
    let devices = fs::read_dir(block).into_iter().flatten().flatten().map(|entry| entry.path());
    let read = |device: std::path::PathBuf| {
        let told = fs::read_to_string(device.join("uevent")).ok()?;
        let name = told.lines().find_map(|line| line.strip_prefix("PARTNAME="))?.to_owned();
        let sectors: u64 = fs::read_to_string(device.join("size")).ok()?.trim().parse().ok()?;
        Some((name, sectors.saturating_mul(SECTOR_BYTES)))
    };
    devices.filter_map(read).collect()
}

/// Read only which version a text has.
fn version(file: &Path) -> Option<u32> {
    let text: serde_json::Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    text.get("version")?.as_u64()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_lacks_is_said_and_of_what_is_not_known_nothing() {
        let least = Least { root_bytes: 500 << 20, verity_bytes: 8 << 20, mark: 1, ledger: 3 };
        let (root_bytes, verity_bytes) = (Some(500 << 20), Some(8 << 20));
        let there = Layout { root_bytes, verity_bytes, mark: Some(1), ledger: Some(3) };
        assert!(least.lacks(&there).is_empty() && least.lacks(&Layout::default()).is_empty());
        let small = Layout { root_bytes: Some(400 << 20), verity_bytes: Some(4 << 20), mark: Some(0), ledger: Some(2) };
        let told = least.lacks(&small);
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(told[0], "its root has 500 MiB, and the partition for it 400 MiB");
        assert_eq!(told[3], "it reads the data disk's ledger from version 3 on, and this one has version 2");
        assert!(Least::default().lacks(&small).is_empty(), "a release that names nothing needs nothing");
    }

    #[test]
    fn the_layout_is_read_from_the_kernel_and_the_data_disk() {
        let dir = tempfile::tempdir().unwrap();
        let partition = |device: &str, label: &str, sectors: &str| {
            fs::create_dir(dir.path().join(device)).unwrap();
            fs::write(dir.path().join(device).join("uevent"), format!("MAJOR=8\nPARTNAME={label}\n")).unwrap();
            fs::write(dir.path().join(device).join("size"), format!("{sectors}\n")).unwrap();
        };
        partition("sda2", "crucible-sled_1", "819200");
        partition("sda3", "crucible-sled-verity_1", "16384");
        fs::create_dir(dir.path().join("sda")).unwrap();
        let mut found = partitions(dir.path());
        found.sort();
        let sizes = [("crucible-sled-verity_1".to_owned(), 8 << 20), ("crucible-sled_1".to_owned(), 400 << 20)];
        assert_eq!(found, sizes);
        fs::write(dir.path().join("ledger.json"), "{\"version\": 4, \"sha256\": \"x\"}").unwrap();
        assert_eq!(version(&dir.path().join("ledger.json")), Some(4));
        assert_eq!(version(&dir.path().join("none.json")), None);
    }
}
