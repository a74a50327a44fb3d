//! Whether systemd enforces what the regions' units ask for, as was found out by trying.

/// Whether systemd enforces what the regions' units ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enforcement {
    /// On which ports a unit may listen (`SocketBindAllow=`).
    pub bind: Result<(), Gap>,
    /// With whom it may exchange packets (`IPAddressAllow=`).
    pub address: Result<(), Gap>,
}

/// Why something is not known to be enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// It is not: systemd, of this version, was built without what it takes.
    NotBuilt(String),
    /// It is not: the library that systemd loads for it is not there.
    NoLibrary,
    /// It is not, although systemd has what it takes.
    NotLoaded,
    /// It could not be tried, and why.
    Untried(String),
}

impl Enforcement {
    /// Whether something could not be tried: another time it may.
    pub fn untried(&self) -> bool {
        [&self.bind, &self.address].into_iter().any(|proof| matches!(proof, Err(Gap::Untried(_))))
    }
}
