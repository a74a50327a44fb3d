//! The scripts as a person calls them: each tells how it is called, as it stands at its head, and what was
//! wrong about a call, and does nothing for either.

use crucible_sled::region::ledger::LEDGER_VERSION;
use crucible_sled::update::manifest::Manifest;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Those that a person or another script calls by their names.
fn scripts() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dirs =
        ["image", "tests", "tests/bench", "tests/machine", "tests/image", "tests/faces"].map(|dir| root.join(dir));
    let files = dirs.iter().flat_map(|dir| fs::read_dir(dir).unwrap()).map(|entry| entry.unwrap().path());
    let mut scripts: Vec<_> = files.filter(|file| file.is_file() && head(file).starts_with("#!")).collect();
    scripts.sort();
    assert!(scripts.len() > 15, "{scripts:?}");
    scripts
}

fn head(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned()
}

/// The head of a script.
fn header(script: &Path) -> String {
    let text = head(script);
    if text.lines().next().is_some_and(|first| first.contains("python")) {
        return text.split("\"\"\"").nth(1).unwrap().trim_end().to_owned() + "\n";
    }
    let lines = text.lines().skip(1).take_while(|line| line.starts_with('#'));
    lines.map(|line| line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap().to_owned() + "\n").collect()
}

/// Calls it where it could leave something behind, which it must not.
fn call(script: &Path, words: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("timeout");
    let done = command.arg("60").arg(script).args(words).current_dir(dir.path()).output().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{script:?} {words:?} has left something");
    done
}

#[test]
fn every_script_tells_all_of_how_it_is_called() {
    for script in scripts() {
        for word in ["--help", "-h"] {
            let done = call(&script, &[word]);
            assert!(done.status.success(), "{script:?} {word}: {done:?}");
            assert_eq!(String::from_utf8_lossy(&done.stdout), header(&script), "{script:?} {word}");
        }
    }
}

/// The options of a script that have a value, as its head writes them: `--image IMAGE`.
fn options(script: &Path) -> Vec<String> {
    let header = header(script);
    let is_value = |word: &str| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || "-/=".contains(c));
    let mut options: Vec<_> = header
        .split("--")
        .skip(1)
        .filter_map(|rest| rest.lines().next()?.split_once(' '))
        .filter(|(_, rest)| is_value(rest.split([']', ' ', '|', '.']).next().unwrap_or_default()))
        .filter(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        .map(|(name, _)| format!("--{name}"))
        .collect();
    options.sort();
    options.dedup();
    options
}

#[test]
fn an_option_without_its_value_and_one_that_is_none_are_named() {
    let mut seen = 0;
    // Its options are those of `sledctl setup`.
    for script in scripts().into_iter().filter(|script| !script.ends_with("image/configure")) {
        for option in options(&script) {
            for words in [&[option.as_str()][..], &[option.as_str(), "--help"], &[option.as_str(), ""]] {
                let done = call(&script, words);
                let told = String::from_utf8_lossy(&done.stderr);
                assert_eq!(done.status.code(), Some(2), "{script:?} {words:?}: {told}");
                assert!(told.contains(&format!("{option} wants a value")), "{script:?} {words:?}: {told}");
            }
            seen += 1;
        }
        let done = call(&script, &["--no-such-option"]);
        assert!(matches!(done.status.code(), Some(1 | 2)), "{script:?}: {done:?}");
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(told.contains(header(&script).trim_end()), "{script:?} does not say how it is called: {told}");
    }
    assert!(seen > 15, "{seen} options");
}

/// Artefacts of other people's crates are taken by a clone that would compile the same, and by no other.
#[test]
fn what_is_kept_is_kept_by_all_that_it_depends_on() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dependencies");
    let key = |variable: Option<(&str, &str)>| {
        let done = Command::new(&script).arg("key").envs(variable).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let plain = key(None);
    assert_eq!(plain, key(Some(("CARGO_TARGET_DIR", "/elsewhere"))));
    for variable in [
        ("RUSTFLAGS", "-C target-feature=+avx2"),
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
        ("CARGO_BUILD_TARGET", "x86_64-unknown-linux-musl"),
        ("CARGO_HOME", "/elsewhere"),
        ("CFLAGS", "-O1"),
    ] {
        assert_ne!(plain, key(Some(variable)), "{variable:?}");
    }
}

/// A release describes itself as sleds read it.
#[test]
fn a_release_says_what_it_is_what_changes_and_what_it_needs() {
    let (script, dir) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("image/manifest"), tempfile::tempdir().unwrap());
    let [root, verity, changes] = ["root", "verity", "changes"].map(|name| dir.path().join(name));
    fs::write(&root, [0; 4096]).unwrap();
    fs::write(&verity, [0; 512]).unwrap();
    fs::write(&changes, "repairs are faster\n\n  a page\n").unwrap();
    let describe = |changes: &Path| {
        let parts = [root.as_path(), &verity, changes];
        let done = Command::new(&script).args(["0.1.0.2", "86400", "d1"]).args(parts).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        Manifest::parse(&done.stdout, "0.1.0.2").unwrap()
    };
    let told = describe(&changes);
    assert_eq!(told.changes, ["repairs are faster", "a page"]);
    assert_eq!(told.released, "1970-01-02T00:00:00Z".parse().ok());
    assert_eq!((told.downstairs.as_deref(), told.least.root_bytes, told.least.verity_bytes), (Some("d1"), 4096, 512));
    assert!(told.least.mark > 0 && told.least.ledger > 0 && told.least.ledger <= LEDGER_VERSION, "{:?}", told.least);
    assert!(describe(Path::new("-")).changes.is_empty());
}

/// Units and drop-ins below a directory.
fn units(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| if path.is_dir() && !path.is_symlink() { units(&path) } else { vec![path] });
    below.filter(|path| path.extension().is_some_and(|kind| kind == "service" || kind == "conf")).collect()
}

/// systemd refuses a service with several commands that is not oneshot, and what waits for it waits for ever: of an
/// emergency that is the machine.
#[test]
fn a_service_has_one_command_unless_it_is_oneshot() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all: Vec<_> = ["image/mkosi", "systemd"].iter().flat_map(|dir| units(&root.join(dir))).collect();
    assert!(all.len() > 30, "{all:?}");
    for unit in all {
        let text = fs::read_to_string(&unit).unwrap();
        let commands = text.lines().filter_map(|line| line.strip_prefix("ExecStart="));
        let count = commands.fold(0, |count, command| if command.is_empty() { 0 } else { count + 1 });
        assert!(count < 2 || text.lines().any(|line| line == "Type=oneshot"), "{}: {count} commands", unit.display());
    }
}
