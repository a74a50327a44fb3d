//! Consent: what a command is about to do is shown, and asked for.

use super::failure::Failure;
use super::print::Output;
use crate::terminal;
use crate::wire::Refusal;
use std::io::{self, IsTerminal};

/// Show what is about to be done and ask whether it is to be; with `yes` nobody is asked.
///
/// # Errors
/// `NOT_CONFIRMED`: there is nobody to ask.
pub(super) fn consents(yes: bool, output: Output, shown: &str, question: &str) -> Result<bool, Failure> {
    if output.is_text() {
        output.say(shown)?;
    }
    if yes {
        return Ok(true);
    }
    if !output.is_text() || !io::stdin().is_terminal() {
        let remedy = "say that it is meant: --yes";
        return Err(Failure::refused(Refusal::NotConfirmed, format!("{question} Nobody is there to ask"), remedy));
    }
    terminal::out(&format!("{question} [y/N] "))?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Show what is about to be done, and ask for a word that shows that it is meant: the name of what it is done to. A word
/// that was `given` beforehand counts as one that is typed.
///
/// # Errors
/// `NOT_CONFIRMED`: it is another word, or there is nobody to ask.
pub(super) fn types(
    word: &str,
    given: Option<&str>,
    output: Output,
    shown: &str,
    ask: Asked<'_>,
) -> Result<(), Failure> {
    if output.is_text() {
        output.say(shown)?;
    }
    let refused = |why: String| Err(Failure::refused(Refusal::NotConfirmed, why, ask.remedy));
    let typed = match given {
        Some(given) => given.to_owned(),
        None if !output.is_text() || !io::stdin().is_terminal() => {
            return refused(format!("{} Nobody is there to ask", ask.question));
        }
        None => {
            terminal::out(&format!("{} ", ask.question))?;
            let mut line = String::new();
            io::stdin().read_line(&mut line)?;
            line
        }
    };
    if typed.trim() == word { Ok(()) } else { refused(format!("{}: nothing was done", ask.other)) }
}

/// Words of a question for a name: the question, what another answer is, and what says it beforehand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) question: &'a str,
    pub(super) other: &'a str,
    pub(super) remedy: &'a str,
}
