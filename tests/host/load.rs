//! A load that verifies, as a program that the tests run on their host. Not part of the product.
//!
//! ```text
//! write FILE RECORD ROUNDS ENOUGH   writes blocks of FILE and reads others back, until the file ENOUGH is there;
//!                                   the number of rounds is in ROUNDS
//! verify FILE RECORD                compares what is in FILE with what was known to last
//! dirty FILE SIZE MIB               writes so many MiB to FILE, which has SIZE MiB, again and again from its beginning,
//!                                   as fast as the page cache takes them; and flushes them
//! eat LEFT                          takes memory until no more than so many MiB can be had, makes the file
//!                                   /run/eaten, and stays
//! ```
//!
//! Each block says which it is and when it was written. RECORD holds what every block had at least when FILE was last
//! flushed. A block that differs, or any error, ends the program with a sentence.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const MIB: usize = 1 << 20;
const BLOCK: usize = 4096;
const BLOCKS: u64 = 2048;
/// Blocks that are written in a round, and that are read.
const ROUND: u64 = 16;
/// Rounds between two flushes.
const FLUSHES: u64 = 4;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&Path> = words.iter().map(Path::new).collect();
    match words[..] {
        [word, file, record, rounds, enough] if word == Path::new("write") => write(file, record, rounds, enough),
        [word, file, record] if word == Path::new("verify") => verify(file, record),
        [word, file, size, mib] if word == Path::new("dirty") => dirty(file, number(size), number(mib)),
        [word, left] if word == Path::new("eat") => eat(number(left)),
        _ => panic!("what is {words:?}?"),
    }
}

/// A block as it was written the how-manieth time; the 0th is what a hole reads as.
fn content(block: u64, time: u64) -> Vec<u8> {
    if time == 0 {
        return vec![0; BLOCK];
    }
    let mut state = (block << 32 | time).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = [block.to_le_bytes(), time.to_le_bytes()].concat();
    while content.len() < BLOCK {
        content.extend(next(&mut state).to_le_bytes());
    }
    content
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A block as the device has it, and not the page cache.
fn read(direct: &File, block: u64) -> Vec<u8> {
    let mut room = vec![0; 2 * BLOCK];
    let start = room.as_ptr().align_offset(BLOCK);
    let aligned = &mut room[start..start + BLOCK];
    direct.read_exact_at(aligned, block * BLOCK as u64).unwrap_or_else(|why| panic!("block {block}: read: {why}"));
    aligned.to_vec()
}

fn direct(file: &Path) -> File {
    // O_DIRECT on every processor that these tests run on.
    File::options().read(true).custom_flags(nix::libc::O_DIRECT).open(file).unwrap()
}

fn recorded(record: &Path) -> Vec<u64> {
    let text = fs::read_to_string(record).unwrap_or_default();
    let times: Vec<u64> = text.split_whitespace().map(|time| time.parse().unwrap()).collect();
    if times.is_empty() { vec![0; BLOCKS as usize] } else { times }
}

/// In place of what was there: whole, or not at all.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

fn write(file: &Path, record: &Path, rounds: &Path, enough: &Path) {
    verify(file, record);
    let into = File::options().create(true).read(true).write(true).truncate(false).open(file).unwrap();
    into.set_len(BLOCKS * BLOCK as u64).unwrap();
    let from = direct(file);
    let mut times: Vec<u64> = (0..BLOCKS).map(|block| time(&read(&from, block))).collect();
    let mut state = u64::from(std::process::id()) << 8 | 1;
    let mut last = times.iter().max().copied().unwrap();
    let mut round = 0;
    while !enough.exists() {
        for _ in 0..ROUND {
            let block = next(&mut state) % BLOCKS;
            last += 1;
            into.write_all_at(&content(block, last), block * BLOCK as u64).unwrap_or_else(|why| panic!("write: {why}"));
            times[block as usize] = last;
        }
        round += 1;
        if round % FLUSHES == 0 {
            flush(&into, record, &times);
        }
        for _ in 0..ROUND {
            let block = next(&mut state) % BLOCKS;
            let (is, wanted) = (read(&from, block), times[block as usize]);
            assert!(is == content(block, wanted), "block {block} is of {}, and not of {wanted}", time(&is));
        }
        replace(rounds, &round.to_string());
    }
    flush(&into, record, &times);
    println!("{round} rounds");
}

fn flush(file: &File, record: &Path, times: &[u64]) {
    file.sync_all().unwrap_or_else(|why| panic!("flush: {why}"));
    let text: Vec<String> = times.iter().map(u64::to_string).collect();
    replace(record, &text.join("\n"));
}

/// When a block says that it was written.
fn time(block: &[u8]) -> u64 {
    u64::from_le_bytes(block[8..16].try_into().unwrap())
}

fn verify(file: &Path, record: &Path) {
    let recorded = recorded(record);
    if !file.exists() {
        assert!(recorded.iter().all(|time| *time == 0), "{} is not there", file.display());
        return;
    }
    let from = direct(file);
    let mut compared = 0;
    for (block, at_least) in (0..BLOCKS).zip(recorded) {
        let is = read(&from, block);
        assert!(time(&is) >= at_least, "block {block} is of {}, and {at_least} was flushed", time(&is));
        assert!(is == content(block, time(&is)), "block {block} is neither of {} nor of any other time", time(&is));
        compared += u64::from(at_least > 0);
    }
    println!("{compared} blocks compared");
}

fn number(word: &Path) -> u64 {
    word.to_str().unwrap().parse().unwrap()
}

fn dirty(file: &Path, size: u64, mib: u64) {
    let into = File::options().create(true).write(true).truncate(false).open(file).unwrap();
    for number in 0..mib {
        let data = vec![number as u8; MIB];
        into.write_all_at(&data, number % size * MIB as u64).unwrap_or_else(|why| panic!("write: {why}"));
    }
    into.sync_all().unwrap_or_else(|why| panic!("flush: {why}"));
    println!("{mib} MiB");
}

fn eat(left: u64) {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    while available() > left {
        eaten.push(vec![1; MIB]);
    }
    fs::write("/run/eaten", eaten.len().to_string()).unwrap();
    loop {
        std::thread::park();
    }
}

/// How many MiB can be had without any being taken from somebody.
fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
