//! Window: a time of the day, on some days of the week or on each, by the machine's own clock and time zone. Pure.

use crate::span::Span;
use jiff::ToSpan;
use jiff::civil::{DateTime, Time, Weekday};
use std::fmt;
use std::str::FromStr;

/// The minutes of a day.
const DAY: u16 = 24 * 60;
/// The days as systemd.time(7) calls them, the first of the week first.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const WRONG: &str = "is no time of the week";

/// A window: on which days it begins, when, and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Whether it begins on a day, Monday first.
    days: [bool; 7],
    /// The minute of the day in which it begins.
    from: u16,
    /// The minutes that it lasts, from 1 to those of a day.
    minutes: u16,
}

impl Window {
    /// The time that it lasts.
    pub fn length(&self) -> Span {
        Span::seconds(u64::from(self.minutes) * 60)
    }

    /// Tell whether a moment lies in it.
    pub fn contains(&self, at: DateTime) -> bool {
        let minute = minute_of(at);
        let today = self.begins_on(at) && (self.from..self.from + self.minutes).contains(&minute);
        // One that began yesterday goes on after midnight.
        let yesterday = at.checked_sub(1.day()).is_ok_and(|before| self.begins_on(before));
        today || (yesterday && minute + DAY < self.from + self.minutes)
    }

    /// Find when it begins next; `None` at the end of all calendars.
    pub fn next(&self, after: DateTime) -> Option<DateTime> {
        let (hour, minute) = (i8::try_from(self.from / 60).ok()?, i8::try_from(self.from % 60).ok()?);
        let begin = Time::new(hour, minute, 0, 0).ok()?;
        let days = (0i64..=7).filter_map(|days| Some(after.date().checked_add(days.days()).ok()?.to_datetime(begin)));
        days.filter(|at| *at > after).find(|at| self.begins_on(*at))
    }

    fn begins_on(&self, at: DateTime) -> bool {
        self.days.get(day(at.weekday())).copied().unwrap_or(false)
    }
}

fn minute_of(at: DateTime) -> u16 {
    u16::try_from(i16::from(at.hour()) * 60 + i16::from(at.minute())).unwrap_or(0)
}

/// The place of a day in the week, from 0 on.
fn day(weekday: Weekday) -> usize {
    usize::try_from(weekday.to_monday_zero_offset()).unwrap_or(0)
}

impl FromStr for Window {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (days, times) = match text.trim().rsplit_once(' ') {
            Some((days, times)) => (read_days(days.trim())?, times),
            None => ([true; 7], text.trim()),
        };
        let (from, to) = times.split_once('-').ok_or(WRONG)?;
        let (from, to) = (minute(from).filter(|from| *from < DAY).ok_or(WRONG)?, minute(to).ok_or(WRONG)?);
        let minutes = match to.checked_sub(from) {
            Some(0) => return Err("ends when it begins"),
            Some(minutes) => minutes,
            // Past midnight.
            None => to + DAY - from,
        };
        Ok(Self { days, from, minutes })
    }
}

/// Read `HH:MM`, up to 24:00.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |part: &str| (part.len() == 2 && part.chars().all(|c| c.is_ascii_digit())).then(|| part.parse().ok());
    let (hours, minutes): (u16, u16) = (two(hours)??, two(minutes)??);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY).then_some(minute)
}

/// Read days: `Sun`, `Sat,Sun`, `Mon-Fri`.
fn read_days(text: &str) -> Result<[bool; 7], &'static str> {
    let known = |name: &str| {
        let wrong = "names a day that is none of Mon, Tue, Wed, Thu, Fri, Sat and Sun";
        DAYS.iter().position(|day| day.eq_ignore_ascii_case(name.trim())).ok_or(wrong)
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (known(first)?, known(last)?),
            None => (known(part)?, known(part)?),
        };
        // From Saturday to Monday goes round the end of the week.
        let count = (last + 7 - first) % 7;
        for day in first..=first + count {
            if let Some(is) = days.get_mut(day % 7) {
                *is = true;
            }
        }
    }
    Ok(days)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days.contains(&false) {
            let named = DAYS.iter().zip(self.days).filter(|(_, is)| *is).map(|(name, _)| *name);
            write!(f, "{} ", named.collect::<Vec<_>>().join(","))?;
        }
        let end = match self.from + self.minutes {
            end if end > DAY => end - DAY,
            end => end,
        };
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, end / 60, end % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn a_window_is_days_and_times_and_may_go_past_midnight() {
        for (text, shown, hours) in [
            ("Sun 04:00-06:00", "Sun 04:00-06:00", 2),
            ("sat,Sun 22:00-02:00", "Sat,Sun 22:00-02:00", 4),
            ("Mon-Fri 01:00-02:00", "Mon,Tue,Wed,Thu,Fri 01:00-02:00", 1),
            ("Sat-Mon 01:00-02:00", "Mon,Sat,Sun 01:00-02:00", 1),
            ("00:00-24:00", "00:00-24:00", 24),
            ("Mon-Sun 03:00-04:00", "03:00-04:00", 1),
            ("Sun 22:00-24:00", "Sun 22:00-24:00", 2),
        ] {
            let window: Window = text.parse().unwrap();
            assert_eq!((window.to_string().as_str(), window.length().seconds), (shown, hours * 3600), "{text}");
            assert_eq!(shown.parse(), Ok(window));
        }
        for wrong in [
            "",
            "Sun",
            "04:00",
            "Sun 4:00-6:00",
            "Sun 04:00-06:60",
            "Sun 24:00-25:00",
            "Son 04:00-06:00",
            "Sun 04:00 06:00",
            "04:00-04:00",
            "Sun, 04:00-06:00",
            "Sun 04:00-06:00 daily",
            "Sun 04:00-24:01",
        ] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_in_it_or_not_and_it_begins_again() {
        // The 29th of November 2026 is a Sunday.
        let at = |day: i8, hour: i8, minute: i8| date(2026, 11, day).at(hour, minute, 0, 0);
        let sunday: Window = "Sun 04:00-06:00".parse().unwrap();
        let seen = [at(29, 3, 59), at(29, 4, 0), at(29, 5, 59), at(29, 6, 0), at(28, 5, 0)];
        assert_eq!(seen.map(|at| sunday.contains(at)), [false, true, true, false, false]);
        assert_eq!(sunday.next(at(29, 3, 59)), Some(at(29, 4, 0)));
        assert_eq!(sunday.next(at(29, 4, 0)), Some(date(2026, 12, 6).at(4, 0, 0, 0)));
        let night: Window = "Sat 22:00-02:00".parse().unwrap();
        let seen = [at(28, 21, 59), at(28, 22, 0), at(29, 1, 59), at(29, 2, 0), at(28, 1, 0), at(29, 22, 0)];
        assert_eq!(seen.map(|at| night.contains(at)), [false, true, true, false, false, false]);
    }
}
