//! What shells complete, asked for as they ask, and by the shells themselves.

use super::{sledctl, text};
use crate::supervisor::Supervisor;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

fn answers() -> Supervisor {
    let sled = serde_json::json!({"sled": "proper-raptor", "volumes": [{"volume": "still-fawn", "ready": true,
        "hosts": ["192.168.4.17"], "regions": [
            {"name": "still-fawn-0", "sled": "proper-raptor", "state": "serving"},
            {"name": "still-fawn-1", "sled": "elsewhere", "state": null}]}]});
    let job = serde_json::json!({"id": 71, "kind": "restart", "region": "still-fawn-0", "state": "running", "step": "",
        "progress": null, "cancellable": true, "error": null, "asked": "2026-01-01T00:00:00Z", "took_ms": null});
    Supervisor::answering(&[("/v1/sled", sled), ("/v1/jobs", serde_json::json!([job]))])
}

/// The words that a shell is offered at the end of a line.
fn offered(shell: &str, program: &str, words: &[&str]) -> Vec<String> {
    let mut command = Command::new(program);
    command.env("COMPLETE", shell).env("_CLAP_IFS", "\n").env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    let output = command.args(["--", "program"]).args(words).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let name = |line: &str| line.split([':', '\t']).next().unwrap_or_default().to_owned();
    text(&output.stdout).lines().map(name).collect()
}

#[test]
fn shells_are_offered_what_the_supervisor_knows() {
    let supervisor = answers();
    let socket = supervisor.socket();
    for shell in ["bash", "zsh", "fish"] {
        for (words, wanted, other) in [
            (&["region", "show"][..], "still-fawn-0", "still-fawn-1"),
            (&["region", "restart"], "still-fawn-0", "still-fawn"),
            (&["volume", "show"], "still-fawn", "still-fawn-0"),
            (&["volume", "deny", "still-fawn"], "192.168.4.17", "still-fawn"),
            (&["jobs", "cancel"], "71", "still-fawn-0"),
            (&["explain"], "DISK_FULL", "still-fawn"),
            (&["region"], "restart", "still-fawn"),
        ] {
            let line = [&["--socket", socket.to_str().unwrap()], words, &[""]].concat();
            let offered = offered(shell, env!("CARGO_BIN_EXE_sledctl"), &line);
            assert!(offered.iter().any(|word| word == wanted), "{shell}: {words:?}: {offered:?}");
            assert!(!offered.iter().any(|word| word == other), "{shell}: {words:?}: {offered:?}");
        }
    }
    let codes = offered("fish", env!("CARGO_BIN_EXE_crucible-attach"), &["explain", "REQUESTS_"]);
    assert_eq!(codes, ["REQUESTS_HELD", "REQUESTS_SLOW"]);
}

/// Nothing is said where nobody answers, and nobody waits for that for long.
#[test]
fn a_supervisor_that_does_not_answer_is_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let silent = UnixListener::bind(&path).unwrap();
    let words = ["--socket", path.to_str().unwrap(), "jobs", "show", ""];
    let jobs = |words: &[&str]| -> Vec<String> {
        let numbers = offered("bash", env!("CARGO_BIN_EXE_sledctl"), words).into_iter();
        numbers.filter(|word| !word.starts_with('-')).collect()
    };
    assert_eq!(jobs(&words), Vec::<String>::new());
    drop(silent);
    assert_eq!(jobs(&words), Vec::<String>::new());
    fs::remove_file(&path).unwrap();
    assert_eq!(jobs(&words), Vec::<String>::new());
}

/// What the shells are given to read is what they can read. One that is not on this machine is left out: tests/run
/// installs all three.
#[test]
fn the_shells_themselves_complete() {
    let supervisor = answers();
    let socket = supervisor.socket();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = Path::new(env!("CARGO_BIN_EXE_sledctl")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let line = format!("sledctl --socket {} region show still", socket.display());
    let bash = format!(
        "source {}/completions/sledctl.bash; COMP_LINE='{line}'; COMP_WORDS=($COMP_LINE); COMP_CWORD=5; COMP_TYPE=9; \
         read -ra how <<<\"$(complete -p sledctl)\"; for ((i = 0; i < ${{#how[@]}}; i++)); do \
         [ \"${{how[i]}}\" = -F ] && function=${{how[i + 1]}}; done; $function sledctl still show; echo \"${{COMPREPLY[@]}}\"",
        root.display()
    );
    let fish = format!("source {}/completions/sledctl.fish; complete --do-complete '{line}'", root.display());
    let zsh = format!(
        "autoload -Uz compinit; compinit -u -D; fpath=({}/completions $fpath); autoload -Uz _sledctl; \
         words=(${{(z)${{:-{line}}}}}); CURRENT=6; _describe() {{ local name=$argv[-1]; print -l -- \"${{(@P)name}}\" }}; _sledctl",
        root.display()
    );
    // Some shells make themselves at home.
    let home = tempfile::tempdir().unwrap();
    for (shell, arguments) in [
        ("bash", vec!["--norc", "-c", &bash]),
        ("fish", vec!["--no-config", "-c", &fish]),
        ("zsh", vec!["-f", "-c", &zsh]),
    ] {
        let asked = Command::new(shell).args(arguments).env("PATH", &path).env("HOME", home.path()).output();
        let Ok(output) = asked else {
            eprintln!("there is no {shell} here");
            continue;
        };
        let said = text(&output.stdout);
        assert!(
            said.contains("still-fawn-0") && !said.contains("still-fawn-1"),
            "{shell}: {said}{}",
            text(&output.stderr)
        );
    }
}

/// Nobody is kept from calling a program by a word in his environment that means something else.
#[test]
fn without_a_shell_that_asks_the_program_does_what_it_does() {
    assert_eq!(sledctl(&["explain", "DISK_FULL"]).status.code(), Some(0));
    let output = Command::new(env!("CARGO_BIN_EXE_sledctl")).env("COMPLETE", "").args(["explain"]).output().unwrap();
    assert!(output.status.success());
}
