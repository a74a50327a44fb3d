//! Terminal: the one place in which programs print. Their words may have those of strangers in them, and are made
//! harmless here, whatever was done before. Painted only where there is a terminal that shows it.

mod live;

pub use live::{Happening, Live};

use crate::clean;
use crate::screen::Screen;
use rustix::fd::AsFd;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// The screen that standard output is shown on, if it is a terminal.
pub fn screen() -> Screen {
    Screen { columns: columns(&io::stdout()), wide: false }
}

/// Tell whether somebody looks at standard output.
pub fn is_watched() -> bool {
    io::stdout().is_terminal()
}

/// Tell whether nothing is painted on standard output.
fn is_plain() -> bool {
    anstream::AutoStream::choice(&io::stdout()) == anstream::ColorChoice::Never
}

/// The columns of a terminal.
fn columns(of: &(impl AsFd + IsTerminal)) -> Option<usize> {
    if !of.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(of).ok()?;
    // A line that has never been told its size.
    (size.ws_col > 0).then_some(size.ws_col.into())
}

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

/// Print one of many answers on standard output as JSON, on a line of its own.
///
/// # Errors
/// The value cannot be written there, or is none that JSON has.
pub fn json_line<T: Serialize + ?Sized>(value: &T) -> io::Result<()> {
    let text = serde_json::to_string(value)? + "\n";
    let mut out = io::stdout().lock();
    out.write_all(clean::json(&text).as_bytes())?;
    out.flush()
}

/// Print an answer on standard output as YAML.
///
/// # Errors
/// The value cannot be written there, or is none that YAML has.
pub fn yaml<T: Serialize + ?Sized>(value: &T) -> io::Result<()> {
    let text = serde_saphyr::to_string(&value).map_err(io::Error::other)?;
    io::stdout().lock().write_all(clean::yaml(&text).as_bytes())
}

/// Print a note beside the answer, on standard error, as lines of its own. Where nobody can be told, nothing is said.
pub fn note(text: &str) {
    let screen = Screen { columns: columns(&io::stderr()), wide: false };
    _ = writeln!(anstream::stderr(), "{}", screen.fold(&clean::page(text)));
}
