//! The kernel's network block device by the library, as a program that the tests run on their host. Not part
//! of the product.
//!
//! ```text
//! connect SERVER EXPORT BACKEND [--index N] [--dead-timeout SECONDS]   prints the number of the device
//! reconfigure INDEX SERVER EXPORT BACKEND
//! keep INDEX SERVER EXPORT BACKEND    gives it another server whenever its link is dead; says so
//! dead INDEX                          waits until its link is dead
//! disconnect INDEX | status INDEX | find BACKEND
//! ```
//!
//! SERVER is the path of a unix socket, or ADDRESS:PORT. A failure is a line CODE: sentence (remedy).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crucible_sled::backoff::Backoff;
use crucible_sled::device::backend::Backend;
use crucible_sled::device::dial::{Address, dial};
use crucible_sled::device::failure::Failure;
use crucible_sled::device::kernel::{Event, Kernel, LinkDead};
use crucible_sled::device::message::Connect;
use crucible_sled::device::{BLOCK_SIZE, DEAD_TIMEOUT};
use std::process::ExitCode;
use std::time::Duration;

const DIAL_LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match runtime.block_on(carry_out(&words)) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{}: {why} ({})", why.code(), why.remedy());
            ExitCode::FAILURE
        }
    }
}

async fn carry_out(words: &[&str]) -> Result<String, Failure> {
    let kernel = Kernel::default();
    let index = |word: &str| word.parse::<u32>().unwrap();
    Ok(match words {
        ["connect", server, export, backend, options @ ..] => {
            connect(&kernel, server, export, backend, options).await?.to_string()
        }
        ["reconfigure", at, server, export, backend] => {
            let (socket, _) = dial(&address(server), export, DIAL_LIMIT).await?;
            kernel.reconfigure(index(at), &of(backend), socket).await?;
            String::new()
        }
        ["keep", at, server, export, backend] => {
            keep(&kernel, index(at), &address(server), export, &of(backend)).await?
        }
        ["dead", at] => {
            let mut told = listen(&kernel).await?;
            while told.next().await? != Event::Dead(index(at)) {}
            String::new()
        }
        ["disconnect", at] => {
            kernel.disconnect(index(at)).await?;
            String::new()
        }
        ["status", at] => format!("{:?}", kernel.status(index(at)).await?),
        ["find", backend] => format!("{:?}", kernel.sysfs().find(&of(backend))?),
        _ => panic!("what is {words:?}?"),
    })
}

fn of(backend: &str) -> Backend {
    backend.parse().unwrap()
}

fn address(server: &str) -> Address {
    match server.parse() {
        Ok(address) => Address::Tcp(address),
        Err(_) => Address::Unix(server.into()),
    }
}

async fn connect(kernel: &Kernel, server: &str, export: &str, backend: &str, options: &[&str]) -> Result<u32, Failure> {
    let option = |name| options.iter().position(|word| *word == name).map(|at| options[at + 1].parse::<u32>().unwrap());
    let (socket, export) = dial(&address(server), export, DIAL_LIMIT).await?;
    let device = Connect {
        index: option("--index"),
        size: export.size,
        block_size: BLOCK_SIZE,
        server_flags: export.flags,
        client_flags: 0,
        dead_timeout: option("--dead-timeout").map_or(DEAD_TIMEOUT, |seconds| Duration::from_secs(seconds.into())),
        timeout: None,
        backend: of(backend),
    };
    kernel.connect(device, socket).await
}

/// Listens, and says that it does.
async fn listen(kernel: &Kernel) -> Result<LinkDead, Failure> {
    let told = kernel.link_dead().await?;
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).unwrap();
    Ok(told)
}

async fn keep(
    kernel: &Kernel,
    index: u32,
    server: &Address,
    export: &str,
    backend: &Backend,
) -> Result<String, Failure> {
    let mut told = listen(kernel).await?;
    loop {
        if told.next().await? != Event::Dead(index) {
            continue;
        }
        println!("dead");
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let socket = loop {
            match dial(server, export, DIAL_LIMIT).await {
                Ok((socket, _)) => break socket,
                Err(why) => eprintln!("{why}"),
            }
            backoff.pause().await;
        };
        kernel.reconfigure(index, backend, socket).await?;
        println!("it has another server");
    }
}
