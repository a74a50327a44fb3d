//! The table of failures, row by row, and by what the real programs wrote.

use crate::decide::facts::Exit;
use crate::decide::failure::{Kind, ROWS, classify};
use std::fs;
use std::path::Path;

fn kind(text: &str) -> Kind {
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    classify(Exit::Status(1), &lines).kind
}

/// The texts of the table of failures, one of each row.
#[test]
fn every_failure_is_of_its_kind() {
    for (text, wanted) in [
        ("Error: Address already in use (os error 98)", Kind::Port),
        ("Error: got \"failed to create server: failed to bind to 10.0.0.1:7830\" from repair main", Kind::Port),
        ("Error: Operation not permitted (os error 1)", Kind::Permanent),
        ("Error: Cannot assign requested address (os error 99)", Kind::Network),
        ("Error: IO Error: write of \"00/000/001\" failed: No space left on device (os error 28)", Kind::Space),
        ("Error: writing metadata failed: ENOSPC", Kind::Space),
        ("Error: IO Error: Read-only file system (os error 30)", Kind::Space),
        (
            "Error: Error open \"a/region.json\": file not found opening region config \"a/region.json\"",
            Kind::Permanent,
        ),
        (
            "Error: Error parse \"a/region.json\"\n\nCaused by:\n    EOF while parsing a value at line 1 column 0 opening \
             region config \"a/region.json\"",
            Kind::Permanent,
        ),
        ("Error: Database read version mismatch, expected 1, got 2", Kind::Permanent),
        ("Error: IO Error: extent 1: open of \"00/000/001\" failed: No such file or directory", Kind::Permanent),
        ("Error: IO Error: raw extent 1 (file 001) has unknown tag 0", Kind::Permanent),
        ("Error: InvalidInput", Kind::Permanent),
        ("Error: metadata deserialization failed: invalid u8 while decoding bool", Kind::Permanent),
        ("Error: missing context slot for block 3 in extent 7 (007)", Kind::Permanent),
        ("Error: context slot deserialization failed: tag for enum is not valid, found 7", Kind::Permanent),
        ("Error: IO Error: extent 0: file size 38984 does not match expected 38952", Kind::Permanent),
        ("Error: IO Error: extent 1: open of \"00/000/001\" failed: Permission denied (os error 13)", Kind::Permanent),
        ("Error: this downstairs cannot open all required files!", Kind::Permanent),
        ("Error: Too many open files (os error 24)", Kind::Permanent),
        ("thread 'main' panicked at src/main.rs:1:\nNo CA certificates were loaded from the system", Kind::Permanent),
        ("thread 'main' panicked at src/main.rs:1:\nindex out of bounds", Kind::Transient),
        ("Error: the moon is full", Kind::Transient),
        ("", Kind::Transient),
    ] {
        assert_eq!(kind(text), wanted, "{text}");
    }
}

/// A file that may not be opened has nothing to do with ports.
#[test]
fn a_file_that_cannot_be_changed_is_no_port() {
    let text = "Error: IO Error: extent 1: open of \"00/000/001\" failed: Operation not permitted (os error 1)";
    let found = classify(Exit::Status(1), &[text.to_owned()]);
    assert_eq!(found.row.map(|row| row.words), Some("failed: Operation not permitted"));
}

/// No row is out of reach behind one that comes before it.
#[test]
fn every_row_is_found_by_its_own_words() {
    for row in ROWS {
        let found = classify(Exit::Status(1), &[format!("Error: {}", row.words)]).row.unwrap();
        assert_eq!(found.words, row.words);
    }
}

/// The words of the real programs when they would not run.
#[test]
fn the_real_texts_are_known() {
    let Some(fixtures) = std::env::var_os("CRUCIBLE_FIXTURES") else { return };
    let dir = Path::new(&fixtures).join("messages");
    let of_create = ["bad-block-size", "exists", "extent-too-big", "half-made-create"];
    let mut seen = 0;
    for file in fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path()) {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        if of_create.contains(&name.as_str()) {
            continue;
        }
        let wanted = match name.as_str() {
            "address" => Kind::Network,
            "port-taken" | "repair-port-taken" => Kind::Port,
            _ => Kind::Permanent,
        };
        assert_eq!(kind(&fs::read_to_string(&file).unwrap()), wanted, "{name}");
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} texts in {}", dir.display());
}

#[test]
fn what_is_shown_is_the_error_and_its_cause_without_a_backtrace() {
    let text = "Error: Error parse \"t1/region.json\"\n\nCaused by:\n    EOF while parsing\n\nStack backtrace:\n   0: <unknown>";
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let said = |lines: &[String]| classify(Exit::Status(1), lines).said;
    assert_eq!(said(&lines).unwrap(), "Error parse \"t1/region.json\": EOF while parsing");
    let panic = ["thread 'main' panicked at src/x.rs:3:5:".to_owned(), "out of luck".into(), "note: run with".into()];
    assert_eq!(said(&panic).unwrap(), "thread 'main' panicked at src/x.rs:3:5:: out of luck");
    assert_eq!(said(&[]), None);
    assert_eq!(said(&["x".repeat(1000)]).unwrap().len(), 300);
}

#[test]
fn a_lock_or_a_signal_needs_no_words() {
    assert_eq!(classify(Exit::Status(75), &[]).kind, Kind::Locked);
    let killed = classify(Exit::Signal(9), &[]);
    assert_eq!((killed.kind, killed.cause().as_str()), (Kind::Transient, "was killed by signal 9"));
}
