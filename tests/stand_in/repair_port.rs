//! The repair port: just enough HTTP/1.1 to be asked who listens here.
//!
//! No extent is ever handed out. One thread a connection, kept alive until the client closes it or says so.

use crate::faults::FaultFile;
use crate::log;
use crate::region::Region;
use serde_json::{Value, json};
use stand_ins::http::{self, Request};
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The repair port's words.
pub struct RepairPort {
    /// The address on which it listens.
    pub address: SocketAddr,
    /// The region it tells of.
    pub region: Region,
    /// Whether no upstairs may write.
    pub read_only: bool,
    /// The faults that a test wants.
    pub faults: FaultFile,
}

impl RepairPort {
    /// Accepts connections for as long as the process lives.
    pub fn serve(self, listener: &TcpListener) -> ! {
        let port = Arc::new(self);
        loop {
            let Ok((stream, peer)) = listener.accept() else {
                // Out of descriptors, most likely: give somebody time to leave.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            let context = port.context(peer);
            log::info("accepted connection", &context);
            let port = Arc::clone(&port);
            // A client that breaks off is no matter to anybody else.
            std::thread::spawn(move || drop(port.converse(&stream, peer)));
        }
    }

    fn context(&self, peer: SocketAddr) -> Value {
        json!({
            "local_addr": self.address.to_string(),
            "task": "repair",
            "remote_addr": peer.to_string(),
        })
    }

    fn converse(&self, mut stream: &TcpStream, peer: SocketAddr) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        while let Some(request) = http::read_request(&mut reader)? {
            let start = Instant::now();
            self.faults.wait_while_hung();
            let id = Uuid::new_v4();
            let (status, body) = self.answer(&request, id);
            let mut context = self.context(peer);
            context["uri"] = json!(request.path);
            context["method"] = json!(request.method);
            context["req_id"] = json!(id);
            context["latency_us"] = json!(start.elapsed().as_micros() as u64);
            context["response_code"] = json!(status);
            log::info("request completed", &context);
            stream.write_all(http::response(status, id, &body, request.last).as_bytes())?;
            if request.last {
                break;
            }
        }
        Ok(())
    }

    fn answer(&self, request: &Request, id: Uuid) -> (u16, String) {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/region-info") => (200, self.region_info()),
            ("GET", "/region-mode") => (200, self.read_only.to_string()),
            ("GET", path) => {
                self.fall_over_extent(path);
                (404, http::not_found(id))
            }
            _ => (404, http::not_found(id)),
        }
    }

    fn region_info(&self) -> String {
        let mut region = self.region.clone();
        if let Some(uuid) = self.faults.wrong_uuid() {
            region.uuid = uuid;
        }
        serde_json::to_string(&region).expect("a region is plain JSON")
    }

    /// The real program looks the extent up without asking whether it exists.
    fn fall_over_extent(&self, path: &str) {
        let number = path
            .strip_prefix("/extent/")
            .and_then(|rest| rest.strip_suffix("/repair-ready"))
            .and_then(|number| number.parse::<u32>().ok());
        let count = self.region.extent_count;
        if let Some(number) = number.filter(|number| *number >= count) {
            panic!("index out of bounds: the len is {count} but the index is {number}");
        }
    }
}
