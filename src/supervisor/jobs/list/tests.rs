//! Tests of the jobs on the list: their numbers, and which of them are remembered.

use super::*;
use crate::wire::JobUnit;

/// Return what is remembered on a machine that had no jobs.
fn fresh() -> Remembered {
    Remembered { next: 1, reserved: 1 + jobs::BLOCK, jobs: Vec::new() }
}

#[test]
fn a_number_that_the_disk_keeps_from_nobody_is_the_clocks() {
    let (reports, _heard) = tokio::sync::mpsc::channel::<Report>(8);
    let mut jobs = Jobs::new(Tasks::new(reports), fresh());
    let name: RegionName = "still-fawn-0".parse().unwrap();
    let give = |jobs: &mut Jobs| jobs.register(JobKind::Hold, &name).0.id;
    // What is taken to be written is not on the disk before that is said.
    let kept: Vec<_> = (0..jobs::BLOCK).map(|_| give(&mut jobs)).collect();
    assert_eq!(kept, (1..=jobs::BLOCK).collect::<Vec<_>>());
    let taken = jobs.take_changes().unwrap();
    assert_eq!((taken.next, taken.reserved), (1 + jobs::BLOCK, 1 + 2 * jobs::BLOCK));
    jobs.written(Err("Read-only file system".into()));
    let beyond = give(&mut jobs);
    assert!(beyond >= jobs::anew(times::now()) - 100, "{beyond}");
    assert!(give(&mut jobs) > beyond);
    // Once it is written, they are in a row again.
    let taken = jobs.take_changes().unwrap();
    jobs.written(Ok(()));
    assert_eq!(give(&mut jobs), taken.next);
    // At the end none is left over; who comes even then gets one that the next supervisor does not give.
    let last = jobs.leave().unwrap();
    assert_eq!((last.reserved, last.next), (taken.next + 1, taken.next + 1));
    jobs.written(Ok(()));
    assert!(give(&mut jobs) >= last.reserved);
    let after = jobs.take_changes().unwrap();
    assert_eq!(after.reserved, after.next, "it is on record as well");
}

#[test]
fn what_somebody_asked_for_is_not_forgotten_for_what_nobody_did() {
    let (reports, _heard) = tokio::sync::mpsc::channel::<Report>(8);
    let mut jobs = Jobs::new(Tasks::new(reports), fresh());
    let name = "still-fawn-0".parse().unwrap();
    let end = |jobs: &mut Jobs, id| jobs.end(Ended { id, result: Ok("done".into()), took: Duration::ZERO });
    let (asked, _progress) = jobs.register(JobKind::Create, &name);
    end(&mut jobs, asked.id);
    for _ in 0..3 * REMEMBERED_LIMIT {
        let (own, _progress) = jobs.register_unasked(JobKind::Purge, &name, None);
        end(&mut jobs, own.id);
    }
    assert!(jobs.all().contains_key(&asked.id) && !jobs.all()[&asked.id].unasked);
    assert_eq!(jobs.all().len(), 1 + REMEMBERED_UNASKED_LIMIT);
    // Nor is it over a restart.
    let written = jobs.take_changes().unwrap();
    assert!(written.jobs.contains(&jobs.all()[&asked.id]));
    assert_eq!(written.jobs.len(), 1 + REMEMBERED_UNASKED_LIMIT);
    // Once more: the same number.
    let last = *jobs.all().keys().last().unwrap();
    let (again, _progress) = jobs.register_unasked(JobKind::Purge, &name, Some(last));
    assert_eq!((again.id, jobs.all()[&last].state), (last, JobState::Running));
    // But never that of one that somebody asked for: how it ended is his answer.
    let before = jobs.all()[&asked.id].clone();
    let (own, _progress) = jobs.register_unasked(JobKind::Purge, &name, Some(asked.id));
    assert!(own.id > last && own.unasked);
    assert_eq!(jobs.all()[&asked.id], before);
}

#[test]
fn what_is_not_over_is_written_however_many_came_since() {
    let (reports, _heard) = tokio::sync::mpsc::channel::<Report>(8);
    let mut jobs = Jobs::new(Tasks::new(reports), fresh());
    let name = "still-fawn-0".parse().unwrap();
    let (long, _progress) = jobs.register(JobKind::Upgrade, &name);
    for _ in 0..REMEMBERED_LIMIT + 1 {
        let (job, _progress) = jobs.register(JobKind::Hold, &name);
        jobs.end(Ended { id: job.id, result: Ok("done".into()), took: Duration::ZERO });
    }
    let written = jobs.take_changes().unwrap();
    assert_eq!((written.jobs[0].id, written.jobs[1].id, written.jobs.len()), (long.id, long.id + 3, REMEMBERED_LIMIT));
}

#[test]
fn what_could_not_be_written_is_tried_again_at_the_next_look_back_and_not_before() {
    let (reports, _heard) = tokio::sync::mpsc::channel::<Report>(8);
    let mut jobs = Jobs::new(Tasks::new(reports), fresh());
    let name = "still-fawn-0".parse().unwrap();
    let (_job, _progress) = jobs.register(JobKind::Create, &name);
    let first = jobs.take_changes().unwrap();
    jobs.written(Err("No space left on device".into()));
    assert_eq!(jobs.take_changes(), None, "the loop would turn for nothing else");
    jobs.write_again();
    assert_eq!(jobs.take_changes(), Some(first));
    // While that is under way it is not begun twice.
    jobs.write_again();
    assert_eq!(jobs.take_changes(), None);
    jobs.written(Ok(()));
    jobs.write_again();
    assert_eq!(jobs.take_changes(), None, "it was written");
}

#[test]
fn a_word_is_heard_only_while_its_question_is_asked() {
    let (reports, _heard) = tokio::sync::mpsc::channel::<Report>(8);
    let mut jobs = Jobs::new(Tasks::new(reports), fresh());
    let name: RegionName = "still-fawn-0".parse().unwrap();
    let (job, _progress) = jobs.register(JobKind::Restart, &name);
    let asks = |number| {
        let asks = Some(wire::Ask {
            number,
            region: "still-fawn-0".parse().unwrap(),
            moved: Default::default(),
            whole: false,
            alone: false,
            stopped: false,
            unreadable: false,
        });
        Step { doing: "waiting".into(), done: 0, total: 0, unit: JobUnit::Parts, asks }
    };
    let code = |jobs: &mut Jobs, id, number| jobs.word(id, number, Word::Well).map_err(|why| why.code);
    // How the others are before it is asked says nothing of then.
    assert_eq!(code(&mut jobs, job.id, 1), Err(Refusal::NotAsked.into()));
    assert_eq!(*jobs.words[&job.id].borrow(), None);
    jobs.step(job.id, asks(1));
    assert_eq!(code(&mut jobs, job.id, 2), Err(Refusal::NotAsked.into()));
    assert!(code(&mut jobs, job.id, 1).is_ok());
    assert_eq!(*jobs.words[&job.id].borrow(), Some((1, Word::Well)));
    jobs.step(job.id, Step { asks: None, ..asks(1) });
    assert_eq!(code(&mut jobs, job.id, 1), Err(Refusal::NotAsked.into()));
    assert_eq!(code(&mut jobs, job.id + 1, 1), Err(Refusal::JobUnknown.into()));
}

#[test]
fn numbers_are_small_and_go_on_over_a_restart() {
    let (reports, _heard) = tokio::sync::mpsc::channel::<Report>(8);
    let tasks = Tasks::new(reports);
    let mut jobs = Jobs::new(tasks.clone(), fresh());
    assert_eq!(jobs.take_changes(), None);
    let name = "still-fawn-0".parse().unwrap();
    let (first, _first) = jobs.register(JobKind::Create, &name);
    let written = jobs.take_changes().unwrap();
    // One at a time; what has changed meanwhile comes after it.
    let (second, _second) = jobs.register(JobKind::Delete, &name);
    jobs.end(Ended { id: first.id, result: Ok("done".into()), took: Duration::ZERO });
    assert_eq!((written.next, jobs.take_changes()), (2, None));
    jobs.written(Ok(()));
    let written = jobs.take_changes().unwrap();
    assert_eq!((first.id, second.id, written.next, written.jobs.len()), (1, 2, 3, 2));
    let mut next = Jobs::new(tasks, written);
    assert_eq!(next.all()[&1].state, JobState::Done);
    let cut = &next.all()[&2];
    assert!(cut.state == JobState::Failed && cut.error.as_ref().is_some_and(|why| why.code == Refusal::CutShort));
    assert_eq!(next.register(JobKind::Create, &name).0.id, 3);
}

#[test]
fn a_job_is_cancelled_until_it_is_too_late() {
    let (reports, _heard) = tokio::sync::mpsc::channel::<Report>(8);
    let mut jobs = Jobs::new(Tasks::new(reports), fresh());
    let name = "still-fawn-0".parse().unwrap();
    let (first, progress) = jobs.register(JobKind::Create, &name);
    assert!(progress.check().is_ok());
    jobs.cancel(first.id).unwrap();
    assert!(progress.check().is_err());
    let cancelled = wire::Error::new(CANCELLED, "it was cancelled", "");
    jobs.end(Ended { id: first.id, result: Err(cancelled), took: Duration::ZERO });
    assert_eq!(jobs.all()[&first.id].state, JobState::Cancelled);
    assert_eq!(jobs.cancel(first.id).unwrap_err().code, Refusal::NotCancellable);

    let (second, progress) = jobs.register(JobKind::Delete, &name);
    progress.no_way_back().unwrap();
    jobs.step(second.id, Step { doing: "moving".into(), done: 1, total: 2, unit: JobUnit::Bytes, asks: None });
    assert_eq!(jobs.cancel(second.id).unwrap_err().code, Refusal::NotCancellable);
    assert!(progress.check().is_ok() && !jobs.all()[&second.id].cancellable);
    assert_eq!(jobs.all()[&second.id].progress, Some(JobProgress { done: 1, total: 2, unit: JobUnit::Bytes }));
    assert_eq!(jobs.cancel(7).unwrap_err().code, Refusal::JobUnknown);
}
