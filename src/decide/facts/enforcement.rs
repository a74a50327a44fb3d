//! Enforcement by systemd of what the regions' units ask for, as was found out by trying.

/// The enforcement of what the regions' units ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enforcement {
    /// The ports on which a unit may listen (`SocketBindAllow=`).
    pub bind: Result<(), Gap>,
    /// The addresses with which it may exchange packets (`IPAddressAllow=`).
    pub address: Result<(), Gap>,
}

/// A gap in what is known to be enforced, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// Not enforced: systemd, of this version, was built without what it takes.
    NotBuilt(String),
    /// Not enforced: the library that systemd loads for it is not there.
    NoLibrary,
    /// Not enforced, although systemd has what it takes.
    NotLoaded,
    /// The trial could not be made, and why.
    Untried(String),
}

impl Enforcement {
    /// Whether something could not be tried: another time it may.
    pub fn untried(&self) -> bool {
        [&self.bind, &self.address].into_iter().any(|proof| matches!(proof, Err(Gap::Untried(_))))
    }
}
