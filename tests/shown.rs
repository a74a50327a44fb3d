//! What `sledctl` shows, as a person or a script calls it, of a supervisor that is played here: on screens of several
//! widths, again and again, and with an interrupt.

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

const SLEDCTL: &str = env!("CARGO_BIN_EXE_sledctl");

/// A supervisor that answers each request by its path and its number, or holds it for ever.
struct Supervisor {
    dir: tempfile::TempDir,
    asked: Receiver<String>,
}

impl Supervisor {
    fn new(answer: impl Fn(&str, usize) -> Option<Value> + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("admin.sock")).unwrap();
        let (tell, asked) = mpsc::channel();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let path = path(&stream);
                match answer(&path, number) {
                    Some(body) => {
                        let body = body.to_string();
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                        _ = stream.write_all((head + &body).as_bytes());
                    }
                    None => held.push(stream),
                }
                _ = tell.send(path);
            }
        });
        Self { dir, asked }
    }

    fn socket(&self) -> String {
        self.dir.path().join("admin.sock").display().to_string()
    }

    fn sledctl(&self, words: &[&str]) -> Command {
        let mut command = Command::new(SLEDCTL);
        command.args(["--socket", &self.socket()]).args(words);
        command
    }

    /// The same on a terminal of so many columns.
    fn on_terminal(&self, columns: u16, words: &str) -> Child {
        let socket = self.socket();
        let command = format!("stty columns {columns} rows 24; exec {SLEDCTL} --socket {socket} {words}");
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).env("NO_COLOR", "1");
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }
}

/// The path of a request, which is read to the end of its head.
fn path(stream: &UnixStream) -> String {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned()
}

const AT: &str = "2026-01-01T00:00:00Z";

/// A sled with three regions, of which the first is in this state.
fn sled(state: &str) -> Value {
    let region = |index: u16| {
        json!({"name": format!("still-fawn-{index}"), "index": index, "sled": "proper-raptor",
            "address": "192.168.4.189", "port": 3830 + index, "repair_port": 7830 + index,
            "uuid": format!("b46e4c29-8f7c-4d8e-9f0a-01234567890{index}"),
            "state": if index == 0 { state } else { "serving" }, "since": AT, "pid": 700 + index,
            "connected": [{"address": "192.168.4.17", "port": 50000, "host": "still-fawn"}]})
    };
    let check = json!({"code": "REGION_DOWN", "severity": "blocking", "subject": "region still-fawn-0", "since": AT,
        "cause": "its downstairs does not run: it has ended with exit code 1, and its last words were: no such luck at \
                  all, and more of the same that goes on for longer than any terminal is wide",
        "remedy": "read why: journalctl -u crucible-downstairs@still-fawn-0 -n 50; it is started again without a hand"});
    let checks = if state == "serving" { json!([]) } else { json!([check]) };
    let volume = json!({"volume": "still-fawn", "ready": state == "serving", "revision": 1, "as_of": AT,
        "sled": "proper-raptor", "port_map": "sha256:0", "fault_tolerance": 0, "size_bytes": 13_421_772_800_u64,
        "hosts": ["192.168.4.17"], "regions": [region(0), region(1), region(2)], "checks": checks, "generation": 7});
    json!({"sled": "proper-raptor", "version": "0.1.0", "as_of": AT, "started": AT, "address": "192.168.4.189",
        "port_map": "sha256:4a44dc15364204a80fe80e9039455cc1608281820fe2b24f1e5233ade6af1dd5",
        "well": state == "serving",
        "network": {"nic": "enx00e04ca81110", "carrier": true, "link_mbps": 2500, "usb_mbps": 5000, "bridge": "br0",
            "addresses": ["192.168.4.189"]},
        "storage": {"root": "/crucible", "mounted": true, "capacity_bytes": 1_u64 << 40, "free_bytes": 1_u64 << 39,
            "promised_bytes": 1_u64 << 38, "used_bytes": 1_u64 << 37},
        "volumes": [volume], "checks": checks})
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// On a terminal no line is longer than it is wide; elsewhere everything is whole.
#[test]
fn lists_and_pages_fit_their_terminal() {
    let supervisor = Supervisor::new(|_, _| Some(sled("failed")));
    for columns in [20, 40, 80, 200] {
        for words in ["status", "region list", "region show still-fawn-0", "checks", "downstairs", "console --once"] {
            let output = supervisor.on_terminal(columns, words).wait_with_output().unwrap();
            let said = text(&output.stdout);
            let longest = said.lines().map(|line| line.trim_end_matches('\r').chars().count()).max().unwrap();
            assert!(longest <= columns.into() && said.contains("still"), "{columns}, {words}:\n{said}");
        }
    }
    let list = supervisor.on_terminal(80, "region list").wait_with_output().unwrap();
    assert!(text(&list.stdout).contains("  b46e4c29  "), "{}", text(&list.stdout));
    let whole = supervisor.sledctl(&["region", "list"]).output().unwrap();
    assert!(text(&whole.stdout).contains("b46e4c29-8f7c-4d8e-9f0a-012345678900"), "{}", text(&whole.stdout));
    assert_eq!(whole.status.code(), Some(3));
}

#[test]
fn a_list_has_the_form_that_is_asked_for() {
    let supervisor = Supervisor::new(|_, _| Some(sled("serving")));
    let said = |words: &[&str]| text(&supervisor.sledctl(words).output().unwrap().stdout);
    assert_eq!(said(&["region", "list", "-o", "name"]), "still-fawn-0\nstill-fawn-1\nstill-fawn-2\n");
    assert_eq!(said(&["status", "-o", "name"]), "proper-raptor\n");
    assert!(said(&["region", "list", "-o", "wide"]).contains("VERSION"));
    assert!(said(&["status", "-o", "yaml"]).contains("sled: proper-raptor\n"));
    let json: Value = serde_json::from_str(&said(&["status", "-o", "json"])).unwrap();
    assert_eq!((&json["well"], said(&["status", "--json"])), (&json!(true), said(&["status", "-o", "json"])));
}

/// Where there is no terminal, what is watched is printed whenever it is another than before.
#[test]
fn what_is_watched_is_printed_when_it_changes() {
    // The second answer is as the first one.
    let supervisor = Supervisor::new(|_, number| Some(sled(if number < 2 { "starting" } else { "serving" })));
    let watching = supervisor.sledctl(&["region", "list", "--watch"]).stdout(Stdio::piped()).spawn();
    let mut watching = watching.unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let second: Vec<_> = lines.take(4).collect();
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(first.len() == 4 && first[1].contains("starting"), "{first:?}");
    assert!(second[1].contains("still-fawn-0  serving"), "{second:?}");
}

/// On a terminal it is drawn in place, and `q` gives the terminal back as it was.
#[test]
fn a_watch_is_left_by_a_key() {
    let supervisor = Supervisor::new(|_, _| Some(sled("failed")));
    for words in ["status --watch", "console"] {
        let mut watching = supervisor.on_terminal(80, words);
        supervisor.asked.recv().unwrap();
        let mut keys = watching.stdin.take().unwrap();
        keys.write_all(b"xq").unwrap();
        let mut said = String::new();
        watching.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        let code = watching.wait().unwrap().code();
        assert_eq!(code, Some(if words == "console" { 0 } else { 3 }), "{said}");
        let (begin, end) = ("\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l");
        assert!(said.contains(begin) && said.trim_end().ends_with(end), "{said:?}");
        assert!(said.contains("proper-raptor 192.168.4.189: not well") && !said.contains("\x1b[31m"), "{said:?}");
        // As many lines as the terminal has, and no more.
        let page = said.split("\x1b[H").nth(1).unwrap();
        assert_eq!(page.matches('\n').count(), 23, "{page:?}");
    }
}

/// An interrupt leaves a job as it is, and says so.
#[test]
fn an_interrupt_leaves_a_followed_job_alone() {
    let job = json!({"id": 7, "kind": "restart", "region": "pve-0", "state": "running", "step": "waiting",
        "progress": null, "cancellable": true, "error": null, "asked": AT, "took_ms": null});
    let granted = json!({"job": job});
    for (words, first) in [(&["jobs", "follow", "7"][..], job.clone()), (&["region", "restart", "pve-0"], granted)] {
        let supervisor = Supervisor::new(move |_, number| (number == 0).then(|| first.clone()));
        let following = supervisor.sledctl(words).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        supervisor.asked.recv().unwrap();
        let held = supervisor.asked.recv().unwrap();
        assert!(held.starts_with("/v1/jobs/7?"), "{held}");
        let pid = rustix::process::Pid::from_raw(following.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let output = following.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains("job 7 goes on") && said.contains("sledctl jobs follow 7"), "{said}");
        // Nobody asked for its end.
        assert!(supervisor.asked.try_recv().is_err());
    }
}

/// A region's log is read by journalctl, which is played here.
#[test]
fn a_log_is_made_readable() {
    let dir = tempfile::tempdir().unwrap();
    let entry = |message: &str| json!({"__REALTIME_TIMESTAMP": "1796000000123456", "MESSAGE": message}).to_string();
    let slog = json!({"msg": "upstairs connected", "v": 0, "name": "crucible", "level": 40,
        "time": "2026-11-30T07:00:01.123Z", "hostname": "h", "pid": 7, "task": "main"});
    let journal = format!("{}\n{}\n", entry(&slog.to_string()), entry("Error: \u{1b}[2Jno such luck"));
    fs::write(dir.path().join("journal"), journal).unwrap();
    let journalctl = |script: &str| {
        let at = dir.path().join("journalctl");
        fs::write(&at, format!("#!/bin/sh\necho \"$@\" > {0}/words\n{script}\n", dir.path().display())).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        move |words: &[&str]| Command::new(SLEDCTL).arg("logs").args(words).env("PATH", &path).output().unwrap()
    };
    let logs = journalctl(&format!("exec cat {}/journal", dir.path().display()));
    let output = logs(&["pve-0", "-n", "5", "--since", "30m"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(said.starts_with("2026-11-30 07:00:01.123 warn   upstairs connected task=main\n"), "{said}");
    assert!(said.ends_with("Error: \\u{1b}[2Jno such luck\n") && said.lines().count() == 2, "{said}");
    let words = fs::read_to_string(dir.path().join("words")).unwrap();
    assert!(
        words.contains("--output=json --unit=crucible-downstairs@pve-0.service --lines=5 --since=-1800s"),
        "{words}"
    );
    let first: Value =
        serde_json::from_str(text(&logs(&["pve-0", "-o", "json"]).stdout).lines().next().unwrap()).unwrap();
    assert_eq!((&first["level"], &first["fields"]), (&json!("warn"), &json!({"task": "main"})));

    let failing = journalctl("echo 'Failed to parse timestamp: never' >&2; exit 1");
    let output = failing(&["pve-0", "--since", "never"]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("Failed to parse timestamp: never"), "{said}");
    let empty = journalctl("exit 1");
    let output = empty(&["pve-0"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
    assert!(text(&output.stderr).contains("nothing of pve-0"), "{}", text(&output.stderr));
    for wrong in [&[][..], &["pve"], &["pve-0", "-n", "x"]] {
        assert_eq!(failing(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn without_a_supervisor_there_is_nothing_to_show() {
    for words in [&["network"][..], &["ports"], &["top", "--once"], &["status", "--watch"], &["jobs", "--watch"]] {
        let output = Command::new(SLEDCTL).args(["--socket", "/nonexistent/admin.sock"]).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{words:?}: {}", text(&output.stderr));
    }
}
