//! Line of a log: an entry of the journal, and what upstream's JSON in it says: when, how grave, what, and the rest.
//! What is no such JSON is left as it is. Pure.

use crate::clean;
use crate::screen::Screen;
use crate::table::Tone;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

/// Fields of upstream's JSON that every line has, and that say nothing of it.
const USUAL: [&str; 4] = ["v", "name", "hostname", "pid"];
/// Columns of a screen that has room for the day.
const ROOM_FOR_DAYS: usize = 70;

/// Line of a log.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Line {
    at: Option<Timestamp>,
    level: Option<&'static str>,
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    /// Read an entry of the journal.
    pub(super) fn of_entry(entry: &[u8]) -> Self {
        let entry: Value = serde_json::from_slice(entry).unwrap_or_default();
        let micros = entry["__REALTIME_TIMESTAMP"].as_str().and_then(|micros| micros.parse().ok());
        let at = micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
        Self::of_message(&message(&entry["MESSAGE"]), at)
    }

    /// Read what was written, and arrived at this time.
    fn of_message(message: &str, arrived: Option<Timestamp>) -> Self {
        let as_it_is = || Self { at: arrived, level: None, message: message.to_owned(), fields: Map::new() };
        let Ok(Value::Object(mut fields)) = serde_json::from_str(message) else { return as_it_is() };
        let Some(Value::String(said)) = fields.remove("msg") else { return as_it_is() };
        let told = fields.get("time").and_then(|time| time.as_str()?.parse().ok());
        let level = fields.get("level").and_then(Value::as_u64).map(level);
        if told.is_some() {
            fields.remove("time");
        }
        if level.is_some() {
            fields.remove("level");
        }
        fields.retain(|name, _| !USUAL.contains(&name.as_str()));
        Self { at: told.or(arrived), level, message: said, fields }
    }

    /// Write it as a person reads it.
    pub(super) fn text(&self, screen: Screen) -> String {
        let days = screen.columns.is_none_or(|columns| columns >= ROOM_FOR_DAYS);
        let (format, none) = if days { ("%Y-%m-%d %H:%M:%S%.3f", 23) } else { ("%H:%M:%S", 8) };
        let at = self.at.map_or_else(|| " ".repeat(none), |at| at.strftime(format).to_string());
        let level = self.level.unwrap_or_default();
        let rest = self.fields.iter().map(|(name, value)| format!(" {}={}", clean::line(name), shown(value)));
        let rest = rest.collect::<String>();
        let said = clean::line(&self.message);
        let (at, painted) = (Tone::Faint.paint(&at), tone(level).paint(&format!("{level:<5}")));
        format!("{at} {painted}  {said}{}\n", if rest.is_empty() { rest } else { Tone::Faint.paint(&rest) })
    }
}

/// Read a message of the journal, which is an array of bytes where it is no text.
fn message(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(bytes) => {
            let bytes = bytes.iter().filter_map(|byte| byte.as_u64()?.try_into().ok());
            String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
        }
        _ => String::new(),
    }
}

/// Name a level of bunyan's.
fn level(number: u64) -> &'static str {
    match number {
        0..20 => "trace",
        20..30 => "debug",
        30..40 => "info",
        40..50 => "warn",
        50..60 => "error",
        _ => "fatal",
    }
}

fn tone(level: &str) -> Tone {
    match level {
        "warn" => Tone::Warning,
        "error" | "fatal" => Tone::Bad,
        "trace" | "debug" => Tone::Faint,
        _ => Tone::Plain,
    }
}

/// Write a value: a word as it is, and anything else as JSON.
fn shown(value: &Value) -> String {
    let is_word = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "\"=".contains(c));
    match value {
        Value::String(text) if is_word(text) => clean::line(text).into_owned(),
        other => clean::json(&other.to_string()).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOG: &str = r#"{"msg":"upstairs UpstairsConnection { id: 7 } connected","v":0,"name":"crucible","level":30,
        "time":"2026-11-30T07:00:01.123456789Z","hostname":"proper-raptor","pid":712,"task":"main","session":"a b","n":3}"#;

    fn text(message: &str, columns: Option<usize>) -> String {
        let at = Timestamp::from_second(1_796_000_000).unwrap();
        let screen = Screen { columns, wide: false };
        let text = Line::of_message(message, Some(at)).text(screen);
        anstream::adapter::strip_str(&screen.fold(&text)).to_string()
    }

    #[test]
    fn what_upstream_writes_is_time_level_message_and_the_rest() {
        let whole = "2026-11-30 07:00:01.123 info   upstairs UpstairsConnection { id: 7 } connected n=3 session=\"a b\" \
                     task=main\n";
        assert_eq!(text(SLOG, None), whole);
        assert_eq!(text(SLOG, Some(200)), whole);
        assert_eq!(
            text(SLOG, Some(80)),
            "2026-11-30 07:00:01.123 info   upstairs UpstairsConnection { id: 7 } connected\n                               \
             n=3 session=\"a b\" task=main\n"
        );
        assert!(text(SLOG, Some(40)).starts_with("07:00:01 info   upstairs\n                UpstairsConnection {"));
    }

    #[test]
    fn what_is_no_such_json_is_left_as_it_is_and_harmless() {
        for as_it_is in ["Error: no such luck", "{\"a\":1}", "{\"msg\":7}", "[1]", "{half", "\"text\""] {
            let shown = text(as_it_is, None);
            assert!(shown.ends_with(&format!("        {as_it_is}\n")), "{shown:?}");
        }
        assert!(text("a\x1b[2Jb\nc", None).ends_with("a\\u{1b}[2Jb\\u{a}c\n"));
        let odd = r#"{"msg":"\u001b[2J","level":50,"k\u001b":"\u001b]0;x","time":"never"}"#;
        let shown = text(odd, None);
        assert!(shown.contains(" error  \\u{1b}[2J k\\u{1b}=") && shown.contains("time=never"), "{shown}");
        assert!(!shown.contains('\x1b'), "{shown}");
    }

    #[test]
    fn an_entry_has_its_time_and_its_message_also_if_that_is_no_text() {
        let line = Line::of_entry(br#"{"__REALTIME_TIMESTAMP":"1796000000123456","MESSAGE":[104,105,255]}"#);
        assert_eq!((line.message.as_str(), line.at.unwrap().as_millisecond()), ("hi\u{fffd}", 1_796_000_000_123));
        let nothing = Line::of_entry(b"no json at all");
        assert_eq!((nothing.at, nothing.message.as_str()), (None, ""));
        let names: Vec<_> = [10, 20, 30, 40, 50, 60].map(level).into();
        assert_eq!(names, ["trace", "debug", "info", "warn", "error", "fatal"]);
    }
}
