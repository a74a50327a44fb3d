//! A stand-in for Oxide's `crucible-nbd-server`, for tests.
//!
//! Towards its client, its sleds and whoever started it, it behaves as the real program does, its bad
//! manners included: it acknowledges what it has not kept, and drops a connection rather than say why.
//!
//!     STAND_IN_STORE=DIR STAND_IN_SIZE=16777216 crucible-nbd-server --target A:P --target A:P --target A:P --gen 5
//!
//! The targets need no more than answer `Ruok`: the volume itself is in DIR, which the first server to
//! find none there makes, of `STAND_IN_SIZE` bytes in blocks of `STAND_IN_BLOCK_SIZE` (4096 without
//! it). All servers of one volume are given the same DIR, as if they had the same sleds. Of what a
//! server was sent nothing is in DIR before a flush, and all of it after that (see `volume`): whoever
//! kills it loses everything acknowledged since the last flush, each time.
//!
//! It listens on 127.0.0.1:10809 and nowhere else, as the real one. Tests that run beside each other
//! have a network namespace each (`tests/support/src/loopback.rs`).
//!
//! The rest is set by the environment as well:
//!
//! - `STAND_IN_RETRY=MS`: how soon it connects anew to a target that is away, 200 ms without it. The
//!   real one takes 10 s.
//! - `STAND_IN_NAGLE=1`: answers in several small writes, with Nagle's algorithm, as the real one: 44 ms
//!   each to a client that does not acknowledge at once. Without it they leave in one piece, at once.
//! - Faults are lines of DIR/stand-in-fault, which may change while it runs (see `faults`).
//!
//! What the real one does beyond that is left out: it flushes by itself every half second and at 64
//! MiB, which only makes losses rarer, and repairs replicas that were away, which here are well at once.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test program: what cannot fail may panic")]

mod command;
mod control;
mod faults;
mod handshake;
mod replica;
mod replicas;
mod reply;
mod settings;
mod store;
mod tls;
mod transmission;
mod volume;

use clap::Parser;
use command::Opt;
use control::Control;
use faults::Faults;
use replicas::Replicas;
use settings::Settings;
use stand_ins::failure::Outcome;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use store::Store;
use tls::Tls;
use volume::Volume;

const ADDRESS: &str = "127.0.0.1:10809";

fn main() {
    abort_on_panic();
    let opt = Opt::parse();
    println!("raw options: {opt:?}");
    let Err(failure) = run(&opt);
    failure.print();
    std::process::exit(1)
}

fn run(opt: &Opt) -> Outcome<std::convert::Infallible> {
    opt.check();
    let settings = Settings::of_environment()?;
    let store = Store::open(&settings)?;
    let faults = Faults::of_store(&settings.store);
    let replicas = Replicas::connect(&opt.target, Tls::of(opt)?, settings.retry, faults.clone());
    println!("Crucible runtime is spawned");
    let control = opt.control.map(|address| Control::serve(address, Arc::clone(&replicas), faults.clone()));
    let active = volume::activate(store, opt.generation, &replicas, &faults)?;
    if let Some(control) = control {
        control.is_active();
    }
    let mut volume = Volume::new(active, replicas);
    // The server has the volume by now, whether it can serve it or not.
    let listener = TcpListener::bind(ADDRESS)
        .unwrap_or_else(|error| panic!("called `Result::unwrap()` on an `Err` value: {error:?}"));
    println!("NBD advertised size as {} bytes", volume.size());
    loop {
        let accepted = listener.accept();
        println!("waiting on nbd traffic");
        match accepted {
            Ok((stream, _)) => {
                if let Err(error) = serve(stream, &mut volume, &faults, settings.nagle) {
                    eprintln!("handle_nbd_client error: {error}");
                }
            }
            Err(_) => println!("Error"),
        }
    }
}

/// Serves one client to its end, while others wait.
fn serve(mut stream: TcpStream, volume: &mut Volume, faults: &Faults, nagle: bool) -> std::io::Result<()> {
    stream.set_nodelay(!nagle)?;
    faults.wait_while_hung();
    handshake::shake(&mut stream, volume.size(), nagle)?;
    transmission::serve(&mut stream, volume, faults, nagle)
}

/// Makes a panic on any thread end the process with SIGABRT, as the real one, which is built that way.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
