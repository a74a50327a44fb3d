//! TLS files as they were seen. Plain data.

use jiff::Timestamp;

/// The files of `[tls]` as one look has seen them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The time of the look.
    pub at: Timestamp,
    /// The certificates in `cert`, the sled's own first.
    pub cert: Result<Vec<Certificate>, Flaw>,
    /// The key; its content is nobody's business.
    pub key: Result<(), Flaw>,
    /// The certificates in `root_cert`.
    pub root_cert: Result<Vec<Certificate>, Flaw>,
    /// The refusal of them as a whole, although each by itself can be used. Looked for only when each can be.
    pub refused: Option<Refusal>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The subject: whose it is.
    pub subject: String,
    /// The time since when it is valid.
    pub not_before: Timestamp,
    /// The time until when it is valid.
    pub not_after: Timestamp,
}

/// The flaw of a file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// The file is not there.
    Missing,
    /// The file cannot be read at all, and why.
    Unreadable(String),
    /// The user that the regions run as may not read it: this path stands in the way.
    Denied(String),
    /// The file may be read or written by others than its owner: its mode. Of a key only.
    Open(u32),
    /// The file holds no PEM block of the kind that it should.
    Empty,
    /// The file is PEM and cannot be decoded, and why.
    Garbled(String),
    /// The file holds a key in a form that the downstairs does not take: the form.
    KeyForm(KeyForm),
}

/// The forms of a key that the downstairs does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// PKCS#8, which may hold a key of any kind.
    Pkcs8,
    /// One with a passphrase.
    Encrypted,
    /// Not an RSA key.
    OtherKind,
}

/// The refusal of files that can each be used, and not together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The key is not the certificate's.
    Key,
    /// The root has not issued the certificate.
    Issuer,
    /// The certificate is not for this name, by which hosts call a region.
    Name(String),
    /// The certificate may not be used by a server, or not by a client.
    Purpose,
    /// Anything else.
    Other(String),
}
