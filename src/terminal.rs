//! Terminal: the one place in which programs print. Their words may have those of strangers in them, and are made
//! harmless here, whatever was done before. Painted only where there is a terminal that shows it.

use crate::clean;
use serde::Serialize;
use std::io::{self, Write};

/// Print an answer on standard output, as it is.
///
/// # Errors
/// The text cannot be written there.
pub fn out(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(clean::page(text).as_bytes())?;
    out.flush()
}

/// Print an answer on standard output as JSON, on lines of its own.
///
/// # Errors
/// The value cannot be written there, or is none that JSON has.
pub fn json<T: Serialize + ?Sized>(value: &T) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    io::stdout().lock().write_all(clean::json(&text).as_bytes())
}

/// Print a note beside the answer, on standard error, as lines of its own. Where nobody can be told, nothing is said.
pub fn note(text: &str) {
    _ = writeln!(anstream::stderr(), "{}", clean::page(text));
}

/// Draw a screen anew, from its first line on and not blinking where nothing has changed.
///
/// # Errors
/// The screen cannot be written on standard output.
pub fn draw(page: &str) -> io::Result<()> {
    const HOME: &str = "\x1b[H";
    const REST_OF_LINE: &str = "\x1b[K";
    const REST_OF_SCREEN: &str = "\x1b[J";
    let lines: Vec<_> = page.lines().map(|line| format!("{}{REST_OF_LINE}\n", clean::page(line))).collect();
    let mut out = io::stdout().lock();
    write!(out, "{HOME}{}{REST_OF_SCREEN}", lines.concat())?;
    out.flush()
}
