//! The command line, as the real `crucible-downstairs` has it.
//!
//! It only says what can be asked for and never acts. Commands that the
//! stand-in does not have are accepted with any arguments, so that they fail
//! with a text of their own.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;
use uuid::Uuid;

const FAULTS: &str = "\
Faults on demand:
  A file `stand-in-fault` in the region directory holds one fault a line. It is
  read when `run` starts and again with every frame or request that arrives:
    exit TEXT                 at start: print TEXT to stderr, exit 1
    panic TEXT                at start: panic with TEXT, SIGABRT
    slow-start MILLISECONDS   at start: wait before binding the ports
    bind-gap MILLISECONDS     at start: wait between the data and the repair port
    hang                      no answer on either port while the line stands
    livelock                  as hang, burning CPU once a frame has arrived
    wrong-uuid UUID           GET /region-info reports this UUID
  The variable STAND_IN_FAULT holds faults of `create`, separated by `;`:
    exit TEXT, panic TEXT     before anything is created
    slow-create MILLISECONDS  wait before each extent
    enospc-at N               extent N finds the disk full";

/// A test stand-in for Oxide's crucible-downstairs; it keeps no data
#[derive(Parser)]
#[command(
    name = "crucible-downstairs",
    after_help = FAULTS,
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Create a new, empty region
    Create(CreateOptions),
    /// Listen for an upstairs on behalf of a region
    Run(RunOptions),
    /// Check the extents of a stopped region by size and trailer
    Verify(VerifyOptions),
    /// Print the version
    Version,
    /// Not in the stand-in
    Dump(Anything),
    /// Not in the stand-in
    Export(Anything),
    /// Not in the stand-in
    Clone(Anything),
    /// Not in the stand-in
    ExtentInfo(Anything),
}

/// What `create` is told.
#[derive(Args)]
pub struct CreateOptions {
    /// Directory of the region
    #[arg(short, long)]
    pub data: PathBuf,
    /// UUID of the region
    #[arg(short, long)]
    pub uuid: Uuid,
    /// Bytes a block, reduced to its lowest set bit
    #[arg(long)]
    pub block_size: u64,
    /// Blocks an extent
    #[arg(long)]
    pub extent_size: u64,
    /// Extents in the region
    #[arg(long)]
    pub extent_count: u32,
    /// Record that the upstairs encrypts
    #[arg(long)]
    pub encrypted: bool,
}

/// What `run` is told.
#[derive(Args)]
pub struct RunOptions {
    /// Directory of the region
    #[arg(short, long)]
    pub data: PathBuf,
    /// Data port; the repair port is 4000 above it
    #[arg(short, long)]
    pub port: u16,
    /// Address to listen on, and to advertise for repair
    #[arg(short, long, default_value = "0.0.0.0")]
    pub address: IpAddr,
    /// Whether an upstairs may write
    #[arg(long, value_enum, default_value = "rw")]
    pub mode: Mode,
    /// Certificate with which the data port speaks TLS
    #[arg(long, requires_all = ["key_pem", "root_cert_pem"])]
    pub cert_pem: Option<PathBuf>,
    /// Its key: RSA, in the old form
    #[arg(long, requires_all = ["cert_pem", "root_cert_pem"])]
    pub key_pem: Option<PathBuf>,
    /// Root of everybody's certificates
    #[arg(long, requires_all = ["cert_pem", "key_pem"])]
    pub root_cert_pem: Option<PathBuf>,
}

/// Whether an upstairs may write.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Read-only
    Ro,
    /// Read-write
    Rw,
}

/// What `verify` is told.
#[derive(Args)]
pub struct VerifyOptions {
    /// Directory of the region
    #[arg(short, long)]
    pub data: PathBuf,
    /// Accepted and ignored: the stand-in reads too little to share it out
    #[arg(short, long)]
    pub threads: Option<u32>,
}

/// Arguments nobody looks at.
#[derive(Args)]
pub struct Anything {
    /// Ignored
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub ignored: Vec<String>,
}
