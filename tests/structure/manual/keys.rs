//! The keys of a configuration's file, as its manual has them.

use super::prose;
use crucible_sled::source::{Absent, Key};

/// Every key of a table, by the tables of the file that they stand in.
pub fn all(table: &[Key]) -> String {
    let (mut out, mut section) = (String::new(), "");
    for key in table {
        let (parent, name) = key.path.rsplit_once('.').unwrap();
        if parent != section {
            out += &format!(".SS [{}]\n", prose::escaped(parent));
            section = parent;
        }
        out += &format!(".TP\n\\fB{}\\fR\n{}", prose::escaped(name), prose::paragraph(&prose::shielded(&text(key))));
    }
    out
}

fn text(key: &Key) -> String {
    let values = match &key.range {
        Some(range) => format!("{} from {} to {}", key.values, range.start(), range.end()),
        None => key.values.to_owned(),
    };
    let absent = match key.absent {
        Absent::Fault => "it must be there".to_owned(),
        Absent::Value(value) => format!("{value} if it is left out"),
        Absent::Means(what) => format!("without it, {what}"),
    };
    let name = key.path.rsplit_once('.').unwrap().1;
    let (first, rest) = values.split_at(1);
    format!("{} {}{rest}; {absent}. Example: `{name} = {}`.", key.meaning, first.to_uppercase(), key.example)
}
