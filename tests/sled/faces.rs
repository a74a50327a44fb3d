//! Faces of a sled before tools of others: each test has a well sled in a machine of its own, and what looks at it runs
//! outside, as a host's or an operator's. `tests/run faces` installs the tools, by `tests/faces/tools`.

mod api;
mod manners;
mod page;

use std::path::PathBuf;
use support::hosts::{Host, SLED};
use support::layer::Layer;
use support::machine::Machine;

/// A well sled with volumes, and where it answers.
pub struct Face {
    /// Its machine, which is gone with it.
    pub machine: Machine,
    /// Its address over TCP, as a URL without a slash at its end.
    pub url: String,
    /// The path of its unix socket, as those find it who run outside.
    pub socket: PathBuf,
}

impl Face {
    /// Boots a sled whose volume `still-fawn` may be attached; its map has `far` as well, on another sled.
    pub fn boot() -> Self {
        let machine = Layer::small().boot_and_create();
        let socket = format!("/proc/{}/root/run/sled/admin.sock", machine.leader()).into();
        Self { machine, url: format!("http://{SLED}:3800"), socket }
    }

    /// The host at the other end of the cable, where the tools run.
    pub fn outside(&self) -> Host {
        self.machine.host("192.168.4.17")
    }

    /// What curl needs to ask the sled: over TCP, or (`admin`) at its unix socket.
    fn curl(&self, admin: bool, path: &str) -> Vec<String> {
        let base = if admin { "http://sled" } else { &self.url };
        let mut words = vec!["curl".to_owned(), "-sS".into(), format!("{base}{path}")];
        if admin {
            words.extend(["--unix-socket".into(), self.socket.to_str().unwrap().into()]);
        }
        words
    }

    /// Runs a tool outside, which must succeed, and returns what it printed.
    pub fn look(&self, words: &[&str]) -> String {
        self.outside().ok(words)
    }
}

#[test]
fn a_well_sled_answers_at_both_doors() {
    let face = Face::boot();
    let [by_tcp, by_socket] = [false, true].map(|admin| {
        let asked = face.curl(admin, "/v1/volumes/still-fawn");
        let body = face.look(&asked.iter().map(String::as_str).chain(["--fail"]).collect::<Vec<_>>());
        let volume: crucible_sled::wire::Volume = serde_json::from_str(&body).unwrap();
        (volume.ready, volume.regions.len())
    });
    assert_eq!((by_tcp, by_socket), ((true, 3), (true, 3)));
}
