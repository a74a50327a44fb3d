//! The journal's catalog: it is the table of checks, as `journalctl -x` shows it.

use crate::manual::WRITE;
use crate::read;
use crucible_sled::check::catalog::{catalog, message_id};
use crucible_sled::{attach, check};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The catalog as it is shipped.
const FILE: &str = "systemd/sled/crucible-sled.catalog";

/// The catalog knows every code, of a sled and of a host, and says of it what the table says.
#[test]
fn the_catalog_explains_every_code() {
    let sled = check::Code::ALL.iter().map(|code| (code.about(), "sledctl(1)"));
    let host = attach::findings::Code::ALL.iter().map(|code| (code.about(), "crucible-attach(1)"));
    let new = catalog(sled.chain(host));
    if std::env::var_os(WRITE).is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE), new).unwrap();
    } else {
        assert!(
            read(FILE) == new,
            "{FILE} is not as the table of checks has it: {WRITE}=1 cargo test --test structure catalog"
        );
    }
}

/// No two codes have one id.
#[test]
fn each_code_has_an_id_of_its_own() {
    let sled = check::Code::ALL.iter().map(|code| code.as_str());
    let host = attach::findings::Code::ALL.iter().map(|code| code.as_str());
    let codes: BTreeSet<_> = sled.chain(host).collect();
    let ids: BTreeSet<_> = codes.iter().map(|code| message_id(code)).collect();
    assert!(ids.len() == codes.len() && ids.len() > 80, "{} ids", ids.len());
}
