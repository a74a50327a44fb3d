//! Report of an installation, step by step as it comes: lines, or one JSON value at the end. Text of other programs
//! is in it, and is made harmless where it is printed.

use super::super::failure::Failure;
use crate::clean;
use crate::names::VolumeName;
use crate::table::Tone;
use crate::terminal;
use serde::Serialize;
use serde_json::json;
use std::process::ExitCode;

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// The step was done.
    Done,
    /// The host was so already.
    Already,
    /// The step would be done.
    Would,
    /// The outcome can be told when other steps are done.
    Later,
    /// The step does not belong to this.
    Skipped,
}

impl Outcome {
    fn painted(self) -> String {
        let (word, tone) = match self {
            Self::Done => ("done", Tone::Well),
            Self::Already => ("already so", Tone::Faint),
            Self::Would => ("would do", Tone::Warning),
            Self::Later => ("later", Tone::Faint),
            Self::Skipped => ("skipped", Tone::Faint),
        };
        tone.paint(&format!("{word:<10}"))
    }
}

#[derive(Debug, Serialize)]
struct Line {
    step: &'static str,
    outcome: Outcome,
    what: String,
}

/// The report on an installation, so far.
#[derive(Debug)]
pub(super) struct Report<'a> {
    volume: &'a VolumeName,
    json: bool,
    lines: Vec<Line>,
}

impl<'a> Report<'a> {
    pub(super) fn new(volume: &'a VolumeName, json: bool) -> Self {
        Self { volume, json, lines: Vec::new() }
    }

    /// Report what has come of a step.
    ///
    /// # Errors
    /// If nobody reads it.
    pub(super) fn says(&mut self, step: &'static str, outcome: Outcome, what: String) -> Result<(), Failure> {
        if !self.json {
            terminal::out(&format!("{}  {step:<13}  {}\n", outcome.painted(), clean::line(&what)))?;
        }
        self.lines.push(Line { step, outcome, what });
        Ok(())
    }

    /// Report how the installation has ended.
    ///
    /// # Errors
    /// The failure, if it is to be said elsewhere.
    pub(super) fn ends(self, ended: Result<String, Failure>) -> Result<ExitCode, Failure> {
        let (code, error) = match &ended {
            Ok(_) => (ExitCode::SUCCESS, None),
            Err(failure) => (failure.code(), Some(failure.error())),
        };
        if self.json {
            let changed = self.lines.iter().any(|line| line.outcome == Outcome::Done);
            let mut value = json!({ "volume": self.volume, "changed": changed, "steps": self.lines });
            if let Some(error) = error {
                value["error"] = json!(error);
            }
            terminal::json(&value)?;
            return Ok(code);
        }
        terminal::out(&format!("{}\n", ended?))?;
        Ok(code)
    }

    /// Whether anything was done, or would be.
    pub(super) fn is_idle(&self) -> bool {
        !self.lines.iter().any(|line| [Outcome::Done, Outcome::Would].contains(&line.outcome))
    }
}
