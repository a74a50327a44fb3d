//! How answers leave: in one piece, or as the real one's do.
//!
//! That one writes each number by itself and leaves Nagle's algorithm on, so that all but the first
//! wait for the client to acknowledge.

use std::io::{self, Write};

/// Writes the parts of an answer.
pub fn write(to: &mut impl Write, parts: &[&[u8]], nagle: bool) -> io::Result<()> {
    if nagle { parts.iter().try_for_each(|part| to.write_all(part)) } else { to.write_all(&parts.concat()) }
}
