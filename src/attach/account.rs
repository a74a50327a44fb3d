//! Account of a relay: the ticket that was won, the server that runs, and how the relay is. Written where it happens,
//! read by [`control`](super::control).

use super::backing::Backing;
use super::child::{self, Control};
use super::disk;
use super::failure::Failure;
use super::state::{LatencyState, PauseState, RelayState, ServerState, State, TicketState, Took};
use super::ticket::Won;
use crate::clean;
use crate::names::VolumeName;
use crate::relay::Status;
use crate::relay::engine::Bounds;
use crate::relay::gauge::{Gauge, LATENCY_WINDOW, Latency, Pause, Reading};
use crate::wire::Error;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The account of one relay. Cheap to clone: all clones are one.
#[derive(Debug, Clone)]
pub(super) struct Account(watch::Sender<Entries>);

#[derive(Debug, Clone)]
struct Entries {
    volume: VolumeName,
    began: Instant,
    ticket: Option<(TicketState, Instant)>,
    server: Option<ServerSeen>,
    trouble: Option<Error>,
    relay: Option<(Gauge, watch::Receiver<Option<Status>>)>,
}

/// A server that was begun.
#[derive(Debug, Clone)]
pub(super) struct ServerSeen {
    pub(super) pid: u32,
    pub(super) program: String,
    pub(super) listens: SocketAddr,
    pub(super) control: Control,
    pub(super) since: Instant,
    pub(super) serves: bool,
}

impl Account {
    /// Open the account of a relay that has only begun.
    pub(super) fn of(volume: &VolumeName) -> Self {
        let began = Instant::now();
        Self(watch::Sender::new(Entries {
            volume: volume.clone(),
            began,
            ticket: None,
            server: None,
            trouble: None,
            relay: None,
        }))
    }

    /// Note what was won; `known` is what is on record of it.
    pub(super) fn won(&self, won: &Won, known: Option<&Backing>) {
        let ticket = TicketState {
            generation: won.generation,
            since: won.ticket.granted,
            since_seconds: 0.0,
            holder: won.ticket.host,
            granted_by: won.granted.clone(),
            size_bytes: won.ticket.size_bytes,
            block_size: won.ticket.block_size,
            identity: known.and_then(Backing::identity).map(str::to_owned),
        };
        self.0.send_modify(|entries| entries.ticket = Some((ticket, Instant::now())));
    }

    /// Note the server, or that there is none.
    pub(super) fn server(&self, server: Option<ServerSeen>) {
        self.0.send_modify(|entries| entries.server = server);
    }

    /// Note that the server listens.
    pub(super) fn serves(&self) {
        self.0.send_modify(|entries| {
            entries.server.iter_mut().for_each(|server| server.serves = true);
            entries.trouble = None;
        });
    }

    /// Note why there is no server yet; it is tried again.
    pub(super) fn troubled(&self, why: Option<&Failure>) {
        self.0.send_modify(|entries| entries.trouble = why.map(Failure::error));
    }

    /// Note the relay, once there is one.
    pub(super) fn relay(&self, gauge: Gauge, news: watch::Receiver<Option<Status>>) {
        self.0.send_modify(|entries| entries.relay = Some((gauge, news)));
    }

    /// Give the state of everything now. The server is asked.
    pub(super) async fn state(&self) -> State {
        let Entries { volume, began, ticket, server, trouble, relay } = self.0.borrow().clone();
        let (device, mount) = disk::look(&volume);
        State {
            volume,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            running_seconds: began.elapsed().as_secs_f64(),
            ticket: ticket
                .map(|(ticket, since)| TicketState { since_seconds: since.elapsed().as_secs_f64(), ..ticket }),
            server: match server {
                Some(server) => Some(asked(server).await),
                None => None,
            },
            trouble,
            relay: relay.and_then(|(gauge, news)| {
                let status = *news.borrow();
                Some(shown(&gauge.reading(), &status?))
            }),
            device,
            mount,
        }
    }
}

/// Ask a server for its state.
async fn asked(server: ServerSeen) -> ServerState {
    let (info, silent) = match child::info(&server.control).await {
        Ok(info) => (Some(info), None),
        Err(why) => (None, Some(clean::line(&why.to_string()).into_owned())),
    };
    ServerState {
        pid: server.pid,
        program: server.program,
        listens: server.listens,
        control: server.control.at,
        since_seconds: server.since.elapsed().as_secs_f64(),
        serves: server.serves,
        activity: info.as_ref().map(|info| info.activity()),
        info,
        silent,
    }
}

/// Render what a relay and its gauge show.
fn shown(reading: &Reading, status: &Status) -> RelayState {
    let bounds = Bounds::default();
    let pause = |pause: &Pause, ago: Option<Duration>| PauseState {
        seconds: pause.length.as_secs_f64(),
        why: pause.why.clone(),
        ago_seconds: ago.map(|ago| ago.as_secs_f64()),
    };
    let [read, write, flush] = reading.latency.map(|kind| kind.map(took));
    RelayState {
        serves: status.state.serves,
        requests: status.state.requests,
        oldest_request_seconds: status.oldest.map(|since| since.elapsed().as_secs_f64()),
        on_the_way: status.state.on_the_way,
        kept_writes: status.state.kept_writes,
        kept_bytes: status.state.kept_bytes,
        most_kept_writes: bounds.jobs,
        most_kept_bytes: bounds.bytes,
        held: reading.pause.as_ref().map(|now| pause(now, None)),
        last_pause: reading.last.as_ref().map(|(ago, last)| pause(last, Some(*ago))),
        pauses: reading.pauses,
        paused_seconds: reading.paused.as_secs_f64(),
        servers: status.servers,
        replays: reading.replays,
        replayed_writes: reading.replayed,
        answered: status.answered,
        latency: LatencyState { over_seconds: LATENCY_WINDOW.as_secs_f64(), read, write, flush },
    }
}

fn took(latency: Latency) -> Took {
    Took {
        requests: latency.count,
        median_seconds: latency.median.as_secs_f64(),
        worst_seconds: latency.worst.as_secs_f64(),
    }
}
