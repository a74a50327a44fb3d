//! Terminal: the one place in which programs print. Their words may have those of strangers in them, and are made
//! harmless here, whatever was done before. Painted only where there is a terminal that shows it.

use crate::clean;
use crate::screen::Screen;
use rustix::fd::AsFd;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// The screen that standard output is shown on, if it is a terminal.
pub fn screen() -> Screen {
    Screen { columns: columns(&io::stdout()), wide: false }
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

/// Draw a screen anew, from its first line on and not blinking where nothing has changed.
///
/// # Errors
/// The screen cannot be written on standard output.
pub fn draw(page: &str) -> io::Result<()> {
    const HOME: &str = "\x1b[H";
    const REST_OF_LINE: &str = "\x1b[K";
    const REST_OF_SCREEN: &str = "\x1b[J";
    // What moves the cursor is written whether or not there is colour.
    let plain = anstream::AutoStream::choice(&io::stdout()) == anstream::ColorChoice::Never;
    let shown = |line: &str| match clean::page(line) {
        line if plain => anstream::adapter::strip_str(&line).to_string(),
        line => line.into_owned(),
    };
    let lines: Vec<_> = page.lines().map(|line| format!("{}{REST_OF_LINE}\n", shown(line))).collect();
    let mut out = io::stdout().lock();
    write!(out, "{HOME}{}{REST_OF_SCREEN}", lines.concat())?;
    out.flush()
}
