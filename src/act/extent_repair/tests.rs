//! Tests of a repair on two regions of one extent each, written here as a downstairs writes them.

use super::*;
use crate::config::shipped;
use crate::region::Geometry;
use crate::region::extent::{Array, SLOT_BYTES};
use std::cell::Cell;
use twox_hash::XxHash64;

const GEOMETRY: Geometry = Geometry { block_size: 4096, extent_size: 64, extent_count: 1 };

/// A data disk with the regions of a volume, of which the first is to be repaired.
struct Disk {
    _dir: tempfile::TempDir,
    config: Configuration,
    region: LocalRegion,
    sibling: RegionName,
    aside: PathBuf,
    kept: PathBuf,
}

impl Disk {
    /// Both with every third block written, clean, of generation 7 and flush 3.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display();
        let config =
            shipped(&format!("[storage]\nroot = \"{root}\"\nrequire_mount = false\nprovisioning = \"thin\"\n"));
        let mut locals = config.local_regions().into_iter();
        let region = LocalRegion { geometry: GEOMETRY, ..locals.next().unwrap() };
        let sibling = locals.next().unwrap().name;
        let (aside, trash) = (dir.path().join("aside"), dir.path().join(".trash"));
        fs::create_dir(&aside).unwrap();
        let kept = make_kept(&trash, "kept").unwrap();
        let disk = Self { _dir: dir, config, region, sibling, aside, kept };
        for name in [&disk.region.name, &disk.sibling] {
            fs::create_dir_all(disk.config.region_dir(name).join("00/000")).unwrap();
            let file = disk.create(name);
            file.set_len(GEOMETRY.extent_file_bytes()).unwrap();
            (0..GEOMETRY.extent_size).step_by(3).for_each(|block| write(&file, block, block as u8 | 1));
            end(&file, false, 3);
        }
        disk
    }

    fn path(&self, name: &RegionName) -> PathBuf {
        self.config.region_dir(name).join(extent_path(0))
    }

    fn create(&self, name: &RegionName) -> File {
        File::options().read(true).write(true).create(true).truncate(false).open(self.path(name)).unwrap()
    }

    fn flip(&self, name: &RegionName, at: u64) {
        let (file, mut byte) = (self.create(name), [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    fn copy(&self) -> Result<Patch, Unfit> {
        Patch::copy(&self.config, &self.region, 0, &self.sibling, &self.aside, |_| Ok(()))
    }

    fn put(&self, patch: Patch) -> io::Result<()> {
        let dir = self.config.region_dir(&self.region.name);
        patch.put_in_place(&dir, GEOMETRY.extent_file_bytes(), &self.kept)
    }

    fn findings(&self, name: &RegionName) -> usize {
        scrub(&self.create(name), Layout::of(GEOMETRY), |_| Ok(())).unwrap().findings.len()
    }

    fn left_aside(&self) -> usize {
        fs::read_dir(&self.aside).unwrap().count()
    }
}

fn write(file: &File, block: u64, byte: u8) {
    let (layout, data) = (Layout::of(GEOMETRY), vec![byte; 4096]);
    let hash = XxHash64::oneshot(0, &data).to_le_bytes();
    let mut slot = [0; SLOT_BYTES];
    slot[0] = 1;
    slot[1..9].copy_from_slice(&hash);
    slot[10..18].copy_from_slice(&hash);
    file.write_all_at(&slot, layout.slots(Array::First, &(block..block + 1)).start).unwrap();
    file.write_all_at(&data, layout.data(&(block..block + 1)).start).unwrap();
}

fn end(file: &File, dirty: bool, flush: u64) {
    let mut trailer = [0; 32];
    trailer[0] = u8::from(dirty);
    trailer[1..9].copy_from_slice(&7u64.to_le_bytes());
    trailer[9..17].copy_from_slice(&flush.to_le_bytes());
    trailer[17] = 2;
    file.write_all_at(&trailer, Layout::of(GEOMETRY).trailer()).unwrap();
}

#[test]
fn a_rotten_extent_is_replaced_by_its_siblings_and_kept() {
    let disk = Disk::new();
    disk.flip(&disk.region.name, 3 * 4096 + 5);
    assert_eq!(disk.findings(&disk.region.name), 1);
    let rotten = fs::read(disk.path(&disk.region.name)).unwrap();
    let owner = fs::metadata(disk.path(&disk.region.name)).unwrap();
    disk.put(disk.copy().unwrap()).unwrap();
    assert_eq!(disk.findings(&disk.region.name), 0);
    let [ours, theirs] = [&disk.region.name, &disk.sibling].map(|name| fs::read(disk.path(name)).unwrap());
    assert!(ours == theirs, "replicas are the same byte by byte");
    assert!(fs::read(disk.kept.join("0")).unwrap() == rotten, "what was there is kept");
    let now = fs::metadata(disk.path(&disk.region.name)).unwrap();
    assert_eq!((now.uid(), now.gid(), now.mode()), (owner.uid(), owner.gid(), owner.mode()));
    assert!(now.blocks() * 512 < GEOMETRY.extent_file_bytes() || now.blocks() <= owner.blocks(), "holes stay holes");
    assert_eq!(disk.left_aside(), 0);
}

#[test]
fn what_is_not_known_to_be_the_same_state_is_never_taken() {
    type Change = fn(&Disk);
    let cases: [(&str, Change, &str); 6] = [
        ("dirty there", |disk| end(&disk.create(&disk.sibling), true, 3), "was written since it was last flushed"),
        ("dirty here", |disk| end(&disk.create(&disk.region.name), true, 3), "the extent was written since"),
        ("another flush", |disk| end(&disk.create(&disk.sibling), false, 4), "is of generation 7 and flush 4"),
        ("rotten there too", |disk| disk.flip(&disk.sibling, 6 * 4096), "is rotten as well: 1 of its blocks"),
        ("none there", |disk| fs::remove_file(disk.path(&disk.sibling)).unwrap(), "cannot be read"),
        ("no trailer here", |disk| disk.create(&disk.region.name).set_len(7).unwrap(), "cannot be compared"),
    ];
    for (case, change, said) in cases {
        let disk = Disk::new();
        disk.flip(&disk.region.name, 5);
        change(&disk);
        let before = fs::read(disk.path(&disk.region.name)).unwrap();
        let why = disk.copy().map(|_| ()).unwrap_err().to_string();
        assert!(why.contains(said), "{case}: {why}");
        assert!(fs::read(disk.path(&disk.region.name)).unwrap() == before, "{case}");
        assert_eq!(disk.left_aside(), 0, "{case}");
    }
}

#[test]
fn an_extent_that_is_written_while_it_is_copied_or_afterwards_is_not_replaced() {
    let disk = Disk::new();
    let flush = Cell::new(3);
    let moving = Patch::copy(&disk.config, &disk.region, 0, &disk.sibling, &disk.aside, |_| {
        flush.set(flush.get() + 1);
        end(&disk.create(&disk.sibling), false, flush.get());
        Ok(())
    });
    assert_eq!(moving.map(|_| ()), Err(Unfit::Moving));
    end(&disk.create(&disk.sibling), false, 3);
    let patch = disk.copy().unwrap();
    end(&disk.create(&disk.region.name), false, 4);
    let why = disk.put(patch).unwrap_err().to_string();
    assert!(why.contains("was written since it was compared"), "{why}");
    assert_eq!((disk.left_aside(), fs::read_dir(&disk.kept).unwrap().count()), (0, 0));
    let ended =
        Patch::copy(&disk.config, &disk.region, 0, &disk.sibling, &disk.aside, |_| Err(io::Error::other("enough")));
    assert!(ended.is_err() && disk.left_aside() == 0);
}

#[test]
fn a_link_in_the_place_of_a_directory_is_not_followed() {
    let disk = Disk::new();
    let patch = disk.copy().unwrap();
    let dir = disk.config.region_dir(&disk.region.name);
    fs::rename(dir.join("00/000"), dir.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(dir.join("elsewhere"), dir.join("00/000")).unwrap();
    assert!(disk.put(patch).is_err());
    assert_eq!(fs::read_dir(&disk.kept).unwrap().count(), 0);
}

#[test]
fn what_was_replaced_is_kept_for_so_long_by_the_sleds_life_and_nothing_else_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let region: RegionName = "still-fawn-0".parse().unwrap();
    let moment = |clock: u128, ms| Moment { clock: uuid::Uuid::from_u128(clock), ms };
    let names = [moment(1, 50), moment(1, 900), moment(2, 50)].map(|from| kept_name(&region, from));
    let others =
        ["still-fawn-0.7", "still-fawn-0.extents.x.50", "still-fawn-0.other.00000000000000000000000000000001.1"];
    for name in names.iter().map(String::as_str).chain(others) {
        fs::create_dir_all(make_kept(dir.path(), name).unwrap()).unwrap();
        fs::write(dir.path().join(name).join("0"), "old").unwrap();
    }
    let sweep = |ms| sweep(dir.path(), moment(1, ms), Duration::from_millis(100)).unwrap();
    assert_eq!(sweep(150), [] as [String; 0]);
    assert_eq!(sweep(151), [names[0].clone()]);
    assert_eq!(sweep(1001), [names[1].clone()]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
}
