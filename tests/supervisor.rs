//! A supervisor's socket that answers what a test says, for as long as that lasts.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;

/// One that answers.
pub struct Supervisor(tempfile::TempDir);

impl Supervisor {
    /// Answer these paths with these bodies, and every other one with 404.
    pub fn answering(bodies: &[(&str, serde_json::Value)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("admin.sock")).unwrap();
        let bodies: BTreeMap<_, _> = bodies.iter().map(|(path, body)| ((*path).to_owned(), body.to_string())).collect();
        let none = serde_json::json!({"error": {"code": "NOT_FOUND", "message": "nothing is there", "remedy": "-"}});
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let asked: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                let path = asked.first().and_then(|line| line.split([' ', '?']).nth(1)).unwrap_or_default();
                let (status, body) = match bodies.get(path) {
                    Some(body) => ("200 OK", body.clone()),
                    None => ("404 Not Found", none.to_string()),
                };
                // Whoever asked may have gone.
                _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        });
        Self(dir)
    }

    /// Where it is asked.
    pub fn socket(&self) -> PathBuf {
        self.0.path().join("admin.sock")
    }
}
