//! Catalog of the journal: `journalctl -x` explains the condition that a message tells of. Each code has a message id
//! of its own (journald.conf and sd-journal(3), `MESSAGE_ID`), and the catalog has an entry for it, as the table of
//! checks has it. Never what is found: that is in the message. Pure.
//!
//! `systemd/sled/crucible-sled.catalog` is written from it, and a test compares them:
//! `WRITE_MANUALS=1 cargo test --test structure catalog`.

use super::About;
use std::fmt::Write;
use uuid::{Uuid, uuid};

/// Namespace of the message ids: a code's is the UUIDv5 of it herein. Fixed for ever: journals of years ago are
/// explained by it, and whoever filters by an id keeps finding what he looks for.
pub const NAMESPACE: Uuid = uuid!("06d85490-e0b9-4914-b4e1-4e657975cd9a");

/// The width of a line.
const WIDTH: usize = 76;

/// Name the message id of a code, as journald has it.
pub fn message_id(code: &str) -> String {
    Uuid::new_v5(&NAMESPACE, code.as_bytes()).as_simple().to_string()
}

/// Write the catalog of these conditions; `manual` is where each is described.
pub fn catalog<'a>(table: impl IntoIterator<Item = (&'a About, &'a str)>) -> String {
    let mut text =
        "# Written from the table of checks: journalctl -x explains what each message tells of.\n".to_owned();
    for (about, manual) in table {
        let passes = if about.passes { "; it passes by itself" } else { "" };
        let id = message_id(about.code);
        _ = write!(text, "\n-- {id}\nSubject: {}: @SUBJECT@\nDefined-By: sledd\n", about.code);
        _ = write!(text, "Documentation: man:{manual}\n\n{}", wrapped(&about.raised.replace('`', ""), ""));
        _ = writeln!(text, "\nSeverity: {}, concerns {}, since {}{passes}", about.severity, about.scope, about.since);
        text += &wrapped(&format!("Cause:    {}", about.cause), "          ");
        text += &wrapped(&format!("Remedy:   {}", about.remedy), "          ");
    }
    text
}

/// Break a text into lines of bounded length, each after the first with a margin.
fn wrapped(text: &str, margin: &str) -> String {
    let (mut out, mut line) = (String::new(), String::new());
    for word in text.split(' ') {
        if !line.trim().is_empty() && line.len() + word.len() >= WIDTH {
            out += line.trim_end();
            out.push('\n');
            line = margin.to_owned();
        }
        line += word;
        line.push(' ');
    }
    out + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Code;

    /// Ids are kept by whoever filters by them: that of a code never changes.
    #[test]
    fn an_id_is_what_it_was() {
        assert_eq!(message_id("DISK_FULL"), "6450dfef92ac56ffa95bda2d3a874ee1");
    }

    #[test]
    fn an_entry_is_what_the_journal_can_read() {
        let text = catalog(Code::ALL.iter().map(|code| (code.about(), "sledctl(1)")));
        let (mut ids, mut subjects) = (0, 0);
        for line in text.lines() {
            assert!(line.len() <= WIDTH || !line.contains(' ') || line.starts_with('#'), "{line}");
            ids += usize::from(line.strip_prefix("-- ").is_some_and(|id| Uuid::parse_str(id).is_ok()));
            subjects += usize::from(line.starts_with("Subject: ") && line.ends_with(": @SUBJECT@"));
            // A field is put in wherever capitals stand between two of these.
            assert!(line.matches('@').count() < 2 || line.starts_with("Subject: "), "{line}");
        }
        assert_eq!((ids, subjects), (Code::ALL.len(), Code::ALL.len()));
    }
}
