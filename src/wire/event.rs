//! Events: what happened on a sled, each in a line of JSON. What another version writes that this one does not know
//! of, a kind, an asker, a code or a field, is kept or overlooked, and is never an error. Pure.

use super::asker::Asker;
use super::error_code::ErrorCode;
use crate::names::{RegionName, SledName, VolumeName};
use crate::times::Rfc3339;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Something that happened, or began, or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// The event's number. A later event has a higher one, over restarts of the supervisor and of the machine too;
    /// numbers are left out.
    pub id: u64,
    /// The time by the sled's clock, in whole milliseconds. A clock may be set: `id` is the order.
    #[serde(with = "Rfc3339")]
    pub time: Timestamp,
    /// The boot of the machine (random(4), `boot_id`); empty if the kernel does not tell.
    #[serde(default)]
    pub boot: String,
    /// The time since that boot, in milliseconds.
    #[serde(default)]
    pub boot_ms: u64,
    /// The kind: what happened.
    pub kind: EventKind,
    /// The subject, for example `region still-fawn-0`.
    #[serde(default)]
    pub subject: String,
    /// The region that it concerns, if it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
    /// The volume that it concerns, if it concerns one; of a region, its volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeName>,
    /// The subject as it was before, in a word or a few; for example the state of a region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The subject as it is from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The cause, in a sentence, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The one who asked for it, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Asker>,
    /// The code of the check, or of the error with which it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

/// The body of `GET /v1/events`, asked for as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    /// The sled that answers.
    #[serde(default)]
    pub sled: Option<SledName>,
    /// The number of the oldest event that is kept; absent while there is none.
    #[serde(default)]
    pub oldest: Option<u64>,
    /// The number of the last event that there was; 0 before the first.
    pub last: u64,
    /// Whether there are more behind these: ask for those with `since`, the number of the last one here.
    pub more: bool,
    /// The events that were asked for, the oldest first.
    pub events: Vec<Event>,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal;)*) => {
        /// The kind of an event.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind {
            $($(#[doc = $doc])* $name,)*
            /// A kind that another version knows, as it is written there.
            Other(String),
        }

        impl EventKind {
            /// Every kind that this version knows.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The kind as it is written everywhere.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(text) => text,
                }
            }

            /// Read a kind as it is written.
            pub fn read(text: &str) -> Self {
                match text {
                    $($text => Self::$name,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

kinds! {
    /// A condition holds from now on; `code` is the check's, `cause` its cause.
    CheckRaised = "check_raised";
    /// A condition does not hold any more.
    CheckOver = "check_over";
    /// A region is in another state: `before` and `after`.
    RegionState = "region_state";
    /// A region was stopped or restarted by somebody else than the supervisor.
    RegionStopped = "region_stopped";
    /// A host was given a ticket: `after` is its address and generation.
    TicketGranted = "ticket_granted";
    /// A host was given a ticket although another, `before`, held one and had not let go of it.
    Takeover = "takeover";
    /// The holder of a ticket has let go of it.
    TicketReleased = "ticket_released";
    /// A host was refused a ticket: `after` is its address, `code` and `cause` say why. The same host is told of once an
    /// hour for the same reason, and at most eight refusals of a volume in an hour.
    TicketRefused = "ticket_refused";
    /// A host was cut off from a volume.
    HostDenied = "host_denied";
    /// A host that was cut off is let in again.
    HostAllowed = "host_allowed";
    /// A job was begun; `after` is its number.
    JobBegun = "job_begun";
    /// A job has ended: `after` is done, failed or cancelled.
    JobEnded = "job_ended";
    /// Another configuration is in force: the numbers are those of `sledctl config history`.
    Configuration = "configuration";
    /// Maintenance was begun or ended.
    Maintenance = "maintenance";
    /// The drain of a volume was begun or ended, or its host has said something.
    Drain = "drain";
    /// A network adapter that was away was put back into its bridge, `after`; or was not, and why.
    NicRejoined = "nic_rejoined";
    /// Another version of the supervisor or of the image runs.
    Update = "update";
    /// The machine was booted.
    Booted = "booted";
    /// The supervisor has started.
    SleddStarted = "sledd_started";
    /// The supervisor ends, as it was told to.
    SleddEnded = "sledd_ended";
    /// The clock was set: `before` and `after` are what it said.
    ClockStep = "clock_step";
    /// Events were lost that could not be written in time.
    EventsLost = "events_lost";
    /// The record of events could not be read or written as it should.
    EventsDamaged = "events_damaged";
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl JsonSchema for EventKind {
    fn schema_name() -> Cow<'static, str> {
        "EventKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let kinds: Vec<_> = Self::ALL.iter().map(Self::as_str).collect();
        json_schema!({
            "description": "The kind of an event; another version may know of more.",
            "anyOf": [{ "type": "string", "enum": kinds }, { "type": "string" }],
        })
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self::read(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Code;

    #[test]
    fn an_event_reads_back_as_it_was_written() {
        let event = Event {
            id: 1_796_000_000_000,
            time: "2026-11-30T06:23:21.5Z".parse().unwrap(),
            boot: "7c3e".into(),
            boot_ms: 9,
            kind: EventKind::CheckRaised,
            subject: "region still-fawn-0".into(),
            region: Some("still-fawn-0".parse().unwrap()),
            volume: Some("still-fawn".parse().unwrap()),
            before: None,
            after: None,
            cause: Some("it ended".into()),
            by: Some(Asker::Systemd),
            code: Some(Code::DiskLow.into()),
        };
        let text = serde_json::to_string(&event).unwrap();
        assert!(!text.contains("before") && !text.contains('\n'), "{text}");
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }

    #[test]
    fn what_another_version_wrote_can_be_read() {
        let text = r#"{"id":7,"time":"2026-11-30T06:23:21Z","kind":"moon_full","tide":{"high":true},
                       "by":"robot:7","code":"MOON_FULL"}"#;
        let event: Event = serde_json::from_str(text).unwrap();
        assert_eq!(event.kind, EventKind::Other("moon_full".into()));
        assert_eq!((event.by.unwrap().to_string(), event.code.unwrap().as_str()), ("robot:7".into(), "MOON_FULL"));
        for kind in EventKind::ALL {
            assert_eq!(EventKind::read(kind.as_str()), *kind);
        }
    }
}
