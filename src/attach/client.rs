//! Client of a sled, in HTTP over TCP. Every question is a connection of its own, and a question that is given up
//! closes it at once: a sled must not grant what nobody waits for.
//!
//! Nothing that a sled answers is believed before it was checked; nothing is followed, kept
//! alive or asked twice here.

use super::dial::dial;
use super::endpoint::Endpoint;
use crate::api::{Held, Operation, Outgoing};
use crate::check::{Code, Severity};
use crate::decide::attach::RETURN_LIMIT;
use crate::names::{SledName, VolumeName};
use crate::wire::{Attach, Drained, Error, Holder, Refusal, RefusedTicket, Release, Released, Ticket, Volume};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take, beside the time that it is held.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long a grant may take: whoever is attached may have to be cut off first.
const GRANT_LIMIT: Duration = Duration::from_secs(20);
/// How long a body may be, in bytes.
const BODY_LIMIT_BYTES: usize = 1 << 20;

/// A question that a sled has not answered, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The sled cannot be reached, or has not answered in time.
    Unreachable(String),
    /// The sled answered something odd.
    Odd(String),
    /// The sled refused, with this status.
    Refused(StatusCode, Box<RefusedTicket>),
}

impl Trouble {
    /// The trouble as an error is shown.
    pub(super) fn error(&self) -> Error {
        match self {
            Self::Unreachable(why) => Error::new(
                Refusal::Unreachable,
                format!("it cannot be reached: {why}"),
                "is it on, and sledd.socket up?",
            ),
            Self::Odd(why) => {
                Error::new(Refusal::OddAnswer, why.clone(), "is it a sled, of this version or a later one?")
            }
            Self::Refused(_, refusal) => refusal.error.clone(),
        }
    }
}

/// A sled's view of a volume: the body as it is, and what it means.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Look {
    pub(super) body: Value,
    /// The volume without its checks: they are `checks`.
    pub(super) volume: Volume,
    pub(super) checks: Vec<Condition>,
    /// This host's address, as that sled sees it.
    pub(super) from: IpAddr,
}

impl Look {
    /// The reason why the sled will give this host no ticket, whatever becomes of the volume.
    pub(super) fn refused(&self) -> Option<String> {
        let Volume { volume, hosts, regions, sled, .. } = &self.volume;
        if regions.iter().any(|region| region.address.to_canonical() == self.from) {
            return Some(format!("{} is a sled, and a sled attaches no volume", self.from));
        }
        let named = hosts.is_empty() || hosts.iter().any(|host| host.to_canonical() == self.from);
        (!named).then(|| format!("the port map of {sled} does not let {} attach {volume}", self.from))
    }

    /// Whether the sled says that this host may attach the volume. That it is being drained keeps who has it from nothing:
    /// it may need another server to detach it.
    pub(super) fn is_ready(&self) -> bool {
        let holds = || {
            let own = |holder: &Holder| holder.address.to_canonical() == self.from && !holder.released;
            self.volume.drain.is_some() && self.volume.holder.as_ref().is_some_and(own)
        };
        let mut blocking = self.checks.iter().filter(|check| check.severity == Severity::Blocking.to_string());
        self.volume.ready || holds() && blocking.all(|check| check.code == Code::VolumeDraining.as_str())
    }

    /// The reason why the sled gives this host no ticket for now, unless it takes the volume over: another host has
    /// it, or keeps it while it is away.
    pub(super) fn taken(&self) -> Option<(Refusal, String)> {
        let named = |address: IpAddr, name: &Option<String>| match name {
            Some(name) => format!("{name} ({address})"),
            None => address.to_string(),
        };
        let volume = &self.volume;
        if let Some(other) = volume.attached.iter().find(|host| host.address.to_canonical() != self.from) {
            let who = named(other.address, &other.host);
            let cause = format!("{} is attached by {who} since {}", volume.volume, other.since);
            return Some((Refusal::VolumeAttachedElsewhere, cause));
        }
        let keeps = |holder: &&Holder| holder.keeps == Some(true) && holder.address.to_canonical() != self.from;
        let holder = volume.holder.as_ref().filter(keeps)?;
        let cause = format!(
            "{} holds {} since {} and is not connected; others wait until it lets go (crucible-attach release {}, on \
             it) or has been away for {} s",
            named(holder.address, &holder.host),
            volume.volume,
            holder.since,
            volume.volume,
            RETURN_LIMIT.as_secs()
        );
        Some((Refusal::VolumeHeldElsewhere, cause))
    }

    /// The reason why the sled lets this host in with a ticket only, which others need not have.
    pub(super) fn denied(&self) -> Option<String> {
        // A sled of before says it of the hosts that were cut off since the first ticket.
        let since = self.volume.holder.iter().flat_map(|holder| &holder.denied);
        let denied = self.volume.denied.iter().chain(since).any(|host| host.to_canonical() == self.from);
        denied.then(|| {
            format!(
                "{} was cut off, by an operator or for another's ticket: it is let in when an operator allows it, or \
                 with a ticket of its own",
                self.from
            )
        })
    }
}

/// A check as a sled tells it, which may be newer than this program and know other codes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    pub(super) code: String,
    pub(super) severity: String,
    pub(super) subject: String,
    pub(super) cause: String,
    pub(super) remedy: String,
}

/// How long a sled is to hold its answer, and until its revision is not this one.
pub(super) type Hold = (u64, u64);

/// Ask a sled for a volume.
pub(super) async fn look(sled: &Endpoint, name: &VolumeName, hold: Option<Hold>) -> Result<Look, Trouble> {
    let wait = hold.map(|(seconds, _)| Held(Duration::from_secs(seconds)));
    let shown = Operation::ShowVolume { volume: name.clone(), wait, revision: hold.map(|(_, revision)| revision) };
    let Answer { status, body, from } = ask(sled, &shown, ANSWER_LIMIT + shown.hold()).await?;
    // A volume that is not ready answers 503 with its own body.
    match status {
        StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => {
            read_look(name, &body, from).map_err(|why| refused(status, &body).unwrap_or(Trouble::Odd(why)))
        }
        status => Err(refused(status, &body).unwrap_or_else(|| odd(status))),
    }
}

/// Ask a sled for the right to attach a volume.
pub(super) async fn ticket(sled: &Endpoint, name: &VolumeName, wanted: Attach) -> Result<Ticket, Trouble> {
    let asked = Operation::AttachVolume { volume: name.clone(), wanted };
    let Answer { status, body, from } = ask(sled, &asked, GRANT_LIMIT).await?;
    match status {
        StatusCode::OK => match read_ticket(name, &body) {
            Ok(ticket) if ticket.host.to_canonical() != from => {
                Err(Trouble::Odd(format!("its ticket is for {}, and this host asked from {from}", ticket.host)))
            }
            read => read.map_err(Trouble::Odd),
        },
        status => Err(refused(status, &body).unwrap_or_else(|| odd(status))),
    }
}

/// Let go of what a sled has granted with this generation.
pub(super) async fn release(sled: &Endpoint, name: &VolumeName, generation: u64) -> Result<Released, Trouble> {
    let held = Release { generation: Some(generation) };
    let asked = Operation::ReleaseVolume { volume: name.clone(), held };
    let Answer { status, body, .. } = ask(sled, &asked, GRANT_LIMIT).await?;
    match status {
        StatusCode::OK => {
            serde_json::from_slice(&body).map_err(|why| Trouble::Odd(format!("its answer is odd: {why}")))
        }
        status => Err(refused(status, &body).unwrap_or_else(|| odd(status))),
    }
}

/// Tell a sled what has come of its wish that a volume is detached.
pub(super) async fn drained(sled: &Endpoint, name: &VolumeName, said: &Drained) -> Result<(), Trouble> {
    let asked = Operation::ReportDrain { volume: name.clone(), said: said.clone() };
    let Answer { status, body, .. } = ask(sled, &asked, ANSWER_LIMIT).await?;
    match status {
        StatusCode::OK => Ok(()),
        status => Err(refused(status, &body).unwrap_or_else(|| odd(status))),
    }
}

fn odd(status: StatusCode) -> Trouble {
    Trouble::Odd(format!("it answers {status}, and says not why"))
}

fn refused(status: StatusCode, body: &[u8]) -> Option<Trouble> {
    Some(Trouble::Refused(status, serde_json::from_slice(body).ok()?))
}

/// Read a volume's body, if it is one of this volume and of one piece.
pub(super) fn read_look(name: &VolumeName, body: &[u8], from: IpAddr) -> Result<Look, String> {
    let said = |why: &dyn Display| format!("its answer is no volume: {why}");
    let body: Value = serde_json::from_slice(body).map_err(|why| said(&why))?;
    let mut rest = body.clone();
    let checks = rest.get_mut("checks").map(|checks| std::mem::replace(checks, Value::Array(Vec::new())));
    let checks = serde_json::from_value(checks.unwrap_or_default()).map_err(|why| said(&why))?;
    let volume: Volume = serde_json::from_value(rest).map_err(|why| said(&why))?;
    let regions = volume.regions.iter().map(|region| (region.name.volume(), region.index, region.name.index()));
    let right = regions.eq((0..3).map(|index| (name, index, index)));
    if volume.volume == *name && right {
        Ok(Look { body, volume, checks, from })
    } else {
        Err(said(&format_args!("not {name} with its three regions")))
    }
}

/// Read a ticket, if it is one for this volume and of one piece.
fn read_ticket(name: &VolumeName, body: &[u8]) -> Result<Ticket, String> {
    let said = |why: &dyn Display| format!("its answer is no ticket: {why}");
    let ticket: Ticket = serde_json::from_slice(body).map_err(|why| said(&why))?;
    let regions = ticket.regions.iter().map(|region| (region.name.volume(), region.name.index()));
    let right = regions.eq((0..3).map(|index| (name, index)));
    let targets = ticket.targets.len() == 3 && ticket.targets.iter().all(|target| target.port() != 0);
    if ticket.volume == *name && right && targets && ticket.generation > 0 {
        Ok(ticket)
    } else {
        Err(said(&format_args!("not one for {name} with its three regions")))
    }
}

/// The sleds that carry the volume of a ticket, as it says.
pub(super) fn carriers(ticket: &Ticket) -> BTreeSet<SledName> {
    ticket.regions.iter().map(|region| region.sled.clone()).collect()
}

/// An answer, and from which of this host's addresses it was asked for.
struct Answer {
    status: StatusCode,
    body: Bytes,
    from: IpAddr,
}

async fn ask(sled: &Endpoint, operation: &Operation, patience: Duration) -> Result<Answer, Trouble> {
    let unreachable = |why: &dyn Display| Trouble::Unreachable(why.to_string());
    let stream = dial(&sled.host, sled.port).await.map_err(|why| unreachable(&why))?;
    // The host by its address, whatever name it was found by: the sled need not know that.
    let host = stream.peer_addr().map_err(|why| unreachable(&why))?;
    let from = stream.local_addr().map_err(|why| unreachable(&why))?.ip().to_canonical();
    let answer = timeout(patience, exchange(stream, host, operation.request())).await;
    let late = || unreachable(&format_args!("no answer in {} s", patience.as_secs()));
    let (status, body) = answer.map_err(|_| late())??;
    Ok(Answer { status, body, from })
}

/// Send a request and read the answer. The connection is driven here and by no task of its own, so that it ends when
/// this does.
async fn exchange(stream: TcpStream, host: SocketAddr, asked: Outgoing) -> Result<(StatusCode, Bytes), Trouble> {
    let cut = |why: hyper::Error| Trouble::Unreachable(why.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(cut)?;
    let request =
        Request::builder().method(asked.method).uri(asked.target).header(http::header::HOST, host.to_string());
    let request = request.header(http::header::CONTENT_TYPE, "application/json").body(Full::new(asked.body));
    let request = request.map_err(|why| Trouble::Odd(why.to_string()))?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(cut)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_LIMIT_BYTES).collect().await;
        Ok((status, body.map_err(|why| Trouble::Odd(format!("its answer cannot be read: {why}")))?.to_bytes()))
    };
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    let mut ended = false;
    loop {
        // Cancel-safe: both go on where they were.
        tokio::select! {
            answer = &mut answer => return answer,
            // The bytes that it has read are still to be had.
            _ = &mut connection, if !ended => ended = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VOLUME: &str = include_str!("tests/volume.json");
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const TICKET: &str = include_str!("tests/ticket.json");

    #[test]
    fn what_is_of_another_volume_or_incomplete_is_refused() {
        let name: VolumeName = "still-fawn".parse().unwrap();
        assert!(read_look(&name, VOLUME.as_bytes(), HERE).is_ok());
        assert!(read_ticket(&name, TICKET.as_bytes()).is_ok());
        for (from, to) in [("still-fawn-1", "still-fawn-0"), ("still-fawn\"", "pve\""), ("\"regions\"", "\"x\"")] {
            assert!(read_look(&name, VOLUME.replace(from, to).as_bytes(), HERE).is_err(), "{to}");
            assert!(read_ticket(&name, TICKET.replace(from, to).as_bytes()).is_err(), "{to}");
        }
        for (from, to) in [(":3831", ":0"), ("1769300000", "0"), (", \"192.168.4.189:3832\"", "")] {
            assert!(read_ticket(&name, TICKET.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn who_keeps_a_volume_while_away_is_told_with_what_ends_that() {
        let name: VolumeName = "still-fawn".parse().unwrap();
        let mut body: Value = serde_json::from_str(VOLUME).unwrap();
        body["attached"] = Value::Array(Vec::new());
        let since = "2026-01-01T00:00:00Z";
        body["holder"] = serde_json::json!({"address": "10.0.0.7", "generation": 7, "since": since, "keeps": true});
        let look = read_look(&name, body.to_string().as_bytes(), HERE).unwrap();
        let why = "10.0.0.7 holds still-fawn since 2026-01-01T00:00:00Z and is not connected; others wait until it lets \
                   go (crucible-attach release still-fawn, on it) or has been away for 45 s";
        assert_eq!(look.taken(), Some((Refusal::VolumeHeldElsewhere, why.to_owned())));
    }

    /// A text with a piece cut out and something put in its place.
    fn damaged(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
        let bytes = text.as_bytes();
        (0..bytes.len(), 0..40usize, proptest::collection::vec(any::<u8>(), 0..20)).prop_map(move |(at, cut, put)| {
            let end = (at + cut).min(bytes.len());
            [&bytes[..at], &put, &bytes[end..]].concat()
        })
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(
            body in prop_oneof![damaged(VOLUME), damaged(TICKET), proptest::collection::vec(any::<u8>(), 0..200)]
        ) {
            let name: VolumeName = "still-fawn".parse().unwrap();
            _ = read_look(&name, &body, HERE);
            _ = read_ticket(&name, &body);
            _ = refused(StatusCode::CONFLICT, &body);
        }
    }
}
