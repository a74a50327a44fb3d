//! Reports of other sleds on a volume, asked for at their doors.

use super::doors::Doors;
use crate::api::Operation;
use crate::names::{RegionName, SledName, VolumeName};
use crate::times::OptionalRfc3339;
use crate::wire::{Ask, ErrorBody, Hosts, Peer, Region, Replica, State, Volume};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Time that a sled may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Longest body of an answer.
const BODY_LIMIT_BYTES: usize = 1 << 20;

/// Reports by sled, or why a sled did not answer.
pub(super) type Reports = BTreeMap<SledName, Result<Report, String>>;

/// Report of another sled on a volume, as far as it matters.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Report {
    pub(super) volume: VolumeName,
    pub(super) sled: SledName,
    pub(super) regions: Vec<RegionReport>,
}

/// Report of another sled on a region of the volume.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RegionReport {
    pub(super) name: RegionName,
    pub(super) sled: SledName,
    pub(super) state: Option<State>,
    #[serde(default)]
    pub(super) turn: bool,
    #[serde(default)]
    pub(super) connected: Vec<Peer>,
    /// What its scrubs have found.
    #[serde(default)]
    pub(super) scrub: Option<ScrubReport>,
    /// What it has flushed, or why that cannot be told, if it was asked for; absent of a sled that does not say so.
    #[serde(skip)]
    pub(super) replica: Option<Result<Replica, String>>,
    /// Hosts that are connected, as was seen last.
    #[serde(skip)]
    pub(super) hosts: BTreeSet<IpAddr>,
}

/// Report of another sled on the scrubs of a region, as far as it matters: a later sled may find more than is known here.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct ScrubReport {
    #[serde(default, with = "OptionalRfc3339")]
    pub(super) completed: Option<Timestamp>,
    pub(super) rotten: u64,
    pub(super) unreadable: u64,
}

impl Report {
    /// Take the hosts from a look that was made for it; a sled of before shows who was connected some seconds ago.
    pub(super) fn seeing(mut self, hosts: Option<&Hosts>) -> Self {
        for region in &mut self.regions {
            region.hosts = connected(&region.name, &region.connected, hosts);
        }
        self
    }
}

/// Find the hosts that are connected to a region.
pub(super) fn connected(name: &RegionName, shown: &[Peer], looked: Option<&Hosts>) -> BTreeSet<IpAddr> {
    match looked {
        Some(looked) => looked.attached.iter().filter(|host| host.regions.contains(name)).map(|h| h.address).collect(),
        None => shown.iter().map(|peer| peer.address).collect(),
    }
}

/// Choose the regions on other sleds that matter.
pub(super) fn asked_about<'a>(own: &'a Volume, ask: &'a Ask) -> impl Iterator<Item = &'a Region> {
    own.regions.iter().filter(|region| region.sled != own.sled && !ask.moved.contains(&region.name))
}

/// Ask each of the other sleds of a volume what it says of it.
pub(super) async fn reports(volume: &Volume, ask: &Ask, doors: &Doors) -> Reports {
    let others = asked_about(volume, ask);
    let others: BTreeMap<SledName, IpAddr> = others.map(|region| (region.sled.clone(), region.address)).collect();
    let mut asking = JoinSet::new();
    for (sled, address) in others {
        let (volume, doors, whole) = (volume.volume.clone(), doors.of(address), ask.whole);
        asking.spawn(async move {
            let said = ask_sled(&sled, (&volume, whole), &doors).await;
            (sled, said)
        });
    }
    asking.join_all().await.into_iter().collect()
}

/// Ask a sled of a volume at all of these doors at once, and take the first answer that is its own: a door at which
/// nothing comes back, as a firewall has it, keeps nobody waiting. `whole`: what its regions have is asked for as well.
async fn ask_sled(
    sled: &SledName,
    (volume, whole): (&VolumeName, bool),
    doors: &[SocketAddr],
) -> Result<Report, String> {
    let mut asking: JoinSet<_> = doors.iter().map(|at| ask_in_time(*at, volume.clone(), whole)).collect();
    let mut whys = BTreeMap::new();
    while let Some(asked) = asking.join_next().await {
        // A question that ended early was not answered.
        let Ok((at, asked)) = asked else { continue };
        let why = match asked {
            Ok(theirs) if theirs.sled == *sled && theirs.volume == *volume => return Ok(theirs),
            Ok(theirs) => format!("{at}: {} answers there, of {}", theirs.sled, theirs.volume),
            Err(why) => format!("{at}: {why}"),
        };
        whys.insert(doors.iter().position(|door| *door == at), why);
    }
    Err(whys.into_values().collect::<Vec<_>>().join("; "))
}

/// Ask at a door, within [`ANSWER_LIMIT`].
async fn ask_in_time(at: SocketAddr, volume: VolumeName, whole: bool) -> (SocketAddr, io::Result<Report>) {
    let asked = timeout(ANSWER_LIMIT, ask_at(at, &volume, whole)).await;
    (at, asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
}

async fn ask_at(at: SocketAddr, volume: &VolumeName, whole: bool) -> io::Result<Report> {
    let shown = Operation::ShowVolume { volume: volume.clone(), wait: None, revision: None };
    let mut theirs: Report = get(at, &shown).await?.ok_or_else(|| io::Error::other("it does not know the volume"))?;
    for region in theirs.regions.iter_mut().filter(|region| whole && region.sled == theirs.sled) {
        let replica = get(at, &Operation::ShowReplica { region: region.name.clone() }).await;
        region.replica = replica.map_err(|why| why.to_string()).transpose();
    }
    let hosts: Option<Hosts> = get(at, &Operation::ShowHosts { volume: volume.clone() }).await?;
    match hosts {
        Some(hosts) if hosts.sled != theirs.sled || hosts.volume != theirs.volume => {
            Err(io::Error::other("its answers are of different sleds"))
        }
        hosts => Ok(theirs.seeing(hosts.as_ref())),
    }
}

/// Ask another sled for an operation, within a time that suits a look at its neighbours; `None` if there is nothing of
/// that kind.
pub(in crate::cli) async fn get_in_time<T: DeserializeOwned>(
    at: SocketAddr,
    operation: &Operation,
) -> io::Result<Option<T>> {
    timeout(ANSWER_LIMIT, get(at, operation)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Ask for an operation; `None` if there is nothing of that kind.
async fn get<T: DeserializeOwned>(at: SocketAddr, operation: &Operation) -> io::Result<Option<T>> {
    let stream = TcpStream::connect(at).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let _driver = JoinSet::from_iter([connection]);
    let request = Request::get(operation.request().target).header(http::header::HOST, at.to_string());
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = answer.status();
    if status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let body = Limited::new(answer.into_body(), BODY_LIMIT_BYTES).collect().await.map_err(io::Error::other)?.to_bytes();
    // A volume that is not ready answers 503 with its own body.
    if !status.is_success()
        && let Ok(refusal) = serde_json::from_slice::<ErrorBody>(&body)
    {
        return Err(io::Error::other(refusal.error.message));
    }
    serde_json::from_slice(&body).map(Some).map_err(|_| io::Error::other("its answer is no sled's"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Refusal;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    /// Run a sled that answers with a body, once and again; its port.
    async fn sled(body: String) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 4096];
                let length = stream.read(&mut asked).await.unwrap_or(0);
                // A sled of before knows no hosts.
                let hosts = String::from_utf8_lossy(&asked[..length]).contains("/hosts ");
                let status = if hosts { "404 Not Found" } else { "200 OK" };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn a_sled_is_asked_where_it_answers_and_only_it_is_believed() {
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let body = |sled: &str| format!("{{\"volume\": \"still-fawn\", \"sled\": \"{sled}\", \"regions\": []}}");
        let (other, third) = (sled(body("other")).await, sled(body("third")).await);
        let (name, volume) = ("other".parse().unwrap(), "still-fawn".parse().unwrap());
        let ask =
            async |doors: &Doors| ask_sled(&name, (&volume, false), &doors.of(here)).await.map(|theirs| theirs.sled);
        // Another sled listens at the first port.
        let mut doors = Doors { said: BTreeMap::new(), usual: vec![third, other] };
        assert_eq!(ask(&doors).await.as_ref(), Ok(&name));
        // A port at which nothing is ever answered is not waited for.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        doors.usual = vec![silent.local_addr().unwrap().port(), other];
        let began = Instant::now();
        assert_eq!(ask(&doors).await.as_ref(), Ok(&name));
        assert!(began.elapsed() < ANSWER_LIMIT);
        doors.usual = vec![third];
        let why = ask(&doors).await.unwrap_err();
        assert!(why.contains("third answers there") && why.contains(&format!("127.0.0.1:{third}")), "{why}");
        // A sled is asked where somebody has said, and nowhere else.
        let known = BTreeMap::from([(here, &name)]);
        doors.hear(&[SocketAddr::new(here, other)], known.clone()).unwrap();
        assert_eq!(ask(&doors).await.as_ref(), Ok(&name));
        let refused = doors.hear(&["192.168.4.7:3900".parse().unwrap()], known).unwrap_err();
        assert_eq!((refused.code, refused.remedy.contains("other (127.0.0.1)")), (Refusal::SledUnknown.into(), true));
    }
}
