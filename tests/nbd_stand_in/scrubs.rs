//! A scrub beside the real programs while they write: every look at an extent is at one that changes, and none of it is a
//! finding.

use crate::parts::Volume;
use crate::verifier::Chance;
use crucible_sled::region::extent::Layout;
use crucible_sled::region::format::extent_path;
use crucible_sled::store::extent_scrub::{Scrubbed, scrub};
use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LAYOUT: Layout = Layout { block_bytes: 4096, blocks: 256 };
const EXTENTS: u32 = 3;
/// Passes over all regions without `SCRUB_MINUTES`, and how many writes there are beside them at least.
const PASSES: u64 = 5;
const WRITES: u64 = 2000;

/// Whether there is another pass: a few, or, with `SCRUB_MINUTES`, as many as that time has.
fn goes_on(passes: u64, began: Instant) -> bool {
    match std::env::var("SCRUB_MINUTES").ok() {
        None => passes < PASSES,
        Some(minutes) => began.elapsed() < Duration::from_secs(60 * minutes.parse::<u64>().unwrap()),
    }
}

/// Has answers on the loopback of the test acknowledged at once: without that each request of the real server takes 44 ms.
fn hasten() {
    for to in ["127.0.0.0/8", "127.0.0.1"] {
        let route = format!("change local {to} dev lo table local proto kernel scope host src 127.0.0.1 quickack 1");
        assert!(Command::new("ip").arg("route").args(route.split(' ')).status().unwrap().success());
    }
}

/// End of a writer, when it is dropped: also when what is asserted beside it does not hold, as a scope waits for it.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
#[ignore = "it needs crucible-nbd-server in CRUCIBLE_BIN"]
fn nothing_is_found_beside_the_real_programs_while_they_write() {
    assert!(support::places::real().is_some(), "it needs crucible-nbd-server in CRUCIBLE_BIN");
    let [block, blocks, extents] =
        [LAYOUT.block_bytes, LAYOUT.blocks, u64::from(EXTENTS)].map(|number| number.to_string());
    let volume = Volume::of(3, &["--block-size", &block, "--extent-size", &blocks, "--extent-count", &extents]);
    hasten();
    let server = volume.started(&mut volume.command(1));
    let (mut client, mut chance) = (volume.client(), Chance(1));
    let (over, flushes, writes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let files: Vec<File> = (0..3)
        .flat_map(|region| (0..EXTENTS).map(move |extent| (region, extent)))
        .map(|(region, extent)| File::open(volume.region(region).join(extent_path(extent))).unwrap())
        .collect();
    let look = || -> Vec<Scrubbed> { files.iter().map(|file| scrub(file, LAYOUT, |_| Ok(())).unwrap()).collect() };
    std::thread::scope(|scope| {
        let _over = Over(&over);
        let writer = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let (first, count) = (chance.below(LAYOUT.blocks * u64::from(EXTENTS) - 8), 1 + chance.below(8));
                let bytes = chance.bytes((count * LAYOUT.block_bytes) as usize);
                assert_eq!(client.write(first * LAYOUT.block_bytes, &bytes).unwrap(), 0);
                if writes.fetch_add(1, Ordering::SeqCst).is_multiple_of(20) {
                    assert_eq!(client.flush().unwrap(), 0);
                    flushes.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let (began, mut passes, mut blocks, mut restless) = (Instant::now(), 0, 0, 0);
        while goes_on(passes, began) || writes.load(Ordering::SeqCst) < WRITES {
            assert!(!writer.is_finished(), "the writer has ended, after {:?}", began.elapsed());
            passes += 1;
            for scrubbed in look() {
                assert!(scrubbed.findings.is_empty(), "pass {passes}, after {:?}: {scrubbed:?}", began.elapsed());
                (blocks, restless) = (blocks + scrubbed.blocks, restless + scrubbed.restless);
            }
        }
        let (writes, flushes) = (writes.load(Ordering::SeqCst), flushes.load(Ordering::SeqCst));
        println!(
            "{passes} passes in {:?}: {blocks} blocks, {restless} restless, beside {writes} writes and {flushes} flushes",
            began.elapsed()
        );
    });
    drop(server);
    let still = look();
    assert!(still.iter().all(|scrubbed| scrubbed.findings.is_empty() && scrubbed.restless == 0), "{still:?}");
    assert!(still.iter().any(|scrubbed| scrubbed.blocks > 0));
}
