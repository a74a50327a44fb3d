//! The canary: whether systemd enforces what the regions' units ask for. It accepts some settings
//! and silently does nothing about them where it cannot load BPF programs, so that only trying
//! tells.
//!
//! [`ask`] runs a unit with such settings, and in it this very program, which tries what they allow
//! and what they forbid ([`report`]). What is allowed is the control: where it fails, nothing
//! is proved. It never touches an address but those of the loopback interface.

use crate::decide::facts::{Enforcement, Gap};
use crate::systemd::output::Output;
use crate::systemd::proxy::ManagerProxy;
use crate::systemd::{job, sandbox};
use nix::libc::EPERM;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, sendto, socket};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use zbus::{Connection, Variant};

/// The first of the ports that the canary may bind. Below 1024 there is none that the port map or
/// the kernel gives away; IANA keeps 225 to 241 for itself.
const FIRST_PORT: u16 = 225;
/// Number of these ports: one that is in use on every address must not be the end of it.
const PORT_COUNT: u16 = 16;
/// The address that the canary may send to and hear from, and one that it may not send to.
const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const DENIED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Time that a packet may take over the loopback interface: none, but for a machine that is busy.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(5);
/// Time by which a packet may come later that was sent earlier.
const OVERTAKING_LIMIT: Duration = Duration::from_millis(50);
/// Time that the canary may take, in microseconds.
const RUN_LIMIT_US: u64 = 20_000_000;
/// `CAP_NET_BIND_SERVICE`, for ports below 1024.
const BIND_SERVICE: u64 = 1 << 10;

/// Report of the canary.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    bind: Proof,
    address: Proof,
}

/// Result of trying.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Proof {
    /// Forbidden things were refused.
    Enforced,
    /// Forbidden things were done.
    Open,
    /// Allowed things could not be done, or forbidden ones failed otherwise, and why.
    Untried(String),
}

/// Finds out what systemd enforces.
pub async fn ask(bus: &Connection) -> Enforcement {
    match run(bus).await {
        Ok(Report { bind, address }) => {
            let bind = match bind {
                Proof::Open => Err(missing(bus).await),
                other => other.known(),
            };
            Enforcement { bind, address: address.known() }
        }
        Err(why) => {
            let gap = Gap::Untried(format!("the canary could not be run: {why}"));
            Enforcement { bind: Err(gap.clone()), address: Err(gap) }
        }
    }
}

impl Proof {
    fn known(self) -> Result<(), Gap> {
        match self {
            Self::Enforced => Ok(()),
            Self::Open => Err(Gap::NotLoaded),
            Self::Untried(why) => Err(Gap::Untried(why)),
        }
    }
}

/// Tell why systemd does not enforce which ports are bound. For that alone it takes a library,
/// which it loads at run time if it was built to.
async fn missing(bus: &Connection) -> Gap {
    let told = async {
        let manager = ManagerProxy::new(bus).await?;
        zbus::Result::Ok((manager.features().await?, manager.version().await?))
    };
    match told.await {
        Ok((features, version)) if !features.split(' ').any(|word| word == "+BPF_FRAMEWORK") => {
            Gap::NotBuilt(format!("systemd {version}"))
        }
        Err(why) => Gap::Untried(job::spoken(why)),
        Ok(_) if !has_library() => Gap::NoLibrary,
        Ok(_) => Gap::NotLoaded,
    }
}

/// Tell whether libbpf is in one of the places where the dynamic linker looks.
fn has_library() -> bool {
    let below = |dir: &str| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let dirs = below("/usr/lib").chain(["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from));
    let is_file = |path: PathBuf| std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 0);
    dirs.flat_map(|dir| [dir.join("libbpf.so.1"), dir.join("libbpf.so.0")]).any(is_file)
}

async fn run(bus: &Connection) -> Result<Report, String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unit = format!("sled-canary-{}-{}.service", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let program = job::this_program()?;
    let (said, complained) = (Output::new()?, Output::new()?);
    let ended = job::run_transient(bus, &unit, &settings(Path::new(&program), &said, &complained)).await;
    ended.map_err(|why| complained.text().filter(|text| !text.is_empty()).unwrap_or(why))?;
    let said = said.text().unwrap_or_default();
    serde_json::from_str(&said).map_err(|_| format!("it said {said:?}"))
}

/// Settings of the canary's unit: what it may do; beside that it is confined as whatever runs for a
/// moment is.
fn settings<'a>(program: &Path, said: &'a Output, complained: &'a Output) -> Vec<(&'static str, Variant<'a>)> {
    const FAMILIES: &[&str] = &["AF_UNIX", "AF_INET"];
    let (four, six) = (nix::libc::AF_INET, nix::libc::AF_INET6);
    let program = program.display().to_string();
    let exec = vec![(program.clone(), vec![program, "--canary".into(), FIRST_PORT.to_string()], false)];
    let own: Vec<(&str, Variant)> = vec![
        ("Description", "Find out what systemd enforces".into()),
        ("Type", "oneshot".into()),
        ("CollectMode", "inactive-or-failed".into()),
        ("ExecStart", exec.into()),
        ("TimeoutStartUSec", RUN_LIMIT_US.into()),
        ("StandardOutputFileDescriptor", said.fd().into()),
        ("StandardErrorFileDescriptor", complained.fd().into()),
        ("CapabilityBoundingSet", BIND_SERVICE.into()),
        ("RestrictAddressFamilies", (true, FAMILIES).into()),
        // Family, protocol, how many ports, and the first of them; 0 is any.
        ("SocketBindDeny", vec![(0i32, 0i32, 0u16, 0u16)].into()),
        ("SocketBindAllow", vec![(four, 0i32, PORT_COUNT, FIRST_PORT)].into()),
        // Family, address, and the length of its prefix.
        ("IPAddressDeny", vec![(four, vec![0u8; 4], 0u32), (six, vec![0u8; 16], 0u32)].into()),
        ("IPAddressAllow", vec![(four, ALLOWED.octets().to_vec(), 32u32)].into()),
    ];
    let confined = sandbox::confined();
    let others: Vec<_> = confined.into_iter().filter(|(name, _)| own.iter().all(|(known, _)| known != name)).collect();
    own.into_iter().chain(others).collect()
}

/// Tries what the unit allows and forbids, and says what was found on standard output. `first` is
/// the first port that it allows.
///
/// # Errors
/// It cannot be said.
pub fn report(first: u16) -> io::Result<()> {
    let report = Report {
        bind: bind(first).unwrap_or_else(Proof::Untried),
        address: address(first).unwrap_or_else(Proof::Untried),
    };
    serde_json::to_writer(io::stdout(), &report).map_err(io::Error::other)
}

/// Bind the first free one of the ports that are allowed; and the one behind them.
fn bind(first: u16) -> Result<Proof, String> {
    free(first, |port| TcpListener::bind((ALLOWED, port)))?;
    Ok(match TcpListener::bind((ALLOWED, first + PORT_COUNT)) {
        Err(why) if why.raw_os_error() == Some(EPERM) => Proof::Enforced,
        // Whether it is in use is looked at after whether it is allowed.
        Err(why) if why.kind() == ErrorKind::AddrInUse => Proof::Open,
        Err(why) => Proof::Untried(format!("port {}, which is forbidden: {why}", first + PORT_COUNT)),
        Ok(_) => Proof::Open,
    })
}

fn free<T>(first: u16, bind: impl Fn(u16) -> io::Result<T>) -> Result<T, String> {
    let tries = (first..first + PORT_COUNT).map(|port| (port, bind(port)));
    let mut tries = tries.filter(|(_, tried)| !matches!(tried, Err(why) if why.kind() == ErrorKind::AddrInUse));
    match tries.next() {
        Some((port, tried)) => tried.map_err(|why| format!("port {port}, which is allowed: {why}")),
        None => Err(format!("all ports from {first} to {}, which are allowed, are in use", first + PORT_COUNT - 1)),
    }
}

/// Try what goes out, to the address that is allowed and to another, and what comes in, from that
/// address and from another: this socket is bound to none, and so has the interface's first.
fn address(first: u16) -> Result<Proof, String> {
    let receiver = free(first, |port| UdpSocket::bind((ALLOWED, port)))?;
    let here = receiver.local_addr().map_err(|why| why.to_string())?;
    let stranger = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
    let stranger = stranger.map_err(|why| why.to_string())?;
    let send = |to: Ipv4Addr| {
        let to = SockaddrIn::from(SocketAddrV4::new(to, here.port()));
        sendto(stranger.as_raw_fd(), b"out", &to, MsgFlags::empty())
    };
    send(ALLOWED).map_err(|why| format!("a packet to {ALLOWED}, which is allowed: {why}"))?;
    match send(DENIED) {
        Err(nix::Error::EPERM) => {}
        Ok(_) => return Ok(Proof::Open),
        Err(why) => return Err(format!("a packet to {DENIED}, which is forbidden: {why}")),
    }
    receiver.send_to(b"in", here).map_err(|why| format!("a packet from {ALLOWED}, which is allowed: {why}"))?;
    match next(&receiver, ARRIVAL_LIMIT)? {
        None => return Err(format!("a packet from {ALLOWED}, which is allowed, did not arrive")),
        Some(from) if from != here => return Ok(Proof::Open),
        Some(_) => {}
    }
    Ok(if next(&receiver, OVERTAKING_LIMIT)?.is_some() { Proof::Open } else { Proof::Enforced })
}

/// The sender of the next packet, if one comes in time.
fn next(receiver: &UdpSocket, limit: Duration) -> Result<Option<SocketAddr>, String> {
    receiver.set_read_timeout(Some(limit)).map_err(|why| why.to_string())?;
    match receiver.recv_from(&mut [0; 8]) {
        Ok((_, from)) => Ok(Some(from)),
        Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(why) => Err(why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where nothing is enforced, nothing else is said.
    #[test]
    fn without_its_unit_the_canary_finds_all_open() {
        // Tests may run as anybody: a port that anybody may bind.
        let first = 1500;
        assert_eq!((bind(first), address(first)), (Ok(Proof::Open), Ok(Proof::Open)));
    }

    /// Ports that others have prove nothing.
    #[test]
    fn a_control_that_fails_is_told() {
        let first = 1600;
        let taken: Vec<_> =
            (first..first + PORT_COUNT).map(|port| TcpListener::bind((ALLOWED, port)).unwrap()).collect();
        let why = bind(first).unwrap_err();
        assert!(why.contains("1600 to 1615") && why.contains("in use"), "{why}");
        drop(taken);
        assert_eq!(bind(first), Ok(Proof::Open));
    }
}
