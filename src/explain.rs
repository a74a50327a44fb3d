//! Conditions explained before they are met, or while they are: what raises one, how its cause reads, and what is to
//! be done, as the table of checks has it. The same for `sledctl` and `crucible-attach`. Pure.

use crate::check::{About, Severity};
use crate::screen::Screen;
use crate::source::nearest;
use crate::table::{Table, Tone, column, plain};
use crate::wire::{Error, Refusal};

/// Find the condition of this name; also if it is written in small letters, or with hyphens.
///
/// # Errors
/// There is none; which one may be meant.
pub fn find(table: &[&'static About], name: &str) -> Result<&'static About, Error> {
    let code = name.to_ascii_uppercase().replace('-', "_");
    if let Some(about) = table.iter().find(|about| about.code == code) {
        return Ok(about);
    }
    let meant = nearest(&code, table.iter().map(|about| about.code));
    let remedy = match meant {
        Some(meant) => format!("is {meant} meant? Without a code, explain lists all"),
        None => "without a code, explain lists all".to_owned(),
    };
    Err(Error::new(Refusal::CodeUnknown, format!("there is no condition {name}"), remedy))
}

/// Show one condition as a person reads it.
pub fn one(about: &About) -> String {
    let passes = if about.passes { "; it passes by itself" } else { "" };
    format!(
        "{}  {}, concerns {}, since {}{passes}\n\n    {}\n\n    cause   {}\n    remedy  {}\n",
        tone(about.severity).paint(about.code),
        about.severity,
        about.scope,
        about.since,
        about.raised,
        about.cause,
        about.remedy
    )
}

/// Show all of them; a line each, where the screen has room for it.
pub fn list(table: &[&About], screen: Screen) -> String {
    let mut lines = Table::new(&[
        column("CODE"),
        column("SEVERITY").rank(1),
        column("CONCERNS").rank(2),
        column("RAISED WHEN").wrap(30).rank(3),
    ]);
    for about in table {
        let first = about.raised.split_inclusive(". ").next().unwrap_or_default();
        let code = (about.code.to_owned(), tone(about.severity));
        lines.row(vec![code, plain(about.severity), plain(about.scope), plain(first.trim_end())]);
    }
    lines.on(screen)
}

fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Blocking => Tone::Bad,
        Severity::Warning => Tone::Warning,
        Severity::Information => Tone::Faint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Code;

    fn table() -> Vec<&'static About> {
        Code::ALL.iter().map(|code| code.about()).collect()
    }

    fn bare(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_code_is_found_however_it_is_written_and_an_unknown_one_has_a_neighbour() {
        for name in ["DISK_FULL", "disk_full", "disk-full"] {
            assert_eq!(find(&table(), name).unwrap().code, "DISK_FULL");
        }
        let why = find(&table(), "DISC_FULL").unwrap_err();
        assert_eq!(why.message, "there is no condition DISC_FULL");
        assert!(why.remedy.contains("DISK_FULL"), "{why:?}");
        assert!(!find(&table(), "xyzzy").unwrap_err().remedy.contains("meant"));
    }

    #[test]
    fn explanations_have_all_that_the_table_says() {
        let list = bare(&list(&table(), Screen::NONE));
        for about in table() {
            let line = list.lines().find(|line| line.split_whitespace().next() == Some(about.code)).unwrap();
            assert!(line.contains(&about.severity.to_string()) && line.contains(&about.scope.to_string()), "{line}");
            let text = bare(&one(about));
            let first = text.lines().next().unwrap();
            assert!(first.starts_with(about.code) && first.contains(&about.severity.to_string()), "{first}");
            assert_eq!(first.contains("passes by itself"), about.passes);
            for part in [about.raised, about.cause, about.remedy, about.since] {
                assert!(!part.is_empty() && text.contains(part), "{text}");
            }
        }
    }
}
