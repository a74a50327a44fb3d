//! The files of `[tls]` in every state, and a call to one that speaks as a downstairs does.

use crate::decide::facts::{Beat, Flaw, KeyForm, Refusal, Run};
use crate::observe::ruok::Line;
use crate::observe::tls::*;
use crate::observe::{Told, channel, pulse};
use crate::port_map::LocalRegion;
use crate::protocol::{IMOK, RUOK};
use crate::region::Geometry;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::certificates::{Authority, NAMES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

/// An id that no process has.
const NO_PROCESS: u32 = 7_000_000;

/// A directory that anybody may search, with a root and a certificate `sled`.
fn authority(dir: &Path) -> Authority {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let authority = Authority::new(dir, 3650);
    authority.issue("sled", 365, NAMES);
    authority
}

fn files(authority: &Authority, cert: &str, key: &str, root: &str) -> config::Tls {
    let [cert, key, root_cert] = [cert, key, root].map(|name| authority.path(name));
    config::Tls { cert, key, root_cert, expires_warning: config::Tls::EXPIRES_WARNING }
}

fn names() -> BTreeSet<String> {
    (0..3).map(name_of).collect()
}

/// Look as root does: the owner of what a test makes.
fn look(authority: &Authority, cert: &str, key: &str, root: &str) -> Tls {
    look_at(&files(authority, cert, key, root), &owner(), &names(), Timestamp::now())
}

fn owner() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name
}

fn mode(authority: &Authority, name: &str, mode: u32) {
    fs::set_permissions(authority.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_is_taken_only_as_the_downstairs_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let made = authority(dir.path());
    assert_eq!(look(&made, "sled.pem", "sled.key", "root.pem").key, Ok(()));
    made.openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", "sled.key", "-out", "pkcs8"]);
    made.openssl(&["pkcs8", "-topk8", "-passout", "pass:x", "-in", "sled.key", "-out", "pkcs8-secret"]);
    made.openssl(&["rsa", "-traditional", "-aes128", "-passout", "pass:x", "-in", "sled.key", "-out", "secret"]);
    made.openssl(&["ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", "curve"]);
    made.openssl(&["genrsa", "-traditional", "-out", "short", "1024"]);
    let whole = made.text("sled.key");
    fs::write(made.path("junk"), "junk").unwrap();
    fs::write(made.path("both"), made.text("pkcs8") + &whole).unwrap();
    fs::write(made.path("cut"), &whole[..whole.len() / 2]).unwrap();
    for (name, wanted) in [
        ("pkcs8", Err(Flaw::KeyForm(KeyForm::Pkcs8))),
        ("pkcs8-secret", Err(Flaw::KeyForm(KeyForm::Encrypted))),
        ("secret", Err(Flaw::KeyForm(KeyForm::Encrypted))),
        ("curve", Err(Flaw::KeyForm(KeyForm::OtherKind))),
        ("junk", Err(Flaw::Empty)),
        ("cut", Err(Flaw::Garbled("a block has no end".into()))),
        ("both", Ok(())),
    ] {
        mode(&made, name, 0o400);
        assert_eq!(look(&made, "sled.pem", name, "root.pem").key, wanted, "{name}");
    }
    mode(&made, "short", 0o600);
    assert!(matches!(look(&made, "sled.pem", "short", "root.pem").key, Err(Flaw::Garbled(_))));
    assert_eq!(look(&made, "sled.pem", "nowhere", "root.pem").key, Err(Flaw::Missing));
    for open in [0o440, 0o404, 0o644, 0o460] {
        mode(&made, "sled.key", open);
        let looked = look(&made, "sled.pem", "sled.key", "root.pem");
        assert_eq!(looked.key, Err(Flaw::Open(open)));
        assert!(is_wrong(&looked) && looked.cert.is_ok());
    }
}

#[test]
fn what_the_regions_user_may_not_read_is_told_by_the_path_that_is_closed() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can give files to others");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = authority(dir.path());
    let by_nobody =
        |key: &str, cert: &str| look_at(&files(&made, cert, key, "root.pem"), "nobody", &names(), Timestamp::now());
    let denied = |name: &str| Flaw::Denied(made.path(name).display().to_string());
    let seen = by_nobody("sled.key", "sled.pem");
    assert_eq!((seen.key, seen.cert.is_ok()), (Err(denied("sled.key")), true));
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    nix::unistd::chown(&made.path("sled.key"), Some(nobody.uid), None).unwrap();
    assert_eq!(by_nobody("sled.key", "sled.pem").key, Ok(()));
    mode(&made, "sled.pem", 0o600);
    assert_eq!(by_nobody("sled.key", "sled.pem").cert, Err(denied("sled.pem")));
    // A directory on the way to where a link points.
    fs::create_dir(made.path("closed")).unwrap();
    mode(&made, "closed", 0o700);
    fs::copy(made.path("root.pem"), made.path("closed/cert.pem")).unwrap();
    std::os::unix::fs::symlink("closed/cert.pem", made.path("link.pem")).unwrap();
    assert_eq!(by_nobody("sled.key", "link.pem").cert, Err(denied("closed")));
}

#[test]
fn a_pipe_that_takes_a_files_place_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let made = authority(dir.path());
    let [file, pipe] = ["sled.pem", "pipe"].map(|name| made.path(name));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (over, ended) = std::sync::mpsc::channel();
    let read = file.clone();
    // Until it has met each often, however the two are given their turns.
    std::thread::spawn(move || {
        let (mut files, mut pipes) = (0, 0);
        while files < 500 || pipes < 500 {
            let met = material::certificates(&read, &Reader::ANYBODY).map_or(&mut pipes, |_| &mut files);
            *met += 1;
        }
        over.send(()).unwrap();
    });
    let began = std::time::Instant::now();
    while ended.try_recv().is_err() {
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, &file, rustix::fs::CWD, &pipe, exchange).unwrap();
        assert!(began.elapsed() < Duration::from_secs(60), "it waits");
    }
}

#[test]
fn a_certificate_is_read_with_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let made = authority(dir.path());
    made.issue("old", -1, NAMES);
    let seen = look(&made, "sled.pem", "sled.key", "root.pem");
    let cert = &seen.cert.as_ref().unwrap()[0];
    assert_eq!(cert.subject, "CN=test sled");
    let days = |until: Timestamp| (until.as_second() - Timestamp::now().as_second() + 60) / 86_400;
    assert_eq!((days(cert.not_after), days(seen.root_cert.as_ref().unwrap()[0].not_after)), (365, 3650));
    assert!(!is_wrong(&seen));
    let wanted = files(&made, "sled.pem", "sled.key", "root.pem");
    let turn = next_turn(&seen, &wanted, Timestamp::now()).unwrap();
    assert_eq!(days(turn), 335, "the next turn is the warning");
    assert_eq!(next_turn(&seen, &wanted, turn), Some(cert.not_after));
    let old = look(&made, "old.pem", "old.key", "root.pem");
    assert!(is_wrong(&old) && old.cert.unwrap()[0].not_after < Timestamp::now());
    for (name, text, wanted) in [
        ("empty.pem", "no block", Flaw::Empty),
        ("key.pem", &made.text("sled.key"), Flaw::Empty),
        ("cut.pem", &made.text("sled.pem")[..300], Flaw::Garbled("a block has no end".into())),
    ] {
        fs::write(made.path(name), text).unwrap();
        assert_eq!(look(&made, name, "sled.key", "root.pem").cert, Err(wanted.clone()), "{name}");
        assert_eq!(look(&made, "sled.pem", "sled.key", name).root_cert, Err(wanted), "{name}");
    }
    made.openssl(&["x509", "-in", "sled.pem", "-outform", "der", "-out", "der"]);
    assert_eq!(look(&made, "der", "sled.key", "root.pem").cert, Err(Flaw::Empty));
    assert_eq!(look(&made, "nowhere", "sled.key", "root.pem").cert, Err(Flaw::Missing));
    assert!(matches!(look(&made, ".", "sled.key", "root.pem").cert, Err(Flaw::Unreadable(_))));
}

#[test]
fn files_that_do_not_go_together_are_refused_before_a_host_does() {
    let dir = tempfile::tempdir().unwrap();
    let made = authority(dir.path());
    made.issue("other", 365, NAMES);
    made.issue("short", 365, "subjectAltName=DNS:downstairs0,DNS:downstairs2");
    made.issue("server", 365, &format!("{NAMES}\nextendedKeyUsage=serverAuth"));
    made.issue("both", 365, &format!("{NAMES}\nextendedKeyUsage=serverAuth,clientAuth"));
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(Authority::new(elsewhere.path(), 99).path("root.pem"), made.path("stranger.pem")).unwrap();
    for (cert, key, root, wanted) in [
        ("sled.pem", "sled.key", "root.pem", None),
        ("both.pem", "both.key", "root.pem", None),
        ("sled.pem", "other.key", "root.pem", Some(Refusal::Key)),
        ("sled.pem", "sled.key", "stranger.pem", Some(Refusal::Issuer)),
        ("short.pem", "short.key", "root.pem", Some(Refusal::Name("downstairs1".into()))),
        ("server.pem", "server.key", "root.pem", Some(Refusal::Purpose)),
    ] {
        assert_eq!(look(&made, cert, key, root).refused, wanted, "{cert} {key} {root}");
    }
    // Nobody looks at the time of a root.
    let old = tempfile::tempdir().unwrap();
    let past = Authority::new(old.path(), -1);
    past.issue("sled", 9, NAMES);
    assert_eq!(look(&past, "sled.pem", "sled.key", "root.pem").refused, None);
}

/// Play one that speaks TLS and demands a certificate, as a downstairs does, and answers one
/// question.
async fn played(files: &config::Tls) -> std::net::SocketAddr {
    let Material { chain, key, roots } = Material::read(files).unwrap();
    let provider = Arc::new(ring::default_provider());
    let demand = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build().unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_client_cert_verifier(demand).with_single_cert(chain, key.into()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(config.clone())).accept(stream).await else { continue };
            let mut question = [0; RUOK.len()];
            while stream.read_exact(&mut question).await.is_ok() && question == RUOK {
                stream.write_all(&IMOK).await.unwrap();
            }
        }
    });
    at
}

async fn answer(line: &mut Line) -> std::io::Result<()> {
    line.ask()?;
    while !line.answered()? {
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

#[tokio::test]
async fn one_that_speaks_tls_is_asked_as_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let made = authority(dir.path());
    made.issue("short", 365, "subjectAltName=DNS:downstairs0");
    let region = |name: &str| name.parse().unwrap();
    let own = files(&made, "sled.pem", "sled.key", "root.pem");
    let at = played(&own).await;
    let call = async |files: &config::Tls, name: &str, at| {
        let stream = TcpStream::connect(at).await.unwrap();
        dial::shake(files, &region(name), stream).await.map(|session| {
            let days = (dial::end(&session).unwrap().as_second() - Timestamp::now().as_second() + 60) / 86_400;
            assert_eq!(days, 365);
            Line::secret(session).unwrap()
        })
    };
    let mut line = call(&own, "still-fawn-1", at).await.unwrap();
    for _ in 0..3 {
        answer(&mut line).await.unwrap();
    }
    drop(line);
    // A certificate that ended: the region says so in its first answer.
    made.issue("old", -1, NAMES);
    let mut line = call(&files(&made, "old.pem", "old.key", "root.pem"), "still-fawn-1", at).await.unwrap();
    let why = answer(&mut line).await.unwrap_err().to_string();
    assert!(why.contains("CertificateExpired"), "{why}");
    // One that is not for the name by which a host would call it.
    let at = played(&files(&made, "short.pem", "short.key", "root.pem")).await;
    assert!(call(&own, "still-fawn-0", at).await.is_ok());
    let why = call(&own, "still-fawn-1", at).await.unwrap_err().to_string();
    assert!(why.starts_with("TLS: invalid peer certificate") && why.contains("downstairs1"), "{why}");
}

/// A region that accepts and does as it is told, and the beats of a pulse that calls it by TLS.
async fn beats(listener: &TcpListener, files: config::Tls, pid: u32) -> mpsc::Receiver<Told> {
    let (source, beats) = channel(16);
    let (term, to) = source.begin();
    let (rhythm, drum) = Rhythm::new(Duration::from_millis(50));
    let at = listener.local_addr().unwrap();
    let geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
    let local = LocalRegion { name: "still-fawn-0".parse().unwrap(), port: at.port(), geometry };
    tokio::spawn(drum);
    tokio::spawn(async move {
        let _term = term;
        let (_keep, run) = watch::channel(Some(Run { pid, invocation: None }));
        pulse::watch(local, at.ip(), run, rhythm, Duration::from_millis(200), Some(files), to).await
    });
    beats
}

async fn next(beats: &mut mpsc::Receiver<Told>) -> Beat {
    match timeout(Duration::from_secs(5), beats.recv()).await.unwrap().and_then(Told::fact) {
        Some(Observation::Pulse(_, Some(pulse), _)) => pulse.beat,
        seen => panic!("{seen:?}"),
    }
}

#[tokio::test]
async fn one_that_does_not_shake_hands_is_silent_and_one_that_refuses_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let made = authority(dir.path());
    let own = files(&made, "sled.pem", "sled.key", "root.pem");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut told = beats(&listener, own.clone(), NO_PROCESS).await;
    let silent = listener.accept().await.unwrap();
    assert_eq!(next(&mut told).await, Beat::Silent);
    drop(silent);
    let (mut plain, _) = listener.accept().await.unwrap();
    plain.write_all(b"this is no TLS").await.unwrap();
    let beat = next(&mut told).await;
    assert!(matches!(&beat, Beat::Lost(why) if why.starts_with("TLS: ")), "{beat:?}");
    // This process was started without TLS, whatever it speaks.
    let mut told = beats(&listener, own, std::process::id()).await;
    assert_eq!(next(&mut told).await, Beat::Otherwise);
}
