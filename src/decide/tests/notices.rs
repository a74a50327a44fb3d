//! Which checks somebody is told of, and when, by a table of what is raised at which second.

use crate::check::{Code, Severity};
use crate::config::Notify;
use crate::decide::notices::Notices;
use crate::span::Span;
use crate::wire::{Check, Occasion};
use jiff::Timestamp;
use std::time::{Duration, Instant};

fn wanted() -> Notify {
    let webhook = Some("http://127.0.0.1:1/x".parse().unwrap());
    let (severity, delay) = (Severity::Blocking, Span::seconds(30));
    Notify { program: Vec::new(), webhook, ntfy: None, severity, delay, at_most: 2 }
}

fn check(code: Code) -> Check {
    let (cause, remedy, since) = (String::new(), String::new(), Timestamp::from_second(1000).unwrap());
    Check { code, severity: code.severity(), subject: "x".into(), cause, remedy, since }
}

/// What is raised from each second on.
type Course<'a> = &'a [(u64, &'a [Code])];

/// The notices of a course: what is raised from each second on; each with the second, and how many were left out.
fn told(wanted: &Notify, course: Course) -> Vec<(u64, Occasion, Code, u64)> {
    let (mut notices, began, mut told) = (Notices::default(), Instant::now(), Vec::new());
    for (at, codes) in course {
        let checks: Vec<_> = codes.iter().map(|code| check(*code)).collect();
        let given = notices.see(&checks, wanted, began + Duration::from_secs(*at));
        told.extend(given.into_iter().map(|notice| (*at, notice.occasion, notice.check.code, notice.left_out)));
    }
    told
}

#[test]
fn what_lasts_is_told_once_and_what_does_not_is_not() {
    use Occasion::{Over, Raised};
    const FULL: &[Code] = &[Code::DiskFull];
    let none: &[Code] = &[];
    type Told = &'static [(u64, Occasion, Code, u64)];
    let courses: [(&str, Course, Told); 6] = [
        ("it is over within the delay", &[(0, FULL), (29, none), (90, none)], &[]),
        ("it lasts", &[(0, FULL), (29, FULL), (30, FULL), (99, FULL)], &[(30, Raised, Code::DiskFull, 0)]),
        (
            "it is over for good",
            &[(0, FULL), (30, FULL), (40, none), (69, none), (70, none), (200, none)],
            &[(30, Raised, Code::DiskFull, 0), (70, Over, Code::DiskFull, 0)],
        ),
        (
            "it was told, and comes and goes",
            &[(0, FULL), (30, FULL), (40, none), (50, FULL), (60, none), (70, FULL), (400, FULL)],
            &[(30, Raised, Code::DiskFull, 0)],
        ),
        ("it comes anew within the delay", &[(0, FULL), (20, none), (25, FULL), (54, FULL)], &[]),
        (
            "none of them concerns anybody",
            &[(0, &[Code::NotifyFailed, Code::DiskLow]), (99, &[Code::NotifyFailed])],
            &[],
        ),
    ];
    for (what, course, wanted_told) in courses {
        assert_eq!(told(&wanted(), course), wanted_told, "{what}");
    }
}

#[test]
fn warnings_are_told_where_they_are_wanted() {
    let wanted = Notify { severity: Severity::Warning, delay: Span::seconds(0), ..wanted() };
    let told = told(&wanted, &[(0, &[Code::DiskLow, Code::NotifyFailed])]);
    assert_eq!(told, [(0, Occasion::Raised, Code::DiskLow, 0)]);
}

#[test]
fn of_too_many_in_an_hour_the_rest_is_counted_and_told_with_the_next() {
    let wanted = Notify { delay: Span::seconds(0), ..wanted() };
    let all = &[Code::DiskFull, Code::DataNotMounted, Code::Maintenance, Code::SledStopping][..];
    let told = told(&wanted, &[(0, all), (3599, &all[1..]), (3600, &[]), (3601, &[])]);
    let counts: Vec<_> = told.iter().map(|(at, .., left_out)| (*at, *left_out)).collect();
    // Two at once; two that were raised and one that is over are left out; then there is room for two more.
    assert_eq!(counts, [(0, 0), (0, 0), (3600, 3), (3600, 0)]);
}

#[test]
fn what_another_supervisor_has_told_is_not_told_again_and_its_end_is() {
    let (wanted, now, second) = (wanted(), Instant::now(), |at| Timestamp::from_second(at).unwrap());
    let long = Duration::from_secs(60);
    let checks = [check(Code::DiskFull)];
    let mut notices = Notices::after_another(&checks, &wanted, second(1030), now);
    assert_eq!(notices.see(&checks, &wanted, now + long), []);
    assert_eq!(notices.see(&[], &wanted, now + long), []);
    assert_eq!(notices.due(&wanted), Some(now + long + Duration::from_secs(30)));
    let over = notices.see(&[], &wanted, now + 2 * long);
    assert_eq!(over.iter().map(|notice| notice.occasion).collect::<Vec<_>>(), [Occasion::Over]);
    assert_eq!(notices.due(&wanted), None);
    // It ended before that was due.
    let mut notices = Notices::after_another(&checks, &wanted, second(1029), now);
    assert_eq!(notices.see(&checks, &wanted, now), []);
    assert_eq!(notices.see(&checks, &wanted, now + long).len(), 1);
}
