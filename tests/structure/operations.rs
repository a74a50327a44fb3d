//! The README's list of operations: it is the table of them, as a reader has it.

use crate::read;
use crucible_sled::api::{Door, Row, TABLE, Work};
use std::fs;
use std::path::Path;

/// Set to have the list written, and not only compared.
const WRITE: &str = "WRITE_MANUALS";
/// What stands before and behind the list.
const WRITTEN: [&str; 2] =
    ["<!-- Written from the table of operations. -->\n", "<!-- End of what is written from it. -->"];

fn line(row: &Row) -> String {
    let query = row.parameters.iter().filter(|parameter| !row.in_path(parameter.name));
    let query: Vec<_> = query.map(|parameter| format!("`{}`", parameter.name)).collect();
    let by = match row.door {
        Door::Anyone => "anybody",
        Door::Host => "hosts",
        Door::Admin => "root",
    };
    let long = if row.work == Work::Long { " Long work." } else { "" };
    let body = row.body.map(|body| format!(" Body: {}.", body.example)).unwrap_or_default();
    let summary = row.summary.trim();
    format!("| `{} {}` | {} | {by} | {summary}{long}{body} |\n", row.method, row.path, query.join(", "))
}

#[test]
fn the_readme_lists_every_operation() {
    let page = read("README.md");
    let begin = page.find(WRITTEN[0]).unwrap() + WRITTEN[0].len();
    let end = page.find(WRITTEN[1]).unwrap();
    let head = "| what is asked | parameters | by | |\n|---|---|---|---|\n".to_owned();
    let new = head + &TABLE.iter().map(line).collect::<String>();
    if std::env::var_os(WRITE).is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        fs::write(path, format!("{}{new}{}", &page[..begin], &page[end..])).unwrap();
    } else {
        let how = "README.md is not as the table of operations has it: WRITE_MANUALS=1 cargo test --test structure";
        assert!(page[begin..end] == new, "{how}");
    }
}

/// Where an operation is done, every one is: what none of the rooms does would be refused by the supervisor only
/// when somebody asks.
#[test]
fn every_operation_is_done_by_somebody() {
    let done = read("src/supervisor/requests.rs") + &read("src/http/published.rs");
    for row in TABLE {
        assert!(done.contains(&format!("Operation::{} ", row.name)), "nobody does {}", row.name);
    }
}
