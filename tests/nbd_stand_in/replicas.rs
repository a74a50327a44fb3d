//! The three targets together: who is there, who was given up, and what waits for them.
//!
//! They are asked whether they are there, and nothing else: the data is elsewhere (see `store`). But all
//! that the real one needs of its replicas is waited for here, so that a client sees what it would see.
//! A replica that is away is to get what it missed, up to a bound; over that it is given up until it
//! comes back, and with fewer than two that are not, writes and flushes fail at once.

use crate::faults::Faults;
use crate::replica::{self, Link};
use crate::tls::Tls;
use serde_json::{Value, json};
use std::io::{self, Error};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// More than this is not kept for a replica that is away.
const JOBS: u64 = 1000;
const BYTES: u64 = 50 << 20;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The targets of a volume.
pub struct Replicas {
    replicas: Mutex<Vec<Replica>>,
    changed: Condvar,
    faults: Faults,
}

/// A replica.
#[derive(Default)]
pub struct Replica {
    /// The connection, while there is one.
    pub link: Option<Link>,
    /// Whether it is not waited for any more.
    given_up: bool,
    /// The jobs that it is to get, or was sent since the last flush.
    jobs: u64,
    bytes: u64,
}

impl Replicas {
    /// Connects to them for as long as the process lives.
    pub fn connect(targets: &[SocketAddr], tls: Option<Tls>, retry: Duration, faults: Faults) -> Arc<Self> {
        let replicas = Mutex::new(targets.iter().map(|_| Replica::default()).collect());
        let all = Arc::new(Self { replicas, changed: Condvar::new(), faults });
        let tls = Arc::new(tls);
        for (number, target) in targets.iter().copied().enumerate() {
            let (all, tls) = (Arc::clone(&all), Arc::clone(&tls));
            std::thread::spawn(move || replica::stay_connected(&all, number, target, &tls, retry));
        }
        all
    }

    /// Tells of a change of one of them.
    pub fn change<T>(&self, number: usize, change: impl FnOnce(&mut Replica) -> T) -> T {
        let changed = change(&mut self.lock()[number]);
        self.changed.notify_all();
        changed
    }

    /// Returns once all of them have answered.
    pub fn wait_for_all(&self) {
        self.wait(3, 0).expect("none is given up before a write");
    }

    /// Returns once one has answered, as for a read.
    pub fn wait_for_one(&self) -> io::Result<()> {
        self.wait(1, 1)
    }

    /// Returns once two have answered, as for a flush.
    pub fn wait_for_flush(&self) -> io::Result<()> {
        self.wait(2, 2)
    }

    /// A flush has been done: what it flushed is not sent again.
    pub fn count_flush(&self) {
        let (mut replicas, away) = self.look();
        for (_, replica) in replicas.iter_mut().enumerate().filter(|(number, replica)| replica.is_here(*number, away)) {
            (replica.jobs, replica.bytes) = (0, 0);
        }
    }

    /// A write is to be sent to them, or fails. Answers whether all are given up with this one, and
    /// nobody gets it.
    pub fn count_write(&self, bytes: usize) -> io::Result<bool> {
        let (mut replicas, away) = self.look();
        require(&replicas, 2)?;
        for (number, replica) in replicas.iter_mut().enumerate().filter(|(_, replica)| !replica.given_up) {
            replica.jobs += 1;
            replica.bytes += bytes as u64;
            if !replica.is_here(number, away) && (replica.jobs > JOBS || replica.bytes > BYTES) {
                *replica = Replica { given_up: true, link: replica.link.take(), ..Replica::default() };
            }
        }
        Ok(replicas.iter().all(|replica| replica.given_up))
    }

    /// The control port's words on each.
    pub fn states(&self, active: bool) -> Vec<Value> {
        let (replicas, away) = self.look();
        let state = |(number, replica): (usize, &Replica)| {
            let here = replica.is_here(number, away);
            let (state, mode) = match (active, replica.given_up) {
                (true, false) if here => return json!({"type": "active"}),
                (false, _) if here => ("wait_quorum", "new"),
                (false, _) => ("start", "new"),
                (true, false) => ("start", "offline"),
                (true, true) => ("start", "faulted"),
            };
            json!({"type": "connecting", "value": {"state": {"type": state}, "mode": mode}})
        };
        replicas.iter().enumerate().map(state).collect()
    }

    /// Returns once so many have answered what they are asked from now on; fails if fewer than
    /// `accepting` have not been given up.
    fn wait(&self, answers: usize, accepting: usize) -> io::Result<()> {
        let mut asked = [None; 3];
        loop {
            let (mut replicas, away) = self.look();
            require(&replicas, accepting)?;
            let mut answered = 0;
            for (number, replica) in replicas.iter_mut().enumerate() {
                if replica.given_up || !replica.is_here(number, away) {
                    continue;
                }
                let Some(link) = &mut replica.link else { continue };
                let (connection, question) = *match &mut asked[number] {
                    Some(asked) if link.is(*asked) => asked,
                    asked => asked.insert(link.ask()),
                };
                answered += usize::from(link.has_answered((connection, question)));
            }
            if answered >= answers {
                return Ok(());
            }
            // The faults may change as well, which nobody tells.
            drop(self.changed.wait_timeout(replicas, LOOK_AGAIN));
        }
    }

    /// The replicas that are there now. Those that were given up and are back are well again: at once, or if it was
    /// all of them once they are all back.
    fn look(&self) -> (MutexGuard<'_, Vec<Replica>>, usize) {
        let away = self.faults.away();
        let mut replicas = self.lock();
        let here: Vec<bool> =
            replicas.iter().enumerate().map(|(number, replica)| replica.is_here(number, away)).collect();
        let nobody_has_it = replicas.iter().all(|replica| replica.given_up);
        if !nobody_has_it || here.iter().all(|here| *here) {
            for (replica, here) in replicas.iter_mut().zip(here) {
                replica.given_up &= !here;
            }
        }
        (replicas, away)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Replica>> {
        self.replicas.lock().expect("a panic ends the process")
    }
}

impl Replica {
    fn is_here(&self, number: usize, away: usize) -> bool {
        self.link.is_some() && number >= away
    }
}

fn require(replicas: &[Replica], need: usize) -> io::Result<()> {
    let got = replicas.iter().filter(|replica| !replica.given_up).count();
    if got < need {
        return Err(Error::other(format!("IO Error: too many inactive clients: need {need}, got {got}")));
    }
    Ok(())
}
