//! The structure of the code, held against the sources: what is pure stays pure, and imports
//! run downwards only.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// The modules from the bottom up: each may use those before it in the list, and itself.
const LAYERS: [&[&str]; 12] = [
    &["clean"],
    &[
        "broker", "check", "logging", "names", "protocol", "files", "lived", "size", "source", "span", "table",
        "terminal", "times",
    ],
    &["region"],
    &["port_map"],
    &["config", "programs"],
    &["wire", "systemd", "config_dir"],
    &["decide", "appliance", "update"],
    &["act"],
    &["observe"],
    &["supervisor"],
    &["http", "cli", "attach"],
    &["daemon"],
];

/// What must do no I/O of its own.
const PURE: [&str; 21] = [
    "clean",
    "lived",
    "times",
    "size",
    "span",
    "source",
    "names",
    "check",
    "region",
    "port_map",
    "config",
    "wire",
    "protocol",
    "programs",
    "decide",
    "table",
    "attach/ballot",
    "appliance/answers",
    "appliance/network",
    "update/transfers",
    "update/verdict",
];
/// What does I/O.
const IMPURE: [&str; 9] =
    ["tokio::", "zbus::", "hyper::", "std::fs", "std::net::Tcp", "nix::", "procfs::", "std::process", "std::env::"];

/// The sources of a module of `src`, tests left out.
fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.join(format!("{module}.rs"))];
    let mut dirs = vec![src.join(module)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.path() {
                dir if dir.ends_with("tests") => {}
                dir if dir.is_dir() => dirs.push(dir),
                file if file.file_name().is_some_and(|name| name == "tests.rs") => {}
                file => files.push(file),
            }
        }
    }
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).ok()?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        Some((file, code.collect::<Vec<_>>().join("\n")))
    };
    let read: Vec<_> = files.into_iter().filter_map(read).collect();
    assert!(!read.is_empty(), "there is no module {module}");
    read
}

#[test]
fn what_is_pure_does_no_io() {
    for (file, code) in PURE.iter().flat_map(|module| sources(module)) {
        for word in IMPURE {
            assert!(!code.contains(word), "{} uses {word}", file.display());
        }
    }
}

/// The modules of this crate that some code names.
fn imported(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let word =
            |text: &str| text.trim().split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap().to_owned();
        match rest.strip_prefix('{') {
            Some(list) => names.extend(list.split('}').next().unwrap().split(',').map(word)),
            None => names.push(word(rest)),
        }
    }
    names
}

#[test]
fn imports_run_downwards_only() {
    for (height, layer) in LAYERS.iter().enumerate() {
        for module in *layer {
            for (file, code) in sources(module) {
                for other in imported(&code) {
                    let Some(at) = LAYERS.iter().position(|layer| layer.contains(&other.as_str())) else { continue };
                    let beside = at == height && other != *module;
                    assert!(at <= height && !beside, "{} looks up or aside at {other}", file.display());
                }
            }
        }
    }
}

/// What the loop has done aside is begun in one place: there its end is heard of, even if it panics.
/// And an event goes to the loop by that place alone.
#[test]
fn what_is_done_aside_is_begun_in_one_place() {
    for (file, code) in sources("supervisor") {
        let here = file.file_name().is_some_and(|name| name == "errands.rs");
        for word in ["tokio::spawn(", "events.send(", "events.try_send("] {
            assert!(here || !code.contains(word), "{} has {word}", file.display());
        }
        // As long as a disk hangs, every one of these is a thread: they go by the scanner.
        assert!(!code.contains(".scan("), "{} looks at the disk itself", file.display());
    }
}

/// Every module of the library has its place in the picture above.
#[test]
fn every_module_has_its_layer() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    for module in modules {
        assert!(LAYERS.iter().any(|layer| layer.contains(&module)), "{module} has no layer");
    }
}

/// What programs print is made harmless in one place; so nothing is printed in another.
#[test]
fn programs_print_in_one_place() {
    for (file, code) in ["cli", "attach", "update", "appliance", "daemon"].iter().flat_map(|module| sources(module)) {
        for word in ["print!", "println!", "anstream", "stdout().lock", "stderr().lock", "io::stderr(),"] {
            assert!(!code.contains(word), "{} prints by itself: {word}", file.display());
        }
    }
}

/// The manual knows every code that an operator can meet.
#[test]
fn the_manual_explains_every_code() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/sledctl.1")).unwrap();
    for code in crucible_sled::check::Code::ALL {
        assert!(page.contains(code.as_str()), "{code} is not in man/sledctl.1");
    }
}

/// How data goes away is said where a remedy has named what is milder first, and to whoever asked for
/// it: in no other text.
#[test]
fn no_other_text_offers_to_destroy() {
    let words = ["region delete", "region purge", "mkfs", "wipefs", "rm -r", "blkdiscard"];
    let may = [
        // The words of the last resort.
        "decide/remedy.rs",
        // Answers to one who asks to delete, and what a reload leaves behind for that.
        "decide/permits.rs",
        "decide/difference.rs",
        // Of regions that the map does not have any more, after how to have them back.
        "decide/storage.rs",
        "supervisor/moves.rs",
    ];
    let modules = LAYERS.iter().flat_map(|layer| layer.iter()).filter(|module| !["cli"].contains(module));
    for (file, code) in modules.flat_map(|module| sources(module)) {
        for word in words {
            let allowed = may.iter().any(|may| file.ends_with(may));
            assert!(allowed || !code.contains(word), "{} says {word:?}", file.display());
        }
    }
}
