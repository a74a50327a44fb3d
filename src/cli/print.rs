//! Output of commands: an answer as JSON or as text, and the words that several texts share.

use super::failure::Failure;
use crate::terminal;
use jiff::Timestamp;
use serde::Serialize;
use std::net::IpAddr;

/// Print a value, as JSON or as a person reads it.
pub(super) fn print<T: Serialize + ?Sized>(
    json: bool,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    if json {
        terminal::json(value)?
    } else {
        terminal::out(&text(value))?
    }
    Ok(())
}

/// Write how long ago something was, in the largest unit that is not zero.
pub(super) fn ago(since: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(since).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Write a value, or a dash for none.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// Write an address, with its name if it has one.
pub(super) fn named(address: &IpAddr, name: Option<&String>) -> String {
    name.map_or_else(|| address.to_string(), |name| format!("{address} ({name})"))
}
