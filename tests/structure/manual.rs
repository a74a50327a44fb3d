//! The manuals' sections on conditions: they are the table of checks, as a manual has it.

use crate::read;
use crucible_sled::check::{About, Severity};
use crucible_sled::{attach, check};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Set to have the manuals' sections written, and not only compared.
const WRITE: &str = "WRITE_MANUALS";
/// What stands before and behind such a section.
const WRITTEN: [&str; 2] = [".\\\" Written from the table of checks", ".\\\" End of what is written from it."];

/// A page without its section that is written, and that section.
pub fn apart(page: &str) -> (String, String) {
    let begin = page.find(WRITTEN[0]).map(|at| at + page[at..].find('\n').unwrap() + 1).unwrap();
    let end = page.find(WRITTEN[1]).unwrap();
    (page[..begin].to_owned() + &page[end..], page[begin..end].to_owned())
}

/// A text as a manual has it: what stands between backticks is bold, and no line is longer than others.
fn roff(text: &str) -> String {
    let (mut lines, mut bold) = (vec![String::new()], false);
    for word in text.split(' ') {
        let mut shown = String::new();
        for c in word.chars() {
            match c {
                '`' => {
                    bold = !bold;
                    shown += if bold { "\\fB" } else { "\\fR" };
                }
                '-' => shown += "\\-",
                '\'' => shown += "\\(aq",
                '\\' => shown += "\\e",
                c => shown.push(c),
            }
        }
        let last = lines.last_mut().unwrap();
        if last.is_empty() {
            *last = if shown.starts_with('.') { format!("\\&{shown}") } else { shown };
        } else if last.len() + shown.len() < 116 && !shown.starts_with('.') {
            *last += &format!(" {shown}");
        } else {
            lines.push(if shown.starts_with('.') { format!("\\&{shown}") } else { shown });
        }
    }
    assert!(!bold, "{text}");
    lines.join("\n") + "\n"
}

/// The section of a manual on these conditions.
fn section(table: &[&About]) -> String {
    let mut out = String::new();
    for (severity, heading) in
        [(Severity::Blocking, "Blocking"), (Severity::Warning, "Warnings"), (Severity::Information, "Information")]
    {
        out += &format!(".SS {heading}\n");
        for about in table.iter().filter(|about| about.severity == severity) {
            let passes = if about.passes { "; passes by itself" } else { "" };
            out += &format!(".TP\n\\fB{}\\fR ({}{passes})\n", about.code, about.scope);
            out += &format!("{}.br\n\\fIRemedy:\\fR {}", roff(about.raised), roff(about.remedy));
        }
    }
    out
}

/// The manuals know every code that an operator can meet, here and on a host, and say of it what the table says.
#[test]
fn the_manual_explains_every_code() {
    let sled: Vec<_> = check::Code::ALL.iter().map(|code| code.about()).collect();
    let host: Vec<_> = attach::findings::Code::ALL.iter().map(|code| code.about()).collect();
    for (file, table) in [("man/sledctl.1", sled), ("man/crucible-attach.1", host)] {
        let page = read(file);
        let (rest, old) = apart(&page);
        let new = section(&table);
        if std::env::var_os(WRITE).is_some() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            fs::write(path, rest.replacen(WRITTEN[1], &(new + WRITTEN[1]), 1)).unwrap();
        } else {
            assert!(
                old == new,
                "{file} is not as the table of checks has it: {WRITE}=1 cargo test --test structure manual"
            );
        }
    }
}

/// The table of checks has a whole sentence on what raises each, and says how its cause reads and what is to be done.
/// No code means one thing on a sled and another one on a host.
#[test]
fn every_condition_is_described() {
    let sled = check::Code::ALL.iter().map(|code| code.about());
    let host = attach::findings::Code::ALL.iter().map(|code| code.about());
    let mut seen = BTreeSet::new();
    for about in sled.chain(host) {
        assert!(seen.insert(about.code), "{} is there twice", about.code);
        assert!(about.raised.ends_with('.') && about.raised.len() > 20, "{about:?}");
        assert!(!about.cause.is_empty() && !about.cause.ends_with('.'), "{about:?}");
        assert!(!about.remedy.is_empty() && !about.remedy.ends_with('.'), "{about:?}");
    }
}
