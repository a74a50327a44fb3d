//! Output of `crucible-attach`: answers on standard output, everything else on standard error. Texts of sleds are
//! shown without control characters, and not at any length.

use super::client::Trouble;
use super::failure::Failure;
use super::release::Outcome;
use super::sleds::{Sled, Sleds};
use super::ticket::Won;
use crate::clean;
use crate::names::SledName;
use crate::size;
use crate::table::{Cell, Table, Tone, plain};
use crate::terminal;
use crate::wire::{Region, Released, State, Volume};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io;

/// The longest text that is shown of what a sled says, in characters.
const TEXT_LIMIT_CHARS: usize = 600;

/// Shorten a sled's text to one line that is not too long.
pub(super) fn short(text: &str) -> String {
    let text = clean::line(text);
    match text.char_indices().nth(TEXT_LIMIT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// Print a note beside the answer.
pub(super) fn note(text: &str) {
    terminal::note(&format!("crucible-attach: {}", short(text)));
}

/// Print a failure, where it can be printed at all.
pub(super) fn failure(failure: &Failure, json: bool) {
    let error = failure.error();
    _ = if json {
        terminal::json(&json!({ "error": error }))
    } else {
        let (message, remedy) = (short(&error.message), short(&error.remedy));
        terminal::note(&format!("crucible-attach: {message}\n    {remedy}"));
        Ok(())
    };
}

pub(super) fn print(text: &str) -> Result<(), Failure> {
    Ok(terminal::out(text)?)
}

pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    Ok(terminal::json(value)?)
}

/// Every sled's body as it came; of one that said nothing of the volume, why not.
pub(super) fn bodies(sleds: &Sleds) -> Value {
    let body = |sled: &Sled| match &sled.news {
        Some(Ok(look)) => Some(look.body.clone()),
        Some(Err(trouble)) => Some(json!({ "url": format!("http://{}", sled.endpoint), "error": trouble.error() })),
        None => None,
    };
    sleds.all.iter().filter_map(body).collect()
}

/// Print the answer of `crucible-attach wait`.
pub(super) fn waited(sleds: &Sleds, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&bodies(sleds));
    }
    let on: Vec<_> = sleds.carriers().keys().map(ToString::to_string).collect();
    print(&format!("{} may be attached by this host: {} say so\n", sleds.volume, on.join(", ")))
}

/// Print the answer of `crucible-attach ticket`.
pub(super) fn ticket(won: &Won, json: bool) -> Result<(), Failure> {
    let ticket = &won.ticket;
    if json {
        let mut value = serde_json::to_value(ticket).map_err(io::Error::from)?;
        value["granted_by"] = json!(won.granted);
        value["missing"] = json!(won.missing);
        return print_json(&value);
    }
    let words = |words: &[String]| if words.is_empty() { "-".to_owned() } else { words.join(" ") };
    let names = |names: &[crate::names::SledName]| words(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
    let targets: Vec<_> = ticket.targets.iter().map(ToString::to_string).collect();
    let mut out = format!("{}: won, for {}\n\n", ticket.volume, ticket.host);
    _ = writeln!(out, "  generation  {}", won.generation);
    _ = writeln!(out, "  targets     {}", words(&targets));
    _ = writeln!(out, "  size        {}", size::spoken(ticket.size_bytes));
    _ = writeln!(out, "  TLS         {}", if ticket.tls { "yes" } else { "no" });
    _ = writeln!(out, "  granted by  {}", names(&won.granted));
    _ = writeln!(out, "  missing     {}", names(&won.missing));
    print(&out)
}

/// Print the answer of `crucible-attach release`.
pub(super) fn released(sleds: &Sleds, outcome: &Outcome, json: bool) -> Result<(), Failure> {
    if json {
        let body = |(sled, done): (&SledName, &Result<Released, Trouble>)| match done {
            Ok(released) => serde_json::to_value(released).map(|mut body| {
                body["sled"] = json!(sled);
                body
            }),
            Err(trouble) => Ok(json!({ "sled": sled, "error": trouble.error() })),
        };
        let bodies = outcome.iter().map(body).collect::<Result<Value, _>>();
        return print_json(&bodies.map_err(io::Error::from)?);
    }
    let mut out = String::new();
    for (sled, done) in outcome {
        _ = match done {
            Ok(released) => writeln!(out, "{sled}: let go of {}, generation {}", released.volume, released.generation),
            Err(trouble) => writeln!(out, "{sled}: {}", Tone::Bad.paint(&troubled(trouble))),
        };
    }
    if outcome.is_empty() {
        _ = writeln!(out, "no sled says that this host holds {}", sleds.volume);
    }
    for sled in sleds.all.iter().filter(|sled| !matches!(sled.news, Some(Ok(_)))) {
        _ = writeln!(out, "{}: {}", sled.endpoint, Tone::Bad.paint("was not asked, as it does not answer"));
    }
    print(&out)
}

/// Compose what the sleds say of a volume, for `crucible-attach status`.
pub(super) fn status(sleds: &Sleds) -> String {
    let ready = if sleds.ready() { Tone::Well.paint("ready") } else { Tone::Bad.paint("not ready") };
    let mut out = format!("{}: {ready}\n\n", Tone::Heading.paint(sleds.volume.as_str()));
    let mut table = Table::new(&["REGION", "SLED", "STATE", "ADDRESS", "CONNECTED"]);
    for look in sleds.looks() {
        let own = look.volume.regions.iter().filter(|region| region.sled == look.volume.sled);
        own.for_each(|region| table.row(row(region)));
    }
    out += &table.text();
    out.push('\n');
    for volume in sleds.looks().map(|look| &look.volume) {
        _ = writeln!(out, "  {}  {}", volume.sled, holder(volume));
    }
    for look in sleds.looks() {
        if let Some(why) = look.refused().or_else(|| look.denied()) {
            _ = writeln!(out, "  {}  {}", look.volume.sled, Tone::Bad.paint(&short(&why)));
        }
    }
    for sled in &sleds.all {
        if let Some(Err(trouble)) = &sled.news {
            _ = writeln!(out, "  {}  {}", sled.endpoint, Tone::Bad.paint(&troubled(trouble)));
        }
    }
    if let Some(what) = sleds.disagreement() {
        _ = writeln!(out, "  {}", Tone::Warning.paint(&short(&what)));
    }
    for (look, check) in sleds.looks().flat_map(|look| look.checks.iter().map(move |check| (look, check))) {
        let (severity, code, subject) = (short(&check.severity), short(&check.code), short(&check.subject));
        _ = writeln!(out, "\n{severity} {code}  {}: {subject}", look.volume.sled);
        _ = writeln!(out, "    {}\n    -> {}", short(&check.cause), short(&check.remedy));
    }
    out
}

fn troubled(trouble: &Trouble) -> String {
    short(&trouble.error().message)
}

fn row(region: &Region) -> Vec<Cell> {
    let tone = match region.state {
        Some(State::Serving) => Tone::Well,
        Some(State::Creating | State::Starting | State::Verifying) => Tone::Warning,
        _ => Tone::Bad,
    };
    let mut hosts: Vec<_> = region.connected.iter().map(|peer| peer.address.to_string()).collect();
    hosts.dedup();
    vec![
        plain(&region.name),
        plain(&region.sled),
        (region.state.map_or_else(|| "-".into(), |state| state.to_string()), tone),
        plain(std::net::SocketAddr::new(region.address, region.port)),
        plain(if hosts.is_empty() { "-".into() } else { hosts.join(" ") }),
    ]
}

/// The holder of the volume, as a sled says.
fn holder(volume: &Volume) -> String {
    match &volume.holder {
        None => format!("lets in: no ticket was granted yet (generation {})", volume.generation),
        Some(holder) if holder.released => {
            format!("lets in: nobody, as {} has let go of it (generation {})", holder.address, holder.generation)
        }
        Some(holder) => {
            let name = holder.host.as_ref().map(|name| format!("{} ", short(name))).unwrap_or_default();
            format!("lets in: {name}{}, generation {}, since {}", holder.address, holder.generation, holder.since)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_move_the_cursor_or_fill_the_screen() {
        assert_eq!(short("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\u{a}c");
        assert_eq!(short(&"x".repeat(10_000)).chars().count(), TEXT_LIMIT_CHARS + 1);
    }
}
