//! Paths in the description: the operations of each, from the table of operations. Pure.

use super::super::door::Door;
use super::super::operation::{Row, TABLE};
use super::super::row::Work;
use super::schemas::Schemas;
use super::{parameters, responses};
use serde_json::{Map, Value, json};

/// Describe every operation, by its path and its method.
pub(super) fn paths(schemas: &mut Schemas) -> Map<String, Value> {
    let mut paths = Map::new();
    for row in TABLE {
        let path = paths.entry(row.path).or_insert_with(|| json!({}));
        path[row.method.as_str().to_ascii_lowercase()] = operation(row, schemas);
    }
    paths
}

fn operation(row: &Row, schemas: &mut Schemas) -> Value {
    let mut operation = json!({
        "operationId": row.name,
        "summary": row.summary.trim(),
        "tags": [tag(row)],
        "x-doors": doors(row.door),
        "parameters": parameters::of(row),
        "responses": responses::of(row, schemas),
    });
    if row.work == Work::Long {
        operation["description"] = "Long work: a job does it, which `GET /v1/jobs/{id}` follows.".into();
    }
    if let Some(body) = &row.body {
        let schema = body.form.map(|form| json!({ "schema": schemas.asked(form) }));
        let content = schema.unwrap_or_else(|| json!({}));
        operation["requestBody"] = json!({
            "description": format!("At most {} bytes. Example: {}.", body.limit_bytes, body.example),
            "required": !body.optional,
            "content": { body.media.content_type(): content },
        });
    }
    operation
}

/// The noun that an operation is about.
fn tag(row: &Row) -> &'static str {
    row.segments().find(|segment| *segment != "v1").unwrap_or("sled")
}

fn doors(door: Door) -> &'static [&'static str] {
    match door {
        Door::Anyone => &["tcp", "unix"],
        Door::Host => &["tcp"],
        Door::Admin => &["unix"],
    }
}
