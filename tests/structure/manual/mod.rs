//! The manuals: prose of man/prose, and what the commands, the tables of checks and the tables of keys say.
//!
//! Neither is written by hand into a page, so that a page says what the programs do.

mod commands;
mod keys;
mod prose;

use crate::{programs, read};
use clap::CommandFactory;
use crucible_sled::check::{About, Severity};
use crucible_sled::{attach, check, config, daemon, port_map};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Set to have the manuals written, and not only compared.
pub const WRITE: &str = "WRITE_MANUALS";

/// The day on which their prose was last read through.
const READ: &str = "2026-11-30";

/// The manuals, with their sections.
const PAGES: [(&str, &str); 5] =
    [("sledctl", "1"), ("crucible-attach", "1"), ("sledd", "8"), ("sled.toml", "5"), ("port-map.toml", "5")];

/// The part of a manual on these conditions.
fn checks(table: &[&About]) -> String {
    let mut out = String::new();
    for (severity, heading) in
        [(Severity::Blocking, "Blocking"), (Severity::Warning, "Warnings"), (Severity::Information, "Information")]
    {
        out += &format!(".SS {heading}\n");
        for about in table.iter().filter(|about| about.severity == severity) {
            let passes = if about.passes { "; passes by itself" } else { "" };
            out += &format!(".TP\n\\fB{}\\fR ({}{passes})\n", about.code, about.scope);
            out += &format!(
                "{}.br\n\\fIRemedy:\\fR {}",
                prose::paragraph(&prose::shielded(about.raised)),
                prose::paragraph(&prose::shielded(about.remedy))
            );
        }
    }
    out
}

/// The prose of a manual.
fn source(name: &str) -> String {
    read(&format!("man/prose/{name}.md"))
}

/// A manual as it is to be.
fn page(name: &str, section: &str) -> String {
    let program = programs().into_iter().find(|(program, _)| *program == name).map(|(_, program)| program);
    let program = program.unwrap_or_else(daemon::Arguments::command);
    let (text, mut said) = commands::apart(&source(name));
    let body = prose::roff(&text, |place| match (place, name) {
        ("synopsis", _) => commands::synopsis(&program),
        ("commands", _) => commands::all(&program, &mut said),
        ("options", "sledd") => commands::options(&commands::own_options(&program)),
        ("options", _) => commands::options(&commands::shared_options(&program)),
        ("checks", "sledctl") => checks(&check::Code::ALL.iter().map(|code| code.about()).collect::<Vec<_>>()),
        ("checks", "crucible-attach") => {
            checks(&attach::findings::Code::ALL.iter().map(|code| code.about()).collect::<Vec<_>>())
        }
        ("keys", "sled.toml") => keys::all(config::KEYS),
        ("keys", "port-map.toml") => keys::all(port_map::KEYS),
        _ => panic!("man/prose/{name}.md: nothing is written at {place}"),
    });
    assert!(said.is_empty(), "man/prose/{name}.md: {name} has no {:?}", said.keys().collect::<Vec<_>>());
    let title = format!(".TH {} {section} {READ} \"crucible\\-sled\" \"Storage sled\"\n", name.to_uppercase());
    format!(".\\\" Written from man/prose/{name}.md and the tables: CONTRIBUTING.md has how.\n{title}{body}")
}

/// Every manual is what its prose and the tables make of it, and there is no other one.
#[test]
fn the_manuals_are_as_the_definitions_have_them() {
    let man = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let (mut wanted, mut other) = (BTreeSet::from(["prose".to_owned()]), Vec::new());
    for (name, section) in PAGES {
        let (file, page) = (format!("{name}.{section}"), page(name, section));
        if std::env::var_os(WRITE).is_some() {
            fs::write(man.join(&file), &page).unwrap();
        }
        if fs::read_to_string(man.join(&file)).ok().as_ref() != Some(&page) {
            other.push(file.clone());
        }
        wanted.insert(file);
    }
    assert!(other.is_empty(), "{other:?} are others: {WRITE}=1 cargo test --test structure manual");
    let there = fs::read_dir(man).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(there.collect::<BTreeSet<_>>(), wanted);
}

/// The options that the prose of a program's manual speaks of.
pub fn spoken_of(name: &str) -> String {
    source(name).replace(['`', '*'], "")
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

/// Every manual is put where `man` finds it, by the sled's installation and by the host's.
#[test]
fn every_manual_is_installed() {
    let install = read("image/install");
    for (name, section) in PAGES {
        assert!(install.contains(&format!("{name}.{section}")), "image/install leaves out {name}({section})");
    }
}
