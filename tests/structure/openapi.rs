//! The description of the operations as it lies in a file: it is what a sled answers with.

use crate::read;
use crucible_sled::api::openapi;
use std::fs;
use std::path::Path;

/// Set to have the file written, and not only compared.
const WRITE: &str = "WRITE_MANUALS";
const FILE: &str = "etc/openapi.json";

#[test]
fn the_description_is_as_the_tables_and_the_types_have_it() {
    let new = openapi::text();
    if std::env::var_os(WRITE).is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE), new).unwrap();
    } else {
        let how = "etc/openapi.json is not as the tables have it: WRITE_MANUALS=1 cargo test --test structure";
        assert!(read(FILE) == new, "{how}");
    }
}
