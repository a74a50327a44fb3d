//! Answers in the description: what is answered when an operation is done, and the refusals by their statuses, from the
//! table of refusals. Pure.

use super::super::door::Door;
use super::super::media::Media;
use super::super::operation::Row;
use super::super::parameter::Kind;
use super::super::row::{Look, Manner, Work};
use super::schemas::Schemas;
use crate::wire::{ErrorBody, Refusal};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Statuses with which a body is refused, beside 400.
const OF_BODIES: [StatusCode; 2] = [StatusCode::REQUEST_TIMEOUT, StatusCode::PAYLOAD_TOO_LARGE];

/// Describe what an operation answers, by the status.
pub(super) fn of(row: &Row, schemas: &mut Schemas) -> Map<String, Value> {
    let mut answers = Map::new();
    for (status, why) in successes(row) {
        answers.insert(status.as_str().to_owned(), done(row, why, schemas));
    }
    if row.manner == Manner::Tagged {
        let known = json!({ "description": "The asker has the answer already.", "headers": tag() });
        answers.insert(StatusCode::NOT_MODIFIED.as_str().to_owned(), known);
    }
    for status in refusals(row) {
        answers.insert(status.as_str().to_owned(), refused(row, status, schemas));
    }
    answers
}

/// The statuses of an operation that is done, and what each means.
fn successes(row: &Row) -> Vec<(StatusCode, &'static str)> {
    match row.work {
        Work::Short if row.method == Method::GET => vec![(StatusCode::OK, "What was asked for.")],
        Work::Short => vec![(StatusCode::OK, "It is done.")],
        Work::Long => vec![(StatusCode::ACCEPTED, "A job does it."), (StatusCode::OK, "It is so already.")],
    }
}

fn done(row: &Row, why: &str, schemas: &mut Schemas) -> Value {
    let (form, answer) = (row.media.content_type(), schemas.told(row.answer));
    let text = json!({ "schema": { "type": "string" } });
    let content = match row.media {
        Media::OpenMetrics => json!({ form: text, Media::PrometheusText.content_type(): text }),
        Media::Json if row.manner == Manner::Followed => {
            json!({ form: { "schema": answer }, Media::EventStream.content_type(): text })
        }
        _ => json!({ form: { "schema": answer } }),
    };
    let mut done = json!({ "description": why, "content": content });
    if row.manner == Manner::Tagged {
        done["headers"] = tag();
    }
    done
}

fn tag() -> Value {
    json!({ "ETag": { "$ref": "#/components/headers/ETag" } })
}

/// Describe the headers that many answers have.
pub(super) fn headers() -> Value {
    json!({
        "ETag": {
            "description": "A tag that changes when the answer does, but for the time as of which it is so.",
            "required": true,
            "schema": { "type": "string", "pattern": "^W/\"[0-9a-f]{16}\"$" },
        },
    })
}

/// The statuses with which an operation is refused, by what it asks for.
fn refusals(row: &Row) -> BTreeSet<StatusCode> {
    // Whatever is asked for may be asked wrongly, or by the wrong one, or of a supervisor that cannot answer.
    let anybody = [
        StatusCode::BAD_REQUEST,
        StatusCode::FORBIDDEN,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    let named = |kind| matches!(kind, Kind::Region | Kind::Volume | Kind::Job | Kind::Configuration);
    let names = row.parameters.iter().any(|parameter| named(parameter.kind));
    let mut statuses = BTreeSet::from(anybody);
    statuses.extend(names.then_some(StatusCode::NOT_FOUND));
    statuses.extend((row.look != Look::Published).then_some(StatusCode::CONFLICT));
    statuses.extend((row.door != Door::Admin).then_some(StatusCode::MISDIRECTED_REQUEST));
    statuses.extend(row.body.iter().flat_map(|_| OF_BODIES));
    statuses
}

fn refused(row: &Row, status: StatusCode, schemas: &mut Schemas) -> Value {
    let away = row.away.filter(|away| away.statuses.contains(&status.as_u16()));
    let page = row.media == Media::Html && status == StatusCode::SERVICE_UNAVAILABLE;
    if away.is_none() && !page {
        return json!({ "$ref": format!("#/components/responses/{}", name(status)) });
    }
    let error = schemas.told(error);
    let schema = match away {
        Some(away) => json!({ "anyOf": [schemas.told(away.form), error] }),
        None => json!(error),
    };
    let mut content = json!({ Media::Json.content_type(): { "schema": schema } });
    if page {
        content[row.media.content_type()] = json!({ "schema": { "type": "string" } });
    }
    json!({ "description": codes(status), "content": content })
}

/// Describe the refusals that many operations have, by their names.
pub(super) fn shared(schemas: &mut Schemas) -> Map<String, Value> {
    let statuses = Refusal::ALL.iter().filter_map(|refusal| refusal.status()).chain(OF_BODIES);
    let used = statuses.filter(|status| *status != StatusCode::METHOD_NOT_ALLOWED).collect::<BTreeSet<_>>();
    let described = |status: StatusCode, schemas: &mut Schemas| {
        let content = json!({ Media::Json.content_type(): { "schema": schemas.told(error) } });
        json!({ "description": codes(status), "content": content })
    };
    used.into_iter().map(|status| (name(status), described(status, schemas))).collect()
}

fn error(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    generator.subschema_for::<ErrorBody>()
}

/// The name of the refusals with a status: its own, without spaces.
fn name(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or_default().replace(' ', "")
}

/// List the codes of the refusals with a status, and what each means.
fn codes(status: StatusCode) -> String {
    let these: Vec<_> = Refusal::ALL.iter().filter(|refusal| refusal.status() == Some(status)).copied().collect();
    let these = if these.is_empty() { vec![Refusal::BadBody] } else { these };
    let list = these.iter().map(|refusal| format!("- `{refusal}`: {}", refusal.about()));
    let conditions = matches!(status, StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE);
    let conditions = conditions.then(|| "- the code of a condition of the sled, which /checks explains".to_owned());
    let list: Vec<_> = list.chain(conditions).collect();
    format!("The error's code is one of:\n{}", list.join("\n"))
}
