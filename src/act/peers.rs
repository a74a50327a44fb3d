//! Who is connected to a process, from procfs: asked once more right before something is taken
//! away from them.

use procfs::net::TcpState;
use procfs::process::{FDTarget, Process};
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

/// The sockets that a process has open; none if it has gone or may not be looked at.
pub fn inodes(process: &Process) -> HashSet<u64> {
    let descriptors = process.fd().into_iter().flatten().flatten();
    let sockets = descriptors.filter_map(|descriptor| match descriptor.target {
        FDTarget::Socket(inode) => Some(inode),
        _ => None,
    });
    sockets.collect()
}

/// The addresses of those connected to a port that a process listens on, the supervisor's own
/// probe left out.
pub fn peers(pid: u32) -> BTreeSet<IpAddr> {
    let open = |process: procfs::ProcResult<Process>| process.map(|process| inodes(&process)).unwrap_or_default();
    let (theirs, own) = (open(Process::new(pid.cast_signed())), open(Process::myself()));
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    let table: Vec<_> = tables.into_iter().flatten().flatten().collect();
    let listening: HashSet<u16> = table
        .iter()
        .filter(|e| e.state == TcpState::Listen && theirs.contains(&e.inode))
        .map(|e| e.local_address.port())
        .collect();
    let probes: HashSet<_> = table.iter().filter(|e| own.contains(&e.inode)).map(|e| e.local_address).collect();
    let open = table.iter().filter(|e| {
        matches!(e.state, TcpState::Established | TcpState::CloseWait)
            && theirs.contains(&e.inode)
            && listening.contains(&e.local_address.port())
            && !probes.contains(&e.remote_address)
    });
    open.map(|e| e.remote_address.ip().to_canonical()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_sockets_and_leaves_them_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(inodes(&Process::myself().unwrap()).len() >= 3);
        // Both ends are this process's own, as the probe's are the supervisor's.
        assert!(peers(std::process::id()).is_empty());
        drop((client, accepted));
    }
}
