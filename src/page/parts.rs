//! Small parts of a page: times, codes, links and numbers.

use crate::port_map::HTTP_PORT;
use crate::times;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use std::net::{IpAddr, SocketAddr};

/// A time of day with its date. The script adds how long ago that is.
pub(super) fn since(time: Timestamp) -> Markup {
    html! { time datetime=(times::in_seconds(time)) data-ago { (moment(time)) } }
}

/// A time of day with its date, and nothing beside it: where many stand below one another.
pub(super) fn at(time: Timestamp) -> Markup {
    html! { time datetime=(times::in_seconds(time)) { (moment(time)) } }
}

/// A time as it is read, in UTC as everywhere.
fn moment(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%-d %b %H:%M").to_string()
}

/// The time of the picture itself, to the second.
pub(super) fn picture(time: Timestamp) -> Markup {
    let text = time.to_zoned(TimeZone::UTC).strftime("%-d %b %H:%M:%S UTC").to_string();
    html! { time datetime=(times::in_seconds(time)) { (text) } }
}

/// A length of time, as exactly as is of use.
pub(super) fn length(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => match (seconds / 3600, seconds % 3600 / 60) {
            (hours, 0) => format!("{hours} h"),
            (hours, minutes) => format!("{hours} h {minutes} min"),
        },
    }
}

/// The code of a condition, which leads to its explanation.
pub(super) fn code(code: &str) -> Markup {
    html! { a.code href={ "/checks#" (code) } { (code) } }
}

/// The page of another sled: at the usual port, as nothing here knows another.
pub(super) fn page_of(name: &str, address: Option<IpAddr>) -> Markup {
    html! {
        @match address {
            Some(address) => a href={ "http://" (SocketAddr::new(address, HTTP_PORT)) "/" } { (name) },
            None => (name),
        }
    }
}

/// So many of something.
pub(super) fn count(number: usize, one: &str, several: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {several}") }
}

/// A part of a whole in percent, as an attribute of a drawing: two decimals are less than a pixel.
pub(super) fn percent(part: f64, whole: f64) -> String {
    let share = if whole > 0.0 { (part / whole * 100.0).clamp(0.0, 100.0) } else { 0.0 };
    format!("{share:.2}%")
}
