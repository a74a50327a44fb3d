//! Description of the operations for programs, as OpenAPI 3.1: made from the table of operations, the table of refusals
//! and the wire types, and from nothing else. A sled answers with it, and `etc/openapi.json` is it. Pure.
//!
//! | module | job |
//! |---|---|
//! | [`paths`] | the operations of each path |
//! | [`parameters`] | what a parameter means, and which values it takes |
//! | [`responses`] | what is answered, with which status |
//! | [`schemas`] | the wire types |

mod parameters;
mod paths;
mod responses;
mod schemas;

use schemas::Schemas;
use serde_json::{Value, json};

/// Version of OpenAPI that the description is written in.
const OPENAPI: &str = "3.1.0";
/// What somebody has to know who reads none of the rest.
const ABOUT: &str = "What may be asked of a storage sled. An operation says in `x-doors` where it is taken: `tcp`, at \
                     the sled's address, port 3800 as a rule, and `unix`, at its socket /run/sled/admin.sock, from \
                     root and the group `sled`. HEAD is taken wherever GET is. Members may be added to any answer, \
                     and none is taken away or renamed. A parameter that is not known is refused.";

/// Make the description.
pub fn document() -> Value {
    let mut schemas = Schemas::default();
    let (paths, responses) = (paths::paths(&mut schemas), responses::shared(&mut schemas));
    let mut document = json!({
        "openapi": OPENAPI,
        "info": {
            "title": "crucible-sled",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Mozilla Public License 2.0", "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/", "description": "The sled that this was read from." }],
        "paths": paths,
        "components": {
            "parameters": parameters::shared(),
            "headers": responses::headers(),
            "responses": responses,
            "schemas": schemas.take(),
        },
    });
    schemas::plain(&mut document);
    document
}

/// The description as it lies in a file, for people as well.
pub fn text() -> String {
    // A value of JSON can always be written.
    serde_json::to_string_pretty(&document()).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests;
