//! What was seen of the files of `[tls]`. Plain data.

use jiff::Timestamp;

/// What was seen in one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// When it was looked.
    pub at: Timestamp,
    /// The certificates in `cert`, the sled's own first.
    pub cert: Result<Vec<Certificate>, Flaw>,
    /// The key; what it holds is nobody's business.
    pub key: Result<(), Flaw>,
    /// The certificates in `root_cert`.
    pub root_cert: Result<Vec<Certificate>, Flaw>,
    /// Why they are refused as a whole, although each by itself can be used. Looked for only when
    /// each can be.
    pub refused: Option<Refusal>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Since when it is valid.
    pub not_before: Timestamp,
    /// The end of that.
    pub not_after: Timestamp,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It is not there.
    Missing,
    /// It cannot be read at all, and why.
    Unreadable(String),
    /// The user that the regions run as may not read it: this path stands in the way.
    Denied(String),
    /// Others than its owner may read or write it: its mode. Of a key only.
    Open(u32),
    /// It holds no PEM block of the kind that it should.
    Empty,
    /// It is PEM and cannot be decoded, and why.
    Garbled(String),
    /// It holds a key in a form that the downstairs does not take: the form.
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

/// Why files that can each be used cannot be used together.
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
