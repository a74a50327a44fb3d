//! Parameters of operations, in a path or a query: how each kind is read and written. A parameter that is not
//! understood is refused, never guessed. Pure.

use crate::names::{RegionName, VolumeName};
use crate::span::Span;
use crate::wire::{Error, Refusal};
use jiff::Timestamp;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

/// The longest that an answer is held, in seconds.
const HELD_LIMIT_SECONDS: f64 = 60.0;
/// The longest sentence that somebody may give as a reason, in characters.
const SENTENCE_LIMIT: usize = 200;

/// A kind of parameter, as it is described to people and machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A region's name, VOLUME-INDEX.
    Region,
    /// A volume's name.
    Volume,
    /// `true` or `false`.
    Flag,
    /// `true`, `false`, or nothing behind its name, which is `true`.
    Pretty,
    /// A whole number.
    Number,
    /// A number of seconds from 0 to 60.
    Seconds,
    /// The number of a job.
    Job,
    /// The number of a configuration.
    Configuration,
    /// A second since 1970.
    Unix,
    /// A length of time such as `30m`.
    Span,
    /// The number of an event, a time, or how long ago such as `2d`.
    Since,
    /// Line of up to 200 characters.
    Sentence,
    /// An absolute path of letters, digits and `._-+`.
    Directory,
    /// A UUID.
    Uuid,
    /// Any text.
    Text,
}

/// A parameter as the table of operations has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterRow {
    /// The parameter's name, as it is written.
    pub name: &'static str,
    /// Kind of the parameter.
    pub kind: Kind,
    /// A required parameter is one without which the operation is refused.
    pub required: bool,
}

/// A value that stands in a path or a query.
pub trait Parameter: Sized {
    /// Kind of the parameter.
    const KIND: Kind;
    /// A required parameter has to be there.
    const REQUIRED: bool = true;

    /// Read the value of the parameter of this name.
    ///
    /// # Errors
    /// The text is no such value.
    fn read(name: &str, text: &str) -> Result<Self, Error>;

    /// The value of a parameter that is not given.
    ///
    /// # Errors
    /// It has to be.
    fn absent(name: &str) -> Result<Self, Error> {
        Err(Error::new(Refusal::BadQuery, format!("{name} is missing"), format!("say {name}=…")))
    }

    /// The value as [`Parameter::read`] reads it; `None` if it is not to be given.
    fn write(&self) -> Option<String>;
}

fn bad(name: &str, what: &str, remedy: &str) -> Error {
    Error::new(Refusal::BadQuery, format!("{name} {what}"), remedy)
}

impl<T: Parameter> Parameter for Option<T> {
    const KIND: Kind = T::KIND;
    const REQUIRED: bool = false;

    fn read(name: &str, text: &str) -> Result<Self, Error> {
        T::read(name, text).map(Some)
    }

    fn absent(_: &str) -> Result<Self, Error> {
        Ok(None)
    }

    fn write(&self) -> Option<String> {
        self.as_ref().and_then(T::write)
    }
}

/// A flag: absent it is false.
impl Parameter for bool {
    const KIND: Kind = Kind::Flag;
    const REQUIRED: bool = false;

    fn read(name: &str, text: &str) -> Result<Self, Error> {
        text.parse().map_err(|_| bad(name, &format!("is {text:?}"), "write true or false"))
    }

    fn absent(_: &str) -> Result<Self, Error> {
        Ok(false)
    }

    fn write(&self) -> Option<String> {
        self.then(|| "true".into())
    }
}

/// `true` or `false`, one of which has to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice(pub bool);

impl Parameter for Choice {
    const KIND: Kind = Kind::Flag;

    fn read(name: &str, text: &str) -> Result<Self, Error> {
        bool::read(name, text).map(Self)
    }

    fn absent(name: &str) -> Result<Self, Error> {
        Err(Error::new(Refusal::BadQuery, format!("{name} is missing"), format!("write {name}=true or {name}=false")))
    }

    fn write(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

impl Parameter for RegionName {
    const KIND: Kind = Kind::Region;

    fn read(_: &str, text: &str) -> Result<Self, Error> {
        let wrong = |why| Error::new(Refusal::BadName, format!("{text:?}: {why}"), "for example still-fawn-0");
        text.parse().map_err(wrong)
    }

    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A text that is no volume's name is the name of none.
impl Parameter for VolumeName {
    const KIND: Kind = Kind::Volume;

    fn read(_: &str, text: &str) -> Result<Self, Error> {
        let message = || format!("the port map has no volume {text}");
        text.parse().map_err(|_| Error::new(Refusal::VolumeUnknown, message(), "see GET /v1/volumes"))
    }

    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Parameter for String {
    const KIND: Kind = Kind::Text;

    fn read(_: &str, text: &str) -> Result<Self, Error> {
        Ok(text.to_owned())
    }

    fn write(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Parameter for u64 {
    const KIND: Kind = Kind::Number;

    fn read(name: &str, text: &str) -> Result<Self, Error> {
        text.parse().map_err(|_| bad(name, "is no number", &format!("send {name} as the body has it that you have")))
    }

    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Parameter for Uuid {
    const KIND: Kind = Kind::Uuid;

    fn read(name: &str, text: &str) -> Result<Self, Error> {
        let remedy = "write the one that sledctl storage init or status shows";
        text.parse().map_err(|_| bad(name, "is no UUID", remedy))
    }

    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Parameter for Span {
    const KIND: Kind = Kind::Span;

    fn read(name: &str, text: &str) -> Result<Self, Error> {
        let span: Self = text.parse().map_err(|why| {
            Error::new(Refusal::BadQuery, format!("{name} {why}"), "write a length of time such as 30m")
        })?;
        if span.seconds == 0 {
            return Err(bad(name, "is zero", "to end it: on=false"));
        }
        Ok(span)
    }

    fn write(&self) -> Option<String> {
        Some(format!("{}s", self.seconds))
    }
}

/// Whether a person reads the answer: `?pretty` indents it. Absent it is false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pretty(pub bool);

/// The parameter that every operation takes which answers with JSON.
pub const PRETTY: ParameterRow = ParameterRow { name: "pretty", kind: Kind::Pretty, required: false };

impl Parameter for Pretty {
    const KIND: Kind = Kind::Pretty;
    const REQUIRED: bool = false;

    fn read(name: &str, text: &str) -> Result<Self, Error> {
        match text {
            "" | "true" => Ok(Self(true)),
            "false" => Ok(Self(false)),
            _ => Err(bad(name, &format!("is {text:?}"), "write ?pretty, or leave it out")),
        }
    }

    fn absent(_: &str) -> Result<Self, Error> {
        Ok(Self(false))
    }

    fn write(&self) -> Option<String> {
        self.0.then(String::new)
    }
}

/// The number of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobId(pub u64);

impl Parameter for JobId {
    const KIND: Kind = Kind::Job;

    fn read(_: &str, text: &str) -> Result<Self, Error> {
        let message = || format!("there is no job {text}");
        let remedy = "sledctl jobs lists those that are remembered";
        text.parse().map(Self).map_err(|_| Error::new(Refusal::JobUnknown, message(), remedy))
    }

    fn write(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

/// The number of a configuration that was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigNumber(pub u64);

impl Parameter for ConfigNumber {
    const KIND: Kind = Kind::Configuration;

    fn read(_: &str, text: &str) -> Result<Self, Error> {
        let message = || format!("no configuration {text:?} is kept");
        let remedy = "sledctl config history lists those that are";
        text.parse().map(Self).map_err(|_| Error::new(Refusal::ConfigUnknown, message(), remedy))
    }

    fn write(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

/// The second at which a region was deleted, as its name in the trash has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unix(pub i64);

impl Parameter for Unix {
    const KIND: Kind = Kind::Unix;

    fn read(name: &str, text: &str) -> Result<Self, Error> {
        let remedy = "write what follows the region's name in the trash: sledctl storage";
        text.parse().map(Self).map_err(|_| bad(name, &format!("is no time: {text:?}"), remedy))
    }

    fn write(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

/// Time for which an answer is held at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held(pub Duration);

impl Parameter for Held {
    const KIND: Kind = Kind::Seconds;

    fn read(name: &str, text: &str) -> Result<Self, Error> {
        let seconds = text.parse().ok().filter(|seconds| (0.0..=HELD_LIMIT_SECONDS).contains(seconds));
        let wrong = || bad(name, "is no number from 0 to 60", "for example ?wait=30");
        seconds.map(|seconds| Self(Duration::from_secs_f64(seconds))).ok_or_else(wrong)
    }

    fn write(&self) -> Option<String> {
        Some(self.0.as_secs_f64().to_string())
    }
}

/// The point from which on events are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Those behind the event of this number.
    Id(u64),
    /// Those of the last so many seconds.
    Ago(Span),
    /// Those since this time.
    Time(Timestamp),
}

impl Since {
    /// Read such a point; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let id = || text.parse().ok().map(Self::Id);
        id().or_else(|| text.parse().ok().map(Self::Ago)).or_else(|| text.parse().ok().map(Self::Time))
    }
}

impl Parameter for Since {
    const KIND: Kind = Kind::Since;

    fn read(name: &str, text: &str) -> Result<Self, Error> {
        let remedy = "write how long ago (2d), a time (2026-11-30T07:00:00Z), or the number of an event";
        Self::parse(text).ok_or_else(|| bad(name, &format!("is {text:?}"), remedy))
    }

    fn write(&self) -> Option<String> {
        Some(match self {
            Self::Id(id) => id.to_string(),
            Self::Ago(span) => format!("{}s", span.seconds),
            Self::Time(time) => time.to_string(),
        })
    }
}

/// A reason in words: one line, and not too long to be shown everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence(pub String);

impl Parameter for Sentence {
    const KIND: Kind = Kind::Sentence;

    fn read(name: &str, text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.chars().any(char::is_control) || text.chars().count() > SENTENCE_LIMIT {
            let what = "is too long, or has control characters in it";
            return Err(bad(name, what, "one line of up to 200 characters"));
        }
        Ok(Self(text.to_owned()))
    }

    fn write(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

/// A directory, as it stands in unit files: nothing in it needs quoting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory(pub PathBuf);

impl Parameter for Directory {
    const KIND: Kind = Kind::Directory;

    fn read(_: &str, text: &str) -> Result<Self, Error> {
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
        let whole = text.starts_with('/') && text.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
        if !(plain && whole) {
            let remedy = "an absolute path of letters, digits and ._-+, for example /crucible/vm-still-fawn-0";
            return Err(Error::new(Refusal::BadPath, format!("{text:?} is no plain absolute path"), remedy));
        }
        Ok(Self(text.into()))
    }

    fn write(&self) -> Option<String> {
        Some(self.0.display().to_string())
    }
}
