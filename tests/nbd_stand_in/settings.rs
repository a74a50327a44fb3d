//! Settings of a test by the environment, as the first page of `main` has it.

use stand_ins::failure::{Failure, Outcome};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The settings of a test.
pub struct Settings {
    /// The directory that holds the volume.
    pub store: PathBuf,
    /// How many bytes a volume has that is made.
    pub size: Option<u64>,
    /// The bytes of its blocks.
    pub block_size: u64,
    /// How soon a target that is away is connected to again.
    pub retry: Duration,
    /// Whether answers dawdle as the real one's.
    pub nagle: bool,
}

impl Settings {
    /// Read what is set.
    pub fn of_environment() -> Outcome<Self> {
        let store = std::env::var_os("STAND_IN_STORE").ok_or_else(|| Failure::new("STAND_IN_STORE is not set"))?;
        Ok(Self {
            store: store.into(),
            size: number("STAND_IN_SIZE")?,
            block_size: number("STAND_IN_BLOCK_SIZE")?.unwrap_or(4096),
            retry: Duration::from_millis(number("STAND_IN_RETRY")?.unwrap_or(200)),
            nagle: number::<u8>("STAND_IN_NAGLE")?.is_some_and(|nagle| nagle != 0),
        })
    }
}

fn number<T: FromStr>(variable: &str) -> Outcome<Option<T>> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Failure::new(format!("{variable} is no number: {text:?}")))
}
