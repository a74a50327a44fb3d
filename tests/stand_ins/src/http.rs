//! Just enough HTTP/1.1 to be asked something, for both stand-ins.

use serde_json::json;
use std::io::{self, BufRead, Read};
use uuid::Uuid;

/// Longest line of a request's head.
const LINE_LIMIT_BYTES: u64 = 8 << 10;

/// The head of a request.
pub struct Request {
    /// Such as GET.
    pub method: String,
    /// The path that it is about.
    pub path: String,
    /// Whether the connection ends with the answer.
    pub last: bool,
}

/// The body of an answer to what is not known.
pub fn not_found(id: Uuid) -> String {
    json!({"request_id": id, "message": "Not Found"}).to_string()
}

/// An answer: JSON.
pub fn response(status: u16, id: Uuid, body: &str, last: bool) -> String {
    let reason = if status == 200 { "OK" } else { "Not Found" };
    let connection = if last { "connection: close\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status} {reason}\r\n\
         content-type: application/json\r\n\
         x-request-id: {id}\r\n\
         content-length: {}\r\n\
         {connection}\r\n{body}",
        body.len()
    )
}

/// Reads the head of a request, or nothing if there is none any more.
pub fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let first = read_line(reader)?;
    let mut words = first.split_ascii_whitespace();
    let (Some(method), Some(path), Some(protocol)) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    let mut last = protocol != "HTTP/1.1";
    loop {
        let line = read_line(reader)?.to_ascii_lowercase();
        match line.trim_end().split_once(':') {
            Some(("connection", value)) => last |= value.trim() == "close",
            // A body would be taken for the next request: hang up after it.
            Some(("content-length" | "transfer-encoding", _)) => last = true,
            Some(_) => {}
            None => break,
        }
    }
    Ok(Some(Request { method: method.to_owned(), path: path.to_owned(), last }))
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.by_ref().take(LINE_LIMIT_BYTES).read_line(&mut line)?;
    Ok(line)
}
