//! Hosts that ask whether they may attach, as fast as they are answered.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use support::hosts::ask;
use support::machine::Machine;

/// Hosts that poll without pause, until they are told to stop.
pub struct Polls {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    cut: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Polls {
    /// Starts so many hosts, each asking for `still-fawn` all the time.
    pub fn start(machine: &Machine, hosts: usize) -> Self {
        let (stop, answered, cut) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let threads = (0..hosts).map(|_| {
            let (poller, stop, answered, cut) = (machine.poller(), stop.clone(), answered.clone(), cut.clone());
            std::thread::spawn(move || {
                poller.enter();
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let mut asked = ask("GET", "/v1/volumes/still-fawn");
                    // A connection that a process had taken dies with the process. Whoever
                    // asks may ask again (RFC 9110, 9.2.2), and must then be answered; a
                    // connection that is refused is a failure at once.
                    if asked.as_ref().is_err_and(|why| why.kind() != ErrorKind::ConnectionRefused) {
                        cut.fetch_add(1, Ordering::Relaxed);
                        asked = ask("GET", "/v1/volumes/still-fawn");
                    }
                    match asked {
                        Ok((200, _)) => _ = answered.fetch_add(1, Ordering::Relaxed),
                        other => failed.push(format!("{other:?}")),
                    }
                }
                failed
            })
        });
        Self { threads: threads.collect(), stop, answered, cut }
    }

    /// How many polls were answered, how many of them at the second asking, and what was wrong
    /// with those that were not.
    pub fn end(self) -> (usize, usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (self.answered.load(Ordering::Relaxed), self.cut.load(Ordering::Relaxed), failed)
    }
}
