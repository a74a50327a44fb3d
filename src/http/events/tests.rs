//! Tests of the stream and of the page, as a client has them on his connection.

use super::super::door::{Door, Peer};
use super::super::{ADMIN_FOLLOWERS_LIMIT, Visits, converse, serve_tcp};
use super::*;
use crate::desk::pulse::LoopPulse;
use crate::events::{News, Writer};
use crate::kernel::presence::Presence;
use crate::lived::Moment;
use crate::store::events::Bounds;
use crate::wire::{ErrorBody, EventKind};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

/// A sled whose supervisor has published something, and whose events are kept in a directory.
struct Sled {
    handle: Handle,
    visits: Visits,
    keep: (watch::Sender<Option<Arc<Bulletin>>>, watch::Sender<Bounds>, tempfile::TempDir),
}

impl Sled {
    /// Make one that keeps so many bytes of events.
    fn new(bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let feed = Feed::at(dir.path().join("events"));
        feed.open("a").unwrap();
        let (bounds, kept) = watch::channel(Bounds { bytes, age: Duration::from_hours(1) });
        tokio::spawn(Writer::new(feed.clone(), kept, || Moment { clock: Uuid::nil(), ms: 1 }).run());
        let (out, bulletins) = watch::channel(Some(Arc::new(Bulletin::default())));
        let pulse = LoopPulse::new(Duration::from_secs(3600));
        let handle = Handle { bulletins, requests: mpsc::channel(1).0, pulse, events: feed };
        Self { handle, visits: Visits::new(crate::http::Limits::default()), keep: (out, bounds, dir) }
    }

    /// Let something happen about this.
    fn add(&self, subject: impl ToString) {
        self.handle.events.add(vec![News::of(EventKind::CheckRaised, subject.to_string())]);
    }

    async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_tcp(listener, self.handle.clone(), self.visits.clone()));
        address
    }

    /// Ask at the unix socket, as it were, on a line that holds so many bytes.
    async fn ask(&self, request: &str, holds: usize) -> (tokio::io::DuplexStream, JoinHandle<()>) {
        let (mut here, there) = tokio::io::duplex(holds);
        let door = Door::Admin { admitted: true, peer: Peer { uid: 0, pid: None } };
        let talk = converse(there, self.handle.clone(), door, Presence::nobody(), None, &self.visits);
        let talk = tokio::spawn(talk);
        here.write_all(request.as_bytes()).await.unwrap();
        (here, talk)
    }
}

fn request(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

fn followed(last: Option<u64>) -> String {
    let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    request("/v1/events", &format!("Accept: text/html, text/event-stream;q=0.9\r\n{last}"))
}

async fn connect(address: SocketAddr, last: Option<u64>) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(followed(last).as_bytes()).await.unwrap();
    client
}

/// Read until this is there, and return everything.
async fn read_to(client: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = String::new();
    let mut piece = [0; 4096];
    while !text.contains(end) {
        let read = client.read(&mut piece).await.unwrap();
        assert!(read > 0, "it ended before {end:?}: {text}");
        text += std::str::from_utf8(&piece[..read]).unwrap();
    }
    text
}

/// The subjects of the events in a text, as far as they are whole.
fn subjects(text: &str) -> Vec<usize> {
    let found = text.split("\"subject\":\"").skip(1);
    found.map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn who_comes_back_is_told_what_he_has_missed_and_nothing_twice() {
    let sled = Sled::new(1 << 20);
    let address = sled.listen().await;
    sled.add(0);
    let mut ids = vec![sled.handle.events.last()];
    let mut client = connect(address, None).await;
    let head = read_to(&mut client, "retry: ").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
    // More than are in memory, and than are read at once.
    for number in 1..900 {
        sled.add(number);
        ids.push(sled.handle.events.last());
        if number == 1 {
            assert_eq!(subjects(&read_to(&mut client, "\"subject\":\"1\"").await), [1], "what was before is not told");
        }
        sled.handle.events.is_written().await;
    }
    for from in [2, 700, 899] {
        let mut client = connect(address, Some(ids[from - 1])).await;
        let told = read_to(&mut client, "\"subject\":\"899\"").await;
        assert_eq!(subjects(&told), (from..900).collect::<Vec<_>>());
        assert!(!told.contains("lagged") && told.contains(&format!("id: {}\ndata: {{", ids[from])), "{told}");
    }
}

#[tokio::test]
async fn who_comes_with_a_number_that_is_not_known_any_more_or_yet_is_told_how_it_is_now() {
    let sled = Sled::new(8 * 1024);
    let address = sled.listen().await;
    sled.add(1);
    let first = sled.handle.events.last();
    for _ in 0..500 {
        sled.add(1);
        sled.handle.events.is_written().await;
    }
    for last in [u64::MAX, sled.handle.events.last() + 3_600_000, first] {
        let mut client = connect(address, Some(last)).await;
        let told = read_to(&mut client, "event: lagged").await;
        assert!(!told.contains("subject"), "{told}");
        sled.add(2);
        read_to(&mut client, "\"subject\":\"2\"").await;
    }
}

#[tokio::test]
async fn a_page_has_what_was_asked_for() {
    let sled = Sled::new(1 << 20);
    let address = sled.listen().await;
    for number in 1..=120 {
        sled.add(number);
    }
    let ask = async |query: &str| -> Events {
        let mut client = TcpStream::connect(address).await.unwrap();
        let ask = request(&format!("/v1/events{query}"), "Connection: close\r\n");
        client.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let numbers = |page: &Events| page.events.iter().map(|event| event.subject.parse().unwrap()).collect::<Vec<u32>>();
    let page = ask("").await;
    assert_eq!(numbers(&page), (21..=120).collect::<Vec<_>>());
    assert_eq!((page.more, page.last), (false, page.events[99].id));
    assert_eq!(numbers(&ask("?limit=2").await), [119, 120]);
    let first = ask("?since=1d&limit=3").await;
    assert_eq!((numbers(&first), first.more), (vec![1, 2, 3], true));
    assert_eq!(first.oldest, Some(first.events[0].id));
    let next = ask(&format!("?since={}&limit=1000", first.events[2].id)).await;
    assert_eq!((numbers(&next).len(), next.more), (117, false));
    assert_eq!(numbers(&ask("?code=DISK_LOW").await), [0; 0]);
    assert_eq!(numbers(&ask("?region=still-fawn-0&volume=still-fawn").await), [0; 0]);
}

/// Whoever reads nothing costs what his line holds, is told nothing more, and is hung up on.
#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_hung_up_on_and_who_does_is_kept_as_long_as_he_likes() {
    let sled = Sled::new(1 << 20);
    let (mut reads, _talk) = sled.ask(&followed(None), 4096).await;
    let (_silent, talk) = sled.ask(&followed(None), 4096).await;
    read_to(&mut reads, "retry: ").await;
    let began = Instant::now();
    for number in 0..2000 {
        sled.add(number);
        read_to(&mut reads, &format!("\"subject\":\"{number}\"")).await;
    }
    talk.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(90), "{:?}", began.elapsed());
    // Longer than any other connection lasts.
    while began.elapsed() < Duration::from_secs(1000) {
        let before = Instant::now();
        read_to(&mut reads, ":\n\n").await;
        assert!(before.elapsed() <= HEARTBEAT);
    }
    sled.add(7);
    read_to(&mut reads, "\"subject\":\"7\"").await;
    sled.visits.clone().end().await;
    let mut rest = String::new();
    reads.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "it broke off: {rest:?}");
}

#[tokio::test(start_paused = true)]
async fn one_too_many_is_refused_with_a_sentence_and_finds_a_place_when_another_goes() {
    let sled = Sled::new(1 << 20);
    let mut places = Vec::new();
    for _ in 0..ADMIN_FOLLOWERS_LIMIT {
        let (mut client, talk) = sled.ask(&followed(None), 4096).await;
        read_to(&mut client, "retry: ").await;
        places.push((client, talk));
    }
    let (mut client, _talk) = sled.ask(&followed(None), 4096).await;
    let answer = read_to(&mut client, "}\n").await;
    let refused: ErrorBody = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && refused.error.code == Refusal::TooManyFollow, "{answer}");
    let (client, talk) = places.pop().unwrap();
    drop(client);
    talk.await.unwrap();
    let (mut client, _talk) = sled.ask(&followed(None), 4096).await;
    read_to(&mut client, "retry: ").await;
}

#[tokio::test]
async fn what_happened_is_told_while_the_configuration_is_refused() {
    let sled = Sled::new(1 << 20);
    sled.add(1);
    sled.handle.events.is_written().await;
    // As after a restart: the feed is opened only with a configuration.
    let refused = Bulletin { broken: Some(Error::new(Refusal::Failed, "x", "y")), ..Bulletin::default() };
    sled.keep.0.send_replace(Some(Arc::new(refused)));
    let closed = Feed::at(sled.keep.2.path().join("events"));
    let sled = Sled { handle: Handle { events: closed, ..sled.handle }, ..sled };
    let (mut client, _talk) = sled.ask(&request("/v1/events", "Connection: close\r\n"), 4096).await;
    let answer = read_to(&mut client, "\"subject\"").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (mut client, _talk) = sled.ask(&followed(None), 4096).await;
    let answer = read_to(&mut client, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}
