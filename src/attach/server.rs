//! Becoming `crucible-nbd-server`: the process goes on, with the lock and what the sleds granted.
//! It makes no key and shows none.

use super::arguments::RunArguments;
use super::failure::Failure;
use super::lock::Lock;
use super::program::runnable;
use super::show::note;
use super::ticket::Won;
use nix::unistd::{AccessFlags, access};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server that is about to be.
#[derive(Debug)]
pub(super) struct Server {
    lock: Lock,
    program: PathBuf,
    arguments: Vec<OsString>,
    tls: bool,
    nbd: SocketAddr,
}

impl Server {
    /// Looks at everything that can be wrong on this host before anybody is cut off elsewhere,
    /// and takes the lock.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn prepare(arguments: &RunArguments) -> Result<Self, Failure> {
        let missing = |what: &str, path: &Path, why| {
            Failure::refused("NO_FILE", format!("the {what} {}: {why}", path.display()), "name it on the command line")
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
        let lock = Lock::take(&arguments.lock, &arguments.target.volume)?;
        can_listen(arguments.nbd)?;
        let (program, tls) = (arguments.program.clone(), arguments.cert_pem.is_some());
        Ok(Self { lock, program, arguments: words, tls, nbd: arguments.nbd })
    }

    /// Whether it has what the sleds want.
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

    /// What the server of a volume that is won is told.
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

    /// The program.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Where it is going to listen.
    pub(super) fn listens(&self) -> SocketAddr {
        self.nbd
    }

    /// Becomes it. Returns only if that fails.
    pub(super) fn becomes(&self) -> Failure {
        let why = match self.lock.outlives_exec() {
            Ok(()) => Command::new(&self.program).args(&self.arguments).exec(),
            Err(why) => why,
        };
        let program = self.program.display();
        Failure::refused("NO_SERVER", format!("{program} cannot be run: {why}"), "name another --program")
    }
}

/// That the server is going to be able to listen: one that was not started by this program has no lock.
pub(super) fn can_listen(at: SocketAddr) -> Result<(), Failure> {
    match TcpListener::bind(at) {
        Ok(_) => Ok(()),
        Err(why) if why.kind() == ErrorKind::AddrInUse => {
            let message = format!("something listens on {at} already");
            let remedy = format!("a host has one server: end the other first (ss -tlnp 'sport = :{}')", at.port());
            Err(Failure::refused("HOST_BUSY", message, remedy))
        }
        Err(why) => {
            let message = format!("the server could not listen on {at}: {why}");
            Err(Failure::refused("NO_SERVER", message, "see ip address show lo"))
        }
    }
}

/// Whether an argument for the server is one that the ticket gives.
fn is_own(word: &OsString) -> bool {
    let word = OsStr::to_string_lossy(word);
    let flag = word.split('=').next().unwrap_or_default();
    matches!(flag, "--target" | "--gen") || (word.starts_with("-t") || word.starts_with("-g"))
}
