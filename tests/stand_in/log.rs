//! Log lines on stdout: bunyan JSON, or plain text if stdout is a terminal.
//!
//! As with the real program, a line that cannot be written is the end of the
//! process, and a reader of stdout that stalls stalls whoever logs. It never
//! writes to stderr and drops no line.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::sync::LazyLock;

#[derive(Serialize)]
struct Line<'a> {
    msg: &'a str,
    v: u8,
    name: &'a str,
    level: u8,
    time: Timestamp,
    hostname: &'a str,
    pid: u32,
    #[serde(flatten)]
    context: &'a Value,
}

static HOSTNAME: LazyLock<String> = LazyLock::new(|| {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
});

/// Logs without context.
pub fn plain(message: &str) {
    write(30, message, &json!({}));
}

/// Logs on behalf of the task that starts and accepts.
pub fn main_task(message: &str) {
    write(30, message, &json!({"task": "main"}));
}

/// Logs with a context: an object whose keys join the line's.
pub fn info(message: &str, context: &Value) {
    write(30, message, context);
}

/// Logs a warning with a context.
pub fn warn(message: &str, context: &Value) {
    write(40, message, context);
}

/// Waits until nobody is in the middle of a line. With the real program a
/// stdout that nobody reads stops all answers, also those that log nothing.
pub fn wait_for_reader() {
    drop(std::io::stdout().lock());
}

fn write(level: u8, message: &str, context: &Value) {
    let mut stdout = std::io::stdout().lock();
    let time = Timestamp::now();
    let line = if stdout.is_terminal() {
        format!("{time} {level} {message} {context}\n")
    } else {
        bunyan(level, time, message, context)
    };
    // A closed stdout is no error here, nor is it for the real program.
    let written = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    if let Err(error) = written {
        panic!("cannot write the log: {error}");
    }
}

fn bunyan(level: u8, time: Timestamp, message: &str, context: &Value) -> String {
    let line = Line {
        msg: message,
        v: 0,
        name: "crucible",
        level,
        time,
        hostname: &HOSTNAME,
        pid: std::process::id(),
        context,
    };
    let mut text = serde_json::to_string(&line).expect("a log line is plain JSON");
    text.push('\n');
    text
}
