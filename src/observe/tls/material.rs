//! Material of TLS that the files of `[tls]` hold, read as strictly as the downstairs reads them,
//! and held against each other by the same library. A key is never shown or logged.

use crate::clean;
use crate::decide::facts::{Certificate, Flaw, KeyForm, Refusal};
use crate::observe::tls::access::Reader;
use jiff::Timestamp;
use nix::fcntl::OFlag;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject, SectionKind};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs1KeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use x509_cert::der::Decode;

/// No chain and no key is longer.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// All that is needed for a connection.
pub(super) struct Material {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivatePkcs1KeyDer<'static>,
    pub(super) roots: Arc<RootCertStore>,
}

/// The library's mathematics; it is never chosen for the process as a whole.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates in a file: as they are shown, and themselves.
type Certificates = (Vec<Certificate>, Vec<CertificateDer<'static>>);

/// Reads the sled's certificate, and those that come after it.
pub(super) fn certificates(path: &Path, reader: &Reader) -> Result<Certificates, Flaw> {
    let bytes = bytes(path, reader, |_| None)?;
    let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>().map_err(|why| garbled(&why))?;
    if chain.is_empty() {
        return Err(Flaw::Empty);
    }
    Ok((chain.iter().map(shown).collect::<Result<_, _>>()?, chain))
}

/// Reads the root certificates.
pub(super) fn roots(path: &Path, reader: &Reader) -> Result<(Vec<Certificate>, Arc<RootCertStore>), Flaw> {
    let (shown, all) = certificates(path, reader)?;
    let mut roots = RootCertStore::empty();
    for root in all {
        roots.add(root).map_err(|why| Flaw::Garbled(why.to_string()))?;
    }
    Ok((shown, Arc::new(roots)))
}

/// Reads the key. The downstairs takes the first block of its one kind, and overlooks all others.
pub(super) fn key(path: &Path, reader: &Reader) -> Result<PrivatePkcs1KeyDer<'static>, Flaw> {
    let bytes =
        bytes(path, reader, |mode| (reader.is_somebody() && mode & 0o077 != 0).then_some(Flaw::Open(mode & 0o7777)))?;
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(Flaw::KeyForm(KeyForm::Encrypted));
    }
    let blocks = <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let blocks = blocks.map_err(|why| garbled(&why))?;
    let has = |kind| blocks.iter().any(|(found, _)| *found == kind);
    match blocks.iter().find(|(kind, _)| *kind == SectionKind::RsaPrivateKey) {
        Some((_, der)) => {
            let key = PrivatePkcs1KeyDer::from(der.clone());
            let loaded = provider().key_provider.load_private_key(key.clone_key().into());
            loaded.map(|_| key).map_err(|why| Flaw::Garbled(why.to_string()))
        }
        None if has(SectionKind::PrivateKey) => Err(Flaw::KeyForm(KeyForm::Pkcs8)),
        None if has(SectionKind::EcPrivateKey) => Err(Flaw::KeyForm(KeyForm::OtherKind)),
        None if text.contains("BEGIN ENCRYPTED PRIVATE KEY") => Err(Flaw::KeyForm(KeyForm::Encrypted)),
        None => Err(Flaw::Empty),
    }
}

/// A file, if it is one that the regions can read and whose mode is not objected to.
fn bytes(path: &Path, reader: &Reader, objection: impl Fn(u32) -> Option<Flaw>) -> Result<Vec<u8>, Flaw> {
    let unreadable = |why: io::Error| match why.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Flaw::Missing,
        _ => Flaw::Unreadable(why.to_string()),
    };
    // What is looked at is what is read, whatever takes its place meanwhile; and one that is a pipe is
    // not waited for.
    let opened = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = opened.map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(Flaw::Unreadable("it is not a file".into()));
    }
    if let Some(flaw) = objection(found.permissions().mode()) {
        return Err(flaw);
    }
    if let Some(barrier) = reader.barrier(path) {
        return Err(Flaw::Denied(barrier.display().to_string()));
    }
    if found.len() > FILE_LIMIT_BYTES {
        return Err(Flaw::Unreadable(format!("it has {} bytes", found.len())));
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn garbled(why: &pem::Error) -> Flaw {
    Flaw::Garbled(match why {
        pem::Error::MissingSectionEnd { .. } => "a block has no end".into(),
        pem::Error::IllegalSectionStart { .. } => "a block begins oddly".into(),
        other => other.to_string(),
    })
}

/// Read what is told of a certificate.
pub(super) fn shown(der: &CertificateDer<'static>) -> Result<Certificate, Flaw> {
    let parsed = x509_cert::Certificate::from_der(der).map_err(|why| Flaw::Garbled(why.to_string()))?;
    let fields = parsed.tbs_certificate;
    let seconds = |at: x509_cert::time::Time| i64::try_from(at.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    // "For ever" is a little later than the last moment that can be told.
    let time = |at| Timestamp::from_second(seconds(at)).unwrap_or(Timestamp::MAX);
    let subject = match fields.subject.to_string() {
        name if name.is_empty() => "nobody".to_owned(),
        name => clean::line(&name).into_owned(),
    };
    Ok(Certificate {
        subject,
        not_before: time(fields.validity.not_before),
        not_after: time(fields.validity.not_after),
    })
}

impl Material {
    /// Reads it as the supervisor may, whatever the regions' user or others may do: what runs is
    /// asked in any case.
    pub(super) fn read(wanted: &crate::config::Tls) -> Result<Self, Flaw> {
        let (_, chain) = certificates(&wanted.cert, &Reader::ANYBODY)?;
        let (_, roots) = self::roots(&wanted.root_cert, &Reader::ANYBODY)?;
        Ok(Self { chain, key: key(&wanted.key, &Reader::ANYBODY)?, roots })
    }

    /// Make what one needs to call a region as a host does.
    pub(super) fn client(&self) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(self.roots.clone());
        builder.with_client_auth_cert(self.chain.clone(), self.key.clone_key().into())
    }

    /// Tell why two that both have this would refuse each other, if they would: the regions are
    /// called by `names`.
    pub(super) fn refused(&self, names: &BTreeSet<String>, at: Timestamp) -> Option<Refusal> {
        self.accepted(names, at).err()
    }

    fn accepted(&self, names: &BTreeSet<String>, at: Timestamp) -> Result<(), Refusal> {
        let other = |why: &dyn std::fmt::Display| Refusal::Other(why.to_string());
        let pair = CertifiedKey::from_der(self.chain.clone(), self.key.clone_key().into(), &provider());
        pair.map_err(|why| match why {
            Error::InconsistentKeys(_) => Refusal::Key,
            why => other(&why),
        })?;
        let (Some((own, between)), now) = (self.chain.split_first(), moment(at)) else { return Ok(()) };
        let builder = WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider());
        let host = builder.build().map_err(|why| other(&why))?;
        for name in names {
            let called = ServerName::try_from(name.clone()).map_err(|why| other(&why))?;
            host.verify_server_cert(own, between, &called, &[], now).map_err(|why| reason(&why, name))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider());
        let region = builder.build().map_err(|why| other(&why))?;
        region.verify_client_cert(own, between, now).map_err(|why| reason(&why, "")).map(|_| ())
    }
}

fn moment(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(at.as_second().try_into().unwrap_or_default()))
}

fn reason(why: &Error, name: &str) -> Refusal {
    use CertificateError as Of;
    match why {
        Error::InvalidCertificate(Of::NotValidForName | Of::NotValidForNameContext { .. }) => {
            Refusal::Name(name.into())
        }
        Error::InvalidCertificate(Of::UnknownIssuer | Of::BadSignature) => Refusal::Issuer,
        Error::InvalidCertificate(Of::InvalidPurpose | Of::InvalidPurposeContext { .. }) => Refusal::Purpose,
        other => Refusal::Other(other.to_string()),
    }
}
