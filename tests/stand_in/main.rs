//! A stand-in for Oxide's `crucible-downstairs`, for tests.
//!
//! The stand-in behaves towards a supervisor as the real program does: the same command line, region directories,
//! ports, messages, exit codes and ways to die. It never keeps a block of data: an upstairs can connect and become
//! active, and nothing more. On demand it misbehaves (see `faults`).

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test program: what cannot fail may panic")]

mod command;
mod create;
mod data_port;
mod extent;
mod faults;
mod log;
mod main_loop;
mod region;
mod repair_port;
mod run;
mod tls;
mod verify;
mod version;
mod wire;

use clap::Parser;
use command::{Arguments, Command};
use stand_ins::failure::{Failure, Outcome};

fn main() {
    abort_on_panic();
    let arguments = Arguments::try_parse().unwrap_or_else(|refusal| {
        // The real one answers --help, too, on stderr and with 1.
        eprint!("{refusal}");
        std::process::exit(1)
    });
    if let Err(failure) = obey(arguments.command) {
        failure.print();
        std::process::exit(1);
    }
}

fn obey(command: Command) -> Outcome {
    match command {
        Command::Create(options) => create::create(&options),
        Command::Run(options) => run::run(options),
        Command::Verify(options) => verify::verify(&options.data),
        Command::Version => {
            println!("{}\n{}", version::build(), version::message());
            Ok(())
        }
        Command::Dump(_) | Command::Export(_) | Command::Clone(_) | Command::ExtentInfo(_) => {
            Err(Failure::new("the stand-in has no such command"))
        }
    }
}

/// Makes a panic on any thread end the process with SIGABRT, as the real one,
/// which is built that way; a thread of its own that dies unseen would not be
/// noticed by the tests.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
