//! Kills a running process just before the N-th of its system calls that change a file system,
//! counted over all its threads. What a kill can leave behind is the state between two such calls,
//! so that a test which kills at each of them in turn has met every one. (It is no power cut:
//! what was written and not synced is still there.)
//!
//! The process is found running and is left running, unless its point is reached: it is no
//! child of this one (its end would be reaped here), and may be in other namespaces. What is
//! written through a mapping or by io_uring is not seen. x86_64 only.

use crate::calls::{On, changing};
use nix::errno::Errno;
use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal::{self, SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
use nix::sys::signal::kill;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use procfs::process::{FDTarget, Process};
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Which calls count; by default those that change any file system but /dev, /proc and /sys.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only what concerns this directory and all below it, by the path that the process sees.
    pub below: Option<PathBuf>,
    /// To call one of these D-Bus methods counts too, such as `StartUnit`.
    pub methods: &'static [&'static str],
}

/// A call that counts. It may yet fail: it is seen before it takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its number since the beginning; the first is 1.
    pub number: usize,
    /// The name of the system call.
    pub call: &'static str,
    /// The paths, or the D-Bus method; as far as it can be told.
    pub what: String,
}

/// A process being traced. It is let go when this is dropped.
#[derive(Debug)]
pub struct Tracer {
    bell: Option<ChildStdin>,
    thread: Option<JoinHandle<Vec<Point>>>,
    killed: Receiver<Point>,
}

impl Tracer {
    /// Begins to trace, to kill the process just before its call of this number, from 1; returns
    /// when all threads are traced.
    ///
    /// # Errors
    /// There is no such process, or it may not be traced.
    pub fn attach(pid: u32, at: usize, filter: Filter) -> io::Result<Self> {
        let leader = Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?);
        let (ready, begun) = mpsc::channel();
        let (tell, killed) = mpsc::channel();
        // The traced process belongs to one thread, which alone may touch it.
        let thread = std::thread::spawn(move || match Tracing::begin(leader, at, filter, tell) {
            Ok((mut tracing, stopped)) => {
                let _ = ready.send(Ok(tracing.bell.stdin.take()));
                tracing.run(stopped)
            }
            Err(why) => {
                let _ = ready.send(Err(why));
                Vec::new()
            }
        });
        let bell = begun.recv().map_err(io::Error::other)??;
        Ok(Self { bell, thread: Some(thread), killed })
    }

    /// Waits until the process was killed at its point and its parent may know; nothing if that
    /// has not happened in time, or if the process has ended otherwise.
    pub fn wait_killed(&self, timeout: Duration) -> Option<Point> {
        self.killed.recv_timeout(timeout).ok()
    }

    fn end(&mut self) -> Option<std::thread::Result<Vec<Point>>> {
        drop(self.bell.take());
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The tracing as its own thread alone knows it.
struct Tracing {
    leader: Pid,
    /// The number of the call before which the process is killed.
    at: usize,
    filter: Filter,
    points: Vec<Point>,
    /// The threads that are in a call that counts.
    under_way: HashSet<Pid>,
    /// The threads that wait to be killed: that at its point, and those come to a call since.
    held: Vec<Pid>,
    killed: bool,
    tell: Sender<Point>,
    /// A child of this thread, the end of which wakes it from its wait.
    bell: Child,
}

/// The flags with which this thread waits: for all that it traces, and no child of the test's other threads.
const OURS: WaitPidFlag = WaitPidFlag::__WALL.union(WaitPidFlag::__WNOTHREAD);

fn wait() -> nix::Result<WaitStatus> {
    loop {
        match waitpid(None, Some(OURS)) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// A thread may be killed at any time, by others too.
fn unless_gone(result: nix::Result<()>) {
    match result {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(why) => panic!("a traced thread: {why}"),
    }
}

/// The thread that has stopped, and the signal that it is to be passed.
fn stop(status: WaitStatus) -> Option<(Pid, Option<Signal>)> {
    match status {
        WaitStatus::Stopped(thread, signal) => Some((thread, Some(signal))),
        WaitStatus::PtraceEvent(thread, ..) | WaitStatus::PtraceSyscall(thread) => Some((thread, None)),
        _ => None,
    }
}

fn threads(leader: Pid) -> io::Result<Vec<Pid>> {
    let tasks = Process::new(leader.as_raw()).and_then(|process| process.tasks()).map_err(io::Error::other)?;
    Ok(tasks.flatten().map(|task| Pid::from_raw(task.tid)).collect())
}

/// Takes one thread; whether it is to be waited for.
fn seize(thread: Pid, leader: Pid) -> io::Result<bool> {
    match ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE) {
        Ok(()) => {
            unless_gone(ptrace::interrupt(thread));
            Ok(true)
        }
        Err(why) if thread == leader => Err(why.into()),
        // Born of a thread that is traced, it is traced already; or else it is about to end.
        Err(Errno::EPERM) => {
            let status = Process::new(thread.as_raw()).and_then(|process| process.status());
            Ok(status.is_ok_and(|status| status.tracerpid != 0))
        }
        Err(Errno::ESRCH) => Ok(false),
        Err(why) => Err(why.into()),
    }
}

/// Takes every thread and returns with all of them stopped. Only then are there surely no more:
/// until then each one may bear another.
fn seize_all(leader: Pid) -> io::Result<Vec<WaitStatus>> {
    let mut known = HashSet::new();
    let mut running = HashSet::new();
    let mut stopped = Vec::new();
    loop {
        for thread in threads(leader)? {
            if !known.contains(&thread) && seize(thread, leader)? {
                known.insert(thread);
                running.insert(thread);
            }
        }
        if running.is_empty() {
            return Ok(stopped);
        }
        while !running.is_empty() {
            let status = wait()?;
            if let WaitStatus::PtraceEvent(thread, _, libc::PTRACE_EVENT_STOP) = status {
                known.insert(thread);
                running.remove(&thread);
                stopped.push(status);
            } else if let Some((thread, signal)) = stop(status) {
                unless_gone(ptrace::cont(thread, signal));
            } else {
                running.retain(|thread| Some(*thread) != status.pid());
            }
        }
    }
}

/// Leaves a thread stopped as job control wants it, until it is continued.
#[expect(unsafe_code, reason = "nix has no PTRACE_LISTEN")]
fn listen(thread: Pid) {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: it neither reads nor writes this process's memory; both pointers are ignored.
    let result = unsafe { libc::ptrace(libc::PTRACE_LISTEN, thread.as_raw(), nothing, nothing) };
    unless_gone(Errno::result(result).map(drop));
}

impl Tracing {
    fn begin(leader: Pid, at: usize, filter: Filter, tell: Sender<Point>) -> io::Result<(Self, Vec<WaitStatus>)> {
        // If this fails half-way, what is traced is let go with the end of the thread.
        let stopped = seize_all(leader)?;
        let bell = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let (points, under_way, held) = (Vec::new(), HashSet::new(), Vec::new());
        Ok((Self { leader, at, filter, points, under_way, held, killed: false, tell, bell }, stopped))
    }

    fn run(mut self, stopped: Vec<WaitStatus>) -> Vec<Point> {
        let bell = Pid::from_raw(self.bell.id().cast_signed());
        stopped.into_iter().for_each(|status| self.step(status));
        loop {
            // A real-time signal is beyond nix, and ends this in a panic.
            let status = wait().unwrap_or_else(|why| panic!("the traced threads: {why}"));
            let ended = if stop(status).is_none() { status.pid() } else { None };
            if ended == Some(bell) {
                break self.let_go();
            }
            // The last of the threads to be reaped: from now on its parent may reap it too.
            if ended == Some(self.leader) {
                break self.gone();
            }
            self.step(status);
        }
        self.points
    }

    /// Take what a thread reports, and let it go on.
    fn step(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::PtraceSyscall(thread) => self.at_call(thread),
            WaitStatus::PtraceEvent(thread, SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU, _) => listen(thread),
            status => match stop(status) {
                Some((thread, signal)) => unless_gone(ptrace::syscall(thread, signal)),
                None => self.under_way.retain(|thread| Some(*thread) != status.pid()),
            },
        }
        // The calls that were begun before the point are to have come to their end.
        if !self.held.is_empty() && self.under_way.is_empty() && !self.killed {
            unless_gone(kill(self.leader, SIGKILL));
            self.killed = true;
        }
    }

    /// A thread has come to a call, or to the end of one.
    fn at_call(&mut self, thread: Pid) {
        let entry = ptrace::syscall_info(thread).is_ok_and(|info| info.op == libc::PTRACE_SYSCALL_INFO_ENTRY);
        if !entry {
            self.under_way.remove(&thread);
        } else if let Some((call, what)) = ptrace::getregs(thread).ok().and_then(|regs| self.change(thread, &regs)) {
            if !self.held.is_empty() {
                return self.held.push(thread);
            }
            let number = self.points.len() + 1;
            self.points.push(Point { number, call, what });
            if self.at == number {
                return self.held.push(thread);
            }
            self.under_way.insert(thread);
        }
        unless_gone(ptrace::syscall(thread, None));
    }

    fn gone(&mut self) {
        if let (true, Some(point)) = (self.killed, self.points.last()) {
            let _ = self.tell.send(point.clone());
        }
        let _ = self.bell.kill();
        let _ = self.bell.wait();
    }

    /// Lets every thread go: a thread can be let go only while it is stopped.
    fn let_go(&mut self) {
        for thread in self.held.drain(..) {
            unless_gone(ptrace::detach(thread, None));
        }
        for thread in threads(self.leader).unwrap_or_default() {
            // Not those that were let go just now.
            let _ = ptrace::interrupt(thread);
        }
        while let Ok(status) = wait() {
            if let Some((thread, signal)) = stop(status) {
                unless_gone(ptrace::detach(thread, signal));
            }
        }
    }

    /// The call's name and what it is about, if it counts.
    fn change(&self, thread: Pid, regs: &user_regs_struct) -> Option<(&'static str, String)> {
        let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
        let number = regs.orig_rax.cast_signed();
        if let Some((name, method)) = self.message(number, args) {
            return self.filter.methods.contains(&method.as_str()).then_some((name, method));
        }
        let (name, objects) = changing(number)?;
        if self.opens_only(number, args) {
            return None;
        }
        let paths: Vec<_> = objects.iter().map(|on| self.path(thread, on, args)).collect();
        let counts = |path: &PathBuf| match &self.filter.below {
            Some(dir) => path.starts_with(dir),
            None => path.is_absolute() && !["/dev", "/proc", "/sys"].iter().any(|dir| path.starts_with(dir)),
        };
        // A call without an object concerns everything.
        let any = paths.is_empty() || paths.iter().flatten().any(counts);
        let paths: Vec<_> = paths.iter().flatten().map(|path| path.to_string_lossy()).collect();
        any.then(|| (name, paths.join(" -> ")))
    }

    /// Whether the call opens what is there, and leaves it as it is.
    fn opens_only(&self, number: i64, args: [u64; 6]) -> bool {
        let flags = match number {
            libc::SYS_open => args[1],
            libc::SYS_openat => args[2],
            libc::SYS_openat2 => self.word(args[2]),
            _ => return false,
        };
        let has = |flag: i32| flags & u64::from(flag.cast_unsigned()) == u64::from(flag.cast_unsigned());
        !(has(libc::O_CREAT) || has(libc::O_TRUNC) || has(libc::O_TMPFILE))
    }

    /// The path of what a call is about, as the thread sees it.
    fn path(&self, thread: Pid, on: &On, args: [u64; 6]) -> Option<PathBuf> {
        let process = Process::new(thread.as_raw()).ok()?;
        let (dir, path) = match *on {
            On::Fd(fd) => (args[fd], 0),
            On::Path(path) => (libc::AT_FDCWD as u64, args[path]),
            On::At(dir) => (args[dir], args[dir + 1]),
        };
        let path = PathBuf::from(self.text(path));
        // A descriptor is the lower half of its register.
        let base = match dir as i32 {
            _ if path.is_absolute() => return Some(path),
            libc::AT_FDCWD => process.cwd().ok()?,
            fd => match process.fd_from_fd(fd).ok()?.target {
                FDTarget::Path(path) => path,
                _ => return None,
            },
        };
        // No path at all means the descriptor itself.
        Some(if path.as_os_str().is_empty() { base } else { base.join(path) })
    }

    /// The memory of the process, which is another one after every execve(2).
    fn memory(&self) -> io::Result<File> {
        File::open(format!("/proc/{}/mem", self.leader))
    }

    /// Some of the thread's memory, to the end of what is mapped.
    fn bytes(&self, address: u64, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let length = if address == 0 {
            0
        } else {
            self.memory().and_then(|memory| memory.read_at(&mut bytes, address)).unwrap_or(0)
        };
        bytes.truncate(length);
        bytes
    }

    fn text(&self, address: u64) -> String {
        let bytes = self.bytes(address, libc::PATH_MAX as usize);
        String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    }

    fn word(&self, address: u64) -> u64 {
        self.bytes(address, 8).try_into().map_or(0, u64::from_ne_bytes)
    }

    /// A call that sends a D-Bus method call, and the method.
    fn message(&self, number: i64, args: [u64; 6]) -> Option<(&'static str, String)> {
        let (name, text) = match number {
            libc::SYS_sendto => ("sendto", args[1]),
            // The message's first buffer.
            libc::SYS_sendmsg => ("sendmsg", self.word(self.word(args[1].wrapping_add(16)))),
            _ => return None,
        };
        Some((name, method(&self.bytes(text, 1024))?))
    }
}

/// The method that a D-Bus message calls, if it is a call: what goes to a log or to a host over
/// the same kind of socket is none.
fn method(message: &[u8]) -> Option<String> {
    // Byte order, METHOD_CALL, flags, version; among the fields MEMBER: 3, a string, its length.
    let [b'l', 1, _, 1, ..] = message else { return None };
    let at = message.windows(4).position(|field| field == [3, 1, b's', 0])?;
    let length = usize::from(*message.get(at + 4)?);
    Some(String::from_utf8_lossy(message.get(at + 8..at + 8 + length)?).into_owned())
}
