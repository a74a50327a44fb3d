//! PEM files, for both stand-ins.

use crate::failure::{Failure, Outcome};
use std::io::BufReader;
use std::path::Path;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};

/// The blocks of a kind in a file; others are overlooked.
pub fn blocks<T: PemObject>(path: &Path) -> Outcome<Vec<T>> {
    let unread = |cause: String| Failure::caused_by("IO error", &cause);
    let file = std::fs::File::open(path).map_err(|why| unread(why.to_string()))?;
    let read: Result<Vec<T>, pem::Error> = T::pem_reader_iter(BufReader::new(file)).collect();
    read.map_err(|why| unread(why.to_string()))
}
