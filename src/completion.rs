//! Completions: what a shell may put where its cursor is. The shells' half is `clap_complete`'s; here an argument gets
//! candidates by what it is called in the help.

use clap::Command;
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

/// Answer a shell that asks for completions, and end the process; do nothing if none does (COMPLETE is not set).
pub fn answer(program: impl Fn() -> Command) {
    CompleteEnv::with_factory(program).complete();
}

/// Give each argument of a program, and of its commands, the candidates that there are for its name in the help.
pub fn with_candidates(command: Command, find: &dyn Fn(&str) -> Option<ArgValueCandidates>) -> Command {
    let command = command.mut_args(|argument| {
        let name = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        match name.as_deref().and_then(find) {
            Some(candidates) => argument.add(candidates),
            None => argument,
        }
    });
    command.mut_subcommands(|command| with_candidates(command, find))
}

/// A word that may stand there, and what it is in a few words.
pub fn candidate(word: impl ToString, help: impl ToString) -> CompletionCandidate {
    let help = help.to_string();
    CompletionCandidate::new(word.to_string()).help((!help.is_empty()).then(|| help.into()))
}
