//! The command line of `crucible-attach`.

use super::conf::{Conf, PLACE, SLEDS};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::here::Places;
use crate::names::VolumeName;
use crate::net_test;
use crate::span::Span;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Attaches volumes of storage sleds to this host.
#[derive(Debug, Parser)]
#[command(name = "crucible-attach", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Print JSON: the sleds' own answers.
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done and well, 1 failed, 2 wrong usage, 3 done but not well, \
                          4 no sled can be reached, 5 the volume that was served is another host's now.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Wait until a volume may be attached, and say meanwhile why it may not.
    Wait {
        #[command(flatten)]
        target: Target,
        /// Give up after this time.
        #[arg(long, value_name = "TIME", default_value = "5m")]
        timeout: Span,
    },
    /// Show a volume: its regions, who is attached, how it is served on this host, and what is wrong; or all volumes of
    /// this host, a line each.
    Status(StatusArguments),
    /// Unmount a volume that this host has, if nothing uses it, and let go of it; or say what uses it.
    Detach(DetachArguments),
    /// Tell a monitoring system in one line how the volumes of this host are.
    #[command(after_help = "Exit codes: 0 well, 1 warning, 2 critical, 3 unknown.")]
    Check(CheckArguments),
    /// Explain a condition that `status` or `check` shows, or list all that there are.
    Explain {
        /// Its code, for example REQUESTS_HELD.
        code: Option<String>,
    },
    /// Test what goes through to a sled and back, and what is lost. The sled waits for it: sledctl network test.
    NetTest(NetTestArguments),
    /// Win a volume, so that its sleds let in this host and no other, and print the ticket.
    Ticket {
        #[command(flatten)]
        target: Target,
        /// Cut off whoever is attached. What that host had written and not flushed is lost.
        #[arg(long)]
        takeover: bool,
    },
    /// Let go of a volume that this host holds and has detached, so that the next one need not wait
    /// whether it comes back.
    Release {
        #[command(flatten)]
        target: Target,
    },
    /// Wait for a volume, win it, and serve it to this host for as long as it lives: a server that ends, or a sled
    /// that restarts, is a pause.
    Serve(ServeArguments),
    /// Wait for a volume, win it, and become the server that attaches it.
    Run(RunArguments),
    /// Set up this host for a volume: its service, its file system, its mount, and a storage of Proxmox on it. What is so
    /// already is left as it is.
    Install(InstallArguments),
    /// Take away from this host what was set up for a volume. The volume's data stays.
    Uninstall(UninstallArguments),
}

/// A volume and where to ask for it.
#[derive(Debug, Clone, Args)]
pub(super) struct Target {
    /// The volume.
    pub(super) volume: VolumeName,
    /// A sled that carries a region of it: an address, with or without port, or a URL. Without
    /// it, those that CRUCIBLE_SLEDS or the volume's configuration lists. Other sleds of the volume are found by themselves, and asked at port 3800.
    #[arg(long = "sled", value_name = "URL")]
    sleds: Vec<Endpoint>,
}

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// The volume; without it, all of this host.
    pub(super) volume: Option<VolumeName>,
    /// A sled that carries a region of it; without it, those that CRUCIBLE_SLEDS or the volume's configuration lists.
    #[arg(long = "sled", value_name = "URL", requires = "volume")]
    pub(super) sleds: Vec<Endpoint>,
    #[command(flatten)]
    pub(super) places: Places,
}

#[derive(Debug, Args)]
pub(super) struct DetachArguments {
    /// The volume.
    pub(super) volume: VolumeName,
    /// A sled that carries a region of it; without it, those that CRUCIBLE_SLEDS or the volume's configuration lists.
    #[arg(long = "sled", value_name = "URL")]
    pub(super) sleds: Vec<Endpoint>,
    /// Tell the sleds that have asked for it how it went (crucible-detach@.service).
    #[arg(long, hide = true)]
    pub(super) asked: bool,
    #[command(flatten)]
    pub(super) places: Places,
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The volume; without it, all of this host.
    pub(super) volume: Option<VolumeName>,
    /// A sled that carries a region of it; without it, those that the volume's configuration lists.
    #[arg(long = "sled", value_name = "URL", requires = "volume")]
    pub(super) sleds: Vec<Endpoint>,
    /// Write the metrics of all volumes to crucible_attach.prom in this directory, for node_exporter.
    #[arg(long, value_name = "DIR", conflicts_with = "volume")]
    pub(super) textfile: Option<PathBuf>,
    #[command(flatten)]
    pub(super) places: Places,
}

#[derive(Debug, Args)]
pub(super) struct NetTestArguments {
    /// The sled's address.
    pub(super) sled: IpAddr,
    /// The port at which it listens.
    #[arg(long, default_value_t = net_test::PORT)]
    pub(super) port: u16,
    /// Seconds for each direction, from 1 to 30.
    #[arg(long, default_value_t = net_test::USUAL_SECONDS, value_parser = clap::value_parser!(u64).range(net_test::SECONDS))]
    pub(super) seconds: u64,
    /// The most that is sent, in Mbit/s; without it, as much as goes through.
    #[arg(long, value_name = "MBPS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rate: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) target: Target,
    /// Cut off whoever is attached. What that host had written and not flushed is lost.
    #[arg(long)]
    pub(super) takeover: bool,
    /// Give up if the volume is not won after this time; without it, never.
    #[arg(long, value_name = "TIME")]
    pub(super) timeout: Option<Span>,
    /// The server: a program of this machine's kind, or a script that begins with #!; anything else is refused before the
    /// volume is won.
    #[arg(long, value_name = "PATH", default_value = "/usr/lib/crucible/crucible-nbd-server")]
    pub(super) program: PathBuf,
    /// What keeps a second server off this host: it is locked as long as the server runs; the volumes' own lie beside it.
    #[arg(long, value_name = "FILE", default_value = "/run/crucible-attach/lock")]
    pub(super) lock: PathBuf,
    /// Where the server is going to listen: upstream's has no flag for it.
    #[arg(long, hide = true, value_name = "ADDRESS", default_value = "127.0.0.1:10809")]
    pub(super) nbd: SocketAddr,
    /// This host's certificate, if the sleds want TLS.
    #[arg(long, value_name = "FILE", requires_all = ["key_pem", "root_cert_pem"])]
    pub(super) cert_pem: Option<PathBuf>,
    /// The key of the certificate.
    #[arg(long, value_name = "FILE", requires_all = ["cert_pem", "root_cert_pem"])]
    pub(super) key_pem: Option<PathBuf>,
    /// The certificate that the sleds' are signed with.
    #[arg(long, value_name = "FILE", requires_all = ["cert_pem", "key_pem"])]
    pub(super) root_cert_pem: Option<PathBuf>,
    /// More arguments for the server.
    #[arg(last = true, value_name = "ARGUMENT")]
    pub(super) extra: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    #[command(flatten)]
    pub(super) run: RunArguments,
    /// Where it is served: a socket, for root alone. Without it, /run/crucible-attach/VOLUME.sock.
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Serve it over TCP as well, on an address of this host's own (127.0.0.1:10810, [::1]:10810).
    // It is help, in which an address is no link.
    #[allow(rustdoc::broken_intra_doc_links)]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<SocketAddr>,
    /// Connect the kernel's device to it as well: /dev/nbdN, and /dev/crucible/VOLUME by udev's rule. It needs the kernel's
    /// module nbd (Linux 5.14), and CAP_SYS_ADMIN.
    #[arg(long)]
    pub(super) device: bool,
    /// Where it is on record what this host has attached, so that another volume of the same name is not taken for it.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/crucible-attach")]
    pub(super) state: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct InstallArguments {
    #[command(flatten)]
    pub(super) target: Target,
    /// A crucible-nbd-server, of a build of Crucible or of a host that has it: this host gets a copy of it as
    /// /usr/lib/crucible/crucible-nbd-server, after a look at what it is.
    #[arg(long, value_name = "FILE")]
    pub(super) server: Option<PathBuf>,
    /// This host's certificate, if the sleds want TLS. The files are to be where a service can read them: not in a home
    /// directory.
    #[arg(long, value_name = "FILE", requires_all = ["key_pem", "root_cert_pem"])]
    pub(super) cert_pem: Option<PathBuf>,
    /// The key of the certificate.
    #[arg(long, value_name = "FILE", requires_all = ["cert_pem", "root_cert_pem"])]
    pub(super) key_pem: Option<PathBuf>,
    /// The certificate that the sleds' are signed with.
    #[arg(long, value_name = "FILE", requires_all = ["cert_pem", "key_pem"])]
    pub(super) root_cert_pem: Option<PathBuf>,
    /// Where it is mounted. Without it, where it is or was mounted (by hand as well), or /mnt/crucible-VOLUME.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["raw", "no_mount"])]
    pub(super) mount: Option<PathBuf>,
    /// Only the device, for LVM or as the disk of a virtual machine: nothing is made on it, and it is not mounted.
    #[arg(long, conflicts_with = "no_mount")]
    pub(super) raw: bool,
    /// Only the device and a file system on it: it is mounted by a unit of your own, ordered after
    /// crucible-attach@VOLUME.service, or not at all.
    #[arg(long)]
    pub(super) no_mount: bool,
    /// The name of the storage, on a host of Proxmox. Without it, the one that it has, or crucible-VOLUME.
    #[arg(long, value_name = "ID", conflicts_with_all = ["raw", "no_mount"], value_parser = storage_id)]
    pub(super) storage: Option<String>,
    /// What the storage is for. Without it, what it is for, or images,vztmpl,iso,backup.
    #[arg(long, value_name = "LIST", conflicts_with_all = ["raw", "no_mount"], value_parser = content_list)]
    pub(super) content: Option<String>,
    /// How long its service may take to be ready.
    #[arg(long, value_name = "TIME", default_value = "5m")]
    pub(super) timeout: Span,
    /// Change nothing, and show what would be done.
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct UninstallArguments {
    /// The volume.
    pub(super) volume: VolumeName,
    /// Change nothing, and show what would be done.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// A name as Proxmox has it for storages.
fn storage_id(text: &str) -> Result<String, &'static str> {
    let inner = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    let ends =
        text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    if ends && text.len() > 1 && text.bytes().all(inner) {
        Ok(text.into())
    } else {
        Err("a storage is named by letters, digits, -, _ and ., with a letter first")
    }
}

/// A list of what a storage is for.
fn content_list(text: &str) -> Result<String, &'static str> {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase());
    if text.split(',').all(word) { Ok(text.into()) } else { Err("for example images,rootdir,vztmpl,iso,backup") }
}

impl Target {
    /// The sleds that the command line names.
    pub(super) fn named(&self) -> &[Endpoint] {
        &self.sleds
    }

    /// A volume, and where it is known to be asked for.
    pub(super) fn of(volume: VolumeName, sleds: Vec<Endpoint>) -> Self {
        Self { volume, sleds }
    }

    /// The sleds to ask first.
    ///
    /// # Errors
    /// If none is named, or the environment names something else.
    pub(super) fn sleds(&self) -> Result<Vec<Endpoint>, Failure> {
        sleds(&self.sleds, &self.volume, Path::new(PLACE))
    }
}

/// The sleds to ask first for a volume: those that are given, or those of the environment, or of the volume's
/// configuration.
///
/// # Errors
/// If none is named, or something else is.
pub(super) fn sleds(given: &[Endpoint], volume: &VolumeName, config: &Path) -> Result<Vec<Endpoint>, Failure> {
    let wrong = |why| Failure::usage(why, "for example CRUCIBLE_SLEDS=192.168.4.189");
    let mut sleds = given.to_vec();
    if sleds.is_empty() {
        sleds = endpoints(&std::env::var(SLEDS).unwrap_or_default()).map_err(wrong)?;
    }
    if sleds.is_empty()
        && let Ok(Some(conf)) = Conf::of(config, volume)
    {
        sleds = endpoints(&conf.sleds).map_err(wrong)?;
    }
    sleds.sort();
    sleds.dedup();
    if sleds.is_empty() {
        Err(Failure::usage(
            "no sled is named",
            format!("--sled 192.168.4.189, or {SLEDS} in the environment; any one of the volume's is enough"),
        ))
    } else {
        Ok(sleds)
    }
}

/// The sleds that such a variable names.
///
/// # Errors
/// What is none of them.
pub(super) fn endpoints(text: &str) -> Result<Vec<Endpoint>, String> {
    let words = text.split([' ', ',', '\t', '\n']).filter(|word| !word.is_empty());
    words.map(|word| word.parse().map_err(|why| format!("{SLEDS}: {word:?} {why}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn what_makes_no_sense_is_a_wrong_usage() {
        for right in [
            "x wait v --sled 10.0.0.1 --timeout 30s",
            "x status v --sled http://10.0.0.1:3800 --sled a --json",
            "x status",
            "x check",
            "x check v --sled a",
            "x check --textfile /tmp",
            "x ticket v --takeover",
            "x release v --sled a",
            "x run v --sled a -- --control 127.0.0.1:1",
            "x run v --cert-pem a --key-pem b --root-cert-pem c",
            "x install v --sled a --mount /mnt/v --storage crucible-v --content images,iso --dry-run",
            "x install v --raw",
            "x uninstall v --json",
        ] {
            assert!(read(right).is_ok(), "{right}");
        }
        for wrong in [
            "x",
            "x wait",
            "x wait V",
            "x wait v --sled https://a",
            "x wait v --timeout 5",
            "x run v --cert-pem a",
            "x run v --control 127.0.0.1:1",
            "x status v --takeover",
            "x status --sled a",
            "x check v --textfile /tmp",
            "x install v --raw --no-mount",
            "x install v --raw --mount /mnt/v",
            "x install v --no-mount --storage x1",
            "x install v --storage -x",
            "x install v --content images,,iso",
            "x uninstall v --purge",
            "x uninstall v --sled a",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
