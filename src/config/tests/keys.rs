//! The tables of keys against the reader: every key that it takes is in them, and has the default and the range that
//! they say.

use super::*;
use crate::source::{Absent, Key};
use std::collections::{BTreeMap, BTreeSet};

/// A file's values by their dotted paths, in TOML.
type Values = BTreeMap<String, String>;

/// Whole files without a fault, with a value for each key that needs one, or that makes sense beside others only.
fn whole() -> [Values; 2] {
    let sled = [
        ("sled.name", "\"proper-raptor\""),
        ("network.nic", "\"enx0\""),
        ("tls.cert", "\"/etc/sled/tls/cert.pem\""),
        ("tls.key", "\"/etc/sled/tls/key.pem\""),
        ("tls.root_cert", "\"/etc/sled/tls/root.pem\""),
        ("notify.webhook", "\"https://alerts.example/sled\""),
        ("update.window", "\"Sun 04:00-06:00\""),
    ];
    let map = [
        ("sleds.proper-raptor.address", "\"192.168.4.189\""),
        ("sleds.b.address", "\"192.168.4.188\""),
        ("hosts.a.address", "\"192.168.4.16\""),
        ("volumes.a.regions", "[\"proper-raptor:3900\", \"proper-raptor:3901\", \"proper-raptor:3902\"]"),
    ];
    let values = |all: &[(&str, &str)]| all.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    [values(&sled), values(&map)]
}

fn toml(values: &Values) -> String {
    // A key by itself: no table is opened twice by that.
    values.iter().map(|(path, value)| format!("{path} = {value}\n")).collect()
}

fn read_values([sled, map]: &[Values; 2]) -> Result<Configuration, Vec<Fault>> {
    read(&sources(&toml(sled), &toml(map)))
}

/// The tables, each with the file that it describes and what its NAME is in there.
fn tables() -> impl Iterator<Item = (usize, &'static Key, String)> {
    let named = |key: &Key| {
        let name = if key.path.starts_with("sleds.") { "b" } else { "a" };
        key.path.replace("NAME", name)
    };
    let of = move |file, table: &'static [Key]| table.iter().map(move |key| (file, key, named(key)));
    of(0, KEYS).chain(of(1, port_map::KEYS))
}

/// The whole files with another value of one key, or without it.
fn with(file: usize, path: &str, value: Option<&str>) -> [Values; 2] {
    let mut files = whole();
    match value {
        Some(value) => files[file].insert(path.into(), value.into()),
        None => files[file].remove(path),
    };
    // Its table stays, with nothing in it.
    if let Some((table, _)) = path.rsplit_once('.')
        && !files[file].keys().any(|key| key.starts_with(&format!("{table}.")))
    {
        files[file].insert(table.into(), "{}".into());
    }
    files
}

#[test]
fn every_key_has_the_default_that_its_table_says() {
    for (file, key, path) in tables() {
        let without = read_values(&with(file, &path, None));
        let example = read_values(&with(file, &path, Some(key.example)));
        let example = example.unwrap_or_else(|why| panic!("{path} = {}: {why:?}", key.example));
        match key.absent {
            Absent::Fault => {
                let faults = without.unwrap_err();
                let named = |fault: &Fault| fault.problem == "is missing" && fault.key.ends_with(&path);
                assert!(faults.iter().any(named), "{path}: {faults:?}");
                continue;
            }
            Absent::Value(value) => {
                assert_eq!(read_values(&with(file, &path, Some(value))), without, "{path} = {value}");
            }
            Absent::Means(_) => {}
        }
        assert_ne!(Ok(example), without, "{path}: its example says what holds without it");
    }
}

#[test]
fn every_number_has_the_range_that_its_table_says() {
    let mut ranges = 0;
    for (file, key, path) in tables() {
        let Some(range) = &key.range else { continue };
        ranges += 1;
        let refused = |number: u64| {
            let found = read_values(&with(file, &path, Some(&number.to_string()))).err().unwrap_or_default();
            found.iter().any(|fault| fault.key == path && fault.problem.contains("not from"))
        };
        let (low, high) = (*range.start(), *range.end());
        assert_eq!([low - 1, low, high, high + 1].map(refused), [true, false, false, true], "{path}");
    }
    assert!(ranges > 4);
}

/// What the reader says that it knows, when it is asked for a key that nobody has.
#[test]
fn every_key_that_is_read_is_in_its_table() {
    const NONE: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";
    let paths: BTreeSet<_> = tables().map(|(file, _, path)| (file, path)).collect();
    let mut sections = BTreeMap::<(usize, String), BTreeSet<String>>::new();
    for (file, path) in paths {
        let mut rest = path.as_str();
        while let Some((section, key)) = rest.rsplit_once('.') {
            sections.entry((file, section.to_owned())).or_default().insert(key.to_owned());
            rest = section;
        }
        sections.entry((file, String::new())).or_default().insert(rest.to_owned());
    }
    for ((file, section), keys) in sections {
        // There an operator's own names are the keys.
        if file == 1 && ["sleds", "hosts", "volumes"].contains(&section.as_str()) {
            continue;
        }
        let path = if section.is_empty() { NONE.to_owned() } else { format!("{section}.{NONE}") };
        let faults = read_values(&with(file, &path, Some("1"))).unwrap_err();
        let fault = faults.iter().find(|fault| fault.key == path).unwrap_or_else(|| panic!("{path}: {faults:?}"));
        let known = fault.remedy.strip_prefix("remove it; known here: ").unwrap();
        let known: BTreeSet<_> = known.split(", ").map(str::to_owned).collect();
        assert_eq!(known, keys, "[{section}]");
    }
}
