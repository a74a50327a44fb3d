//! The control port, on which one asks how the volume and its replicas are.

use crate::faults::Faults;
use crate::replicas::Replicas;
use serde_json::{Value, json};
use stand_ins::http;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// The control port's words.
pub struct Control {
    replicas: Arc<Replicas>,
    faults: Faults,
    active: AtomicBool,
}

impl Control {
    /// Listens at an address, for as long as the process lives. If that is taken nothing comes of it,
    /// nor does it with the real one.
    pub fn serve(address: SocketAddr, replicas: Arc<Replicas>, faults: Faults) -> Arc<Self> {
        let control = Arc::new(Self { replicas, faults, active: AtomicBool::new(false) });
        match TcpListener::bind(address) {
            Ok(listener) => {
                let control = Arc::clone(&control);
                std::thread::spawn(move || control.accept(&listener));
            }
            Err(error) => println!("control: failed to create server: failed to bind to {address}: {error}"),
        }
        control
    }

    /// The volume is active from now on.
    pub fn is_active(&self) {
        self.active.store(true, Ordering::Relaxed);
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) -> ! {
        loop {
            let Ok((stream, _)) = listener.accept() else {
                // Out of descriptors, most likely: give somebody time to leave.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            let control = Arc::clone(&self);
            // A client that breaks off is no matter to anybody else.
            std::thread::spawn(move || drop(control.converse(&stream)));
        }
    }

    fn converse(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        while let Some(request) = http::read_request(&mut reader)? {
            self.faults.wait_while_mute();
            let id = Uuid::new_v4();
            let (status, body) = match (request.method.as_str(), request.path.as_str()) {
                ("GET", "/info") => (200, self.info().to_string()),
                ("GET", "/work") => (200, json!({"jobs": [], "completed": []}).to_string()),
                _ => (404, http::not_found(id)),
            };
            stream.write_all(http::response(status, id, &body, request.last).as_bytes())?;
            if request.last {
                break;
            }
        }
        Ok(())
    }

    fn info(&self) -> Value {
        let active = self.active.load(Ordering::Relaxed);
        let mut info = json!({
            "state": if active { "active" } else { "initializing" },
            "ds_state": self.replicas.states(active),
            "up_jobs": 0,
            "ds_jobs": 0,
            "reconcile_done": 0,
            "reconcile_needed": 0,
            "extents_repaired": [0, 0, 0],
            "extents_confirmed": [0, 0, 0],
            "extent_limit": [null, null, null],
            "live_repair_completed": [0, 0, 0],
            "live_repair_aborted": [0, 0, 0],
        });
        for (member, value) in self.faults.info().iter().flat_map(|other| other.as_object()).flatten() {
            info[member] = value.clone();
        }
        info
    }
}
