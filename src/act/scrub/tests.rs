//! Tests of a scrub of a region, on extents that are written here as a downstairs writes them.

use super::*;
use crate::progress::Course;
use crate::region::format::TRAILER_BYTES;
use crate::region::{Geometry, Mark};
use crate::store::layout::DIR;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tokio::sync::watch;
use twox_hash::XxHash64;

const GEOMETRY: Geometry = Geometry { block_size: 4096, extent_size: 300, extent_count: 3 };
const DISK: Uuid = Uuid::from_u128(1);

/// A storage root with the three regions of a volume, of which every block of the second extent is written.
pub(super) struct Sled(tempfile::TempDir);

impl Sled {
    pub(super) fn new() -> Self {
        let sled = Self(tempfile::tempdir().unwrap());
        fs::create_dir(sled.root().join(DIR)).unwrap();
        let mut mark = Mark::new("proper-raptor".parse().unwrap());
        mark.disk = DISK;
        fs::write(sled.root().join(DIR).join("disk.json"), mark.to_text().unwrap()).unwrap();
        (0..3).for_each(|index| sled.create(index, uuid(index)));
        sled
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn dir(&self, index: u128) -> PathBuf {
        self.root().join(name(index).to_string())
    }

    fn create(&self, index: u128, uuid: Uuid) {
        let dir = self.dir(index);
        fs::create_dir_all(dir.join("00/000")).unwrap();
        let json = format!(
            "{{\"block_size\":4096,\"extent_size\":{{\"value\":300,\"shift\":12}},\"extent_count\":3,\"uuid\":\"{uuid}\",\
             \"encrypted\":false,\"database_read_version\":1,\"database_write_version\":1}}"
        );
        fs::write(dir.join("region.json"), json).unwrap();
        for number in 0..3 {
            let file = File::options().create(true).write(true).truncate(true).open(dir.join(extent_path(number)));
            let file = file.unwrap();
            file.set_len(GEOMETRY.extent_file_bytes()).unwrap();
            let mut trailer = [0; TRAILER_BYTES];
            trailer[17] = 2;
            file.write_all_at(&trailer, Layout::of(GEOMETRY).trailer()).unwrap();
        }
        write_blocks(&self.extent(index, 1), 0..300);
    }

    pub(super) fn extent(&self, index: u128, number: u32) -> File {
        File::options().read(true).write(true).open(self.dir(index).join(extent_path(number))).unwrap()
    }

    /// Change a byte of a block of the first region.
    pub(super) fn rot(&self, number: u32, block: u64) {
        let at = Layout::of(GEOMETRY).data(&(block..block + 1)).start + 7;
        let mut byte = [0];
        let file = self.extent(0, number);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    }

    pub(super) fn wish(&self) -> Wish {
        let storage =
            Storage { root: self.root().to_owned(), require_mount: false, ..crate::config::shipped("").sled.storage };
        let (region, siblings) = (record(0), vec![record(1), record(2)]);
        Wish { storage, disk: DISK, region, siblings, rate: 1 << 40, pressures: Vec::new() }
    }

    pub(super) fn scrub(&self, wish: Wish) -> Result<Scrubs, ScrubError> {
        self.scrub_until(wish, |_, _| ())
    }

    /// Scrub, and tell `heard` of each step that is told.
    fn scrub_until(
        &self,
        wish: Wish,
        heard: impl Fn(u64, &watch::Sender<Course>) + Send + Sync + 'static,
    ) -> Result<Scrubs, ScrubError> {
        let course = watch::Sender::new(Course::Open);
        let to = course.clone();
        let progress = Progress::new(move |step| heard(step.done, &to), course);
        Scrubber::begin(wish, progress, Counts::default()).and_then(Scrubber::run)
    }
}

fn name(index: u128) -> RegionName {
    format!("still-fawn-{index}").parse().unwrap()
}

fn uuid(index: u128) -> Uuid {
    Uuid::from_u128(100 + index)
}

fn record(index: u128) -> (RegionName, Record) {
    let created = jiff::Timestamp::UNIX_EPOCH;
    (name(index), Record { uuid: uuid(index), geometry: GEOMETRY, created, by: "a test".into() })
}

fn write_blocks(file: &File, blocks: std::ops::Range<u64>) {
    let layout = Layout::of(GEOMETRY);
    for block in blocks {
        let data = [block as u8 | 1; 4096];
        let hash = XxHash64::oneshot(0, &data).to_le_bytes();
        let mut slot = [0; 48];
        slot[0] = 1;
        slot[1..9].copy_from_slice(&hash);
        slot[10..18].copy_from_slice(&hash);
        file.write_all_at(&data, layout.data(&(block..block + 1)).start).unwrap();
        file.write_all_at(&slot, layout.slots(crate::region::extent::Array::First, &(block..block + 1)).start).unwrap();
    }
}

#[test]
fn a_region_is_read_whole_but_for_its_holes_and_the_end_is_put_on_record() {
    let sled = Sled::new();
    let done = sled.scrub(sled.wish()).unwrap();
    assert_eq!((done.last.blocks, done.rotten(), done.unreadable(), done.last.next), (300, 0, 0, 3));
    assert!(done.completed.is_some() && done.last.ended.is_some());
    let data = 300 * 4096;
    assert!((data..data + data / 10).contains(&done.last.bytes), "{}", done.last.bytes);
    assert_eq!(scrubs::read(sled.root(), &name(0)).unwrap(), Some(done.clone()));
    // Another one begins at the beginning.
    let again = sled.scrub(sled.wish()).unwrap();
    assert_eq!((again.last.blocks, again.last.bytes), (300, done.last.bytes));
}

#[test]
fn what_is_rotten_is_told_with_what_the_siblings_have_until_it_is_right() {
    let sled = Sled::new();
    sled.rot(1, 7);
    sled.rot(0, 3);
    // Of the second sibling nothing can be read there, and it is no finding of this region.
    fs::remove_file(sled.dir(2).join(extent_path(1))).unwrap();
    let done = sled.scrub(sled.wish()).unwrap();
    assert_eq!((done.rotten(), done.unreadable(), done.rotten.clone()), (2, 0, [(0, 1), (1, 1)].into()));
    let [unwritten, rotten] = &done.faults[..] else { panic!("{done:?}") };
    assert_eq!((unwritten.extent, unwritten.block, rotten.extent, rotten.block), (0, Some(3), 1, Some(7)));
    assert!(matches!(unwritten.wrong, Wrong::Unwritten { .. }));
    let expected = Hash(XxHash64::oneshot(0, &[7; 4096]));
    assert_eq!(rotten.wrong.expected(), Some(expected));
    let sibling = |index, found| Sibling { region: name(index), found, right: found.is_some() };
    assert_eq!(rotten.siblings, [sibling(1, Some(expected)), sibling(2, None)]);
    write_blocks(&sled.extent(0, 1), 7..8);
    let done = sled.scrub(sled.wish()).unwrap();
    assert_eq!(done.rotten.clone(), [(0, 1)].into());
    assert_eq!(done.faults.len(), 1);
}

#[test]
fn an_extent_that_is_none_is_no_rot_and_the_others_are_scrubbed() {
    let sled = Sled::new();
    fs::remove_file(sled.dir(0).join(extent_path(0))).unwrap();
    sled.extent(0, 2).set_len(100).unwrap();
    let done = sled.scrub(sled.wish()).unwrap();
    assert_eq!((done.rotten(), done.unreadable(), done.last.blocks, done.completed), (0, 2, 300, None));
    assert!(done.faults[0].to_string().contains("extent 0: its file cannot be read"), "{done:?}");
    assert!(done.faults[1].to_string().contains("it has 100 bytes"), "{done:?}");
}

#[test]
fn a_scrub_that_is_left_goes_on_where_it_was() {
    let sled = Sled::new();
    sled.rot(0, 3);
    // The first word comes before anything is read, and the second with the first piece.
    let cancelled = sled.scrub_until(sled.wish(), |_, course| _ = crate::progress::cancel(course));
    assert!(matches!(cancelled, Err(ScrubError::Cancelled(_))));
    let known = scrubs::read(sled.root(), &name(0)).unwrap().unwrap();
    assert_eq!((known.last.next, known.last.ended.clone().map(|ended| ended.how)), (0, Some(End::Cancelled)));
    let mut known = known.next(times::now());
    known.pass(0, Passed { bytes: 5, ..Passed::default() });
    scrubs::write(sled.root(), &name(0), &known).unwrap();
    let done = sled.scrub(sled.wish()).unwrap();
    assert_eq!((done.last.blocks, done.rotten(), done.last.begun), (300, 0, known.last.begun));
    // Of another region that had its name it is none.
    let other = Scrubs { uuid: uuid(9), ..known };
    scrubs::write(sled.root(), &name(0), &other).unwrap();
    assert_eq!(sled.scrub(sled.wish()).unwrap().rotten(), 1);
}

#[test]
fn a_region_that_is_deleted_or_replaced_meanwhile_ends_it_and_is_no_finding() {
    for replaced in [false, true] {
        let sled = Sled::new();
        sled.rot(1, 7);
        let (from, to, root) = (sled.dir(0), sled.root().join("trash"), sled.root().to_owned());
        let json = fs::read_to_string(from.join("region.json")).unwrap();
        let json = json.replace(&uuid(0).to_string(), &uuid(8).to_string());
        let ended = sled.scrub_until(sled.wish(), move |_, _| {
            if from.exists() && !to.exists() {
                fs::rename(&from, &to).unwrap();
                if replaced {
                    fs::create_dir(&from).unwrap();
                    fs::write(from.join("region.json"), &json).unwrap();
                }
            }
        });
        let Err(ScrubError::Gone(why)) = &ended else { panic!("{ended:?}") };
        assert!(why.contains(if replaced { "another region has its place" } else { "it was deleted" }), "{why}");
        let known = scrubs::read(&root, &name(0)).unwrap().unwrap();
        assert_eq!((known.rotten(), known.unreadable()), (0, 0));
    }
}

#[test]
fn an_extent_that_is_replaced_while_it_is_read_is_read_again() {
    let sled = Sled::new();
    sled.rot(1, 7);
    let place = sled.dir(0).join(extent_path(1));
    let aside = sled.root().join("repaired");
    fs::copy(sled.dir(1).join(extent_path(1)), &aside).unwrap();
    // So slowly that the second piece of it waits for a second, which is told.
    let wish = Wish { rate: 1 << 20, ..sled.wish() };
    let done = sled.scrub_until(wish, move |done, _| {
        if done > 0 && aside.exists() {
            fs::rename(&aside, &place).unwrap();
        }
    });
    let done = done.unwrap();
    assert_eq!((done.rotten(), done.last.blocks), (0, 300));
}
