//! Server that a host becomes, or has as a child: the arguments of a `crucible-nbd-server`, its locks and its
//! network. Becoming it, the process goes on with the locks and what the sleds granted. It makes no key and shows
//! none.

use super::arguments::RunArguments;
use super::failure::Failure;
use super::lock::{BUSY, Lock};
use super::network::{Network, can_listen, ends_listening};
use super::program::runnable;
use super::show::note;
use super::ticket::Won;
use crate::wire::Refusal;
use nix::unistd::{AccessFlags, access};
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server that is about to be.
#[derive(Debug)]
pub(super) struct Server {
    locks: Vec<Lock>,
    network: Network,
    program: PathBuf,
    arguments: Vec<OsString>,
    tls: bool,
    nbd: SocketAddr,
}

impl Server {
    /// Look at everything that can be wrong on this host before anybody is cut off elsewhere, and take the locks.
    ///
    /// # Errors
    /// The fault that was found.
    pub(super) fn prepare(arguments: &RunArguments) -> Result<Self, Failure> {
        let words = words(arguments)?;
        let (lock, volume) = (&arguments.lock, &arguments.target.volume);
        let locks = vec![Lock::take(lock, volume)?, Lock::take_own(lock, volume)?];
        can_listen(arguments.nbd)?;
        Ok(Self::of(arguments, words, locks, Network::Host))
    }

    /// Prepare a server that need not have the host's place: if another has it, it gets a network of its own.
    ///
    /// # Errors
    /// The fault that was found.
    pub(super) async fn prepare_beside(arguments: &RunArguments) -> Result<Self, Failure> {
        let words = words(arguments)?;
        let (lock, volume) = (&arguments.lock, &arguments.target.volume);
        let own = Lock::take_own(lock, volume)?;
        match Lock::take(lock, volume) {
            Ok(lock) => {
                ends_listening(arguments.nbd).await?;
                Ok(Self::of(arguments, words, vec![lock, own], Network::Host))
            }
            Err(busy) if busy.error().code == BUSY => {
                let network = Network::apart().await.map_err(|why| {
                    let message = format!("{busy}; and {volume}'s server cannot have a network of its own: {why}");
                    let remedy = "it takes CAP_SYS_ADMIN and CAP_NET_ADMIN, which root has, and crucible-attach@.service as \
                                  shipped; or end the other server first";
                    Failure::refused(Refusal::NotApart, message, remedy)
                })?;
                note(&format!("{busy}: the server of {volume} gets a network of its own"));
                Ok(Self::of(arguments, words, vec![own], network))
            }
            Err(why) => Err(why),
        }
    }

    fn of(arguments: &RunArguments, words: Vec<OsString>, locks: Vec<Lock>, network: Network) -> Self {
        let (program, tls) = (arguments.program.clone(), arguments.cert_pem.is_some());
        Self { locks, network, program, arguments: words, tls, nbd: arguments.nbd }
    }

    /// Find the server to have what the sleds want.
    ///
    /// # Errors
    /// If they want TLS and there are no certificates, or the other way round.
    pub(super) fn suits(&self, tls: bool) -> Result<(), Failure> {
        match (tls, self.tls) {
            (true, false) => Err(Failure::usage(
                "the sleds want TLS, and no certificate is given",
                "--cert-pem FILE --key-pem FILE --root-cert-pem FILE",
            )),
            (false, true) => Err(Failure::usage("a certificate is given, and the sleds want no TLS", "leave it away")),
            _ => Ok(()),
        }
    }

    /// The server of a volume that is won.
    ///
    /// # Errors
    /// As [`Server::suits`]: sleds of an earlier version tell it with the ticket only.
    pub(super) fn with(mut self, won: &Won) -> Result<Self, Failure> {
        self.arguments = self.words(won)?;
        note(&format!("{} is won with generation {}", won.ticket.volume, won.generation));
        Ok(self)
    }

    /// The arguments for the server of a volume that is won.
    ///
    /// # Errors
    /// As [`Server::with`].
    pub(super) fn words(&self, won: &Won) -> Result<Vec<OsString>, Failure> {
        self.suits(won.ticket.tls)?;
        let mut words = self.arguments.clone();
        for target in &won.ticket.targets {
            words.extend(["--target".into(), target.to_string().into()]);
        }
        words.extend(["--gen".into(), won.generation.to_string().into()]);
        Ok(words)
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// The network in which it runs.
    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// The address on which it is going to listen.
    pub(super) fn listens(&self) -> SocketAddr {
        self.nbd
    }

    /// Become the server. Returns only if that fails.
    pub(super) fn becomes(&self) -> Failure {
        let why = match self.locks.iter().try_for_each(Lock::outlives_exec) {
            Ok(()) => Command::new(&self.program).args(&self.arguments).exec(),
            Err(why) => why,
        };
        let program = self.program.display();
        Failure::refused(Refusal::NoServer, format!("{program} cannot be run: {why}"), "name another --program")
    }
}

/// The arguments for the server on the command line, looked at.
fn words(arguments: &RunArguments) -> Result<Vec<OsString>, Failure> {
    let missing = |what: &str, path: &Path, why| {
        Failure::refused(
            Refusal::NoFile,
            format!("the {what} {}: {why}", path.display()),
            "name it on the command line",
        )
    };
    if let Some(flag) = arguments.extra.iter().find(|word| is_own(word)) {
        let flag = flag.display();
        return Err(Failure::usage(format!("{flag} is what the ticket says"), "leave it away"));
    }
    access(&arguments.program, AccessFlags::X_OK).map_err(|why| missing("server", &arguments.program, why))?;
    if let Err(why) = runnable(&arguments.program) {
        let message = format!("{} cannot be the server: {why}", arguments.program.display());
        return Err(Failure::usage(message, "name crucible-nbd-server with --program"));
    }
    let mut words = Vec::new();
    let files = [
        ("--cert-pem", &arguments.cert_pem),
        ("--key-pem", &arguments.key_pem),
        ("--root-cert-pem", &arguments.root_cert_pem),
    ];
    for (flag, path) in files {
        if let Some(path) = path {
            access(path, AccessFlags::R_OK).map_err(|why| missing("file", path, why))?;
            words.extend([flag.into(), path.clone().into_os_string()]);
        }
    }
    words.extend(arguments.extra.iter().cloned());
    Ok(words)
}

/// Whether an argument for the server is one that the ticket gives.
fn is_own(word: &OsString) -> bool {
    let word = OsStr::to_string_lossy(word);
    let flag = word.split('=').next().unwrap_or_default();
    matches!(flag, "--target" | "--gen") || (word.starts_with("-t") || word.starts_with("-g"))
}
