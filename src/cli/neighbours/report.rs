//! Reports of other sleds on a volume, asked for at their doors.

use super::doors::Doors;
use crate::api::Operation;
use crate::names::{RegionName, SledName, VolumeName};
use crate::region::geometry::MOST_EXTENTS;
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
use tokio::time::{Instant, sleep, timeout};

/// Time that a sled may take to answer what it has at hand.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Time before a sled is asked again that has not answered.
const AGAIN_PAUSE: Duration = Duration::from_secs(1);
/// Longest body of an answer.
const BODY_LIMIT_BYTES: usize = 1 << 20;
/// Longest text of what one extent has, in an answer that has that of each: `{"generation":…,"flush":…},` with two numbers
/// of 64 bits.
const EXTENT_BYTES: usize = 65;

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
            let said = ask_twice(&sled, (&volume, whole), &doors).await;
            (sled, said)
        });
    }
    asking.join_all().await.into_iter().collect()
}

/// Ask a sled, and once more if it has not answered and that costs little: a supervisor that is just restarted answers a
/// moment later, and work that asks for more than that the others serve has much to lose.
async fn ask_twice(sled: &SledName, about: (&VolumeName, bool), doors: &[SocketAddr]) -> Result<Report, String> {
    let (began, (_, whole)) = (Instant::now(), about);
    match ask_sled(sled, about, doors).await {
        Err(_) if whole || began.elapsed() < ANSWER_LIMIT => {
            sleep(AGAIN_PAUSE).await;
            ask_sled(sled, about, doors).await
        }
        said => said,
    }
}

/// Ask a sled of a volume: at all of these doors at once whether it is there, and whatever else there is to ask at the one
/// where it was the first to say so. A look that is made for one door is in no other's way then. `whole`: what its regions
/// have is asked for as well.
async fn ask_sled(
    sled: &SledName,
    (volume, whole): (&VolumeName, bool),
    doors: &[SocketAddr],
) -> Result<Report, String> {
    let (at, theirs) = find(sled, volume, doors).await?;
    ask_further(at, theirs, whole).await.map_err(|why| format!("{at}: {why}"))
}

/// Find the door at which a sled answers: a door at which nothing comes back, as a firewall has it, keeps nobody waiting.
async fn find(sled: &SledName, volume: &VolumeName, doors: &[SocketAddr]) -> Result<(SocketAddr, Report), String> {
    let ask_at = |at| {
        let volume = volume.clone();
        async move { (at, shown(at, volume).await) }
    };
    let mut asking: JoinSet<_> = doors.iter().copied().map(ask_at).collect();
    let mut whys = BTreeMap::new();
    while let Some(asked) = asking.join_next().await {
        // A question that ended early was not answered.
        let Ok((at, asked)) = asked else { continue };
        let why = match asked {
            Ok(theirs) if theirs.sled == *sled && theirs.volume == *volume => return Ok((at, theirs)),
            Ok(theirs) => format!("{at}: {} answers there, of {}", theirs.sled, theirs.volume),
            Err(why) => format!("{at}: {why}"),
        };
        whys.insert(doors.iter().position(|door| *door == at), why);
    }
    Err(whys.into_values().collect::<Vec<_>>().join("; "))
}

async fn shown(at: SocketAddr, volume: VolumeName) -> io::Result<Report> {
    let shown = Operation::ShowVolume { volume, wait: None, revision: None };
    get_in_time(at, &shown).await?.ok_or_else(|| io::Error::other("it does not know the volume"))
}

/// Ask a sled that has said how its volume is for what else matters.
async fn ask_further(at: SocketAddr, mut theirs: Report, whole: bool) -> io::Result<Report> {
    let different = || io::Error::other("its answers are of different sleds");
    if whole {
        let found = replicas(at, &theirs).await;
        // What it has said is as old as those looks took.
        let now = shown(at, theirs.volume.clone()).await?;
        if now.sled != theirs.sled || now.volume != theirs.volume {
            return Err(different());
        }
        theirs = now;
        for region in &mut theirs.regions {
            region.replica = found.get(&region.name).cloned();
        }
    }
    let hosts: Option<Hosts> = get_in_time(at, &Operation::ShowHosts { volume: theirs.volume.clone() }).await?;
    match hosts {
        Some(hosts) if hosts.sled != theirs.sled || hosts.volume != theirs.volume => Err(different()),
        hosts => Ok(theirs.seeing(hosts.as_ref())),
    }
}

/// Ask a sled what its regions of a volume have, or why that cannot be told; nothing of one that does not say such things.
async fn replicas(at: SocketAddr, theirs: &Report) -> BTreeMap<RegionName, Result<Replica, String>> {
    let mut found = BTreeMap::new();
    for region in theirs.regions.iter().filter(|region| region.sled == theirs.sled) {
        let asked = Operation::ShowReplica { region: region.name.clone() };
        let replica = get_in_time::<Replica>(at, &asked).await.map_err(|why| why.to_string()).transpose();
        found.extend(replica.map(|replica| (region.name.clone(), replica)));
    }
    found
}

/// Ask another sled for an operation, within a time that suits a look at its neighbours; `None` if there is nothing of
/// that kind.
pub(in crate::cli) async fn get_in_time<T: DeserializeOwned>(
    at: SocketAddr,
    operation: &Operation,
) -> io::Result<Option<T>> {
    let limit = ANSWER_LIMIT + operation.look();
    timeout(limit, get(at, operation)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Longest body of the answer to an operation.
fn longest(operation: &Operation) -> usize {
    match operation {
        Operation::ShowReplica { .. } => BODY_LIMIT_BYTES + EXTENT_BYTES * MOST_EXTENTS as usize,
        _ => BODY_LIMIT_BYTES,
    }
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
    let body =
        Limited::new(answer.into_body(), longest(operation)).collect().await.map_err(io::Error::other)?.to_bytes();
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
    use crate::wire::{Error, Flushed, Refusal};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Open a door at which what is asked for is answered with a status and a body, or hung up on; its port.
    async fn door<F: Future<Output = Option<(&'static str, String)>> + Send>(
        answer: impl Fn(String) -> F + Clone + Send + 'static,
    ) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let ((mut stream, _), answer) = (listener.accept().await.unwrap(), answer.clone());
                tokio::spawn(async move {
                    let mut asked = [0; 4096];
                    let length = stream.read(&mut asked).await.unwrap_or(0);
                    let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
                    if let Some((status, body)) = answer(asked).await {
                        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                        _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                    }
                });
            }
        });
        port
    }

    /// Run a sled that answers with a body, once and again, and knows no hosts, as one of before; its port.
    async fn sled(body: String) -> u16 {
        door(move |asked| {
            let status = if asked.contains("/hosts ") { "404 Not Found" } else { "200 OK" };
            let body = body.clone();
            async move { Some((status, body)) }
        })
        .await
    }

    /// What a sled says of the regions of a volume that it has.
    fn volume(sled: &str, regions: serde_json::Value) -> String {
        serde_json::json!({"volume": "still-fawn", "sled": sled, "regions": regions}).to_string()
    }

    /// A sled with as many extents as there may be, which answers what it has at hand at once, and takes longer than that for
    /// its one look at a time. Its looks are counted.
    async fn slow(looks: &Arc<(AtomicUsize, Semaphore)>) -> u16 {
        let own = volume("other", serde_json::json!([{"name": "still-fawn-1", "sled": "other", "state": "serving"}]));
        let most = Flushed { generation: u64::MAX, flush: u64::MAX };
        let replica = serde_json::to_string(&Replica {
            region: "still-fawn-1".parse().unwrap(),
            sled: "other".parse().unwrap(),
            uuid: uuid::Uuid::nil(),
            as_of: Timestamp::UNIX_EPOCH,
            counts_from: None,
            extents: vec![most; MOST_EXTENTS as usize],
        });
        let (replica, looks) = (replica.unwrap(), looks.clone());
        door(move |asked| {
            let (own, replica, looks) = (own.clone(), replica.clone(), looks.clone());
            async move {
                if asked.contains("/hosts ") {
                    return Some(("404 Not Found", String::new()));
                } else if !asked.contains("/replica ") {
                    return Some(("200 OK", own));
                }
                let Ok(_turn) = looks.1.try_acquire() else {
                    let error = Error::new(Refusal::Busy, "another look has not ended", "ask again");
                    return Some(("409 Conflict", serde_json::to_string(&ErrorBody { error }).unwrap()));
                };
                looks.0.fetch_add(1, Ordering::Relaxed);
                sleep(ANSWER_LIMIT + AGAIN_PAUSE).await;
                Some(("200 OK", replica))
            }
        })
        .await
    }

    #[tokio::test]
    async fn what_a_sled_has_is_looked_at_once_whatever_doors_it_has_and_may_be_long_in_coming_and_in_itself() {
        let looks = Arc::new((AtomicUsize::new(0), Semaphore::new(1)));
        let doors = Doors { said: BTreeMap::new(), usual: vec![slow(&looks).await, slow(&looks).await] };
        let (name, volume) = ("other".parse().unwrap(), "still-fawn".parse().unwrap());
        let mut said = ask_sled(&name, (&volume, true), &doors.of(HERE)).await.unwrap();
        let replica = said.regions.remove(0).replica.unwrap().unwrap();
        assert_eq!((replica.extents.len(), looks.0.load(Ordering::Relaxed)), (MOST_EXTENTS as usize, 1));
    }

    #[tokio::test]
    async fn a_sled_that_is_just_restarted_is_asked_once_more() {
        let (counted, own) = (AtomicUsize::new(0), volume("other", serde_json::json!([])));
        let counted = Arc::new(counted);
        let port = door(move |asked| {
            let status = if asked.contains("/hosts ") { "404 Not Found" } else { "200 OK" };
            let answer = (counted.fetch_add(1, Ordering::Relaxed) > 0).then(|| (status, own.clone()));
            async move { answer }
        })
        .await;
        let (name, volume) = ("other".parse().unwrap(), "still-fawn".parse().unwrap());
        let doors = Doors { said: BTreeMap::new(), usual: vec![port] };
        let said = ask_twice(&name, (&volume, true), &doors.of(HERE)).await;
        assert!(said.is_ok(), "{said:?}");
    }

    #[tokio::test]
    async fn a_sled_is_asked_where_it_answers_and_only_it_is_believed() {
        let body = |sled: &str| volume(sled, serde_json::json!([]));
        let (other, third) = (sled(body("other")).await, sled(body("third")).await);
        let (name, volume) = ("other".parse().unwrap(), "still-fawn".parse().unwrap());
        let ask =
            async |doors: &Doors| ask_sled(&name, (&volume, false), &doors.of(HERE)).await.map(|theirs| theirs.sled);
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
        let known = BTreeMap::from([(HERE, &name)]);
        doors.hear(&[SocketAddr::new(HERE, other)], known.clone()).unwrap();
        assert_eq!(ask(&doors).await.as_ref(), Ok(&name));
        let refused = doors.hear(&["192.168.4.7:3900".parse().unwrap()], known).unwrap_err();
        assert_eq!((refused.code, refused.remedy.contains("other (127.0.0.1)")), (Refusal::SledUnknown.into(), true));
    }
}
