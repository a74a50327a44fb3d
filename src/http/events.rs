//! Events over HTTP: a page of them as JSON, or a stream of server-sent events for whoever follows them.
//!
//! Who follows reads what is behind his number whenever his connection takes more: nothing is kept for him. Whoever
//! falls behind, or comes with a number that nobody knows, is told so by `event: lagged`, with everything as it is
//! now, and goes on from there.

use super::answer::{Answer, bulletin, error, json, published};
use super::end::{End, ended};
use super::following::{Following, Pace};
use crate::api::{Media, Operation, Since as Asked};
use crate::desk::Handle;
use crate::desk::bulletin::Bulletin;
use crate::events::{Behind, Feed, Since, Wanted, before};
use crate::wire::{Error, Events, Refusal};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Either, StreamBody};
use hyper::body::Frame;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Header by which a browser that comes back says what it has read last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Time after which who follows is told that there is nothing new.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Number of events that are told who does not say how many he wants, and the most that anybody is told at once.
const LIMIT: u64 = 100;
const LIMIT_MOST: u64 = 1000;
/// Number of lines that are read from the disk at once for who follows.
const READ_LINES: usize = 200;

/// What is asked for: which events, and how many.
pub(super) struct Question {
    wanted: Wanted,
    limit: Option<u64>,
}

/// Read what an operation asks for, if it asks for events.
pub(super) fn question(operation: &Operation) -> Option<Question> {
    let Operation::ListEvents { since, region, volume, code, limit } = operation else { return None };
    let since = since.map(|since| match since {
        Asked::Id(id) => Since::Id(id),
        Asked::Time(time) => Since::Time(time),
        Asked::Ago(span) => {
            let now = crate::times::now();
            Since::Time(now.checked_sub(Duration::from(span)).unwrap_or(jiff::Timestamp::MIN))
        }
    });
    let wanted = Wanted { since, region: region.clone(), volume: volume.clone(), code: code.clone() };
    Some(Question { wanted, limit: *limit })
}

/// Tell whether a client says that it takes a stream.
pub(super) fn wants_stream(headers: &HeaderMap) -> bool {
    let types = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types =
        types.flat_map(|value| value.split(',')).map(|one| one.split(';').next().unwrap_or_default().trim());
    types.any(|one| one.eq_ignore_ascii_case(Media::EventStream.content_type()))
}

/// Answer an operation that asks for events, with a page of them.
pub(super) async fn answer(handle: &Handle, operation: &Operation) -> Answer {
    match question(operation) {
        Some(question) => page(handle, question).await,
        None => {
            let message = format!("{} asks for no events", operation.row().name);
            error(Error::new(Refusal::Failed, message, "it is a fault of sledd: report it"))
        }
    }
}

/// Answer with a page of events: with those on the disk, while the configuration is refused, too.
async fn page(handle: &Handle, Question { wanted, limit }: Question) -> Answer {
    let shown = match published(handle) {
        Ok(shown) => shown,
        Err(why) => return *why,
    };
    let limit = limit.unwrap_or(if wanted.since.is_some() { LIMIT_MOST } else { LIMIT }).min(LIMIT_MOST);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let read = async { Ok((handle.events.oldest().await?, handle.events.page(wanted, limit).await?)) };
    let read: std::io::Result<_> = read.await;
    match read {
        Ok((oldest, page)) => {
            let events: Vec<_> = page.lines.into_iter().map(|line| line.event).collect();
            // The feed is opened when there is a configuration to supervise by.
            let last = handle.events.last().max(events.last().map_or(0, |event| event.id));
            let sled = shown.whole.as_ref().map(|whole| whole.sled.clone());
            json(StatusCode::OK, &Events { sled, oldest, last, more: page.more, events })
        }
        Err(why) => {
            let message = format!("the record of events cannot be read: {why}");
            error(Error::new(Refusal::Failed, message, "see df -h /var/lib/sled and dmesg"))
        }
    }
}

/// Answer with what happens from now on, or from where somebody has read until now.
pub(super) async fn follow(handle: &Handle, question: Question, request: &Parts, end: End) -> Answer {
    let shown = match bulletin(handle) {
        Ok(shown) => shown,
        Err(why) => return *why,
    };
    match request.extensions.get::<Following>().and_then(Following::begin) {
        Some(pace) => stream(handle, &shown, question.wanted, &request.headers, pace, end).await,
        None => {
            let message = "as many follow the events already as can be served";
            error(Error::new(Refusal::TooManyFollow, message, "ask for them as JSON, or again in a while"))
        }
    }
}

async fn stream(handle: &Handle, last: &Bulletin, wanted: Wanted, headers: &HeaderMap, pace: Pace, end: End) -> Answer {
    let feed = handle.events.clone();
    let returns = headers.get(LAST_EVENT_ID);
    // A number that is none is nobody's.
    let returns = returns.map(|id| id.to_str().ok().and_then(|id| id.trim().parse().ok()).unwrap_or(u64::MAX));
    let from = match (returns, wanted.since) {
        (Some(id), _) => id,
        (None, Some(Since::Id(id))) => id,
        (None, Some(Since::Time(time))) => before(time),
        (None, None) => feed.last(),
    };
    let sled = last.whole.as_ref().map(|whole| whole.sled.to_string()).unwrap_or_default();
    let mut reader = Reader {
        news: feed.watch(),
        feed,
        bulletins: handle.bulletins.clone(),
        wanted,
        at: from,
        live: false,
        ready: VecDeque::from([Bytes::from(format!(": {sled}\nretry: 1000\n\n"))]),
        pace,
        end,
    };
    if returns.is_some() {
        reader.see_gap().await;
    }
    let frames = unfold(reader, |mut reader| async {
        let next = reader.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(next)), reader))
    });
    let mut answer = Response::new(Either::Right(StreamBody::new(frames).boxed_unsync()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Media::EventStream.content_type()));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// One who follows.
struct Reader {
    feed: Feed,
    news: watch::Receiver<u64>,
    bulletins: watch::Receiver<Option<Arc<Bulletin>>>,
    wanted: Wanted,
    /// Number of the event that he was told last, or that is not for him.
    at: u64,
    /// He has been told everything once: from then on he has to keep up.
    live: bool,
    ready: VecDeque<Bytes>,
    pace: Pace,
    end: End,
}

/// What came of waiting for news.
enum Waited {
    News,
    Nothing,
    Over,
}

impl Reader {
    /// Take what he is to be told next; `None` at the end of the daemon. Cancel-safe: what is not taken is read again.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.pace.mark();
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            self.news.borrow_and_update();
            match self.feed.behind(self.at) {
                Behind::Lines(lines) if lines.is_empty() => {
                    self.live = true;
                    match self.wait().await {
                        Waited::News => {}
                        Waited::Nothing => return Some(Bytes::from_static(b":\n\n")),
                        Waited::Over => return None,
                    }
                }
                Behind::Lines(lines) => {
                    for line in lines.iter().take(READ_LINES) {
                        self.at = line.event.id;
                        self.ready.extend(self.wanted.takes(&line.event).then(|| line.frame.clone()));
                    }
                }
                Behind::Older if !self.live => self.read_older().await,
                Behind::Older | Behind::Future => self.lag(),
            }
        }
    }

    async fn wait(&mut self) -> Waited {
        let (news, end) = (&mut self.news, &mut self.end);
        let waited = async {
            tokio::select! {
                changed = news.changed() => if changed.is_ok() { Waited::News } else { Waited::Over },
                () = ended(end) => Waited::Over,
            }
        };
        timeout(HEARTBEAT, waited).await.unwrap_or(Waited::Nothing)
    }

    /// See whether something behind the number that he comes with is not kept any more.
    async fn see_gap(&mut self) {
        let gone = match self.feed.behind(self.at) {
            Behind::Lines(_) => false,
            Behind::Future => true,
            Behind::Older => !matches!(self.feed.oldest().await, Ok(Some(oldest)) if oldest <= self.at),
        };
        if gone {
            self.lag();
        }
    }

    /// Read what is not in memory any more.
    async fn read_older(&mut self) {
        let behind = Wanted { since: Some(Since::Id(self.at)), ..Wanted::default() };
        match self.feed.page(behind, READ_LINES).await {
            Ok(page) if !page.lines.is_empty() => {
                for line in page.lines {
                    self.at = line.event.id;
                    self.ready.extend(self.wanted.takes(&line.event).then_some(line.frame));
                }
            }
            // What cannot be read is not waited for.
            _ => self.lag(),
        }
    }

    /// Tell him that he has missed something, and how everything is now.
    fn lag(&mut self) {
        let last = self.bulletins.borrow().clone();
        let shown = last.as_ref().and_then(|last| last.events.last()).map(|event| event.id);
        // All that is told in the bulletin is in it; what comes later is told behind it.
        self.at = shown.unwrap_or_else(|| self.feed.last());
        self.live = true;
        let body = last.map(|last| last.sled.bytes()).unwrap_or_default();
        let mut frame = format!("event: lagged\nid: {}\n", self.at);
        for line in String::from_utf8_lossy(&body).lines() {
            _ = writeln!(frame, "data: {line}");
        }
        self.ready.push_back(Bytes::from(frame + "\n"));
    }
}

#[cfg(test)]
mod tests;
