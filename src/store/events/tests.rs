//! Tests of the ring: whatever is cut off, garbled or refused, what is left is read, and what is written next is there.

use super::*;
use crate::wire::EventKind;
use proptest::prelude::*;
use std::sync::Arc;
use uuid::Uuid;

const LARGE: Bounds = Bounds { bytes: 1 << 20, age: Duration::from_hours(24) };

fn moment(seconds: u64) -> Moment {
    Moment { clock: Uuid::nil(), ms: seconds * 1000 }
}

fn line(id: u64) -> Arc<Line> {
    let event = Event {
        id,
        time: jiff::Timestamp::from_second(7).unwrap(),
        boot: "a".into(),
        boot_ms: 1,
        kind: if id.is_multiple_of(2) { EventKind::CheckOver } else { EventKind::CheckRaised },
        subject: "sled".into(),
        region: None,
        volume: None,
        before: None,
        after: None,
        cause: Some("a cause that has some length".into()),
        by: None,
        code: None,
    };
    Arc::new(Line::of(event).unwrap())
}

fn ids(lines: &[Line]) -> Vec<u64> {
    lines.iter().map(|line| line.event.id).collect()
}

fn all(dir: &Path) -> Vec<u64> {
    ids(&read_after(dir, 0, usize::MAX, |_| true).unwrap().lines)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    parts(dir).unwrap().into_iter().map(|(_, path)| path).collect()
}

fn opened(dir: &Path, bounds: Bounds) -> Ring {
    let (ring, opened) = Ring::open(dir, bounds);
    opened.unwrap();
    ring
}

#[test]
fn what_is_written_is_read_and_goes_on_in_the_next_life() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("memory/events");
    fs::create_dir(dir.parent().unwrap()).unwrap();
    assert_eq!((all(dir), oldest(dir).unwrap()), (vec![], None));
    let mut ring = opened(dir, LARGE);
    ring.append(&[line(3), line(4)], moment(1)).unwrap();
    ring.append(&[line(9)], moment(2)).unwrap();
    assert_eq!((all(dir), oldest(dir).unwrap()), (vec![3, 4, 9], Some(3)));
    let mut ring = opened(dir, LARGE);
    ring.append(&[line(10)], moment(3)).unwrap();
    assert_eq!((all(dir), files(dir).len()), (vec![3, 4, 9, 10], 1));
    let page = read_after(dir, 3, 2, |_| true).unwrap();
    assert_eq!((ids(&page.lines), page.more), (vec![4, 9], true));
    let page = read_after(dir, 3, 2, |event| event.kind == EventKind::CheckOver).unwrap();
    assert_eq!((ids(&page.lines), page.more), (vec![4, 10], false));
    assert_eq!(ids(&read_last(dir, 2, |_| true).unwrap()), [9, 10]);
    assert_eq!(ids(&read_last(dir, 0, |_| true).unwrap()), [0; 0]);
    assert_eq!(read_last(dir, 1, |_| true).unwrap()[0], *line(10));
}

#[test]
fn a_full_ring_loses_the_oldest_and_none_of_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let bounds = Bounds { bytes: 8 * 1024, ..LARGE };
    let mut ring = opened(dir, bounds);
    for id in 1..=500 {
        ring.append(&[line(id)], moment(id)).unwrap();
        let bytes: u64 = files(dir).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(bytes <= bounds.bytes, "{bytes} after {id}");
    }
    let kept = all(dir);
    let first = kept[0];
    assert!(kept.len() > 30 && first > 1 && kept == (first..=500).collect::<Vec<_>>(), "{kept:?}");
    assert_eq!(oldest(dir).unwrap(), Some(first));
    for after in [first - 1, first, first + 1, 250, 499, 500, 501] {
        let found = ids(&read_after(dir, after, 1000, |_| true).unwrap().lines);
        assert_eq!(found, kept.iter().copied().filter(|id| *id > after).collect::<Vec<_>>(), "after {after}");
    }
    assert_eq!(ids(&read_last(dir, 20, |_| true).unwrap()), (481..=500).collect::<Vec<_>>());
}

/// What is old is told by the sled's life: a clock of another life tells nothing, and then nothing goes.
#[test]
fn what_is_too_old_goes_when_something_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let hour = |hour: u64| moment(hour * 3600);
    let mut ring = opened(dir, LARGE);
    for id in 1..=48 {
        ring.append(&[line(id)], hour(id)).unwrap();
    }
    let kept = all(dir);
    assert!((21..=24).contains(&kept[0]), "{kept:?}");
    let mut ring = opened(dir, LARGE);
    ring.append(&[line(100)], Moment { clock: Uuid::from_u128(7), ms: u64::MAX }).unwrap();
    assert_eq!(all(dir)[0], kept[0], "a clock that nobody knows has destroyed something");
    ring.append(&[line(101)], hour(1000)).unwrap();
    ring.append(&[line(102)], hour(1001)).unwrap();
    assert!(all(dir).ends_with(&[101, 102]));
    // Less is to be kept from now on.
    ring.keep_to(Bounds { bytes: 100, age: LARGE.age });
    ring.append(&[line(103)], hour(1001)).unwrap();
    ring.append(&[line(104)], hour(1001)).unwrap();
    assert_eq!(all(dir), [104]);
}

#[test]
fn what_cannot_be_written_is_not_half_there_and_the_next_is() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("events");
    // Something else is in the place.
    fs::write(&at, "").unwrap();
    let (mut ring, _) = Ring::open(&at, LARGE);
    assert!(ring.append(&[line(1)], moment(1)).is_err());
    fs::remove_file(&at).unwrap();
    ring.append(&[line(2)], moment(1)).unwrap();
    assert_eq!(all(&at), [2]);
    // A disk that takes a part of it.
    ring.open = Some(File::options().append(true).open("/dev/full").unwrap());
    assert!(ring.append(&[line(3)], moment(1)).is_err());
    ring.append(&[line(3), line(4)], moment(1)).unwrap();
    assert_eq!(all(&at), [2, 3, 4]);
    // And somebody has removed all of it.
    fs::remove_dir_all(&at).unwrap();
    ring.open = None;
    ring.append(&[line(5)], moment(1)).unwrap();
    assert_eq!(all(&at), [5]);
}

proptest! {
    /// Cut off anywhere, or with anything behind it: every line before that is read, and what is written next.
    #[test]
    fn any_cut_leaves_what_was_whole(cut in 0usize..1200, garbage in proptest::collection::vec(any::<u8>(), 0..40)) {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        opened(dir, LARGE).append(&[line(1), line(2), line(3)], moment(1)).unwrap();
        let file = files(dir).pop().unwrap();
        let mut text = fs::read(&file).unwrap();
        text.truncate(cut);
        let whole = text.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1) as u64;
        text.extend(garbage.iter().filter(|byte| **byte != b'\n'));
        fs::write(&file, text).unwrap();
        let mut ring = opened(dir, LARGE);
        ring.append(&[line(9)], moment(2)).unwrap();
        let mut expected: Vec<_> = (1..=whole).collect();
        expected.push(9);
        prop_assert_eq!(all(dir), expected);
        prop_assert_eq!(read_last(dir, 1, |_| true).unwrap()[0].event.id, 9);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(garbage in proptest::collection::vec(any::<u8>(), 0..20_000), name in 0u64..9) {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        fs::write(dir.join(super::name(name)), garbage).unwrap();
        fs::write(dir.join("another.jsonl"), "x").unwrap();
        prop_assert!(all(dir).is_empty());
        let mut ring = opened(dir, LARGE);
        ring.append(&[line(10)], moment(2)).unwrap();
        prop_assert_eq!(all(dir), [10]);
    }
}
