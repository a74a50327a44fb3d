//! `[tls]` of `sled.toml`: the certificate with which the data ports speak TLS, if they do. The files at its paths
//! are not looked at here. Pure.

use super::values::{Days, hidden, plain_path};
use crate::source::{Faults, Section};
use crate::span::Span;
use std::path::PathBuf;
use std::str::FromStr;

/// `[tls]`. The same files for every region of the sled, and for the supervisor that asks them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, and those between it and the root, if there are any.
    pub cert: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// The root certificate that has issued those of sleds and hosts.
    pub root_cert: PathBuf,
    /// The time before its end from which a certificate is warned of.
    pub expires_warning: Span,
}

impl Tls {
    /// The time before its end from which a certificate is warned of, unless something else is written.
    pub const EXPIRES_WARNING: Span = Span::seconds(30 * 86_400);

    /// Whether the data ports speak TLS with the same three files.
    pub fn same_files(&self, other: &Self) -> bool {
        (&self.cert, &self.key, &self.root_cert) == (&other.cert, &other.key, &other.root_cert)
    }
}

/// The three files, and an example of each.
const FILES: [(&str, &str); 3] =
    [("cert", "/etc/sled/tls/cert.pem"), ("key", "/etc/sled/tls/key.pem"), ("root_cert", "/etc/sled/tls/root.pem")];

/// Read the section; `None` if it names no file.
pub(super) fn read(mut section: Section<'_>, faults: &mut Faults) -> Option<Tls> {
    let given = section.keys();
    let wanted = FILES.iter().any(|(key, _)| given.contains(key));
    let [cert, key, root_cert] = FILES.map(|(key, example)| {
        if wanted && !given.contains(&key) {
            let remedy = format!("write it, for example {example:?}; TLS needs all three: cert, key and root_cert");
            section.missing(key, remedy, faults);
        }
        file(&mut section, key, example, faults)
    });
    let expires_warning = section
        .parsed::<Warning>("expires_warning", "write a length of time such as \"30d\", at least \"1s\"", faults)
        .map_or(Tls::EXPIRES_WARNING, |(Warning(span), _)| span);
    section.finish(faults);
    Some(Tls { cert: cert?, key: key?, root_cert: root_cert?, expires_warning })
}

/// The time before its end from which a certificate is warned of: some time, in days.
struct Warning(Span);

impl FromStr for Warning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Days(span) = text.parse()?;
        if span.seconds == 0 { Err("is no time at all".into()) } else { Ok(Self(span)) }
    }
}

fn file(section: &mut Section<'_>, key: &str, example: &str, faults: &mut Faults) -> Option<PathBuf> {
    let (path, origin) = plain_path(section, key, example, faults)?;
    if let Some(hidden) = hidden(&path) {
        let problem = format!("lies below {hidden}, which systemd hides from the regions' units");
        faults.push(&origin, section.path(key), problem, format!("move it, for example to {example:?}"));
    }
    Some(path)
}
