//! Output of commands: an answer as a person or as a program reads it, and the words that several texts share.

use super::failure::Failure;
use crate::screen::Screen;
use crate::terminal;
use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;
use std::net::IpAddr;

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// Text for a person, as it has room on the screen.
    #[value(skip)]
    Text,
    /// Text for a person: every column, and nothing shortened.
    Wide,
    /// The supervisor's answer, as it comes over HTTP.
    Json,
    /// The same as YAML.
    Yaml,
    /// The names alone, a line each, of what is listed, shown or done.
    Name,
}

/// Output of a command: the form of it, and the screen that it is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) form: Form,
    pub(super) screen: Screen,
}

impl Output {
    /// Make the output of a form, on the terminal that there is.
    pub(super) fn new(form: Form) -> Self {
        let screen = if form == Form::Wide { Screen { columns: None, wide: true } } else { terminal::screen() };
        Self { form, screen }
    }

    /// Tell whether a person reads it: what is going on is told as well then.
    pub(super) fn is_text(self) -> bool {
        matches!(self.form, Form::Text | Form::Wide)
    }

    /// Write a value for a program; `false` if a person is to read it, or names are wanted.
    pub(super) fn write(self, value: &(impl Serialize + ?Sized)) -> Result<bool, Failure> {
        match self.form {
            Form::Json => terminal::json(value)?,
            Form::Yaml => terminal::yaml(value)?,
            Form::Text | Form::Wide | Form::Name => return Ok(false),
        }
        Ok(true)
    }

    /// Write what a person reads, folded to the screen.
    pub(super) fn say(self, text: &str) -> Result<(), Failure> {
        Ok(terminal::out(&self.screen.fold(text))?)
    }
}

impl Output {
    /// Show a value: for a program, by its names, or as a person reads it.
    pub(super) fn show<T: Serialize + ?Sized>(
        self,
        value: &T,
        names: impl FnOnce() -> Vec<String>,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.form {
            Form::Name => self.say(&names().into_iter().map(|name| name + "\n").collect::<String>()),
            _ => print(self, value, text),
        }
    }

    /// List values, each with a name.
    pub(super) fn list<T: Serialize>(
        self,
        values: &[T],
        name: impl Fn(&T) -> String,
        text: impl FnOnce(&[T]) -> String,
    ) -> Result<(), Failure> {
        self.show(values, || values.iter().map(name).collect(), text)
    }
}

/// Print a value that has no name of its own, for a program or as a person reads it.
pub(super) fn print<T: Serialize + ?Sized>(
    output: Output,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    if output.write(value)? { Ok(()) } else { output.say(&text(value)) }
}

/// Write how long ago something was, in the largest unit that is not zero.
pub(super) fn ago(since: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(since).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Write a value, or a dash for none.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// Write an address, with its name if it has one.
pub(super) fn named(address: &IpAddr, name: Option<&String>) -> String {
    name.map_or_else(|| address.to_string(), |name| format!("{address} ({name})"))
}
