//! A scrub beside upstream's own verifier, `crucible-verify-raw`: a thousand corruptions of extents that the real
//! programs wrote, clean and dirty, encrypted and not, each of a fresh copy, and judged by both.
//!
//! They agree block by block, but for what the verifier does not look at, or cannot: see [`agree`].

use crate::client::Client;
use crate::parts::{Volume, until};
use crucible_sled::region::extent::{Array, Layout, SLOT_BYTES, Slot};
use crucible_sled::region::format::extent_path;
use crucible_sled::store::extent_scrub::scrub;
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::places::real;
use twox_hash::XxHash64;

/// How many corruptions there are.
const CORRUPTIONS: usize = 1000;
/// Extents of a volume.
const EXTENTS: u32 = 4;
/// Bytes of a page of the file system: what can be a hole.
const PAGE: usize = 4096;
/// Key of the volume that is encrypted: 32 bytes.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Numbers by chance, the same ones for the same seed (splitmix64).
pub struct Chance(pub u64);

impl Chance {
    /// A number below this one.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn within(&mut self, range: Range<u64>) -> usize {
        (range.start + self.below(range.end - range.start)) as usize
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.below(u64::MAX).to_le_bytes()).take(count).collect()
    }
}

/// An extent that the real programs wrote.
struct Sample {
    name: String,
    layout: Layout,
    bytes: Vec<u8>,
}

/// Writes by chance, to every extent.
fn write(client: &mut Client, layout: Layout, chance: &mut Chance) {
    let extent = layout.data(&(0..layout.blocks)).end;
    for number in 0..u64::from(EXTENTS) {
        for _ in 0..6 {
            let (first, count) = (chance.below(layout.blocks - 8), 1 + chance.below(8));
            let bytes = chance.bytes((count * layout.block_bytes) as usize);
            assert_eq!(client.write(number * extent + first * layout.block_bytes, &bytes).unwrap(), 0);
        }
    }
}

/// The extents of a volume's first region, which is in use, if all are clean, or all are dirty. The downstairs stands
/// still meanwhile, wherever it is.
fn caught(volume: &Volume, layout: Layout, dirty: bool) -> Option<Vec<Vec<u8>>> {
    volume.signal(0, Signal::SIGSTOP);
    let read = |number| fs::read(volume.region(0).join(extent_path(number))).unwrap();
    let extents: Vec<_> = (0..EXTENTS).map(read).collect();
    volume.signal(0, Signal::SIGCONT);
    let trailer = layout.trailer() as usize;
    extents.iter().all(|extent| extent[trailer] == u8::from(dirty)).then_some(extents)
}

/// The extents of a volume that has lived a little: as they were after a flush, and as they were before the next one.
fn samples(name: &str, layout: Layout, encrypted: bool, chance: &mut Chance) -> Vec<Sample> {
    let [block, blocks, extents] =
        [layout.block_bytes, layout.blocks, u64::from(EXTENTS)].map(|number| number.to_string());
    let mut options = vec!["--block-size", &block, "--extent-size", &blocks, "--extent-count", &extents];
    options.extend(encrypted.then_some("--encrypted"));
    let volume = Volume::of(3, &options);
    let mut command = volume.command(1);
    let _server = volume.started(if encrypted { command.args(["--key", KEY]) } else { &mut command });
    let mut client = volume.client();
    for _ in 0..4 {
        write(&mut client, layout, chance);
        assert_eq!(client.flush().unwrap(), 0);
    }
    let (mut clean, mut dirty) = (None, None);
    // It flushes by itself as well, and at what it is just now nobody tells.
    until("all extents are clean", || {
        clean = caught(&volume, layout, false);
        clean.is_some()
    });
    until("all extents are dirty", || {
        write(&mut client, layout, chance);
        dirty = caught(&volume, layout, true);
        dirty.is_some()
    });
    let all = [("clean", clean), ("dirty", dirty)].into_iter();
    let all = all.flat_map(|(state, extents)| extents.unwrap().into_iter().map(move |bytes| (state, bytes)));
    all.map(|(state, bytes)| Sample { name: format!("{name}, {state}"), layout, bytes }).collect()
}

/// Ways to spoil an extent, by name.
const WAYS: [(&str, Way); 14] = [
    ("a bit of a block", |at, chance| at.flip(at.layout.data(&at.all()), chance)),
    ("a bit of the first contexts", |at, chance| at.flip(at.layout.slots(Array::First, &at.all()), chance)),
    ("a bit of the second contexts", |at, chance| at.flip(at.layout.slots(Array::Second, &at.all()), chance)),
    ("a bit of the bitmap", |at, chance| at.flip(at.layout.bits(&at.all()), chance)),
    ("a bit of the trailer", |at, chance| at.flip(at.layout.trailer()..at.layout.file_bytes(), chance)),
    ("cut off", |at, chance| {
        let most = if chance.below(2) == 0 { 64 } else { at.layout.trailer() };
        at.bytes.truncate(at.bytes.len() - chance.within(1..most));
    }),
    ("longer", |at, chance| at.bytes.extend(vec![0; chance.within(1..8192)])),
    ("a hole", |at, chance| {
        let (page, count) = (at.page(|_| true, chance), chance.within(1..4));
        let end = at.bytes.len().min((page + count) * PAGE);
        at.bytes[page * PAGE..end].fill(0);
    }),
    ("a hole that is filled", |at, chance| {
        let page = at.page(|page| page.iter().all(|byte| *byte == 0), chance);
        let end = at.bytes.len().min((page + 1) * PAGE);
        at.bytes[page * PAGE..end].copy_from_slice(&chance.bytes(end - page * PAGE));
    }),
    ("zeroes in every hole", |at, _| at.dense = true),
    ("a context that is lost", |at, chance| {
        let slot = at.slot(chance);
        at.bytes[slot].fill(0);
    }),
    ("the contents of another block", |at, chance| {
        let [from, to] =
            [0; 2].map(|_| chance.below(at.layout.blocks)).map(|block| at.layout.data(&(block..block + 1)));
        at.bytes.copy_within(from.start as usize..from.end as usize, to.start as usize);
    }),
    ("the context of another block", |at, chance| {
        let [from, to] = [0; 2].map(|_| at.slot(chance));
        at.bytes.copy_within(from, to.start);
    }),
    ("what no context has", |at, chance| {
        let (slot, byte) = (at.slot(chance), if chance.below(2) == 0 { 0 } else { 9 });
        at.bytes[slot.start] = 1;
        at.bytes[slot.start + byte] = chance.within(2..256) as u8;
    }),
];

type Way = fn(&mut Spoilt, &mut Chance);

/// A copy of an extent that is being spoilt.
struct Spoilt {
    layout: Layout,
    bytes: Vec<u8>,
    /// Whether it is written without a hole.
    dense: bool,
}

impl Spoilt {
    fn all(&self) -> Range<u64> {
        0..self.layout.blocks
    }

    fn flip(&mut self, range: Range<u64>, chance: &mut Chance) {
        self.bytes[chance.within(range)] ^= 1 << chance.below(8);
    }

    /// The context that a slot has.
    fn context(&self, array: Array, block: u64) -> Slot {
        let slot = self.layout.slots(array, &(block..block + 1));
        Slot::parse(self.bytes[slot.start as usize..slot.end as usize].try_into().unwrap())
    }

    /// The hash of a block's bytes.
    fn hash(&self, block: u64) -> u64 {
        let data = self.layout.data(&(block..block + 1));
        XxHash64::oneshot(0, &self.bytes[data.start as usize..data.end as usize])
    }

    /// A slot of either array.
    fn slot(&self, chance: &mut Chance) -> Range<usize> {
        let (block, array) = (chance.below(self.layout.blocks), Array::BOTH[chance.within(0..2)]);
        let begin = self.layout.slots(array, &(block..block + 1)).start as usize;
        begin..begin + SLOT_BYTES
    }

    /// The number of a page of this kind; if there is none, of any.
    fn page(&self, kind: impl Fn(&[u8]) -> bool, chance: &mut Chance) -> usize {
        let pages = self.bytes.chunks(PAGE).enumerate().filter(|(_, page)| kind(page));
        let pages: Vec<_> = pages.map(|(number, _)| number).collect();
        let any = self.bytes.len() as u64 / PAGE as u64;
        if pages.is_empty() { chance.within(0..any) } else { pages[chance.within(0..pages.len() as u64)] }
    }

    /// Writes it: pages of zeroes are holes, if they may be.
    fn write(&self, path: &Path) {
        let file = File::create(path).unwrap();
        file.set_len(self.bytes.len() as u64).unwrap();
        for (number, page) in self.bytes.chunks(PAGE).enumerate() {
            if self.dense || page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, (number * PAGE) as u64).unwrap();
            }
        }
    }
}

/// What is said of an extent.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// The blocks that are wrong.
    Blocks(BTreeSet<u64>),
    /// It is no extent that could be judged.
    NoExtent,
    /// The verifier has ended by a signal.
    Aborted,
}

/// A scrub's word.
fn ours(path: &Path, layout: Layout) -> Said {
    let Ok(scrubbed) = scrub(&File::open(path).unwrap(), layout, |_| Ok(())) else { return Said::NoExtent };
    assert_eq!(scrubbed.restless, 0, "nobody writes to it");
    Said::Blocks(scrubbed.findings.iter().map(|finding| finding.block).collect())
}

/// The verifier's word.
fn theirs(program: &Path, path: &Path, layout: Layout) -> Said {
    let mut command = Command::new(program);
    let size = layout.block_bytes.to_string();
    let output = command.args(["--verbose-csv", "--block-size", &size]).arg(path).output().unwrap();
    let (rows, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    let row = |row: &str| {
        let mut parts = row.split(',').skip(1);
        Some((parts.next()?.parse::<u64>().ok()?, parts.nth(1)? == "error"))
    };
    let wrong: BTreeSet<_> = rows.lines().filter_map(row).filter(|(_, wrong)| *wrong).map(|(block, _)| block).collect();
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => assert!(wrong.is_empty(), "{rows}"),
        (Some(1), _) if said.contains("verification failed") => assert!(!wrong.is_empty(), "{rows}"),
        (Some(1), _) => return Said::NoExtent,
        (None, Some(_)) => return Said::Aborted,
        other => panic!("{other:?}: {said}"),
    }
    Said::Blocks(wrong)
}

/// Whether the two agree on an extent, in a word; `None` if they do not.
///
/// The verifier holds a block to the hash of what lies there alone: that a host would refuse it, for its nonce, its tag
/// or its own hash, is found by a scrub only. And by a slot that has what no context has the verifier ends, as a downstairs
/// does, whether that is chosen or not.
fn agree(extent: &Spoilt, ours: &Said, theirs: &Said) -> Option<&'static str> {
    let blocks_with = |is: &dyn Fn(u64, Slot) -> bool| -> BTreeSet<u64> {
        extent
            .all()
            .filter(|block| Array::BOTH.iter().any(|array| is(*block, extent.context(*array, *block))))
            .collect()
    };
    match (ours, theirs) {
        (Said::NoExtent, Said::NoExtent) => Some("no extent"),
        (Said::Blocks(ours), Said::Blocks(theirs)) if ours == theirs && ours.is_empty() => Some("nothing is wrong"),
        (Said::Blocks(ours), Said::Blocks(theirs)) if ours == theirs => Some("the same blocks"),
        (Said::Blocks(ours), Said::Blocks(theirs)) => {
            let fits = |block, slot| matches!(slot, Slot::Context { on_disk, .. } if on_disk == extent.hash(block));
            let refused =
                ours.is_superset(theirs) && ours.difference(theirs).all(|more| blocks_with(&fits).contains(more));
            refused.then_some("the same blocks, and what a host would refuse")
        }
        (Said::Blocks(ours), Said::Aborted) => {
            let damaged = blocks_with(&|_, slot| slot == Slot::Damaged);
            (!damaged.is_empty() && ours.is_superset(&damaged))
                .then_some("a context that is none, by which the verifier ends")
        }
        _ => None,
    }
}

/// One corruption: which it was, and how the two agree.
fn judged(
    program: &Path,
    dir: &Path,
    samples: &[Sample],
    number: usize,
) -> (&'static str, Result<&'static str, String>) {
    let sample = &samples[number % samples.len()];
    let (way, spoil) = WAYS[number / samples.len() % WAYS.len()];
    let mut spoilt = Spoilt { layout: sample.layout, bytes: sample.bytes.clone(), dense: false };
    spoil(&mut spoilt, &mut Chance(number as u64));
    let path = dir.join(number.to_string());
    spoilt.write(&path);
    let (ours, theirs) = (ours(&path, sample.layout), theirs(program, &path, sample.layout));
    fs::remove_file(&path).unwrap();
    let differ = || format!("{number}, {way} ({}): a scrub {ours:?}, the verifier {theirs:?}", sample.name);
    (way, agree(&spoilt, &ours, &theirs).ok_or_else(differ))
}

#[test]
#[ignore = "it needs crucible-verify-raw in CRUCIBLE_BIN"]
fn a_scrub_and_upstreams_verifier_say_the_same_of_a_thousand_corruptions() {
    let program = real().map(|programs| programs.join("crucible-verify-raw")).filter(|program| program.exists());
    let program: PathBuf = program.expect("it needs crucible-verify-raw in CRUCIBLE_BIN");
    let mut chance = Chance(1);
    let mut all = samples("plain", Layout { block_bytes: 512, blocks: 256 }, false, &mut chance);
    all.extend(samples("encrypted", Layout { block_bytes: 4096, blocks: 60 }, true, &mut chance));
    let dir = tempfile::tempdir().unwrap();
    for sample in &all {
        let (path, layout) = (dir.path().join("whole"), sample.layout);
        Spoilt { layout, bytes: sample.bytes.clone(), dense: false }.write(&path);
        let right = Said::Blocks(BTreeSet::new());
        assert_eq!((&ours(&path, layout), &theirs(&program, &path, layout)), (&right, &right), "{}", sample.name);
    }
    let (dir, all, program) = (dir.path(), &all[..], &program);
    // A scrub waits between two looks more than it does.
    let numbers: Vec<_> = (0..CORRUPTIONS).collect();
    let results: Vec<_> = std::thread::scope(|scope| {
        let share =
            |numbers: &[usize]| numbers.iter().map(|number| judged(program, dir, all, *number)).collect::<Vec<_>>();
        let threads: Vec<_> =
            numbers.chunks(CORRUPTIONS.div_ceil(8)).map(|numbers| scope.spawn(move || share(numbers))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let (mut table, mut differences) = (BTreeMap::new(), Vec::new());
    for (way, result) in results {
        let word = result.unwrap_or_else(|difference| {
            differences.push(difference);
            "they differ"
        });
        *table.entry((way, word)).or_insert(0) += 1;
    }
    table.iter().for_each(|((way, word), count)| println!("{count:4} {way}: {word}"));
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
