//! Processes that are connected, or run on a directory, from procfs: asked once more right before something is taken
//! away from them. A question that cannot be answered is an error, never "nobody".

use crate::clean;
use crate::decide::facts::Stranger;
use crate::kernel::broker;
use crate::port_map::REPAIR_OFFSET;
use procfs::ProcError;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{Process, all_processes};
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A process that runs on a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// The process's id.
    pub pid: u32,
    /// The process's command line.
    pub command: String,
    /// The unit whose control group it is in.
    pub unit: Option<String>,
}

/// The descriptors of a process, and what each is open at, as the kernel names it; none if it has gone or
/// may not be looked at. One question to the kernel each, as there are some hundreds.
pub fn descriptors(pid: i32) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let link = entry.path();
        let target = fs::read_link(&link).ok()?;
        Some((link, target))
    })
}

/// The sockets that a process has open; none if it has gone or may not be looked at.
pub fn inodes(process: &Process) -> HashSet<u64> {
    let inode = |target: PathBuf| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    descriptors(process.pid).filter_map(|(_, target)| inode(target)).collect()
}

/// The unit whose control group a process is in: the last part of the path that names one. A process that was given a
/// group of its own names those below it.
pub fn unit(process: &Process) -> Option<String> {
    let groups = process.cgroups().ok()?;
    let path = &groups.into_iter().find(|group| group.hierarchy == 0)?.pathname;
    let units = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    path.split('/').rfind(units).map(|unit| clean::line(unit).into_owned())
}

/// The command line that a process was started with, or its name where it says nothing: as it is shown, harmless and
/// not for ever.
pub fn command(process: &Process) -> String {
    const SHOWN_CHARS: usize = 160;
    let words = process.cmdline().unwrap_or_default().join(" ");
    let command = if words.is_empty() { process.stat().map(|stat| stat.comm).unwrap_or_default() } else { words };
    let command = clean::line(&command);
    match command.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &command[..end]),
        None => command.into_owned(),
    }
}

/// Find the process behind a socket. Looks through every process, so only where a port is not its own region's.
pub fn stranger(inode: u64) -> Stranger {
    let processes = all_processes().into_iter().flatten().flatten();
    let mut behind = processes.filter(|process| inodes(process).contains(&inode));
    let Some(process) = behind.next() else {
        return Stranger { pid: None, command: String::new(), unit: None };
    };
    Stranger { pid: process.pid.try_into().ok(), command: command(&process), unit: unit(&process) }
}

/// The form of an address that is the same of either end: of an IPv4 connection to who listens by IPv6 the two are
/// told in different ones.
pub fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether nobody is at the other end of a connection, which is on this machine: no process has it any
/// more. A supervisor that was killed leaves such a one at a downstairs that hangs.
pub fn is_left(entry: &TcpNetEntry, table: &[TcpNetEntry]) -> bool {
    let (own, peer) = (plain(entry.local_address), plain(entry.remote_address));
    let here = peer.ip() == own.ip() || peer.ip().is_loopback();
    here && !table.iter().any(|other| plain(other.local_address) == peer && other.inode != 0)
}

/// The addresses of those connected to a port of this machine, whoever listens there; the
/// supervisor's own probe left out, and what one before it left.
///
/// # Errors
/// procfs does not tell.
pub fn at_port(port: u16) -> io::Result<BTreeSet<IpAddr>> {
    let mut table = broker::tcp().map_err(io::Error::other)?;
    table.extend(broker::tcp6());
    let own = Process::myself().map(|process| inodes(&process)).map_err(io::Error::other)?;
    Ok(connected(&table, port, &own))
}

fn connected(table: &[TcpNetEntry], port: u16, own: &HashSet<u64>) -> BTreeSet<IpAddr> {
    let probes: HashSet<_> = table.iter().filter(|e| own.contains(&e.inode)).map(|e| plain(e.local_address)).collect();
    let open = table.iter().filter(|e| {
        matches!(e.state, TcpState::Established | TcpState::CloseWait)
            && e.local_address.port() == port
            && !probes.contains(&plain(e.remote_address))
            && !is_left(e, table)
    });
    open.map(|e| e.remote_address.ip().to_canonical()).collect()
}

/// The addresses of those connected to a region: at the port that is its own, whoever listens there, and wherever
/// these processes, which run on it, listen for hosts. A region that waits to be moved serves where the map had it
/// before.
///
/// # Errors
/// procfs does not tell.
pub fn visitors(port: u16, runners: impl IntoIterator<Item = u32>) -> io::Result<BTreeSet<IpAddr>> {
    let mut visitors = at_port(port)?;
    for pid in runners {
        let ports = listening(pid)?;
        let repair = |port: &u16| port.checked_sub(REPAIR_OFFSET).is_some_and(|data| ports.contains(&data));
        for other in ports.iter().filter(|other| **other != port && !repair(other)) {
            visitors.extend(at_port(*other)?);
        }
    }
    Ok(visitors)
}

/// The ports at which a process listens; none if it has gone.
///
/// # Errors
/// procfs does not tell.
pub fn listening(pid: u32) -> io::Result<BTreeSet<u16>> {
    let mut table = broker::tcp().map_err(io::Error::other)?;
    table.extend(broker::tcp6());
    let own = match Process::new(pid.cast_signed()) {
        Err(ProcError::NotFound(_)) => return Ok(BTreeSet::new()),
        process => process.map(|process| inodes(&process)).map_err(io::Error::other)?,
    };
    let listeners = table.iter().filter(|e| e.state == TcpState::Listen && own.contains(&e.inode));
    Ok(listeners.map(|e| e.local_address.port()).collect())
}

/// The processes that run on a directory: that have a file in it open, or work in it. A downstairs holds every extent
/// file open, by whatever path it came to it.
///
/// # Errors
/// procfs does not tell.
pub fn runners(dir: &Path) -> io::Result<Vec<Runner>> {
    let mut files = HashSet::new();
    match identities(dir, &mut files) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        looked => looked?,
    }
    let own = std::process::id();
    let all = all_processes().map_err(io::Error::other)?;
    let mut found = Vec::new();
    for process in all.flatten().filter(|process| process.pid.cast_unsigned() != own) {
        if is_on(&process, &files)? {
            let command = command(&process);
            found.push(Runner { pid: process.pid.cast_unsigned(), command, unit: unit(&process) });
        }
    }
    Ok(found)
}

/// Device and inode of a directory and of everything below it.
fn identities(dir: &Path, into: &mut HashSet<(u64, u64)>) -> io::Result<()> {
    let found = fs::metadata(dir)?;
    into.insert((found.dev(), found.ino()));
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            identities(&entry.path(), into)?
        } else {
            let found = entry.metadata()?;
            into.insert((found.dev(), found.ino()));
        }
    }
    Ok(())
}

fn is_on(process: &Process, files: &HashSet<(u64, u64)>) -> io::Result<bool> {
    let base = PathBuf::from(format!("/proc/{}", process.pid));
    let held = |path: PathBuf| fs::metadata(path).is_ok_and(|found| files.contains(&(found.dev(), found.ino())));
    if held(base.join("cwd")) {
        return Ok(true);
    }
    match fs::read_dir(base.join("fd")) {
        // The process has ended meanwhile.
        Err(why) if matches!(why.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ESRCH)) => Ok(false),
        Err(why) => Err(why),
        Ok(descriptors) => Ok(descriptors.flatten().any(|descriptor| held(descriptor.path()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alone::is_alone;
    use std::fs::File;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    #[test]
    fn a_peer_is_seen_and_the_own_probe_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        // Both ends are this process's own, as the probe's are the supervisor's.
        assert!(at_port(port).unwrap().is_empty());
        let table = procfs::net::tcp().unwrap();
        assert_eq!(connected(&table, port, &HashSet::new()), [client.local_addr().unwrap().ip()].into());
        drop(accepted);
    }

    /// As the end of a supervisor leaves it at a downstairs that hangs, and does not notice.
    #[test]
    fn what_a_dead_probe_has_left_is_nobody() {
        // Children of another test have a copy of the descriptor for a moment.
        if !is_alone("kernel::processes::tests::what_a_dead_probe_has_left_is_nobody") {
            return;
        }
        for (at, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1")] {
            let Ok(listener) = TcpListener::bind(at) else {
                assert_ne!(at, "127.0.0.1:0");
                eprintln!("skipped: there is no IPv6 here");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((to, port)).unwrap();
            let _accepted = listener.accept().unwrap();
            let peers = || {
                let table = [procfs::net::tcp().unwrap(), broker::tcp6()].concat();
                connected(&table, port, &HashSet::new())
            };
            assert_eq!(peers(), [to.parse().unwrap()].into(), "{at}");
            assert!(at_port(port).unwrap().is_empty(), "{at}: it is this process's own");
            drop(client);
            assert_eq!(peers(), BTreeSet::new(), "{at}");
        }
    }

    #[test]
    fn who_is_connected_where_a_region_was_before_is_seen() {
        let (listener, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (port, new) = (listener.local_addr().unwrap().port(), other.local_addr().unwrap().port());
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // Each end is another process's, as a downstairs and a host are.
        let hold = |end: OwnedFd| Command::new("sleep").arg("600").stdin(end).spawn().unwrap();
        let mut both = [hold(listener.into()), hold(client.into())];
        let seen = |pids: &[u32]| visitors(new, pids.iter().copied()).unwrap();
        assert_eq!(seen(&[both[0].id()]), ["127.0.0.1".parse().unwrap()].into());
        assert_eq!(seen(&[]), BTreeSet::new());
        for one in &mut both {
            one.kill().unwrap();
            one.wait().unwrap();
        }
        assert_eq!(seen(&[both[0].id()]), BTreeSet::new(), "it has gone");
    }

    #[test]
    fn whoever_has_a_file_open_runs_on_its_directory_by_whatever_name() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("region"), dir.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        let file = File::create(real.join("extent")).unwrap();
        let mut reader = Command::new("cat").stdin(std::process::Stdio::piped()).stdout(file).spawn().unwrap();
        for name in [&real, &link] {
            let found = runners(name).unwrap();
            assert!(found.iter().any(|runner| runner.pid == reader.id()), "{found:?}");
        }
        drop(reader.stdin.take());
        reader.wait().unwrap();
        assert_eq!(runners(&real).unwrap(), []);
        assert_eq!(runners(&dir.path().join("nothing")).unwrap(), []);
    }
}
