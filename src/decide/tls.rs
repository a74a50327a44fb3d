//! TLS files and what they mean: whether a downstairs that is started with them can serve, and how long that will be
//! so. By the time of the look; there is no clock here.

use super::facts::{Certificate, Facts, Flaw, KeyForm, Refusal, Tls};
use super::finding::Finding;
use crate::check::Code;
use crate::config::{self, Configuration};
use crate::port_map::LocalRegion;
use jiff::Timestamp;
use std::path::Path;

/// The findings about the files of `[tls]`. Nothing without TLS, or before the first look.
pub(super) fn findings(config: &Configuration, facts: &Facts) -> Vec<Finding> {
    let (Some(wanted), Some(seen)) = (&config.sled.tls, &facts.tls) else {
        return Vec::new();
    };
    let mut found = faults(config, wanted, seen);
    found.extend(endings(wanted, seen));
    found.extend(config.local_regions().iter().filter_map(|local| presented(local, wanted, seen, facts)));
    found
}

/// Find that a downstairs may be started with the files. One that runs has read them already.
///
/// # Errors
/// The first reason why not; `None` while they were not looked at.
pub(super) fn usable(config: &Configuration, facts: &Facts) -> Result<(), Option<Box<Finding>>> {
    match (&config.sled.tls, &facts.tls) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(None),
        (Some(wanted), Some(seen)) => {
            faults(config, wanted, seen).into_iter().next().map_or(Ok(()), |first| Err(Some(Box::new(first))))
        }
    }
}

fn finding(code: Code, file: &Path, cause: String, remedy: String) -> Finding {
    Finding::new(code, format!("tls {}", file.display()), cause, remedy)
}

/// The faults that keep hosts and regions from talking to each other.
fn faults(config: &Configuration, wanted: &config::Tls, seen: &Tls) -> Vec<Finding> {
    let user = &config.sled.downstairs.user;
    let unusable = |file: &Path, (cause, remedy)| finding(Code::TlsUnusable, file, cause, remedy);
    let cert = seen.cert.as_ref().err().map(|flaw| unusable(&wanted.cert, certificate_flaw(&wanted.cert, flaw, user)));
    let root = seen.root_cert.as_ref().err();
    let root = root.map(|flaw| unusable(&wanted.root_cert, certificate_flaw(&wanted.root_cert, flaw, user)));
    let key = seen.key.as_ref().err().map(|flaw| unusable(&wanted.key, key_flaw(&wanted.key, flaw, user)));
    let mut found: Vec<_> = [key, cert, root].into_iter().flatten().collect();
    found.extend(outside_its_time(wanted, seen));
    if let Some(refusal) = seen.refused.as_ref().filter(|_| found.is_empty()) {
        found.push(unusable(&wanted.cert, refused(wanted, refusal)));
    }
    found
}

type Words = (String, String);

/// The flaw of a file of any kind, in words.
fn flaw_of_any(file: &Path, flaw: &Flaw, user: &str) -> Words {
    let shown = file.display();
    match flaw {
        Flaw::Missing => (
            format!("{shown} is not there"),
            format!("put it there; sled.toml names it under [tls], and {user} must be able to read it"),
        ),
        Flaw::Unreadable(why) => {
            (format!("{shown} cannot be read: {why}"), format!("see ls -l {shown}, and dmesg for the disk"))
        }
        Flaw::Denied(path) if Path::new(path) == file => (
            format!("{shown} may not be read by {user}, which runs the regions"),
            format!("chown {user} {shown} && chmod 0400 {shown}"),
        ),
        Flaw::Denied(path) => (
            format!("{shown} may not be read by {user}, which runs the regions: {path} is closed to it"),
            format!("chmod o+x {path}, or move the file elsewhere"),
        ),
        Flaw::Garbled(why) => (format!("{shown} is damaged: {why}"), "put an undamaged copy there".into()),
        Flaw::Open(_) | Flaw::Empty | Flaw::KeyForm(_) => {
            (format!("{shown} is not what it should be"), "replace it".into())
        }
    }
}

fn certificate_flaw(file: &Path, flaw: &Flaw, user: &str) -> Words {
    let shown = file.display();
    match flaw {
        Flaw::Empty => (
            format!("{shown} holds no certificate in PEM form (\"BEGIN CERTIFICATE\")"),
            format!("if it is one in DER form: openssl x509 -inform der -in {shown} -out {shown}.pem"),
        ),
        // A certificate is no secret.
        Flaw::Denied(path) if Path::new(path) == file => {
            (flaw_of_any(file, flaw, user).0, format!("chmod 0444 {shown}"))
        }
        other => flaw_of_any(file, other, user),
    }
}

fn key_flaw(file: &Path, flaw: &Flaw, user: &str) -> Words {
    let shown = file.display();
    // Made under a umask of its own: the new file is a key too.
    let convert = format!(
        "(umask 077; openssl rsa -traditional -in {shown} -out {shown}.new) && chown {user} {shown}.new && \
         mv {shown}.new {shown}"
    );
    let rsa = "make a certificate with an RSA key of 2048 bits or more: openssl genrsa -traditional 3072";
    match flaw {
        Flaw::Open(mode) => (
            format!(
                "{shown} may be read or written by others than its owner (mode {mode:04o}): they can pass for this sled"
            ),
            format!(
                "chown {user} {shown} && chmod 0400 {shown}; if others could log in here, replace key and certificate"
            ),
        ),
        Flaw::Empty => (
            format!("{shown} holds no RSA key in PEM form (\"BEGIN RSA PRIVATE KEY\")"),
            format!("if it is one in another form: {convert}"),
        ),
        Flaw::KeyForm(KeyForm::Pkcs8) => (
            format!(
                "{shown} is a PKCS#8 key (\"BEGIN PRIVATE KEY\"), with which crucible-downstairs panics: it takes \"BEGIN RSA PRIVATE KEY\" only"
            ),
            convert,
        ),
        Flaw::KeyForm(KeyForm::Encrypted) => {
            (format!("{shown} is protected by a passphrase, which nobody is there to type"), convert)
        }
        Flaw::KeyForm(KeyForm::OtherKind) => {
            (format!("{shown} is not an RSA key, and crucible-downstairs takes no other"), rsa.into())
        }
        Flaw::Garbled(why) => (format!("{shown} is no RSA key that can be used: {why}"), rsa.into()),
        other => flaw_of_any(file, other, user),
    }
}

/// Certificates that are not valid yet, or not any more. Of a root neither hosts nor regions look
/// at the time.
fn outside_its_time(wanted: &config::Tls, seen: &Tls) -> Option<Finding> {
    let all = seen.cert.iter().flatten();
    let mut outside = all.filter(|cert| seen.at < cert.not_before || seen.at >= cert.not_after);
    let cert = outside.next()?;
    let (shown, subject) = (wanted.cert.display(), &cert.subject);
    let (cause, remedy) = if seen.at < cert.not_before {
        (
            format!(
                "{shown}: the certificate of {subject} is not valid before {}: hosts refuse the regions until then",
                cert.not_before
            ),
            "see whether this machine's clock is right (timedatectl), or put a valid certificate there".to_owned(),
        )
    } else {
        (
            format!(
                "{shown}: the certificate of {subject} expired at {}: hosts refuse the regions, and these the supervisor",
                cert.not_after
            ),
            renewal(),
        )
    };
    Some(finding(Code::TlsUnusable, &wanted.cert, cause, remedy))
}

fn refused(wanted: &config::Tls, refusal: &Refusal) -> Words {
    let (cert, key, root) = (wanted.cert.display(), wanted.key.display(), wanted.root_cert.display());
    match refusal {
        Refusal::Key => (
            format!("{key} is not the key of the certificate in {cert}"),
            "put the certificate and the key there that belong together; the sled's own comes first in the file".into(),
        ),
        Refusal::Issuer => (
            format!("the certificate in {cert} was not issued by the one in {root}"),
            format!(
                "put the root that has issued it into {root}; certificates between the two go into {cert}, after the first"
            ),
        ),
        Refusal::Name(name) => (
            format!(
                "the certificate in {cert} is not for the name {name}, by which a host calls that region: it would panic"
            ),
            "have one issued with subjectAltName=DNS:downstairs0,DNS:downstairs1,DNS:downstairs2".into(),
        ),
        Refusal::Purpose => (
            format!("the certificate in {cert} may not be used by a server and by a client alike"),
            "have one issued with extendedKeyUsage=serverAuth,clientAuth, or without that".into(),
        ),
        Refusal::Other(why) => (
            format!("hosts would refuse the certificate in {cert}: {why}"),
            "have another one issued, of version 3".into(),
        ),
    }
}

/// Certificates that end soon; of the root also when it has ended.
fn endings(wanted: &config::Tls, seen: &Tls) -> Vec<Finding> {
    let soon = |cert: &&Certificate| remaining(seen.at, cert.not_after) <= wanted.expires_warning.seconds.cast_signed();
    let first = |certs: &Result<Vec<Certificate>, Flaw>| {
        certs.iter().flatten().filter(soon).min_by_key(|cert| cert.not_after).cloned()
    };
    let own = first(&seen.cert).filter(|cert| seen.at < cert.not_after).map(|cert| {
        let cause = format!(
            "{}: the certificate of {} expires at {}; from then on hosts are refused",
            wanted.cert.display(),
            cert.subject,
            cert.not_after
        );
        finding(Code::CertExpires, &wanted.cert, cause, renewal())
    });
    let root = first(&seen.root_cert).map(|cert| {
        let (file, subject, end) = (wanted.root_cert.display(), &cert.subject, cert.not_after);
        let cause = if seen.at < end { format!("{file}: the root certificate of {subject} expires at {end}") } else { format!("{file}: the root certificate of {subject} expired at {end}; regions and hosts do not look at that, but other tools do") };
        let remedy = "have certificates issued by a new root, put both roots into the file on every sled and host, and then replace the certificates";
        finding(Code::CertExpires, &wanted.root_cert, cause, remedy.into())
    });
    own.into_iter().chain(root).collect()
}

/// A region goes on with the certificate that it read when it started, when another one has long
/// been in its place.
fn presented(local: &LocalRegion, wanted: &config::Tls, seen: &Tls, facts: &Facts) -> Option<Finding> {
    let region = facts.regions.get(&local.name)?;
    let pulse = region.pulse.as_ref().filter(|pulse| Some(pulse.pid) == region.alive())?;
    let on_disk = seen.cert.iter().flatten().next().map(|cert| cert.not_after);
    let end = pulse.presents.filter(|end| on_disk.is_some_and(|on_disk| on_disk != *end))?;
    let (code, cause) = match remaining(seen.at, end) {
        left if left > wanted.expires_warning.seconds.cast_signed() => return None,
        left if left > 0 => (
            Code::CertExpires,
            format!("it goes on with an older certificate than {}, which expires at {end}", wanted.cert.display()),
        ),
        _ => (
            Code::TlsUnusable,
            format!(
                "it goes on with an older certificate than {}, which expired at {end}: hosts refuse it",
                wanted.cert.display()
            ),
        ),
    };
    let name = &local.name;
    Some(Finding::about_region(local, code, cause, format!("sledctl region restart {name}; or all: --all --rolling")))
}

/// A downstairs reads its certificate when it starts, and goes on with that one.
fn renewal() -> String {
    "put a renewed certificate there; then, as a downstairs reads it only when it starts: \
     sledctl region restart --all --rolling"
        .into()
}

fn remaining(at: Timestamp, end: Timestamp) -> i64 {
    end.as_second() - at.as_second()
}
