//! `sledctl report`, with a supervisor that answers and without one.

use super::{MAP, SLED, configuration, text};
use crate::supervisor::Supervisor;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn report(dir: &Path, socket: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sledctl"));
    command.arg("--socket").arg(socket).args(["report", "--dir"]).arg(dir).args(words);
    // Of the machine that tests run on nothing is remembered.
    command.env("STATE_DIRECTORY", dir).output().unwrap()
}

/// A file of an archive, by the end of its name.
fn part(archive: &Path, name: &str) -> String {
    let words = ["-xzOf", archive.to_str().unwrap(), "--wildcards"];
    text(&Command::new("tar").args(words).arg(format!("*/{name}")).output().unwrap().stdout)
}

#[test]
fn a_report_has_what_it_shows_and_no_secrets() {
    let told = SLED.replace("\n[notify]\n", "\n[notify]\nwebhook = \"https://chat.example/HOOK\"\n");
    assert!(told.contains("HOOK"));
    let dir = configuration(&told, MAP);
    let supervisor =
        Supervisor::answering(&[("/v1/sled", serde_json::json!({"sled": "proper-raptor", "token": "HOOK"}))]);
    let file = dir.path().join("a.tar.gz");
    let output = report(dir.path(), &supervisor.socket(), &[file.to_str().unwrap(), "--yes"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    assert!(said.contains("GET /v1/sled") && said.contains("journalctl") && said.contains("left out"), "{said}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(part(&file, "supervisor/sled.json").contains("proper-raptor"));
    assert!(part(&file, "configuration/sled.toml.json").contains("enx00e04ca81110"));
    assert!(part(&file, "configuration/port-map.toml.json").contains("still-fawn"));
    assert!(part(&file, "parts.json").contains("machine/uname.txt"));
    assert!(!part(&file, "*").contains("HOOK"));
    // Nothing is written over.
    let before = fs::read(&file).unwrap();
    let output = report(dir.path(), &supervisor.socket(), &[file.to_str().unwrap(), "--yes"]);
    assert!(output.status.code() == Some(1) && fs::read(&file).unwrap() == before, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("nothing is written over"), "{}", text(&output.stderr));
}

#[test]
fn without_a_supervisor_the_rest_is_there_and_the_exit_code_says_so() {
    let dir = configuration(SLED, MAP);
    let file = dir.path().join("a.tar.gz");
    let output = report(dir.path(), Path::new("/nonexistent/admin.sock"), &[file.to_str().unwrap(), "--yes", "--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let parts = told["parts"].as_array().unwrap();
    let of = |name: &str| parts.iter().find(|part| part["name"] == name).unwrap();
    assert!(of("supervisor/sled.json")["trouble"].as_str().unwrap().contains("/nonexistent/admin.sock"));
    assert!(of("machine/proc/mounts.txt")["bytes"].as_u64().unwrap() > 0);
    assert!(part(&file, "machine/proc/mounts.txt").contains("/proc"));
}

#[test]
fn nobody_is_asked_who_is_not_there() {
    let dir = configuration(SLED, MAP);
    let file = dir.path().join("a.tar.gz");
    let output = report(dir.path(), Path::new("/nonexistent/admin.sock"), &[file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--yes") && !file.exists(), "{}", text(&output.stderr));
}
