//! The cable between machines: whatever one of them sends, the others get. Each connects to a socket of its own,
//! anew after each boot; what is sent to one that is switched off, or does not keep up, is lost, as on a real one.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// How many frames wait for a machine.
const QUEUE: usize = 512;
/// The longest frame, in bytes.
const FRAME_LIMIT_BYTES: u32 = 1 << 17;

/// A cable with so many ends.
pub struct Hub {
    sockets: Vec<PathBuf>,
    over: Arc<AtomicBool>,
}

impl Hub {
    /// Its sockets lie in this directory.
    pub fn new(dir: &Path, ends: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..ends).map(|_| sync_channel(QUEUE)).unzip();
        let mut sockets = Vec::new();
        for (end, frames) in receivers.into_iter().enumerate() {
            let socket = dir.join(format!("cable{end}"));
            let listener = UnixListener::bind(&socket).unwrap();
            sockets.push(socket);
            let others = senders.iter().enumerate().filter(|(other, _)| *other != end);
            let others: Vec<_> = others.map(|(_, sender)| sender.clone()).collect();
            let machine = Arc::new(Mutex::new(None));
            let (at, over) = (Arc::clone(&machine), Arc::clone(&over));
            thread::spawn(move || hear(&listener, &at, &others, &over));
            thread::spawn(move || tell(&frames, &machine));
        }
        Self { sockets, over }
    }

    /// The arguments of QEMU, for the machine at this end.
    pub fn netdev(&self, end: usize) -> String {
        format!("stream,id=cable,server=off,addr.type=unix,addr.path={}", self.sockets[end].display())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for socket in &self.sockets {
            // The thread that waits for a machine there looks up.
            _ = UnixStream::connect(socket);
        }
    }
}

type End = Mutex<Option<UnixStream>>;

fn of(end: &End) -> MutexGuard<'_, Option<UnixStream>> {
    end.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands on what the machines at one end send, one boot after the other.
fn hear(listener: &UnixListener, end: &End, others: &[SyncSender<Vec<u8>>], over: &AtomicBool) {
    for stream in listener.incoming() {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let mut stream = stream.unwrap();
        *of(end) = Some(stream.try_clone().unwrap());
        while let Ok(frame) = frame(&mut stream) {
            for other in others {
                _ = other.try_send(frame.clone());
            }
        }
        *of(end) = None;
    }
}

/// A frame, with its length before it.
fn frame(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let bytes = u32::from_be_bytes(length);
    if bytes > FRAME_LIMIT_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; 4 + bytes as usize];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}

/// Tells the machine at one end what the others have sent.
fn tell(frames: &Receiver<Vec<u8>>, end: &End) {
    for frame in frames {
        let mut machine = of(end);
        if machine.as_mut().is_some_and(|stream| stream.write_all(&frame).is_err()) {
            *machine = None;
        }
    }
}
