//! TLS files: what is said of them, and that nothing is started with what cannot be used.

use super::*;
use crate::check::{Code, Severity};
use crate::config::Tls as Wanted;
use crate::decide::facts::{Certificate, Exit, Flaw, KeyForm, Refusal, Tls};
use crate::decide::failure::{Kind, classify};
use crate::decide::plan::{Action, plan};
use crate::decide::turns::fit;
use crate::decide::verdict::judge;
use crate::wire::State;

const DAY: i64 = 86_400;

fn with_tls() -> Configuration {
    let mut config = config();
    config.sled.tls = Some(Wanted {
        cert: "/etc/sled/tls/cert.pem".into(),
        key: "/etc/sled/tls/key.pem".into(),
        root_cert: "/etc/sled/tls/root.pem".into(),
        expires_warning: Wanted::EXPIRES_WARNING,
    });
    config
}

/// Files that are well, by a certificate that begins and ends so many days from now.
fn files(from: i64, until: i64) -> Tls {
    let at = Timestamp::from_second(20_000 * DAY).unwrap();
    let time = |days: i64| Timestamp::from_second(at.as_second() + days * DAY).unwrap();
    let of = |subject: &str, until| {
        Ok(vec![Certificate { subject: subject.into(), not_before: time(from), not_after: time(until) }])
    };
    Tls { at, cert: of("CN=sled", until), key: Ok(()), root_cert: of("CN=root", 3000), refused: None }
}

fn said(config: &Configuration, tls: Tls) -> Vec<(Code, String, String)> {
    let facts = Facts { tls: Some(tls), ..well(config) };
    let verdict = judge(config, &facts);
    // Regions that run go on, whatever becomes of the files; whoever comes anew waits.
    assert!(verdict.states.values().all(|state| *state == State::Serving), "{verdict:#?}");
    assert_eq!(plan(config, &facts), []);
    let blocked = verdict.findings.iter().any(|finding| finding.code.severity() == Severity::Blocking);
    assert_eq!(verdict.ready(&volume()), !blocked);
    verdict.findings.into_iter().map(|found| (found.code, found.cause, found.remedy)).collect()
}

#[test]
fn every_flaw_is_told_with_its_remedy() {
    let config = with_tls();
    assert_eq!(said(&config, files(-9, 300)), []);
    let key = |flaw| Tls { key: Err(flaw), ..files(-9, 300) };
    let cert = |flaw| Tls { cert: Err(flaw), ..files(-9, 300) };
    let root = |flaw| Tls { root_cert: Err(flaw), ..files(-9, 300) };
    let refused = |refusal| Tls { refused: Some(refusal), ..files(-9, 300) };
    let path = |name: &str| format!("/etc/sled/tls/{name}");
    for (seen, cause, remedy) in [
        (key(Flaw::Missing), "key.pem is not there", "put it there"),
        (key(Flaw::KeyForm(KeyForm::Pkcs8)), "PKCS#8", "openssl rsa -traditional -in /etc/sled/tls/key.pem -out"),
        (key(Flaw::KeyForm(KeyForm::Encrypted)), "passphrase", "openssl rsa -traditional"),
        (key(Flaw::KeyForm(KeyForm::OtherKind)), "is not an RSA key", "openssl genrsa -traditional"),
        (key(Flaw::Open(0o644)), "by others than its owner (mode 0644)", "chmod 0400 /etc/sled/tls/key.pem"),
        (key(Flaw::Empty), "BEGIN RSA PRIVATE KEY", "openssl rsa -traditional"),
        (key(Flaw::Denied(path("key.pem"))), "may not be read by crucible", "chown crucible /etc/sled/tls/key.pem"),
        (key(Flaw::Denied(path(""))), "/etc/sled/tls/ is closed to it", "chmod o+x /etc/sled/tls/"),
        (key(Flaw::Garbled("torn".into())), "torn", "genrsa"),
        (cert(Flaw::Missing), "cert.pem is not there", "put it there"),
        (cert(Flaw::Empty), "BEGIN CERTIFICATE", "-inform der"),
        (cert(Flaw::Denied(path("cert.pem"))), "may not be read by crucible", "chmod 0444 /etc/sled/tls/cert.pem"),
        (cert(Flaw::Garbled("torn".into())), "damaged: torn", "undamaged"),
        (root(Flaw::Unreadable("odd".into())), "root.pem cannot be read: odd", "ls -l"),
        (refused(Refusal::Key), "key.pem is not the key of the certificate", "belong together"),
        (refused(Refusal::Issuer), "not issued by the one in /etc/sled/tls/root.pem", "put the root"),
        (
            refused(Refusal::Name("downstairs1".into())),
            "not for the name downstairs1",
            "DNS:downstairs0,DNS:downstairs1",
        ),
        (refused(Refusal::Purpose), "by a server and by a client alike", "serverAuth,clientAuth"),
        (refused(Refusal::Other("v1".into())), "v1", "version 3"),
        (files(-9, -1), "expired at", "restart --all --rolling"),
        (files(-9, 0), "expired at", "restart --all --rolling"),
        (files(1, 300), "is not valid before", "timedatectl"),
    ] {
        let said = said(&config, seen);
        assert_eq!(said.len(), 1, "{said:#?}");
        assert_eq!(said[0].0, Code::TlsUnusable);
        assert!(said[0].1.contains(cause), "{cause:?} is not in {said:#?}");
        assert!(said[0].2.contains(remedy), "{remedy:?} is not in {said:#?}");
    }
}

#[test]
fn a_certificate_that_ends_soon_is_a_warning_and_says_when() {
    let mut config = with_tls();
    assert_eq!(said(&config, files(-9, 31)), []);
    for days in [30, 1] {
        let (code, cause, remedy) = said(&config, files(-9, days)).remove(0);
        let end = files(-9, days).cert.unwrap()[0].not_after.to_string();
        assert_eq!(code, Code::CertExpires);
        assert!(
            cause.contains("/etc/sled/tls/cert.pem") && cause.contains(&end) && cause.contains("refused"),
            "{cause}"
        );
        assert!(remedy.contains("restart --all --rolling"), "{remedy}");
    }
    // Nobody looks at the time of a root, so nothing is blocked when it is over.
    let mut seen = files(-9, 300);
    seen.root_cert.as_mut().unwrap()[0].not_after = seen.at;
    let (code, cause, _) = said(&config, seen).remove(0);
    assert!(code == Code::CertExpires && cause.contains("root certificate of CN=root expired"), "{cause}");
    config.sled.tls.as_mut().unwrap().expires_warning = crate::span::Span::seconds(7 * 86_400);
    assert_eq!(said(&config, files(-9, 8)), []);
}

#[test]
fn nothing_is_started_with_files_that_cannot_be_used() {
    let config = with_tls();
    let mut facts = well(&config);
    stopped(&mut facts);
    let local = config.local_regions().remove(0);
    // The files were not looked at yet.
    assert_eq!(plan(&config, &facts), []);
    assert!(fit(&config, &facts, &local).unwrap_err().error().message.contains("not looked at yet"));
    facts.tls = Some(Tls { key: Err(Flaw::KeyForm(KeyForm::Pkcs8)), ..files(-9, 300) });
    assert_eq!(plan(&config, &facts), []);
    let refused = fit(&config, &facts, &local).unwrap_err().error();
    assert!(refused.code == Code::TlsUnusable && refused.message.contains("PKCS#8"), "{refused:?}");
    let down = judge(&config, &facts).findings.into_iter().find(|found| found.code == Code::RegionDown).unwrap();
    assert!(down.cause.contains("the files of [tls] cannot be used"), "{down:?}");
    // A downstairs that systemd would start again would only panic.
    region(&mut facts).unit = Some(Unit { exit: Some(Exit::Signal(6)), ..unit(Active::Activating) });
    assert_eq!(plan(&config, &facts), [Action::Stop(first())]);
    stopped(&mut facts);
    facts.tls = Some(files(-9, 5));
    assert_eq!(plan(&config, &facts), [Action::Start(first())]);
}

#[test]
fn one_that_was_started_otherwise_is_told() {
    for (config, cause) in [(with_tls(), "started without TLS"), (config(), "started with TLS")] {
        let mut facts = Facts { tls: Some(files(-9, 300)), ..well(&config) };
        region(&mut facts).pulse.as_mut().unwrap().beat = Beat::Otherwise;
        let verdict = judge(&config, &facts);
        assert_eq!((verdict.states[&first()], verdict.findings[0].code), (State::Failed, Code::RegionDown));
        assert!(verdict.findings[0].cause.contains(cause), "{verdict:#?}");
        assert_eq!(plan(&config, &facts), []);
    }
}

/// The file was renewed and the region was not restarted.
#[test]
fn a_region_that_goes_on_with_an_older_certificate_is_told() {
    let config = with_tls();
    for (days, code) in [(31, None), (30, Some(Code::CertExpires)), (0, Some(Code::TlsUnusable))] {
        let mut facts = Facts { tls: Some(files(-9, 300)), ..well(&config) };
        region(&mut facts).pulse.as_mut().unwrap().presents = Some(files(-9, days).cert.unwrap()[0].not_after);
        let findings = judge(&config, &facts).findings;
        let told: Vec<_> = findings.iter().map(|found| (found.code, found.subject.as_str())).collect();
        assert_eq!(told, code.map(|code| (code, "region still-fawn-0")).into_iter().collect::<Vec<_>>());
        // A restart is what helps.
        assert!(fit(&config, &facts, &config.local_regions()[0]).is_ok());
    }
}

/// A connection that says nothing holds up whoever comes after it, the supervisor included.
#[test]
fn one_that_does_not_shake_hands_is_hung_by_a_connection() {
    for (config, words) in [(with_tls(), "ss -tn 'sport = :3830'"), (config(), "look at the disk first")] {
        let mut facts = Facts { tls: Some(files(-9, 300)), ..well(&config) };
        let pulse = region(&mut facts).pulse.as_mut().unwrap();
        (pulse.beat, pulse.identity) = (Beat::Silent, None);
        let verdict = judge(&config, &facts);
        assert_eq!((verdict.states[&first()], verdict.findings[0].code), (State::Hung, Code::RegionHung));
        assert!(verdict.findings[0].remedy.contains(words), "{verdict:#?}");
    }
}

/// The words of the real program when it was started with files that it cannot use.
#[test]
fn a_start_that_failed_for_the_files_waits_for_them() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (exit, text) in [
        (Exit::Signal(6), "thread 'main' (9) panicked at common/src/x509.rs:79:26:\nindex out of bounds: the len is 0"),
        (Exit::Status(1), "Error: IO error\n\nCaused by:\n    No such file or directory (os error 2)"),
        (Exit::Status(1), "Error: IO error\n\nCaused by:\n    Permission denied (os error 13)"),
        (Exit::Status(1), "Error: rustls error\n\nCaused by:\n    keys may not be consistent: KeyMismatch"),
        (
            Exit::Status(1),
            "Error: client cert verifier builder error\n\nCaused by:\n    no root trust anchors were provided",
        ),
    ] {
        assert_eq!(classify(exit, &lines(text)).kind, Kind::Tls, "{text}");
    }
}
