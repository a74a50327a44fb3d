//! Programs that this machine can run, told from files that it cannot, before anybody is cut off for one.
//! The C library hands what the kernel does not take to a shell: another machine's program would
//! be run as a script, by root.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The bytes of a file that are looked at: the header of an ELF file, or a first line.
const HEAD_BYTES: u64 = 256;
/// The size of an ELF file's header for 64 bits; the one for 32 is smaller.
const ELF_HEADER_BYTES: usize = 64;

/// Find a file to be a program for this machine: of the same kind as this very one, or a script that names what it is
/// run by.
///
/// # Errors
/// The kind of file that it is instead.
pub(super) fn runnable(path: &Path) -> Result<(), String> {
    let told = |why: io::Error| why.to_string();
    if !fs::metadata(path).map_err(told)?.is_file() {
        return Err("it is no file".into());
    }
    let (head, own) = (head(path).map_err(told)?, head(Path::new("/proc/self/exe")).map_err(told)?);
    if head.is_empty() {
        return Err("it is empty".into());
    }
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let named = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        return match std::str::from_utf8(named) {
            Ok(named) if named.starts_with('/') && Path::new(named).is_file() => Ok(()),
            _ => Err("it is a script, and what is to run it is not there".into()),
        };
    }
    is_alike(&head, &own)
}

fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

/// Whether an ELF header is one of the same class, byte order and machine as another, of a program.
fn is_alike(head: &[u8], own: &[u8]) -> Result<(), String> {
    const MAGIC: &[u8] = b"\x7fELF";
    if !head.starts_with(MAGIC) {
        return Err("it is no program (neither ELF nor #!)".into());
    }
    if head.len() < ELF_HEADER_BYTES {
        return Err("it is the beginning of a program".into());
    }
    // Class and byte order; then the type (a program is 2, or 3 if it can lie anywhere), the machine.
    let kind = |head: &[u8]| (head.get(4..6).map(<[u8]>::to_vec), head.get(18..20).map(<[u8]>::to_vec));
    let little = head[5] == 1;
    let number = |at: usize| {
        let pair = [head[at], head[at + 1]];
        if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    };
    if kind(head) != kind(own) {
        return Err("it is a program for another kind of machine".into());
    }
    match number(16) {
        // How large one program header is, and how many there are.
        2 | 3 if head[4] == 1 || (number(54) == 56 && number(56) > 0) => Ok(()),
        2 | 3 => Err("it is a program that is damaged".into()),
        _ => Err("it is ELF, and no program".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_runs_is_told_from_what_it_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let of = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            runnable(&path)
        };
        let own = fs::read("/proc/self/exe").unwrap();
        assert_eq!(of(&own[..4096]), Ok(()));
        assert_eq!(of(b"#!/bin/sh\n"), Ok(()));
        assert_eq!(of(b"#! /bin/sh -e\nexit"), Ok(()));
        let changed = |at: usize, to: u8| [&own[..at], &[to], &own[at + 1..4096]].concat();
        for (bytes, said) in [
            (Vec::new(), "it is empty"),
            (b"echo won\n".to_vec(), "neither ELF nor #!"),
            (own[..40].to_vec(), "the beginning of a program"),
            (changed(18, own[18] ^ 0xff), "another kind of machine"),
            (changed(4, own[4] ^ 3), "another kind of machine"),
            (changed(16, 1), "no program"),
            (b"#!\n".to_vec(), "is not there"),
            (b"#!/nowhere/sh\n".to_vec(), "is not there"),
            (b"#!sh\n".to_vec(), "is not there"),
        ] {
            let why = of(&bytes).unwrap_err();
            assert!(why.contains(said), "{said}: {why}");
        }
        assert!(runnable(dir.path()).unwrap_err().contains("no file"));
        assert!(runnable(&dir.path().join("none")).is_err());
    }
}
