//! Parameters in the description: what each means, by its name, and which values its kind takes. Pure.

use super::super::operation::Row;
use super::super::parameter::{Kind, PRETTY, ParameterRow};
use super::super::row::Manner;
use serde_json::{Value, json};

/// Name under which the shared parameter of tags stands.
const IF_NONE_MATCH: &str = "IfNoneMatch";
/// Name under which the shared parameter of followers stands.
const LAST_EVENT_ID: &str = "LastEventId";

/// What each parameter means, in whichever operation it occurs, or in the one that is named before it.
const MEANINGS: &[(&str, &str)] = &[
    ("volume", "The name of a volume."),
    ("region", "The name of a region: its volume's, and its index."),
    (
        "wait",
        "The seconds for which the answer is held at most: until the volume may be attached, or the job has ended.",
    ),
    (
        "revision",
        "With `wait`: hold the answer of a volume until its revision is another one than this, which the asker has.",
    ),
    ("host", "The address of a host, or its name in the port map."),
    ("reason", "The reason, for whoever asks why; one line."),
    ("never_existed", "The region's name once more, to say that it never existed although something hints at it."),
    ("yes_destroy", "The name of what is destroyed, once more."),
    ("deleted", "The second at which the region was deleted, of one that was deleted several times."),
    ("from", "The directory of the region; without it, where it is found."),
    ("UpgradeDownstairs.from", "The path of the program at the asker, which is only shown."),
    ("force", "Whatever becomes of the volume's hosts."),
    ("attached", "Also while a host has the volume attached, whose server ends then."),
    ("rolling", "Wait until the volume's other regions serve and its hosts have caught up, rather than refuse."),
    ("since", "The number of an event, behind which they begin; or a time; or how long ago."),
    ("code", "Only events with this code."),
    ("limit", "The most events in an answer: 1,000 at most, and if neither it nor `since` is said, 100."),
    ("id", "The number of a job."),
    ("asks", "With `wait`: hold the answer also only until the job asks something."),
    ("number", "The number of the configuration."),
    ("AnswerJob.number", "The number of the question."),
    ("on", "Whether hosts are asked to wait."),
    ("for", "How long they are asked to wait; without it until somebody ends it."),
    ("replace", "The identity of the disk that was this sled's until now."),
    ("dry_run", "Show what it would change, and change nothing."),
    ("yes", "Do it although hosts are interrupted, or regions stop."),
    ("unattended", "Ask as one who cannot be asked back: hosts may be interrupted, and nothing else."),
    ("kept", "With `dry_run`: the configuration of this number, in place of the files."),
    ("by", "The one who asks, for whoever wants to know later."),
];

/// Describe the parameters of an operation.
pub(super) fn of(row: &Row) -> Vec<Value> {
    let own = row.parameters.iter().map(|parameter| described(row, parameter));
    let header = match row.manner {
        Manner::Plain => None,
        Manner::Tagged => Some(IF_NONE_MATCH),
        Manner::Followed => Some(LAST_EVENT_ID),
    };
    let shared = header.into_iter().chain(row.is_json().then_some(PRETTY.name));
    own.chain(shared.map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }))).collect()
}

/// Describe the parameters that many operations have.
pub(super) fn shared() -> Value {
    json!({
        PRETTY.name: {
            "name": PRETTY.name,
            "in": "query",
            "description": "Indent the answer, for a person.",
            "schema": schema(PRETTY.kind),
        },
        IF_NONE_MATCH: {
            "name": "If-None-Match",
            "in": "header",
            "description": "Tags of the answers that the asker has: if the answer is one of them, it is 304, without a \
                body.",
            "schema": { "type": "string" },
        },
        LAST_EVENT_ID: {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "Of who follows: the number of the event that he was told last.",
            "schema": { "type": "string" },
        },
    })
}

/// Tell what a parameter of an operation means.
pub(super) fn meaning(row: &Row, name: &str) -> Option<&'static str> {
    let find = |name: &str| MEANINGS.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning);
    find(&format!("{}.{name}", row.name)).or_else(|| find(name))
}

/// Every parameter that has a meaning.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    MEANINGS.iter().map(|(name, _)| *name)
}

fn described(row: &Row, parameter: &ParameterRow) -> Value {
    let mut described = json!({
        "name": parameter.name,
        "in": if row.in_path(parameter.name) { "path" } else { "query" },
        "required": parameter.required,
        "description": meaning(row, parameter.name),
        "schema": schema(parameter.kind),
    });
    if let Some(example) = example(parameter.kind) {
        described["example"] = example;
    }
    described
}

/// The values that a kind of parameter takes.
fn schema(kind: Kind) -> Value {
    let number = json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX });
    match kind {
        Kind::Region => json!({ "$ref": "#/components/schemas/RegionName" }),
        Kind::Volume => json!({ "$ref": "#/components/schemas/VolumeName" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Pretty => json!({ "type": "string", "enum": ["", "true", "false"] }),
        Kind::Number | Kind::Job | Kind::Configuration => number,
        Kind::Seconds => json!({ "type": "number", "minimum": 0, "maximum": 60 }),
        Kind::Unix => json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX }),
        Kind::Span => json!({
            "type": "string",
            // At most a thousand years, whatever the unit.
            "pattern": "^([1-9][0-9]{0,4}d|[1-9][0-9]{0,5}h|[1-9][0-9]{0,7}(m|min)|[1-9][0-9]{0,9}s)$",
        }),
        Kind::Since => json!({
            "type": "string",
            "anyOf": [
                { "pattern": "^[0-9]{1,19}$" },
                { "pattern": "^([0-9]{1,5}d|[0-9]{1,6}h|[0-9]{1,8}(m|min)|[0-9]{1,10}s)$" },
                { "format": "date-time" },
            ],
        }),
        // No control characters.
        Kind::Sentence => json!({
            "type": "string",
            "maxLength": 200,
            "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
        }),
        // A part is neither empty nor one of `.` and `..`.
        Kind::Directory => json!({
            "type": "string",
            "pattern": "^(/(\\.{0,2}[A-Za-z0-9_+-][A-Za-z0-9._+-]*|\\.{3,}[A-Za-z0-9._+-]*))+$",
        }),
        Kind::Uuid => json!({ "type": "string", "format": "uuid" }),
        Kind::Text => json!({ "type": "string" }),
    }
}

/// A value of a kind of parameter, where it is not plain from the schema.
fn example(kind: Kind) -> Option<Value> {
    match kind {
        Kind::Region => Some(json!("still-fawn-0")),
        Kind::Volume => Some(json!("still-fawn")),
        Kind::Span => Some(json!("30m")),
        Kind::Since => Some(json!("2d")),
        Kind::Sentence => Some(json!("a new cable")),
        Kind::Directory => Some(json!("/crucible/vm-still-fawn-0")),
        Kind::Flag | Kind::Pretty | Kind::Number | Kind::Job | Kind::Configuration => None,
        Kind::Seconds | Kind::Unix | Kind::Uuid | Kind::Text => None,
    }
}
