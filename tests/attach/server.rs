//! Server that a host becomes, of the volume it has won; and what is found to be wrong before it takes the volume
//! from anybody.

use crate::{all_live, attach, done, said, ticket};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::fleet::{Manner, Sled, fleet};

/// `crucible-attach run` of a script that says what it was given and ends with its input.
pub fn server(dir: &Path, sled: &Sled, words: &[&str]) -> Command {
    let program = dir.join("nbd-server");
    fs::write(&program, "#!/bin/sh\necho \"$$ $HELLO $*\"\nread line\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = attach(&["run"], sled);
    command.arg("--lock").arg(lock(dir)).arg("--program").arg(program);
    command.arg("--nbd").arg(nbd(sled)).args(words);
    command.env("HELLO", "hello").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn lock(dir: &Path) -> PathBuf {
    dir.join("run/lock")
}

/// The address on which the server of a test would listen: tests run side by side.
fn nbd(sled: &Sled) -> String {
    format!("{}:10809", sled.address)
}

/// A ticket that is not for what the same sled said of the volume is none.
#[test]
fn a_ticket_that_lies_is_refused() {
    let sleds = fleet(95, 1);
    all_live(&sleds);
    ticket(&sleds[0]);
    for (what, said) in [
        ("targets", "8.8.8.8:53"),
        ("generation", "absurdly high"),
        ("low", "less than was asked"),
        ("port_map", "has changed"),
        ("host", "is for 10.0.0.7"),
    ] {
        sleds[0].tell(|mind| mind.manner = Manner::Lies(what));
        let (code, out, err) = done(&["ticket"], &sleds[0]);
        assert!(code == 1 && err.contains(said), "{what}: {code} {out}{err}");
    }
}

/// A server that cannot be run is refused before the volume is won for it.
#[test]
fn what_is_no_program_of_this_machine_wins_nothing() {
    let sleds = fleet(96, 1);
    all_live(&sleds);
    let dir = tempfile::tempdir().unwrap();
    let mut elf = fs::read(env!("CARGO_BIN_EXE_crucible-attach")).unwrap()[..4096].to_vec();
    elf[18] ^= 0xff;
    for (name, bytes) in [("empty", &b""[..]), ("foreign", &elf), ("text", b"echo won; exit 0\n")] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let words = ["--program", path.to_str().unwrap()];
        let (code, out, err) = said(&server_without(dir.path(), &sleds[0], &words).output().unwrap());
        assert!(code == 2 && err.contains("cannot be the server"), "{name}: {code} {out}{err}");
    }
    assert_eq!(sleds[0].mind.lock().unwrap().asked.len(), 0, "it was asked for all the same");
}

#[test]
fn it_becomes_the_server_and_holds_the_lock() {
    let sleds = fleet(82, 3);
    all_live(&sleds);
    let dir = tempfile::tempdir().unwrap();
    let mut child = server(dir.path(), &sleds[0], &["--", "--control", "127.0.0.1:1"]).spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let generation = sleds[0].mind.lock().unwrap().granted;
    let targets = "--target 127.82.0.1:3830 --target 127.82.0.2:3831 --target 127.82.0.3:3832";
    let pid = child.id();
    assert_eq!(line.trim(), format!("{pid} hello --control 127.0.0.1:1 {targets} --gen {generation}"));
    let held = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    assert!(held.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|path| path == lock(dir.path())));

    let (code, _, err) = said(&server(dir.path(), &sleds[0], &["--takeover"]).output().unwrap());
    assert!(code == 1 && err.contains(&format!("process {pid} has it, for the volume still-fawn")), "{code} {err}");
    // The host asked nobody before it was refused.
    assert_eq!(sleds[0].mind.lock().unwrap().granted, generation);

    drop(child.stdin.take());
    assert!(child.wait().unwrap().code().is_some());
    let mut child = server(dir.path(), &sleds[0], &[]).spawn().unwrap();
    drop(child.stdin.take());
    let (_, out, err) = said(&child.wait_with_output().unwrap());
    let generation = sleds[0].mind.lock().unwrap().granted;
    assert!(out.ends_with(&format!("--gen {generation}\n")), "{out}{err}");
}

#[test]
fn a_server_that_cannot_be_takes_nothing_from_anybody() {
    let sleds = fleet(83, 1);
    all_live(&sleds);
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("pem");
    fs::write(&pem, "").unwrap();
    let pem = pem.to_str().unwrap();
    let missing = ["--cert-pem", "/nonexistent", "--key-pem", pem, "--root-cert-pem", pem];
    for (words, code, wanted) in [
        (&["--program", "/nonexistent"][..], 1, "/nonexistent"),
        (&["--", "--gen=7"], 2, "--gen=7 is what the ticket says"),
        (&missing, 1, "/nonexistent"),
    ] {
        let (ended, _, err) = said(&server_without(dir.path(), &sleds[0], words).output().unwrap());
        assert!(ended == code && err.contains(wanted), "{ended} {err}");
    }
    assert!(sleds[0].mind.lock().unwrap().asked.is_empty());
}

#[test]
fn a_server_without_the_sleds_tls_takes_nothing_from_anybody() {
    let sleds = fleet(84, 1);
    all_live(&sleds);
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("pem");
    fs::write(&pem, "").unwrap();
    let pem = pem.to_str().unwrap();
    let tls = ["--cert-pem", pem, "--key-pem", pem, "--root-cert-pem", pem];
    // A sled of an earlier version says it with the ticket only.
    for (tells, asked) in [(true, 0), (false, 1)] {
        sleds[0].tell(|mind| (mind.tls, mind.tells_tls) = (true, tells));
        let (code, _, err) = said(&server(dir.path(), &sleds[0], &[]).output().unwrap());
        assert!(code == 2 && err.contains("--root-cert-pem"), "{code} {err}");
        sleds[0].tell(|mind| mind.tls = false);
        let (code, _, err) = said(&server(dir.path(), &sleds[0], &tls).output().unwrap());
        assert!(code == 2 && err.contains("no TLS"), "{code} {err}");
        assert_eq!(sleds[0].mind.lock().unwrap().asked.len(), 2 * asked, "{tells}");
    }
    sleds[0].tell(|mind| (mind.tls, mind.tells_tls) = (true, true));
    let (_, out, err) = said(&server(dir.path(), &sleds[0], &tls).output().unwrap());
    assert!(out.contains(&format!("--cert-pem {pem} --key-pem {pem} --root-cert-pem {pem} --target")), "{out}{err}");
}

#[test]
fn a_server_that_could_not_listen_takes_nothing_from_anybody() {
    let sleds = fleet(85, 1);
    all_live(&sleds);
    let dir = tempfile::tempdir().unwrap();
    let other = TcpListener::bind(nbd(&sleds[0])).unwrap();
    let (code, out, err) = said(&server(dir.path(), &sleds[0], &["--takeover", "--json"]).output().unwrap());
    assert!(code == 1 && out.contains("HOST_BUSY") && out.contains("127.85.0.1:10809 already"), "{code} {out}{err}");
    assert!(sleds[0].mind.lock().unwrap().asked.is_empty());
    // The remains of a connection are in nobody's way.
    let client = TcpStream::connect(nbd(&sleds[0])).unwrap();
    drop(other.accept().unwrap());
    drop((other, client));
    // A program that another test begins just now has the listener until it runs.
    while TcpStream::connect(nbd(&sleds[0])).is_ok() {
        std::thread::yield_now();
    }
    let (code, out, err) = said(&server(dir.path(), &sleds[0], &[]).output().unwrap());
    assert!(out.contains("--gen"), "{code} {out}{err}");
}

#[test]
fn after_its_time_nothing_is_won_and_nothing_is_run() {
    let sleds = fleet(86, 1);
    all_live(&sleds);
    let dir = tempfile::tempdir().unwrap();
    // In the midst of a round, and in the pause before the next.
    for (manner, why) in [(Manner::Hangs, "were still being asked"), (Manner::Refuses, "a region is down")] {
        sleds[0].tell(|mind| mind.manner = manner);
        let began = Instant::now();
        let output = server(dir.path(), &sleds[0], &["--timeout", "2s"]).output().unwrap();
        let (code, out, err) = said(&output);
        assert!(code == 1 && out.is_empty() && err.contains("time is up") && err.contains(why), "{code} {out}{err}");
        assert!(began.elapsed() < Duration::from_secs(6), "{manner:?}: {:?}", began.elapsed());
    }
}

/// As [`server`], for words that may name another program.
fn server_without(dir: &Path, sled: &Sled, words: &[&str]) -> Command {
    if words.contains(&"--program") {
        let mut command = attach(&["run"], sled);
        command.arg("--lock").arg(lock(dir)).args(words);
        command
    } else {
        server(dir, sled, words)
    }
}
