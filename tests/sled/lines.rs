//! Connections of hosts to regions, watched all the time: one that must not be disturbed, and
//! somebody who must not get in.

use crate::calm::Calm;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::hosts::{Host, hang_up, is_well};

/// How many connections a siege leaves as they are; the oldest are closed.
const MOST_KEPT: usize = 64;
/// How often is asked.
const RHYTHM: Duration = Duration::from_millis(20);

/// A connection on which is asked all the time whether the region is well.
pub struct Line {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<(usize, bool)>>,
    /// Nothing is told by it but its end, which is the thread's.
    ended: Receiver<()>,
}

impl Line {
    /// Connects to a region, which must answer.
    pub fn open(host: &Host, port: u16) -> Self {
        let (mut stream, stop) = (host.connect(port).unwrap(), Arc::new(AtomicBool::new(false)));
        assert!(is_well(&mut stream), "{} is not answered at {port}", host.address);
        let (stopped, (end, ended)) = (stop.clone(), mpsc::channel());
        let thread = std::thread::spawn(move || {
            let _end: Sender<()> = end;
            keep(&mut stream, &stopped)
        });
        Self { thread: Some(thread), stop, ended }
    }

    /// Whether it has been cut.
    pub fn is_cut(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it is cut, and returns whether it was within this time, in which nobody had to wait for a
    /// processor.
    pub fn is_cut_within(&self, time: Duration) -> bool {
        let began = Calm::begin();
        // Whether the time was calm is only known afterwards.
        while !began.is_over(time) {
            if self.ended.recv_timeout(RHYTHM) == Err(RecvTimeoutError::Disconnected) {
                return true;
            }
        }
        self.is_cut()
    }

    /// Closes it, which must never have been cut, and returns how often it was answered.
    pub fn close(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let (answers, whole) = self.thread.take().unwrap().join().unwrap();
        assert!(whole, "it was cut after {answers} answers");
        answers
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn keep(stream: &mut TcpStream, stop: &AtomicBool) -> (usize, bool) {
    let mut answers = 0;
    // A cut need not be told by the other side: a question that stays without answer is one.
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    while !stop.load(Ordering::Relaxed) {
        if !is_well(stream) {
            return (answers, false);
        }
        answers += 1;
        std::thread::sleep(RHYTHM);
    }
    hang_up(stream);
    (answers, true)
}

/// A host that tries to get in all the time.
pub struct Siege {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Option<Instant>>,
}

impl Siege {
    /// Begins.
    pub fn begin(host: &Host, port: u16) -> Self {
        let host = host.clone();
        Self::of(move || host.reaches(port))
    }

    /// Begins another, which makes the region end each connection, and does not end its own but for
    /// the oldest: the region's kernel keeps what is left of each (`FIN_WAIT2`).
    pub fn that_leaves_remains(host: &Host, port: u16) -> Self {
        let (host, mut kept) = (host.clone(), VecDeque::new());
        Self::of(move || {
            let Ok(mut stream) = host.connect(port) else { return false };
            // The longest frame that can be announced is longer than any that there is.
            let ended = stream.write_all(&[0xff; 4]).and_then(|()| stream.read_to_end(&mut Vec::new())).is_ok();
            kept.push_back(stream);
            if kept.len() > MOST_KEPT {
                kept.pop_front();
            }
            ended
        })
    }

    /// Asks all the time, and remembers when it asked what it was answered last.
    fn of(mut is_answered: impl FnMut() -> bool + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut last = None;
            while !stopped.load(Ordering::Relaxed) {
                let asked = Instant::now();
                if is_answered() {
                    last = Some(asked);
                }
                // Without a pause it would take all there is of a small machine's time.
                std::thread::sleep(RHYTHM / 4);
            }
            last
        });
        Self { stop, thread }
    }

    /// Gives up, and returns when it asked what it was answered last.
    pub fn end(self) -> Option<Instant> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
