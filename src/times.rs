//! Times of day as they are shown: in milliseconds to programs, in whole seconds to people. A length of time is never
//! told by them ([`lived`](crate::lived)): a clock may be set. Pure.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// Form of a time on the wire: RFC 3339 in UTC with three digits of a second's parts, always. Used as
/// `#[serde(with = "Rfc3339")]`; what is read may have more digits, or none.
pub struct Rfc3339;

impl Rfc3339 {
    /// Write a time in this form.
    pub fn text(time: Timestamp) -> String {
        format!("{time:.3}")
    }

    /// Serialize a time.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{time:.3}"))
    }

    /// Deserialize a time.
    ///
    /// # Errors
    /// The text is no time.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(from)
    }
}

impl JsonSchema for Rfc3339 {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rfc3339".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
        })
    }
}

/// Form of a time on the wire that may be absent; `null` then. Used as
/// `#[serde(default, with = "OptionalRfc3339")]`.
pub struct OptionalRfc3339;

impl OptionalRfc3339 {
    /// Serialize a time, if there is one.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        time.map(Rfc3339::text).serialize(to)
    }

    /// Deserialize a time, if there is one.
    ///
    /// # Errors
    /// The text is no time.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        Option::deserialize(from)
    }
}

impl JsonSchema for OptionalRfc3339 {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OptionalRfc3339".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<Rfc3339>::json_schema(generator)
    }
}

/// The time of day, in whole milliseconds.
pub fn now() -> Timestamp {
    in_milliseconds(Timestamp::now())
}

/// A time without what is finer than a millisecond.
pub fn in_milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// A time in whole seconds, as people read it.
pub fn in_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The one of two guesses at a moment that is shown: the one that was, as long as the new one says the same but for a
/// minute; so that what is shown does not change with every look.
pub fn steady(shown: Timestamp, guessed: Timestamp) -> Timestamp {
    const SAME: i64 = 60;
    let apart = shown.as_second().abs_diff(guessed.as_second());
    if apart < SAME.unsigned_abs() { shown } else { in_seconds(guessed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_cut_to_what_is_shown() {
        let time: Timestamp = "2026-11-28T22:36:03.123456789Z".parse().unwrap();
        assert_eq!(in_milliseconds(time).to_string(), "2026-11-28T22:36:03.123Z");
        assert_eq!(in_seconds(time).to_string(), "2026-11-28T22:36:03Z");
        assert_eq!(now(), in_milliseconds(now()));
    }

    #[test]
    fn a_time_has_one_form_on_the_wire_and_is_read_in_every_form() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Body {
            #[serde(with = "Rfc3339")]
            at: Timestamp,
            #[serde(default, with = "OptionalRfc3339")]
            until: Option<Timestamp>,
        }
        for (read, written) in [
            ("2026-11-28T22:36:03Z", "2026-11-28T22:36:03.000Z"),
            ("2026-11-28T22:36:03.5Z", "2026-11-28T22:36:03.500Z"),
            ("2026-11-28T22:36:03.123999999Z", "2026-11-28T22:36:03.123Z"),
            ("2026-11-28T23:36:03.12+01:00", "2026-11-28T22:36:03.120Z"),
        ] {
            let body = Body { at: read.parse().unwrap(), until: Some(read.parse().unwrap()) };
            let text = format!("{{\"at\":\"{written}\",\"until\":\"{written}\"}}");
            assert_eq!(serde_json::to_string(&body).unwrap(), text);
            let read = format!("{{\"at\":\"{read}\",\"until\":\"{read}\"}}");
            assert_eq!(serde_json::from_str::<Body>(&read).unwrap(), body);
            assert_eq!(Rfc3339::text(body.at), written);
        }
        let none = serde_json::from_str::<Body>("{\"at\":\"1970-01-01T00:00:00Z\"}").unwrap();
        assert_eq!(serde_json::to_string(&none).unwrap(), "{\"at\":\"1970-01-01T00:00:00.000Z\",\"until\":null}");
    }

    #[test]
    fn what_is_shown_changes_only_when_it_is_wrong() {
        let shown = Timestamp::from_second(1000).unwrap();
        for (guess, now) in [(1000, 1000), (1059, 1000), (941, 1000), (1060, 1060), (900, 900)] {
            assert_eq!(steady(shown, Timestamp::from_second(guess).unwrap()).as_second(), now);
        }
    }
}
