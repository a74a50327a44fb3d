//! The stand-in, and the readers of the product, held against what the real programs wrote.
//!
//! `CRUCIBLE_FIXTURES` names a directory of such regions and messages; without it these tests
//! compare the two with each other alone.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crucible_sled::region::RegionJson;
use crucible_sled::region::format::{Trailer, extent_path};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::certificates::{Authority, NAMES};
use support::places::crucible;

/// The stand-in, or with `CRUCIBLE_BIN` the real program.
fn downstairs(words: &[&str]) -> Output {
    let mut command = Command::new(crucible().join("crucible-downstairs"));
    command.args(words).env_remove("RUST_BACKTRACE").output().unwrap()
}

fn fixtures() -> Option<PathBuf> {
    let dir = std::env::var_os("CRUCIBLE_FIXTURES").map(PathBuf::from);
    if dir.is_none() {
        eprintln!("CRUCIBLE_FIXTURES is not set: nothing of the real programs to compare with");
    }
    dir
}

const FRESH: [&str; 9] = [
    "create",
    "--uuid",
    "11111111-1111-4111-8111-111111111111",
    "--block-size",
    "512",
    "--extent-size",
    "100",
    "--extent-count",
    "2",
];

fn create(dir: &Path) -> Output {
    downstairs(&[&FRESH[..], &["--data", dir.to_str().unwrap()]].concat())
}

#[test]
fn a_created_region_reads_as_it_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let output = create(dir.path());
    assert!(output.status.success(), "{output:?}");
    let region = RegionJson::parse(&fs::read(dir.path().join("region.json")).unwrap()).unwrap();
    assert_eq!((region.block_size, region.extent_size.value, region.extent_count), (512, 100, 2));
    for number in 0..2 {
        let extent = fs::read(dir.path().join(extent_path(number))).unwrap();
        assert_eq!(extent.len() as u64, region.geometry().extent_file_bytes());
        let trailer = Trailer::parse(extent.last_chunk().unwrap()).unwrap();
        assert_eq!(trailer, Trailer { dirty: false, generation: 0, flush: 0 });
    }
}

#[test]
fn a_created_region_is_the_real_one_to_the_byte() {
    let Some(fixtures) = fixtures() else { return };
    let dir = tempfile::tempdir().unwrap();
    create(dir.path());
    for file in ["region.json", "00/000/000", "00/000/001"] {
        let (real, made) =
            (fs::read(fixtures.join("fresh").join(file)).unwrap(), fs::read(dir.path().join(file)).unwrap());
        assert!(real == made, "{file} differs from the real one");
    }
}

#[test]
fn regions_of_the_real_program_are_read() {
    let Some(fixtures) = fixtures() else { return };
    for (name, extents, generation) in
        [("fresh", 2, 0), ("written-0", 4, 7), ("written-1", 4, 7), ("encrypted-0", 2, 3)]
    {
        let dir = fixtures.join(name);
        let region = RegionJson::parse(&fs::read(dir.join("region.json")).unwrap()).unwrap();
        assert_eq!((region.extent_count, region.encrypted), (extents, name == "encrypted-0"), "{name}");
        let mut newest = 0;
        for number in 0..extents {
            let extent = fs::read(dir.join(extent_path(number))).unwrap();
            assert_eq!(extent.len() as u64, region.geometry().extent_file_bytes(), "{name}");
            let trailer = Trailer::parse(extent.last_chunk().unwrap()).unwrap();
            assert!(!trailer.dirty, "{name}");
            newest = newest.max(trailer.generation);
        }
        assert_eq!(newest, generation, "{name}");
    }
    let half = RegionJson::parse(&fs::read(fixtures.join("half-made/region.json")).unwrap()).unwrap();
    assert!(!fixtures.join("half-made").join(extent_path(half.extent_count - 1)).exists());
}

/// Each failure prints what the real one did, and exits with 1.
#[test]
fn failures_are_told_as_the_real_program_tells_them() {
    let Some(fixtures) = fixtures() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let message =
        |name: &str| fs::read_to_string(fixtures.join("messages").join(name).with_extension("stderr")).unwrap();
    let dir = scratch.path().join("fresh");
    create(&dir);
    let again = create(&dir);
    // The text names the directory as it was given; the fixture's was `fresh`.
    let said = String::from_utf8_lossy(&again.stderr).replace(dir.to_str().unwrap(), "fresh");
    assert_eq!((said, again.status.code()), (message("exists"), Some(1)));

    let run = |dir: &Path, as_given: &str| {
        let output = downstairs(&["run", "--data", dir.to_str().unwrap(), "--port", "9500", "--address", "127.0.0.1"]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).replace(dir.to_str().unwrap(), as_given)
    };
    assert_eq!(run(&scratch.path().join("nowhere"), "nowhere"), message("missing"));
    let text = fs::read_to_string(dir.join("region.json")).unwrap();
    fs::write(dir.join("region.json"), text.replace("\"database_read_version\": 1", "\"database_read_version\": 2"))
        .unwrap();
    assert_eq!(run(&dir, "fresh"), message("version"));
    fs::write(dir.join("region.json"), "").unwrap();
    assert_eq!(run(&dir, "t1"), message("truncated-region-json"));
    fs::write(dir.join("region.json"), text).unwrap();
    fs::remove_file(dir.join(extent_path(1))).unwrap();
    assert_eq!(run(&dir, "t3"), message("extent-missing"));
}

/// Each file that it cannot use does what it does with the real one, and the words are the same.
#[test]
fn files_of_tls_that_cannot_be_used_end_it_as_they_end_the_real_program() {
    let scratch = tempfile::tempdir().unwrap();
    let region = scratch.path().join("fresh");
    create(&region);
    let made = Authority::new(scratch.path(), 99);
    made.issue("sled", 99, NAMES).issue("other", 99, NAMES);
    made.openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", "sled.key", "-out", "pkcs8"]);
    made.openssl(&["ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", "curve"]);
    let (aborted, failed) = ((None, Some(6)), (Some(1), None));
    for (cert, key, root, end, words) in [
        ("sled.pem", "pkcs8", "root.pem", aborted, &["panicked at common/src/x509.rs", "index out of bounds"][..]),
        ("sled.pem", "curve", "root.pem", aborted, &["panicked at common/src/x509.rs", "index out of bounds"]),
        ("sled.pem", "nowhere", "root.pem", failed, &["Error: IO error\n\nCaused by:\n    No such file or directory"]),
        ("sled.pem", "other.key", "root.pem", failed, &["Error: rustls error\n\nCaused by:\n    keys may not be"]),
        ("sled.key", "sled.key", "root.pem", failed, &["Error: rustls error\n\nCaused by:\n    peer sent no"]),
        (
            "sled.pem",
            "sled.key",
            "sled.key",
            failed,
            &["Error: client cert verifier builder error\n\nCaused by:\n    no root"],
        ),
    ] {
        let paths =
            [&region, &made.path(cert), &made.path(key), &made.path(root)].map(|path| path.display().to_string());
        let words_of = ["--data", "--cert-pem", "--key-pem", "--root-cert-pem"];
        let flags: Vec<_> = words_of.iter().zip(&paths).flat_map(|(flag, path)| [*flag, path.as_str()]).collect();
        let output = downstairs(&[&["run", "--port", "9510", "--address", "127.0.0.1"], &flags[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.status.signal()), end, "{key}: {said}");
        assert!(words.iter().all(|words| said.contains(words)), "{cert} {key} {root}: {said}");
    }
    let some = downstairs(&["run", "--data", "x", "--port", "9510", "--cert-pem", "x"]);
    assert_eq!(some.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&some.stderr).contains("--root-cert-pem <ROOT_CERT_PEM>"));
}
