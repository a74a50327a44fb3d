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
