//! The command line, as the real `crucible-nbd-server` has it, and what of it ends the program.

use clap::Parser;
use std::net::SocketAddr;

/// volume-side storage component
#[derive(Debug, Parser)]
#[command(name = "crucible-nbd-server")]
pub struct Opt {
    /// A downstairs; three of them.
    #[arg(short, long, default_value = "127.0.0.1:9000", help = "")]
    pub target: Vec<SocketAddr>,
    /// What the volume is encrypted with, in base64.
    #[arg(short, long, help = "")]
    pub key: Option<String>,
    /// Its generation.
    #[arg(short, long = "gen", default_value = "0", help = "")]
    pub generation: u64,
    /// Its certificate.
    #[arg(long, help = "")]
    pub cert_pem: Option<String>,
    /// The key of its certificate.
    #[arg(long, help = "")]
    pub key_pem: Option<String>,
    /// Root of everybody's certificates.
    #[arg(long, help = "")]
    pub root_cert_pem: Option<String>,
    /// Where it tells of itself.
    #[arg(long, help = "")]
    pub control: Option<SocketAddr>,
}

impl Opt {
    /// Panics where the real one does.
    pub fn check(&self) {
        if let Some(key) = &self.key {
            let bytes = decoded(key).unwrap_or_else(|| panic!("could not base64 decode key!"));
            assert!(bytes == 32, "Key length must be 32 bytes!");
        }
        assert!(self.target.len() == 3, "bad targets {:?}", self.target);
    }
}

/// How many bytes this is in base64; `None` if it is not.
fn decoded(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches('=');
    let valid = digits.bytes().all(|digit| digit.is_ascii_alphanumeric() || digit == b'+' || digit == b'/');
    (valid && text.len().is_multiple_of(4) && text.len() - digits.len() <= 2).then_some(digits.len() * 3 / 4)
}
