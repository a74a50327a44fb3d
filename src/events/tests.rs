//! Tests of the feed: what is added is read, by number, from memory and from the disk; and what cannot be written.

use super::*;
use crate::lived::Moment;
use crate::store::events::Bounds;
use uuid::Uuid;

const BOUNDS: Bounds = Bounds { bytes: 1 << 20, age: Duration::from_hours(24) };

fn news(subject: impl ToString) -> News {
    News::of(EventKind::CheckRaised, subject.to_string())
}

fn add(feed: &Feed, count: usize) {
    feed.add((0..count).map(news).collect());
}

fn subjects(feed: &Feed, id: u64) -> Vec<String> {
    match feed.behind(id) {
        Behind::Lines(lines) => lines.iter().map(|line| line.event.subject.clone()).collect(),
        other => panic!("{other:?}"),
    }
}

/// Open a feed in this directory, with its writer.
fn opened(dir: &std::path::Path, boot: &str) -> (Feed, watch::Sender<Bounds>) {
    let feed = Feed::at(dir.to_owned());
    feed.open(boot).unwrap();
    let (bounds, kept) = watch::channel(BOUNDS);
    tokio::spawn(Writer::new(feed.clone(), kept, || Moment { clock: Uuid::nil(), ms: 1 }).run());
    (feed, bounds)
}

#[tokio::test]
async fn what_is_behind_a_number_is_all_that_came_later() {
    let feed = Feed::default();
    feed.open("a").unwrap();
    assert_eq!(subjects(&feed, 0), [""; 0]);
    feed.add(vec![news("a"), news("b")]);
    let middle = feed.last();
    feed.add(vec![news("c"), news("d")]);
    assert!(feed.last() > middle);
    assert_eq!(subjects(&feed, middle), ["c", "d"]);
    assert_eq!(subjects(&feed, middle - 1), ["b", "c", "d"]);
    assert_eq!(subjects(&feed, feed.last()), [""; 0]);
    assert_eq!(feed.behind(feed.last() + 1), Behind::Future);
    assert_eq!(feed.latest(2).iter().map(|event| event.subject.as_str()).collect::<Vec<_>>(), ["c", "d"]);
}

#[tokio::test]
async fn numbers_and_events_go_on_in_the_next_life() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("events");
    let (feed, _bounds) = opened(&at, "a");
    feed.add(vec![news("a"), news("b")]);
    feed.is_written().await;
    let last = feed.last();
    for boot in ["a", "b"] {
        let (next, _bounds) = opened(&at, boot);
        assert_eq!(subjects(&next, last - 1), ["b"]);
        next.add(vec![news(boot)]);
        assert!(next.last() > last);
        let Behind::Lines(lines) = next.behind(next.last() - 1) else { panic!() };
        assert_eq!(lines[0].event.boot, boot);
    }
}

#[tokio::test]
async fn what_is_not_in_memory_any_more_is_on_the_disk_and_no_line_is_missed_or_told_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (feed, _bounds) = opened(&dir.path().join("events"), "a");
    for _ in 0..3 {
        add(&feed, KEPT_LINES);
        feed.is_written().await;
    }
    let first = feed.oldest().await.unwrap().unwrap();
    assert_eq!(feed.behind(first), Behind::Older);
    // And some that are not written yet.
    add(&feed, 5);
    let all = 3 * KEPT_LINES + 5;
    let (mut at, mut found) = (0, Vec::new());
    loop {
        let wanted = Wanted { since: Some(Since::Id(at)), ..Wanted::default() };
        let page = feed.page(wanted, 100).await.unwrap();
        found.extend(page.lines.iter().map(|line| line.event.id));
        at = page.lines.last().map_or(at, |line| line.event.id);
        if !page.more {
            break;
        }
    }
    assert!(found.is_sorted() && found.len() == all && at == feed.last(), "{} of {all}", found.len());
    let last = feed.page(Wanted::default(), 7).await.unwrap();
    assert_eq!(last.lines.iter().map(|line| line.event.id).collect::<Vec<_>>(), found[all - 7..]);
    let time = feed.latest(1)[0].time;
    let all_times = Wanted { since: Some(Since::Time(time - Duration::from_hours(1))), ..Wanted::default() };
    assert_eq!(feed.page(all_times, 1000).await.unwrap().lines.len(), all);
    let code = Wanted { code: Some("DISK_LOW".into()), ..Wanted::default() };
    assert!(feed.page(code, 10).await.unwrap().lines.is_empty());
}

/// A disk that takes nothing: what there is stays in memory as long as there is room, and it is told once.
#[tokio::test]
async fn what_cannot_be_written_is_kept_for_a_while_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("events");
    std::fs::write(&at, "in the way").unwrap();
    let feed = Feed::at(at.clone());
    assert!(feed.open("a").is_err());
    let (_bounds, kept) = watch::channel(BOUNDS);
    tokio::spawn(Writer::new(feed.clone(), kept, || Moment { clock: Uuid::nil(), ms: 1 }).run());
    let count = KEPT_LINES + WAITING_LIMIT + 100;
    for subject in 0..count {
        feed.add(vec![news(subject)]);
        feed.is_written().await;
    }
    let told =
        |feed: &Feed, kind: EventKind| feed.latest(usize::MAX).into_iter().filter(|event| event.kind == kind).count();
    assert_eq!(feed.latest(usize::MAX).len(), KEPT_LINES + WAITING_LIMIT);
    std::fs::remove_file(&at).unwrap();
    add(&feed, 1);
    feed.is_written().await;
    assert_eq!(told(&feed, EventKind::EventsLost), 1);
    let wanted = Wanted { since: Some(Since::Id(0)), ..Wanted::default() };
    let written = feed.page(wanted, 10_000).await.unwrap().lines;
    let subjects: Vec<usize> = written.iter().filter_map(|line| line.event.subject.parse().ok()).collect();
    assert!(subjects.contains(&(count - 1)) && subjects.len() > 1000, "{}", subjects.len());
}
