//! `run`: starts a downstairs, in the order in which the real one starts.
//!
//! The region is not locked and no signal handler installed, as the real one does neither; a signal ends it at once.
//! It never returns when all is well.

use crate::command::{Mode, RunOptions};
use crate::faults::FaultFile;
use crate::main_loop::MainLoop;
use crate::region::{self, Region};
use crate::repair_port::RepairPort;
use crate::{data_port, extent, log, tls, version};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use stand_ins::failure::{Failure, Outcome};
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};

const REPAIR_PORT_ABOVE: u16 = 4000;
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
const DESCRIPTORS_AN_EXTENT: u64 = 4;
const DESCRIPTORS_ELSE: u64 = 13;

/// Runs a downstairs.
pub fn run(options: RunOptions) -> Outcome {
    let faults = FaultFile::of_region(&options.data).read()?;
    faults.strike_at_start();
    let read_only = options.mode == Mode::Ro;
    let region = open_region(&options.data)?;
    allow_descriptors(region.extent_count)?;
    // Held for as long as the process lives, as the real one does: a region
    // that is deleted meanwhile keeps its inodes.
    let (_extents, flushes) = open_extents(&options.data, &region, !read_only)?;
    log::plain(&format!("UUID: {}", region.uuid));
    log::plain(&format!("Blocks per extent:{} Total Extents: {}", region.extent_size.value, region.extent_count));
    require_ca_bundle();
    log::main_task(&version::build());
    log::main_task(&version::message());
    std::thread::sleep(faults.slow_start());
    listen(&options, region, flushes)
}

fn open_region(directory: &Path) -> Outcome<Region> {
    let region = Region::read(directory)?;
    let file = region::file(directory);
    log::plain(&format!("Opened existing region file {file:?}"));
    region.check_version()?;
    log::plain(&format!("Database read version {}", region.database_read_version));
    log::plain(&format!("Database write version {}", region.database_write_version));
    Ok(region)
}

fn allow_descriptors(extents: u32) -> Outcome {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(std::io::Error::from)?;
    if hard < DESCRIPTORS_AN_EXTENT * u64::from(extents) + DESCRIPTORS_ELSE {
        return Err(Failure::new("this downstairs cannot open all required files!"));
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(std::io::Error::from)?;
    Ok(())
}

fn open_extents(directory: &Path, region: &Region, writable: bool) -> Outcome<(Vec<File>, Vec<u64>)> {
    (0..region.extent_count)
        .map(|number| {
            let (file, trailer) = extent::open(directory, number, writable)?;
            Ok((file, trailer.flush))
        })
        .collect()
}

/// The real one loads the machine's CA certificates, with TLS or without.
fn require_ca_bundle() {
    let bundle = std::fs::read(CA_BUNDLE).unwrap_or_default();
    let mark = b"BEGIN CERTIFICATE";
    if !bundle.windows(mark.len()).any(|window| window == mark) {
        panic!("No CA certificates were loaded from the system");
    }
}

fn listen(options: &RunOptions, region: Region, flushes: Vec<u64>) -> Outcome {
    let data = SocketAddr::new(options.address, options.port);
    // The real one adds in 16 bits.
    let port = options.port.wrapping_add(REPAIR_PORT_ABOVE);
    let repair = SocketAddr::new(options.address, port);
    // In this order: an address that is not local is the data port's failure.
    let data_listener = TcpListener::bind(data)?;
    std::thread::sleep(FaultFile::of_region(&options.data).read()?.bind_gap());
    let repair_listener = TcpListener::bind(repair).map_err(|_| {
        Failure::new(format!("got \"failed to create server: failed to bind to {repair}\" from repair main"))
    })?;
    let acceptor = tls::acceptor(options)?;
    let read_only = options.mode == Mode::Ro;
    let main_loop = Arc::new(MainLoop {
        repair,
        read_only,
        encrypted: region.encrypted,
        flushes,
        faults: FaultFile::of_region(&options.data),
        active: Mutex::new(None),
    });
    let repair_port = RepairPort { address: repair, region, read_only, faults: FaultFile::of_region(&options.data) };
    log_listening(&options.data, data, repair, acceptor.is_some());
    std::thread::spawn(move || repair_port.serve(&repair_listener));
    data_port::serve(&data_listener, &main_loop, acceptor.as_ref())
}

fn log_listening(directory: &Path, data: SocketAddr, repair: SocketAddr, tls: bool) {
    log::info(&format!("Repair listens on {repair} for path:{directory:?}"), &json!({"task": "repair"}));
    log::info("listening", &json!({"local_addr": repair.to_string(), "task": "repair"}));
    log::main_task(&format!("Using repair address: {repair}"));
    log::main_task(if tls { "Configured SSL acceptor" } else { "No SSL acceptor configured" });
    log::main_task(&format!("downstairs listening on {data}"));
}
