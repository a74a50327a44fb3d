//! Sleds that are none: they answer over real sockets on 127.0.0.0/8, grant by the real rule, and
//! misbehave as they are told.

use crucible_sled::decide::generation;
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The volume of a fleet, if nothing else is said.
pub const VOLUME: &str = "still-fawn";

/// How a sled answers when it is asked for a ticket, or at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As a sled does.
    Proper,
    /// The sled never answers a request for a ticket.
    Hangs,
    /// The sled answers everything with more than anybody wants to read.
    Floods,
    /// The sled answers everything with this.
    Babbles(&'static str),
    /// The sled does not hold an answer, whatever is asked.
    Hasty,
    /// Its ticket has this in a place that the volume has not.
    Lies(&'static str),
    /// The sled grants nothing, whatever it says of the volume.
    Refuses,
}

/// The mind of a sled: what a test tells it, and what it remembers.
#[derive(Debug)]
pub struct Mind {
    /// How it answers.
    pub manner: Manner,
    /// The volume may be attached.
    pub ready: bool,
    /// Of what is said of the volume.
    pub revision: u64,
    /// The last generation that was granted, to whomever.
    pub granted: u64,
    /// The seconds of the sled's clock.
    pub clock: u64,
    /// Another host takes generations in between, so many times.
    pub competitor: u32,
    /// Another host is attached.
    pub attached: bool,
    /// And it says so when it is asked for the volume.
    pub tells: bool,
    /// Another host holds it, and is not connected.
    pub held: bool,
    /// And it says so when it is asked for the volume, as every sled does that is not older.
    pub tells_keeper: bool,
    /// The highest generation that another host was granted, as a ticket tells it.
    pub others: u64,
    /// The drain that it is under, by its number.
    pub drain: Option<u64>,
    /// The answers of hosts to that.
    pub drained: Vec<Value>,
    /// The generations that were let go of, as asked.
    pub released: Vec<u64>,
    /// Whom its map lets attach the volume.
    pub hosts: Vec<&'static str>,
    /// The hosts that were cut off.
    pub denied: Vec<&'static str>,
    /// The digest that it gives for its map.
    pub port_map: &'static str,
    /// The port at which the first region listens.
    pub first_port: u16,
    /// How large it is, in bytes.
    pub size: u64,
    /// The volume's regions want TLS.
    pub tls: bool,
    /// And it says so when it is asked for the volume.
    pub tells_tls: bool,
    /// How often it was asked for the volume.
    pub looks: usize,
    /// With what it was asked for a ticket.
    pub asked: Vec<Value>,
}

/// A sled, as long as the test lasts.
pub struct Sled {
    /// The sled's name.
    pub name: String,
    /// The volume that it has a region of.
    pub volume: &'static str,
    /// The address at which it answers.
    pub address: Ipv4Addr,
    /// How it answers.
    pub mind: Mutex<Mind>,
    changed: Condvar,
    /// The fleet's addresses, by region.
    regions: [(String, Ipv4Addr); 3],
}

/// Sleds of one volume at 127.`net`.0.1 and on, port 3800; so many of them live.
pub fn fleet(net: u8, sleds: usize) -> Vec<Arc<Sled>> {
    own_network();
    fleet_of(VOLUME, net, sleds)
}

/// The same of another volume, in the network that this thread is in.
pub fn fleet_of(volume: &'static str, net: u8, sleds: usize) -> Vec<Arc<Sled>> {
    let at = |index: usize| (format!("sled-{index}"), Ipv4Addr::new(127, net, 0, index as u8 + 1));
    let regions = [0, 1, 2].map(|region| at(region % sleds));
    let sled = |index: usize| {
        let (name, address) = at(index);
        let (regions, clock) = (regions.clone(), 1000 + index as u64);
        let mind = Mind {
            manner: Manner::Proper,
            ready: true,
            revision: 1,
            granted: 0,
            clock,
            competitor: 0,
            attached: false,
            tells: false,
            held: false,
            tells_keeper: false,
            others: 0,
            drain: None,
            drained: Vec::new(),
            released: Vec::new(),
            hosts: Vec::new(),
            denied: Vec::new(),
            port_map: "sha256:one",
            first_port: 3830,
            size: 13_421_772_800,
            tls: false,
            tells_tls: true,
            looks: 0,
            asked: Vec::new(),
        };
        Arc::new(Sled { name, volume, address, mind: Mutex::new(mind), changed: Condvar::new(), regions })
    };
    (0..sleds).map(sled).collect()
}

/// Moves this thread, and all that it starts from now on, to a network of its own: neither another run of
/// these tests nor anything else of the machine's is at its port 3800. Whoever may not do that shares the
/// machine's loopback, as long as nobody else is there.
fn own_network() {
    if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    }
}

impl Sled {
    /// Answers from now on.
    pub fn lives(self: &Arc<Self>) {
        let listener = TcpListener::bind((self.address, 3800)).unwrap();
        let sled = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sled = sled.clone();
                // A client that has hung up is none of its business.
                std::thread::spawn(move || _ = sled.serves(stream));
            }
        });
    }

    /// Tells it something, and whoever waits for news of it.
    pub fn tell(&self, change: impl FnOnce(&mut Mind)) {
        let mut mind = self.mind.lock().unwrap();
        change(&mut mind);
        mind.revision += 1;
        self.changed.notify_all();
    }

    fn serves(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line)?;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim().to_ascii_lowercase();
            match header.strip_prefix("content-length:") {
                Some(value) => length = value.trim().parse().unwrap_or(0),
                None if header.is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let manner = self.mind.lock().unwrap().manner;
        let (status, answer) = match (manner, line.starts_with("POST ")) {
            (Manner::Floods, _) => (200, format!("\"{}\"", "x".repeat(3 << 20))),
            (Manner::Babbles(text), _) => (200, text.to_owned()),
            (Manner::Refuses, true) if line.contains("/attach ") => {
                refusal(503, "NOT_READY", "a region is down", json!({}))
            }
            (Manner::Hangs, true) if line.contains("/attach ") => return reader.read_to_end(&mut body).map(drop),
            (_, true) if line.contains("/drained ") => {
                self.tell(|mind| mind.drained.push(serde_json::from_slice(&body).unwrap()));
                (200, "null".to_owned())
            }
            (_, true) if line.contains("/release ") => {
                self.asked_to_let_go(&serde_json::from_slice(&body).unwrap_or_default())
            }
            (Manner::Lies(what), true) => {
                let (status, ticket) = self.asked_for_ticket(&serde_json::from_slice(&body).unwrap_or_default());
                let mut ticket: Value = serde_json::from_str(&ticket).unwrap();
                match what {
                    "targets" => ticket["targets"][1] = "8.8.8.8:53".into(),
                    "generation" => ticket["generation"] = u64::MAX.into(),
                    "low" => ticket["generation"] = 1.into(),
                    "port_map" => ticket[what] = "sha256:other".into(),
                    _ => ticket["host"] = "10.0.0.7".into(),
                }
                (status, ticket.to_string())
            }
            (_, true) => self.asked_for_ticket(&serde_json::from_slice(&body).unwrap_or_default()),
            (_, false) => self.asked_for_volume(&line),
        };
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
        reader.get_mut().write_all(&[head.as_bytes(), answer.as_bytes()].concat())
    }

    fn asked_for_volume(&self, line: &str) -> (u16, String) {
        if !line.contains(&format!("/v1/volumes/{}", self.volume)) {
            return refusal(404, "VOLUME_UNKNOWN", "the port map has no such volume", json!({}));
        }
        let value =
            |key: &str| line.split([' ', '?', '&']).find_map(|pair| pair.strip_prefix(key)?.parse::<u64>().ok());
        let mut mind = self.mind.lock().unwrap();
        mind.looks += 1;
        if let (Some(wait), Some(known)) = (value("wait="), value("revision="))
            && mind.manner != Manner::Hasty
        {
            let held = self.changed.wait_timeout_while(mind, Duration::from_secs(wait), |mind| mind.revision == known);
            mind = held.unwrap().0;
        }
        let check = json!({"code": "REGION_DOWN", "severity": "blocking", "subject": "region still-fawn-0",
            "cause": "it ended", "remedy": "wait", "since": "2026-01-25T00:00:00Z"});
        let attached = if mind.tells { attached() } else { json!([]) };
        let holder = json!({"address": "10.0.0.7", "host": "pumped-piglet", "generation": mind.granted,
            "since": "2026-01-25T00:00:00Z", "denied": [], "released": !mind.held, "keeps": mind.held});
        let body = json!({"volume": self.volume, "holder": mind.tells_keeper.then_some(holder), "attached": attached, "ready": mind.ready, "revision": mind.revision,
            "as_of": "2026-01-25T00:00:00Z", "sled": self.name, "port_map": mind.port_map, "fault_tolerance": 1,
            "size_bytes": mind.size, "hosts": mind.hosts, "denied": mind.denied, "regions": self.regions(&mind),
            "checks": if mind.ready { json!([]) } else { json!([check]) }, "generation": mind.granted,
            "tls": mind.tells_tls.then_some(mind.tls),
            "drain": mind.drain.map(|id| json!({"id": id, "since": "2026-01-25T00:00:00Z"}))});
        (if mind.ready { 200 } else { 503 }, body.to_string())
    }

    fn regions(&self, mind: &Mind) -> Value {
        let region = |(index, (sled, address)): (usize, &(String, Ipv4Addr))| {
            json!({"name": format!("{}-{index}", self.volume), "index": index, "sled": sled, "address": address,
                "port": mind.first_port + index as u16, "repair_port": mind.first_port + 4000 + index as u16,
                "uuid": null, "state": (*sled == self.name).then_some("serving"), "since": null, "pid": null,
                "connected": []})
        };
        self.regions.iter().enumerate().map(region).collect()
    }

    fn asked_for_ticket(&self, wanted: &Value) -> (u16, String) {
        let mut mind = self.mind.lock().unwrap();
        mind.asked.push(wanted.clone());
        if mind.competitor > 0 {
            mind.competitor -= 1;
            mind.granted = mind.granted.max(wanted["at_least"].as_u64().unwrap_or_default()) + 1;
        }
        if mind.attached && wanted["takeover"] != true {
            let more = json!({"generation": mind.granted, "attached": attached()});
            return refusal(409, "VOLUME_ATTACHED_ELSEWHERE", "pumped-piglet is connected", more);
        }
        if mind.held && wanted["takeover"] != true {
            let why = "by pumped-piglet (10.0.0.7), which is not connected";
            return refusal(409, "VOLUME_HELD_ELSEWHERE", why, json!({"generation": mind.granted}));
        }
        if !mind.ready {
            return refusal(503, "NOT_READY", "a region is down", json!({"generation": mind.granted}));
        }
        let asked = wanted["at_least"].as_u64().unwrap_or_default();
        match generation::next(asked, mind.granted, 0, mind.clock) {
            Err(why) => refusal(409, "GENERATION", &why.to_string(), json!({"generation": mind.granted})),
            Ok(generation) => {
                mind.granted = generation;
                let regions: Vec<_> = self.regions.iter().enumerate().collect();
                let target = |(index, (_, address)): &(usize, &(String, Ipv4Addr))| {
                    format!("{address}:{}", usize::from(mind.first_port) + index)
                };
                let name = |(index, (sled, _)): &(usize, &(String, Ipv4Addr))| json!({"name": format!("{}-{index}", self.volume), "sled": sled, "uuid": null});
                let ticket = json!({"volume": self.volume, "generation": generation, "others": mind.others, "sled": self.name,
                    "host": "127.0.0.1", "granted": "2026-01-25T00:00:00Z",
                    "targets": regions.iter().map(target).collect::<Vec<_>>(),
                    "regions": regions.iter().map(name).collect::<Vec<_>>(), "size_bytes": mind.size,
                    "port_map": mind.port_map, "fault_tolerance": 1, "tls": mind.tls});
                (200, ticket.to_string())
            }
        }
    }

    fn asked_to_let_go(&self, wanted: &Value) -> (u16, String) {
        let mut mind = self.mind.lock().unwrap();
        let generation = wanted["generation"].as_u64().unwrap();
        mind.released.push(generation);
        (200, json!({"volume": self.volume, "host": "127.0.0.1", "generation": generation}).to_string())
    }
}

/// Another host.
fn attached() -> Value {
    json!([{"address": "10.0.0.7", "host": "pumped-piglet", "since": "2026-01-25T00:00:00Z",
        "regions": ["still-fawn-0"]}])
}

fn refusal(status: u16, code: &str, message: &str, mut more: Value) -> (u16, String) {
    more["error"] = json!({"code": code, "message": message, "remedy": "none"});
    (status, more.to_string())
}
