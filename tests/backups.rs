//! `sledctl backup` and `restore`, on files as a sled has them.

use super::{MAP, SLED, text};
use crucible_sled::region::{Grant, Ledger, Mark};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A sled's files below a directory of their own, and no process of it.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for dir in ["etc", "memory", "proc", "crucible/.sled/tickets"] {
            fs::create_dir_all(machine.at(dir)).unwrap();
        }
        let root = machine.at("crucible").display().to_string();
        let sled = SLED.replacen("root = \"/crucible\"", &format!("root = \"{root}\""), 1);
        fs::write(machine.at("etc/sled.toml"), sled.replacen("#require_mount = true", "require_mount = false", 1))
            .unwrap();
        fs::write(machine.at("etc/port-map.toml"), MAP).unwrap();
        let mark = Mark::new("proper-raptor".parse().unwrap()).to_text().unwrap();
        fs::write(machine.at("crucible/.sled/disk.json"), &mark).unwrap();
        fs::write(machine.at("memory/disk.json"), &mark).unwrap();
        machine.record(5, 7);
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Records of the disk: the ledger's number, and the generation of the one volume with a ticket.
    fn record(&self, serial: u64, generation: u64) {
        let ledger = Ledger { serial, tickets: ["pve".parse().unwrap()].into(), ..Ledger::default() };
        fs::write(self.at("crucible/.sled/ledger.json"), ledger.to_text().unwrap()).unwrap();
        fs::write(self.at("crucible/.sled/ledger.json.copy"), ledger.to_text().unwrap()).unwrap();
        let none = Grant { serial: generation, ..Grant::default() };
        let now = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let grant = none.to("192.168.4.17".parse().unwrap(), generation, now, &BTreeSet::new());
        fs::write(self.at("crucible/.sled/tickets/pve"), grant.to_text().unwrap()).unwrap();
    }

    fn generation(&self) -> u64 {
        let text = fs::read(self.at("crucible/.sled/tickets/pve")).unwrap();
        text.chunks(4096).filter_map(Grant::parse).map(|grant| grant.generation).max().unwrap()
    }

    fn sledctl(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sledctl"));
        command.args(words).arg("--dir").arg(self.at("etc")).env("STATE_DIRECTORY", self.at("memory"));
        command.output().unwrap()
    }

    fn backup(&self, file: &Path) -> Output {
        self.sledctl(&["backup", file.to_str().unwrap()])
    }

    fn restore(&self, file: &Path, words: &[&str]) -> Output {
        let proc = self.at("proc");
        self.sledctl(&[&["restore", file.to_str().unwrap(), "--proc", proc.to_str().unwrap()], words].concat())
    }

    /// Every file with what is in it, but for what was put aside.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let (mut dirs, mut files) = (vec![self.0.path().to_owned()], Vec::new());
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { dirs.push(path) } else { files.push((path.clone(), fs::read(path).unwrap())) }
            }
        }
        files.sort();
        files
    }
}

#[test]
fn what_was_lost_comes_back_and_lets_in_nobody() {
    let machine = Machine::new();
    let file = machine.at("b.tar.gz");
    let output = machine.backup(&file);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(machine.backup(&file).status.code() == Some(1), "it is written over");
    let output = machine.restore(&file, &["--yes"]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("everything is as the backup has it"), "{said}");

    let before = fs::read(machine.at("etc/sled.toml")).unwrap();
    fs::write(machine.at("etc/sled.toml"), "broken").unwrap();
    fs::remove_file(machine.at("crucible/.sled/tickets/pve")).unwrap();
    fs::write(machine.at("crucible/.sled/ledger.json"), "{").unwrap();
    fs::remove_file(machine.at("crucible/.sled/ledger.json.copy")).unwrap();
    let lost = machine.files();
    let output = machine.restore(&file, &["--dry-run"]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("disk/ledger.json") && said.contains("replaced"), "{said}");
    assert!(machine.files() == lost, "a dry run changes something");
    let output = machine.restore(&file, &[]);
    assert!(text(&output.stderr).contains("--yes") && machine.files() == lost, "{}", text(&output.stderr));

    let output = machine.restore(&file, &["--yes"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(fs::read(machine.at("etc/sled.toml")).unwrap(), before);
    assert_eq!(fs::read(machine.at("etc/sled.toml.replaced")).unwrap(), b"broken");
    let ledger = Ledger::parse(&fs::read(machine.at("crucible/.sled/ledger.json")).unwrap()).unwrap();
    assert_eq!(ledger.serial, 6);
    let grant = fs::read(machine.at("crucible/.sled/tickets/pve")).unwrap();
    let grant = grant.chunks(4096).filter_map(Grant::parse).max_by_key(|grant| grant.serial).unwrap();
    assert_eq!((grant.generation, grant.in_hand()), (7, None));
    let said = text(&machine.restore(&file, &["--yes"]).stdout);
    assert!(said.contains("everything is as the backup has it"), "{said}");
}

#[test]
fn nothing_goes_back_and_a_refusal_changes_nothing() {
    let machine = Machine::new();
    let file = machine.at("b.tar.gz");
    assert!(machine.backup(&file).status.success());
    machine.record(5, 9);
    let now = machine.files();
    let refused = |words: &[&str], code: &str, part: &str| {
        let output = machine.restore(&file, &[words, &["--json"]].concat());
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), said["error"]["code"].as_str()), (Some(1), Some(code)), "{said}");
        assert!(said["error"]["message"].as_str().unwrap().contains(part), "{said}");
        assert!(machine.files() == now, "{part}: something was changed");
    };
    refused(&["--yes"], "BACKUP_OLDER", "generation 9 is the highest here, and 7");
    assert_eq!(machine.generation(), 9);
    machine.record(9, 7);
    let now = machine.files();
    let output = machine.restore(&file, &["--yes"]);
    assert!(text(&output.stderr).contains("number 9 here, and 5"), "{}", text(&output.stderr));
    assert!(machine.files() == now);
    // The configuration alone asks for nothing of that.
    fs::write(machine.at("etc/port-map.toml"), "broken").unwrap();
    let output = machine.restore(&file, &["--yes", "--configuration-only"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(machine.at("etc/port-map.toml")).unwrap(), MAP);
}

#[test]
fn a_supervisor_that_runs_and_a_damaged_backup_are_refused() {
    let machine = Machine::new();
    let file = machine.at("b.tar.gz");
    assert!(machine.backup(&file).status.success());
    let process = machine.at("proc/77");
    fs::create_dir(&process).unwrap();
    fs::write(process.join("cmdline"), "/usr/bin/sledd\0--sysfs\0/sys\0").unwrap();
    let said = text(&machine.restore(&file, &["--yes"]).stderr);
    assert!(said.contains("the supervisor runs") && said.contains("systemctl stop"), "{said}");
    // That is none.
    fs::write(process.join("cmdline"), "/usr/bin/sledd\0--sockets\0").unwrap();
    assert!(machine.restore(&file, &["--yes"]).status.success());
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let said = text(&machine.restore(&file, &["--yes"]).stderr);
    assert!(said.contains("sledctl backup"), "{said}");
    let said = text(&machine.restore(&machine.at("none"), &["--yes"]).stderr);
    assert!(said.contains("none"), "{said}");
}
