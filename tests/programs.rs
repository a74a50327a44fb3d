//! The programs as a person calls them, without a sled: arguments, messages, exit codes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod backups;
mod completions;
mod notifications;
mod reports;
mod scripts;
mod shown;
mod supervisor;

use crucible_sled::attach::findings::Code;
use crucible_sled::check;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const SLED: &str = include_str!("../etc/sled.toml");
const MAP: &str = include_str!("../etc/port-map.toml");

fn sledctl(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sledctl")).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn configuration(sled: &str, map: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("sled.toml"), sled).unwrap();
    fs::write(dir.path().join("port-map.toml"), map).unwrap();
    dir
}

fn check(dir: &Path, json: &[&str]) -> Output {
    let words = [&["config", "check", "--dir", dir.to_str().unwrap()], json].concat();
    sledctl(&words)
}

#[test]
fn the_shipped_configuration_has_no_fault() {
    let output = sledctl(&["config", "check", "--dir", concat!(env!("CARGO_MANIFEST_DIR"), "/etc")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let said = text(&output.stdout);
    assert!(said.contains("proper-raptor serves 12 regions on 192.168.4.189"), "{said}");
}

#[test]
fn every_fault_is_listed_with_file_line_problem_and_remedy() {
    let dir = configuration(
        &SLED.replace("provisioning", "provisoning"),
        &MAP.replace("3832", "62000").replace("4096", "4608"),
    );
    let output = check(dir.path(), &[]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    for wanted in [
        "sled.toml:21: storage.provisoning: is no key that is known here\n    write provisioning",
        "port-map.toml:22: defaults.block_size: 4608 bytes is not a power of two",
        "port-map.toml:44: volumes.still-fawn.regions: port 62000 is not from 1024 to 61535",
        "3 fault(s)",
    ] {
        assert!(said.contains(wanted), "{wanted:?} is not in\n{said}");
    }
    let json: serde_json::Value = serde_json::from_slice(&check(dir.path(), &["--json"]).stdout).unwrap();
    assert_eq!(json["faults"].as_array().unwrap().len(), 3);
    assert_eq!(json["faults"][0]["line"], 21);
}

#[test]
fn a_missing_file_is_a_fault_and_fragments_are_read() {
    let empty = tempfile::tempdir().unwrap();
    let said = text(&check(empty.path(), &[]).stdout);
    assert!(said.contains("sled.toml: cannot be read") && said.contains("port-map.toml: cannot be read"), "{said}");

    let dir = configuration(SLED, MAP);
    fs::create_dir(dir.path().join("sled.toml.d")).unwrap();
    fs::write(dir.path().join("sled.toml.d/10-a.toml"), "[storage]\nreserve = 5\n").unwrap();
    fs::write(dir.path().join("sled.toml.d/ignored.txt"), "nonsense").unwrap();
    let said = text(&check(dir.path(), &[]).stdout);
    assert!(
        said.contains("10-a.toml:2: storage.reserve: is an integer, not a string") && said.contains("1 fault(s)"),
        "{said}"
    );
}

#[test]
fn exit_codes_tell_usage_from_no_supervisor() {
    assert_eq!(sledctl(&["region", "create"]).status.code(), Some(2));
    assert_eq!(sledctl(&["region", "create", "--all", "a-0"]).status.code(), Some(2));
    assert_eq!(sledctl(&["region", "show", "../x"]).status.code(), Some(2));
    let output = sledctl(&["--socket", "/nonexistent/admin.sock", "status"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("/nonexistent/admin.sock"), "{}", text(&output.stderr));
    let output = sledctl(&["--json", "--socket", "/nonexistent/admin.sock", "status"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["error"]["code"], "UNREACHABLE");
}

/// Both programs explain their conditions, and need nobody for it.
#[test]
fn conditions_are_explained_without_a_supervisor() {
    let programs = [
        (env!("CARGO_BIN_EXE_sledctl"), check::Code::DiskFull.about(), check::Code::ALL.len()),
        (env!("CARGO_BIN_EXE_crucible-attach"), Code::RequestsHeld.about(), Code::ALL.len()),
    ];
    for (name, about, all) in programs {
        let program = |words: &[&str]| Command::new(name).args(words).output().unwrap();
        let output = program(&["explain", about.code]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!([about.code, about.raised, about.cause, about.remedy].iter().all(|part| said.contains(part)), "{said}");
        let json: serde_json::Value =
            serde_json::from_slice(&program(&["--json", "explain", about.code]).stdout).unwrap();
        assert_eq!(json, serde_json::to_value(about).unwrap());
        assert_eq!(json["severity"], "blocking");
        let list: serde_json::Value = serde_json::from_slice(&program(&["explain", "--json"]).stdout).unwrap();
        assert_eq!(list.as_array().unwrap().len(), all);
        assert_eq!(text(&program(&["explain"]).stdout).lines().count(), all + 1);
        let output = program(&["explain", &about.code.replacen('S', "Z", 1)]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(&format!("is {} meant?", about.code)), "{}", text(&output.stderr));
    }
}

/// An answer is written as a person or as a program wants it.
#[test]
fn an_answer_has_the_form_that_is_asked_for() {
    let about = check::Code::DiskFull.about();
    let yaml = text(&sledctl(&["explain", about.code, "-o", "yaml"]).stdout);
    assert!(yaml.contains("code: DISK_FULL\n") && yaml.contains("severity: blocking\n"), "{yaml}");
    let json = sledctl(&["explain", about.code, "--output=json"]);
    assert_eq!(json.stdout, sledctl(&["--json", "explain", about.code]).stdout);
    let names = text(&sledctl(&["-o", "name", "explain"]).stdout);
    assert_eq!(
        names.lines().collect::<Vec<_>>(),
        check::Code::ALL.iter().map(|code| code.as_str()).collect::<Vec<_>>()
    );
    for wrong in [&["-o", "json", "--json"][..], &["-o", "xml"], &["--color", "pink"]] {
        assert_eq!(sledctl(&[wrong, &["explain"]].concat()).status.code(), Some(2), "{wrong:?}");
    }
}

/// Colour is for terminals, unless somebody wants it otherwise.
#[test]
fn colour_is_where_it_is_wanted() {
    let said = |words: &[&str], variable: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sledctl"));
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        text(&command.args(words).args(["explain", "DISK_FULL"]).env(variable, "1").output().unwrap().stdout)
    };
    assert!(!said(&[], "UNUSED").contains('\x1b') && said(&["--color", "always"], "UNUSED").contains('\x1b'));
    assert!(
        said(&[], "CLICOLOR_FORCE").contains('\x1b') && !said(&["--color", "never"], "CLICOLOR_FORCE").contains('\x1b')
    );
}

/// What a terminal of so many columns shows of a command, a line each.
fn shown_on(columns: u16, words: &str) -> Vec<String> {
    let command = format!("stty columns {columns} rows 24; {} {words}", env!("CARGO_BIN_EXE_sledctl"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).env("NO_COLOR", "1");
    let output = script.stdin(Stdio::null()).output().unwrap();
    text(&output.stdout).lines().map(|line| line.trim_end_matches('\r').to_owned()).collect()
}

/// On a terminal no line is longer than it is wide; elsewhere lines are whole.
#[test]
fn an_answer_is_fitted_to_the_terminal() {
    let whole = text(&sledctl(&["explain"]).stdout);
    assert!(whole.lines().any(|line| line.chars().count() > 200), "{whole}");
    for columns in [20, 40, 80, 200] {
        for words in ["explain", "explain DISK_FULL", "--socket /nonexistent/with/a/long/path/admin.sock status"] {
            let lines = shown_on(columns, words);
            let longest = lines.iter().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= columns.into() && lines.len() > 1, "{columns}: {lines:#?}");
        }
    }
    let wide = shown_on(40, "explain -o wide");
    assert!(wide.iter().any(|line| line.chars().count() > 200), "{wide:#?}");
}

/// Whoever has read enough is no failure.
#[test]
fn a_closed_pipe_is_no_error() {
    for words in [&["explain"][..], &["explain", "-o", "yaml"], &["config", "check", "--json", "--dir", "/nonexistent"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_sledctl")).args(words).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{words:?}");
    }
}

/// A supervisor that dies while it is at it cannot be reached any more: that is no failure of what was asked.
#[test]
fn a_supervisor_that_ends_under_way_is_told_by_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let job = serde_json::json!({"job": {"id": 7, "kind": "restart", "region": "pve-0", "state": "running", "step": "",
        "progress": null, "cancellable": true, "error": null, "asked": "2026-01-01T00:00:00Z", "took_ms": null}});
    let (job, half) = (job.to_string(), "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\"");
    let granted = format!("HTTP/1.1 202 Accepted\r\ncontent-length: {}\r\n\r\n{job}", job.len());
    for last in ["", half] {
        for json in [&["--json"][..], &[]] {
            let answer = |said: &str| {
                let (mut stream, _) = listener.accept().unwrap();
                let asked = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                assert!(asked.take_while(|line| !line.is_empty()).count() > 0);
                stream.write_all(said.as_bytes()).unwrap();
            };
            let output = std::thread::scope(|scope| {
                scope.spawn(|| [granted.as_str(), last].into_iter().for_each(answer));
                sledctl(&[json, &["--socket", path.to_str().unwrap(), "region", "restart", "pve-0"]].concat())
            });
            let said = text(&output.stderr) + &text(&output.stdout);
            assert_eq!(output.status.code(), Some(4), "{said}");
            assert!(said.contains("sledctl jobs") || said.contains("UNREACHABLE"), "{said}");
        }
    }
}

#[test]
fn what_interrupts_hosts_or_needs_a_restart_is_told_by_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let answer = |body: String| {
        let (mut stream, _) = listener.accept().unwrap();
        let asked = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let asked: Vec<_> = asked.take_while(|line| !line.is_empty()).collect();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        assert!(asked[0].starts_with("POST /v1/reload?dry_run=true "), "{asked:?}");
    };
    for (interrupts, needs_restart, code) in [(false, false, 0), (true, false, 3), (false, true, 3)] {
        for json in [&["--json"][..], &[]] {
            let change = serde_json::json!({"subject": "volume pve", "what": "hosts", "effect": "at once",
                "interrupts": interrupts, "needs_restart": needs_restart});
            let body = serde_json::json!({"from": "a", "to": "b", "changes": [change], "applied": false}).to_string();
            let output = std::thread::scope(|scope| {
                scope.spawn(|| answer(body));
                sledctl(&[json, &["--socket", path.to_str().unwrap(), "config", "diff"]].concat())
            });
            assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
            assert!(text(&output.stdout).contains("volume pve"), "{}", text(&output.stdout));
        }
    }
}

#[test]
fn a_full_terminal_is_an_error_and_no_panic() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sledctl"));
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/etc");
    let output = command.args(["config", "check", "--dir", dir]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("No space left"), "{}", text(&output.stderr));
}

#[test]
fn the_hosts_tool_prints_its_usage() {
    let output = Command::new(env!("CARGO_BIN_EXE_crucible-attach")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Usage: crucible-attach"));
    let output = Command::new(env!("CARGO_BIN_EXE_crucible-attach"))
        .env_remove("CRUCIBLE_SLEDS")
        .args(["status", "still-fawn"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--sled"), "{}", text(&output.stderr));
}

#[test]
fn the_generator_writes_the_units_values_or_says_why_not() {
    let out = tempfile::tempdir().unwrap();
    let generate = |config: &Path| {
        let mut sledd = Command::new(env!("CARGO_BIN_EXE_sledd"));
        sledd.arg("--config").arg(config).arg("--generator").arg(out.path()).output().unwrap()
    };
    let good = configuration(SLED, MAP);
    assert_eq!(generate(good.path()).status.code(), Some(0));
    let region = out.path().join("crucible-downstairs@pve-0.service.d/10-sled.conf");
    assert!(fs::read_to_string(region).unwrap().contains("--port 3820 --address 192.168.4.189"));
    assert!(fs::read_to_string(out.path().join("sledd.socket.d/10-sled.conf")).unwrap().contains("192.168.4.189:3800"));
    let bad = configuration(SLED, "");
    let output = generate(bad.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("sledctl config check"), "{}", text(&output.stderr));
    // Hosts that poll are told: the supervisor has no other way to listen.
    assert!(
        fs::read_to_string(out.path().join("sledd.socket.d/10-sled.conf")).unwrap().contains("ListenStream=3800\n")
    );
}

/// On a terminal, where nobody has given anything: what cannot be understood is asked again, and
/// Enter takes what is offered.
#[test]
fn a_setup_asks_for_what_it_was_not_given() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("config");
    let command = format!("{} setup --into {}", env!("CARGO_BIN_EXE_sledctl"), into.display());
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me\n";
    let answers = format!(
        "enx00e04ca81110\neno1\n4095\n5\nproper raptor\nproper-raptor\n192.168.4.189\n192.168.4.189/24 dhcp\nfd00::189 dhcp\n192.168.4.189/24\n\n-\nssh-ed25519 AAAA me\n{key}"
    );
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("Name of this sled").count(), 2, "{said}");
    assert_eq!(said.matches("Address, with").count(), 4, "{said}");
    assert!(said.contains("Gateway (none: -) [192.168.4.1]"), "{said}");
    let sled = fs::read_to_string(into.join("sled.toml")).unwrap();
    assert!(sled.contains("gateway = \"192.168.4.1\"\n") && !sled.contains("dns = "), "{sled}");
    assert_eq!(said.matches("VLAN, if").count(), 2, "4095 is none: {said}");
    assert!(sled.contains("spare = \"eno1\"\nvlan = 5\n"), "{sled}");
    assert_eq!(said.matches("Key (none: -)").count(), 2, "a key that is cut off is asked for again: {said}");
    assert_eq!(fs::read_to_string(into.join("authorized_keys")).unwrap(), key);
    assert_eq!(check(&into, &[]).status.code(), Some(0));
}

#[test]
fn a_setup_is_written_as_an_image_takes_it_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("config");
    let map = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/port-map.toml");
    let setup = |name: &str, more: &[&str]| {
        let words = ["setup", "--name", name, "--address", "192.168.4.189/24", "--nic", "enx00e04ca81110"];
        sledctl(&[&words[..], &["--into", into.to_str().unwrap()], more].concat())
    };
    // The map has no such sled: nothing is written.
    let refused = setup("improper-raptor", &["--port-map", map]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("the port map has no sled \"improper-raptor\""),
        "{}",
        text(&refused.stderr)
    );
    assert!(!into.exists());
    let done = setup("proper-raptor", &["--port-map", map, "--gateway", "192.168.4.1"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert_eq!(fs::read_to_string(into.join("port-map.toml")).unwrap(), MAP);
    let sled = fs::read_to_string(into.join("sled.toml")).unwrap();
    assert!(sled.contains("prefix = 24\n") && sled.contains("gateway = \"192.168.4.1\"\n"), "{sled}");
    assert_eq!(check(&into, &[]).status.code(), Some(0));
    // Without anything to go by it says what is missing.
    let output = Command::new(env!("CARGO_BIN_EXE_sledctl")).arg("setup").stdin(Stdio::null()).output();
    assert!(text(&output.unwrap().stderr).contains("--name is missing"));
}

/// By a server's reservation, tagged, and with a second adapter.
#[test]
fn a_setup_by_a_server_is_told_no_more_than_the_server_leaves_open() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("config");
    let map = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/port-map.toml");
    let words = ["setup", "--name", "proper-raptor", "--nic", "usb", "--into", into.to_str().unwrap(), "--dhcp"];
    let setup = |more: &[&str]| sledctl(&[&words[..], more].concat());
    let done = setup(&["--address", "192.168.4.189", "--spare", "eno1", "--vlan", "5"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let sled = fs::read_to_string(into.join("sled.toml")).unwrap();
    assert!(sled.contains("nic = \"usb\"\nspare = \"eno1\"\nvlan = 5\naddress = \"dhcp\"\n"), "{sled}");
    assert!(!sled.contains("prefix") && check(&into, &[]).status.code() == Some(0), "{sled}");
    for (more, code, why) in [
        (&["--address", "fd00::189"][..], 1, "DHCP gives addresses of IPv4 alone"),
        (&["--address", "192.168.4.189", "--spare", "usb"], 1, "network.nic already"),
        (&["--address", "192.168.4.189", "--vlan", "4095"], 2, "4095"),
        (&["--address", "192.168.4.189", "--gateway", "192.168.4.1"], 2, "cannot be used with"),
        (&["--address", "192.168.4.189/24"], 2, "has the server say the length of the prefix"),
        (
            &["--address", "192.168.4.190", "--port-map", map],
            2,
            "gives the sled proper-raptor the address 192.168.4.189",
        ),
    ] {
        let refused = setup(more);
        assert_eq!(refused.status.code(), Some(code), "{more:?}: {}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains(why), "{more:?}: {}", text(&refused.stderr));
    }
    assert_eq!(fs::read_to_string(into.join("sled.toml")).unwrap(), sled, "what is refused writes nothing");
    assert_eq!(setup(&["--address", "192.168.4.189", "--port-map", map]).status.code(), Some(0));
    let words = ["setup", "--name", "proper-raptor", "--nic", "usb", "--into", into.to_str().unwrap()];
    for (more, why) in [
        (&["--address", "192.168.4.189"][..], "write --address 192.168.4.189/24, say; or add --dhcp"),
        (&["--address", "192.168.4.190/24", "--port-map", map], "and --address says 192.168.4.190"),
        (&[], "--address is missing"),
    ] {
        let refused = sledctl(&[&words[..], more].concat());
        assert_eq!(refused.status.code(), Some(2), "{more:?}: {}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains(why), "{more:?}: {}", text(&refused.stderr));
    }
}

/// What was said wrong is named, with all that would be right.
#[test]
fn a_wrong_call_says_how_it_is_right() {
    let words = ["setup", "--name", "a", "--nic", "usb", "--into", "/proc/x"];
    let setup = |more: &[&'static str]| [&words[..], more].concat();
    for (words, code, why) in [
        (vec!["reset"], 2, "<--memory|--factory>"),
        (vec!["install", "--keep-regions"], 2, "<DISK>"),
        (vec!["install", "--erase-regions"], 2, "<DISK>"),
        (
            setup(&["--address", "foo"]),
            2,
            "with the length of its network's prefix, such as 192.168.4.189/24; with --dhcp",
        ),
        (setup(&["--address", "192.168.4.0/24"]), 1, "nothing was written: change the arguments"),
        (setup(&["--address", "192.168.4.189/24"]), 1, "the files cannot be written to /proc/x: "),
    ] {
        let output = sledctl(&words);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(why), "{words:?}: {}: {said}", output.status);
        assert!(!said.contains("journalctl -u sledd") && !said.contains("systemctl reload"), "{words:?}: {said}");
    }
}

#[test]
fn a_machine_without_the_image_is_not_updated() {
    let output = sledctl(&["update", "status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("does not run the image"), "{}", text(&output.stderr));
}
