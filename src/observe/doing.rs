//! Doings of a process that listens and does not answer, from procfs: for people to tell a livelock
//! from a disk that hangs. Looked at only then, and reads only.

use crate::decide::facts::Doing;
use crate::kernel::attributes::raw;
use crate::kernel::broker;
use crate::port_map::LocalRegion;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{Process, Stat, all_processes};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between the two looks that tell how much of a processor it takes.
const SAMPLE_PAUSE: Duration = Duration::from_millis(200);
/// The name of the journal's process, as the kernel cuts it off.
const JOURNAL: &str = "systemd-journal";

/// Looks at a region's process; takes a fifth of a second, so not on the loop's thread. `None` if
/// it has ended.
pub fn look(pid: u32, local: &LocalRegion) -> Option<Doing> {
    look_over(pid, local, || std::thread::sleep(SAMPLE_PAUSE))
}

/// The same, over the time that this takes.
fn look_over(pid: u32, local: &LocalRegion, time: impl FnOnce()) -> Option<Doing> {
    let process = Process::new(pid.cast_signed()).ok()?;
    let (began, before, wanted_before) = (Instant::now(), process.stat().ok()?, wanted(&process));
    time();
    let (after, wanted_after) = (process.stat().ok()?, wanted(&process));
    let took = began.elapsed();
    let cpu_percent = percent(&before, &after, took);
    let wanted = wanted_before.zip(wanted_after).map(|(before, after)| share(after.saturating_sub(before), took));
    let mut table = broker::tcp().unwrap_or_default();
    table.extend(broker::tcp6());
    Some(Doing {
        pid,
        state: state(&process).unwrap_or(after.state),
        cpu_percent,
        wanted_percent: wanted.unwrap_or_default().max(cpu_percent),
        backlog: waiting(&table, local, |state| state == TcpState::Listen),
        unread: waiting(&table, local, |state| state != TcpState::Listen).into(),
        journal_stopped: journal_stopped(),
    })
}

/// The state that tells most of any of its threads: the first one only waits for the others.
fn state(process: &Process) -> Option<char> {
    let threads = process.tasks().ok()?.flatten().filter_map(|thread| thread.stat().ok());
    let states: Vec<char> = threads.map(|stat| stat.state).collect();
    ['D', 'R', 'T', 't'].into_iter().find(|state| states.contains(state))
}

fn percent(before: &Stat, after: &Stat, time: Duration) -> u32 {
    let ticks = |stat: &Stat| stat.utime + stat.stime;
    let ms = ticks(after).saturating_sub(ticks(before)) * 1000 / procfs::ticks_per_second();
    share(Duration::from_millis(ms), time)
}

/// The share of some time, in percent.
fn share(of: Duration, time: Duration) -> u32 {
    u32::try_from(of.as_millis() * 100 / time.as_millis().max(1)).unwrap_or(u32::MAX)
}

/// The time for which threads of a process have computed, or were about to and waited for a processor (Linux,
/// Documentation/scheduler/sched-stats.rst). `None` if the kernel does not count it.
fn wanted(process: &Process) -> Option<Duration> {
    let threads = process.tasks().ok()?.flatten();
    let of_thread = |thread: procfs::process::Task| {
        let file = PathBuf::from(format!("/proc/{}/task/{}/schedstat", thread.pid, thread.tid));
        let mut numbers = raw(&file)?.split_whitespace().map(str::parse::<u64>).collect::<Vec<_>>().into_iter();
        Some(numbers.next()?.ok()? + numbers.next()?.ok()?)
    };
    let all: Vec<u64> = threads.filter_map(of_thread).collect();
    (!all.is_empty()).then(|| Duration::from_nanos(all.iter().sum()))
}

/// Count what waits in the receive queues at a region's ports: connections at a listener, bytes
/// elsewhere (proc(5), `/proc/net/tcp`).
fn waiting(table: &[TcpNetEntry], local: &LocalRegion, which: impl Fn(TcpState) -> bool) -> u32 {
    let ports = [local.port, local.repair_port()];
    let own = table.iter().filter(|entry| ports.contains(&entry.local_address.port()) && which(entry.state.clone()));
    own.map(|entry| entry.rx_queue).sum()
}

fn journal_stopped() -> bool {
    let stats = all_processes().into_iter().flatten().flatten().filter_map(|process| process.stat().ok());
    stats.into_iter().any(|stat| stat.comm == JOURNAL && matches!(stat.state, 'T' | 't'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alone::is_alone;
    use crate::region::Geometry;
    use nix::time::{ClockId, clock_gettime};
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// This very process, computing, with a connection that nobody takes and bytes unread.
    #[test]
    fn a_livelock_shows_in_processor_time_and_queues() {
        // What other tests' threads do would show as well.
        if !is_alone("observe::doing::tests::a_livelock_shows_in_processor_time_and_queues") {
            return;
        }
        let (listener, local) = region();
        let at = listener.local_addr().unwrap();
        let mut talker = TcpStream::connect(at).unwrap();
        let (taken, _) = listener.accept().unwrap();
        let waiting = TcpStream::connect(at).unwrap();
        talker.write_all(&[7; 100]).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let until = done.clone();
        let burning = std::thread::spawn(move || while !until.load(Ordering::Relaxed) {});
        // However little of a processor is left for it: until it has had as much as it has in a look
        // that it does not have to share.
        let computed = || Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap());
        let a_while = || {
            let before = computed();
            while computed() - before < SAMPLE_PAUSE {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let began = Instant::now();
        let seen = look_over(std::process::id(), &local, a_while).unwrap();
        let took = began.elapsed();
        done.store(true, Ordering::Relaxed);
        burning.join().unwrap();
        assert_eq!((seen.backlog, seen.unread), (1, 100), "{seen:?}");
        // The kernel counts in hundredths of a second, at either end.
        let least = (SAMPLE_PAUSE.as_millis() - 40) * 100 / took.as_millis();
        assert!(u128::from(seen.cpu_percent) >= least, "{seen:?}: {least} % at least, in {took:?}");
        // Nor does it matter who else computes: a thread that goes round has a processor, or waits for one. The kernel
        // tells of a wait when that is over.
        assert!(seen.wanted_percent >= 70, "{seen:?} in {took:?}");
        // Another thread than the first one computes.
        assert_eq!(seen.state, 'R', "{seen:?}");
        drop((taken, waiting));
    }

    /// A listener with room for a repair port above, and the region whose it could be.
    fn region() -> (TcpListener, LocalRegion) {
        let mut all = std::iter::repeat_with(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let listener = all.find(|listener| listener.local_addr().unwrap().port() <= 61535).unwrap();
        let geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
        let port = listener.local_addr().unwrap().port();
        (listener, LocalRegion { name: "a-0".parse().unwrap(), port, geometry })
    }
}
