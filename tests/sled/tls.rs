//! TLS on the data ports: served, called, and refused before a region is started with what it
//! cannot use.

use crucible_sled::protocol::{IMOK, RUOK};
use crucible_sled::wire::Volume;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::certificates::{Authority, NAMES};
use support::hosts::SLED;
use support::layer::Layer;
use support::machine::{Machine, has};
use tempfile::TempDir;

const TLS: &str = "[tls]\ncert = \"/etc/sled/tls/cert.pem\"\nkey = \"/etc/sled/tls/key.pem\"\n\
                   root_cert = \"/etc/sled/tls/root.pem\"\n";
const KEY: &str = "/etc/sled/tls/key.pem";

/// A sled with TLS, by a certificate that is good for so many days.
fn layer(days: i32) -> (Layer, Authority, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let made = Authority::new(dir.path(), 3650);
    made.issue("sled", days, NAMES);
    let layer = Layer::small()
        .with("etc/sled/sled.toml.d/60-tls.toml", TLS)
        .with("etc/sled/tls/cert.pem", &made.text("sled.pem"))
        .with("etc/sled/tls/key.pem", &made.text("sled.key"))
        .with("etc/sled/tls/root.pem", &made.text("root.pem"))
        .with("etc/tmpfiles.d/tls.conf", &format!("z {KEY} 0400 crucible -\n"));
    (layer, made, dir)
}

/// `Ruok` over TLS as a host asks it, by openssl(1): what it was answered.
fn called(machine: &Machine, made: &Authority, cert: &str) -> Vec<u8> {
    let files: Vec<PathBuf> =
        ["root.pem", &format!("{cert}.pem"), &format!("{cert}.key")].map(|name| made.path(name)).into();
    machine.in_outside(move || {
        let mut host = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", "downstairs0"])
            .args(["-servername", "downstairs0", "-connect", "192.168.4.189:3830"])
            .arg("-CAfile")
            .arg(&files[0])
            .arg("-cert")
            .arg(&files[1])
            .arg("-key")
            .arg(&files[2])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut question = host.stdin.take().unwrap();
        question.write_all(&RUOK).unwrap();
        let mut answer = Vec::new();
        _ = host.stdout.take().unwrap().take(IMOK.len() as u64).read_to_end(&mut answer);
        drop(question);
        _ = host.kill();
        host.wait().unwrap();
        answer
    })
}

/// Asks plainly: what it is answered.
fn called_plainly(machine: &Machine) -> Vec<u8> {
    machine.in_outside(|| {
        let mut stream = TcpStream::connect((SLED, 3830)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        stream.write_all(&RUOK).unwrap();
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer);
        answer
    })
}

#[test]
fn a_volume_serves_hosts_of_the_same_root_and_nobody_else() {
    let (layer, made, _dir) = layer(365);
    let machine = layer.boot_and_create();
    let volume = machine.volume("still-fawn");
    assert!(!has(&volume, "CERT_EXPIRES") && !has(&volume, "TLS_UNUSABLE"), "{volume:#?}");
    assert_eq!(called(&machine, &made, "sled"), IMOK);
    let answer = called_plainly(&machine);
    assert!(!answer.starts_with(&IMOK), "{answer:?}");
    let strangers = tempfile::tempdir().unwrap();
    let stranger = Authority::new(strangers.path(), 99);
    stranger.issue("sled", 99, NAMES);
    std::fs::copy(made.path("root.pem"), stranger.path("root.pem")).unwrap();
    assert_eq!(called(&machine, &stranger, "sled"), b"");
    // A connection that says nothing holds up whoever comes after it, and not who is there already.
    let silent = machine.in_outside(|| TcpStream::connect((SLED, 3830)).unwrap());
    machine.stays("still-fawn", Duration::from_secs(12), |volume| volume.ready);
    drop(silent);
    // A supervisor that is started anew calls anew.
    machine.ok(&["systemctl", "kill", "--signal=KILL", "sledd.service"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(called(&machine, &made, "sled"), IMOK);
    let pids = machine.pids();
    machine.ok(&["sledctl", "region", "restart", "--all", "--rolling"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_ne!(machine.pids(), pids);
}

#[test]
fn a_certificate_that_ends_in_ten_days_is_a_warning() {
    let (layer, made, _dir) = layer(10);
    let machine = layer.boot_and_create();
    let check = machine.wait_for_check("still-fawn", "CERT_EXPIRES");
    assert!(check.cause.contains("/etc/sled/tls/cert.pem") && check.cause.contains("expires at"), "{check:#?}");
    assert_eq!(machine.run(&["sledctl", "status"]).status.code(), Some(0));
    // A certificate that has ended is another matter; and what runs goes on.
    made.issue("old", -1, NAMES);
    let pids = machine.pids();
    put(&machine, &made.text("old.pem"), "cert.pem");
    let check = machine.wait_for_check("still-fawn", "TLS_UNUSABLE");
    assert!(check.cause.contains("is not the key") || check.cause.contains("expired at"), "{check:#?}");
    let refused = machine.run(&["sledctl", "region", "restart", "still-fawn-0"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("is not started"));
    assert_eq!(machine.pids(), pids);
    put(&machine, &made.text("sled.pem"), "cert.pem");
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.pids(), pids);
}

/// A renewed certificate is of use only once a region has read it: until then the old one's end
/// is told of the region.
#[test]
fn a_region_goes_on_with_the_old_certificate_until_it_is_restarted() {
    let (layer, made, _dir) = layer(10);
    let machine = layer.boot_and_create();
    made.issue("new", 365, NAMES);
    put(&machine, &made.text("new.key"), "key.pem");
    put(&machine, &made.text("new.pem"), "cert.pem");
    let older = |volume: &Volume| {
        let told = volume.checks.iter().filter(|check| check.code.as_str() == "CERT_EXPIRES");
        volume.ready && told.filter(|check| check.cause.contains("an older certificate")).count() == 3
    };
    machine.wait_for("still-fawn", older);
    assert_eq!(called(&machine, &made, "new"), IMOK);
    machine.ok(&["sledctl", "region", "restart", "--all", "--rolling"]);
    machine.wait_for("still-fawn", |volume| volume.ready && !has(volume, "CERT_EXPIRES"));
}

/// Puts a file in the place of one of the sled's.
fn put(machine: &Machine, text: &str, name: &str) {
    let script =
        format!("umask 077; cd /etc/sled/tls; cat >new <<'END'\n{text}\nEND\nchown crucible new; mv new {name}");
    machine.sh(&script);
}

/// Nothing is started; and once the remedy was done, to the letter, everything is.
fn refused_until_mended(layer: Layer, cause: &str) {
    let machine = layer.boot();
    machine.ok(&["sledctl", "region", "create", "--all"]);
    let check = machine.wait_for_check("still-fawn", "TLS_UNUSABLE");
    assert!(check.cause.contains(cause), "{check:#?}");
    let volume = machine.wait_for("still-fawn", |volume| has(volume, "REGION_DOWN"));
    assert!(!volume.ready);
    // Whatever the supervisor has asked of systemd is done when the next one has begun, which asks for nothing, either.
    machine.ok(&["systemctl", "restart", "sledd.service"]);
    machine.wait_for("still-fawn", |volume| has(volume, "TLS_UNUSABLE") && has(volume, "REGION_DOWN"));
    assert_eq!(machine.count("crucible-downstairs@*", "^Start(ing|ed) "), 0);
    for index in 0..3 {
        assert!(machine.is_stopped(&format!("still-fawn-{index}")));
        assert_eq!(machine.property(&format!("still-fawn-{index}"), "NRestarts"), "0");
    }
    machine.sh(check.remedy.split(';').next().filter(|_| !check.remedy.starts_with('(')).unwrap_or(&check.remedy));
    let volume = machine.wait_for("still-fawn", |volume| volume.ready);
    assert!(!has(&volume, "TLS_UNUSABLE"), "{volume:#?}");
}

#[test]
fn a_key_in_another_form_is_told_and_nothing_is_started_with_it() {
    let (layer, made, _dir) = layer(365);
    made.openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", "sled.key", "-out", "pkcs8"]);
    refused_until_mended(layer.with("etc/sled/tls/key.pem", &made.text("pkcs8")), "PKCS#8");
}

#[test]
fn a_key_that_others_may_read_is_told_and_nothing_is_started_with_it() {
    let (layer, _made, _dir) = layer(365);
    let open = format!("z {KEY} 0644 crucible -\n");
    refused_until_mended(layer.with("etc/tmpfiles.d/tls.conf", &open), "by others than its owner (mode 0644)");
}

/// TLS was written into the configuration while regions run without it.
#[test]
fn a_region_that_was_started_without_tls_is_told_until_it_is_restarted() {
    let (layer, made, _dir) = layer(365);
    let fragment = "etc/sled/sled.toml.d/60-tls.toml";
    let machine = layer.with(fragment, "").boot_and_create();
    assert_eq!(called_plainly(&machine)[..8], IMOK);
    machine.sh(&format!("cat >/{fragment} <<'END'\n{TLS}END\nsystemctl restart sledd"));
    let check = machine.wait_for_check("still-fawn", "REGION_DOWN");
    assert!(check.cause.contains("was started without TLS"), "{check:#?}");
    for index in 0..3 {
        machine.ok(&["sledctl", "region", "restart", &format!("still-fawn-{index}"), "--force"]);
    }
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(called(&machine, &made, "sled"), IMOK);
}
