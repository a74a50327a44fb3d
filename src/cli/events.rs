//! `sledctl events`: what happened on the sled, and what happens. With the supervisor down they are read from the
//! files in which it keeps them.

use super::client::Client;
use super::failure::Failure;
use super::print::{Form, Output};
use crate::api::{Operation, Since};
use crate::events::{Since as From, Wanted};
use crate::names::{RegionName, VolumeName};
use crate::store::events::dir;
use crate::table::Tone;
use crate::terminal;
use crate::times;
use crate::wire::{Event, EventKind, Events};
use clap::Args;
use jiff::tz::TimeZone;
use std::io;
use std::time::Duration;
use tokio::time::sleep;

/// Number of events that are asked for at once.
const PAGE: u64 = 1000;
/// Number of events that are shown if nobody says from when on; before those that are followed, fewer.
const LAST: u64 = 100;
const LAST_FOLLOWED: u64 = 10;
/// Time between two attempts to go on following.
const RETRY_POLL: Duration = Duration::from_millis(500);

/// Show what happened: conditions, states of regions, tickets, jobs and who asked for them, restarts.
#[derive(Debug, Args)]
pub(super) struct EventsCommand {
    /// From when on: so long ago (2d, 3h, 30m), a time (2026-11-30T07:00:00Z), or behind the event of this number;
    /// without it the last hundred.
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,

    /// Those of this region alone.
    #[arg(long, value_name = "REGION")]
    region: Option<RegionName>,

    /// Those of this volume and its regions alone.
    #[arg(long, value_name = "VOLUME")]
    volume: Option<VolumeName>,

    /// Those of this check or error alone, by its code.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,

    /// Go on with what happens, until it is interrupted.
    #[arg(short, long)]
    follow: bool,
}

fn since(text: &str) -> Result<Since, String> {
    Since::parse(text).ok_or_else(|| "write how long ago (2d), a time (2026-11-30T07:00:00Z), or a number".into())
}

impl EventsCommand {
    /// Show the events, and go on with those that come if that is wanted.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let read = match self.read(client).await {
            // The files are root's: who may not read them is told why the supervisor does not answer.
            Err(Failure::Unreachable(socket, why)) if !self.follow => match self.read_files() {
                Ok(events) => {
                    let files = dir();
                    terminal::note(&format!(
                        "sledctl: the supervisor cannot be reached ({why}); these are read from {}",
                        files.display()
                    ));
                    (events, None)
                }
                Err(_) => return Err(Failure::Unreachable(socket, why)),
            },
            read => read.map(|events| (events.events.clone(), Some(events)))?,
        };
        let (events, answer) = read;
        if self.follow {
            events.iter().try_for_each(|event| show(event, output))?;
            return self.go_on(client, answer.map_or(0, |answer| answer.last), output).await;
        }
        let written = match &answer {
            Some(answer) => output.write(answer)?,
            None => output.write(&events)?,
        };
        if !written && output.form == Form::Name {
            terminal::out(&events.iter().map(|event| format!("{}\n", event.id)).collect::<String>())?;
        } else if !written {
            output.say(&text(&events))?;
        }
        Ok(true)
    }

    fn operation(&self, since: Option<Since>, limit: u64) -> Operation {
        Operation::ListEvents {
            since,
            region: self.region.clone(),
            volume: self.volume.clone(),
            code: self.code.clone(),
            limit: Some(limit),
        }
    }

    /// Ask the supervisor, as often as it takes to have all.
    async fn read(&self, client: &Client) -> Result<Events, Failure> {
        let (mut since, mut all) = (self.since, Vec::new());
        let limit = match (self.since, self.follow) {
            (Some(_), _) => PAGE,
            (None, false) => LAST,
            (None, true) => LAST_FOLLOWED,
        };
        loop {
            let mut page: Events = client.ask(&self.operation(since, limit)).await?;
            all.append(&mut page.events);
            match all.last() {
                Some(last) if page.more => since = Some(Since::Id(last.id)),
                _ => return Ok(Events { events: all, ..page }),
            }
        }
    }

    /// Read the files as the supervisor would.
    fn read_files(&self) -> io::Result<Vec<Event>> {
        let since = self.since.map(|since| match since {
            Since::Id(id) => From::Id(id),
            Since::Time(time) => From::Time(time),
            Since::Ago(span) => {
                From::Time(times::now().checked_sub(Duration::from(span)).unwrap_or(jiff::Timestamp::MIN))
            }
        });
        let (region, volume, code) = (self.region.clone(), self.volume.clone(), self.code.clone());
        let wanted = Wanted { since, region, volume, code };
        let limit = if since.is_some() { usize::MAX } else { LAST as usize };
        std::fs::read_dir(dir())?;
        Ok(wanted.read(&dir(), limit)?.lines.into_iter().map(|line| line.event).collect())
    }

    /// Show what comes, over restarts of the supervisor too.
    async fn go_on(&self, client: &Client, mut last: u64, output: Output) -> Result<bool, Failure> {
        loop {
            let (asked, from) = (self.operation(None, PAGE), last);
            let told = client
                .follow(&asked, from, |told| {
                    last = told.id.unwrap_or(last);
                    match (told.name.as_deref(), serde_json::from_str::<Event>(&told.data)) {
                        (Some("lagged"), _) => {
                            terminal::note("sledctl: some events were missed: they are not kept any more");
                            Ok(())
                        }
                        (None, Ok(event)) => show(&event, output),
                        // What another version tells in another way is not for this one.
                        _ => Ok(()),
                    }
                })
                .await;
            match told {
                // It goes on when the supervisor is there again.
                Ok(()) | Err(Failure::Unreachable(..)) => sleep(RETRY_POLL).await,
                Err(Failure::Refused(why)) if why.code.status().is_server_error() => sleep(RETRY_POLL).await,
                Err(why) => return Err(why),
            }
        }
    }
}

/// Show an event as it comes; as JSON in a line.
fn show(event: &Event, output: Output) -> Result<(), Failure> {
    match output.form {
        Form::Text | Form::Wide => output.say(&line(event))?,
        Form::Json => terminal::out(&(serde_json::to_string(event).map_err(io::Error::from)? + "\n"))?,
        Form::Yaml => terminal::yaml(&[event])?,
        Form::Name => terminal::out(&format!("{}\n", event.id))?,
    }
    Ok(())
}

fn text(events: &[Event]) -> String {
    if events.is_empty() {
        return "no events\n".into();
    }
    events.iter().map(line).collect()
}

/// Write an event: when by the local clock, about what, what has changed, why, and who asked.
fn line(event: &Event) -> String {
    let time = times::in_seconds(event.time).to_zoned(TimeZone::system());
    let time = Tone::Faint.paint(&time.strftime("%Y-%m-%d %H:%M:%S").to_string());
    let what = match (&event.before, &event.after) {
        (Some(before), Some(after)) => format!("{before} -> {after}"),
        (None, Some(after)) => after.clone(),
        (Some(before), None) => before.clone(),
        (None, None) => String::new(),
    };
    let code = event.code.as_ref().map(|code| code.as_str()).unwrap_or_default();
    let kind = tone(event).paint(said(&event.kind));
    let words = [event.subject.as_str(), &kind, code, &what];
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let cause = event.cause.as_ref().map(|cause| format!(": {}", cause.replace('\n', "; "))).unwrap_or_default();
    let by = event.by.as_ref().map(|by| format!(" (by {by})")).unwrap_or_default();
    format!("{time}  {}{cause}{by}\n", words.join(" "))
}

/// Word a kind, as it stands behind a subject.
fn said(kind: &EventKind) -> &str {
    match kind {
        EventKind::CheckRaised => "raised",
        EventKind::CheckOver => "over",
        EventKind::RegionState => "is",
        EventKind::RegionStopped => "was stopped",
        EventKind::TicketGranted => "ticket granted",
        EventKind::Takeover => "taken over",
        EventKind::TicketReleased => "ticket released",
        EventKind::TicketRefused => "ticket refused",
        EventKind::HostDenied => "host cut off",
        EventKind::HostAllowed => "host let in",
        EventKind::JobBegun => "begun",
        EventKind::JobEnded => "ended",
        EventKind::Configuration => "in force",
        EventKind::Maintenance => "maintenance",
        EventKind::Drain => "drain",
        EventKind::NicRejoined => "put back",
        EventKind::Update => "updated",
        EventKind::Booted => "booted",
        EventKind::SleddStarted => "started",
        EventKind::SleddEnded => "ended",
        EventKind::ClockStep => "set",
        EventKind::EventsLost => "lost",
        EventKind::EventsDamaged => "damaged",
        EventKind::Other(other) => other,
    }
}

fn tone(event: &Event) -> Tone {
    match (&event.kind, event.after.as_deref()) {
        (EventKind::CheckOver, _) | (EventKind::RegionState, Some("serving")) | (EventKind::JobEnded, Some("done")) => {
            Tone::Well
        }
        (EventKind::JobEnded | EventKind::RegionState, Some("failed" | "hung" | "missing")) => Tone::Bad,
        (EventKind::CheckRaised | EventKind::RegionStopped | EventKind::Takeover | EventKind::HostDenied, _)
        | (EventKind::EventsLost | EventKind::EventsDamaged | EventKind::ClockStep, _) => Tone::Warning,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean;
    use crate::wire::Asker;

    #[test]
    fn a_line_says_what_changed_why_and_who_asked() {
        let mut event = crate::events::News::of(EventKind::RegionState, "region still-fawn-0").0;
        (event.before, event.after) = (Some("serving".into()), Some("held".into()));
        (event.cause, event.by) = (Some("job 7: hold\n\x1b[2J".into()), Some(Asker::User("root".into())));
        let shown = clean::page(&line(&event)).into_owned();
        assert!(shown.contains("region still-fawn-0 is serving -> held: job 7: hold; \\u{1b}[2J (by root)"), "{shown}");
        assert_eq!(shown.lines().count(), 1);
        for kind in EventKind::ALL {
            assert!(!said(kind).is_empty() && !said(kind).contains('_'), "{kind}");
        }
    }
}
