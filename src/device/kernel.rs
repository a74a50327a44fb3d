//! Kernel interface of the network block devices: generic netlink that connects, reconnects and disconnects them, and
//! tells of links that are dead.
//!
//! Each question is asked by a thread of its own, which the kernel may keep: a disconnect speaks to the
//! server, and where the server is this very process it waits for it. The numbers of descriptors in a
//! message are those of the process, whichever thread sends it.

use super::backend::Backend;
use super::failure::Failure;
use super::message::{self, Answer, Connect, Family, Packet, Request};
use super::sysfs::Sysfs;
use nix::libc::{EBUSY, EINVAL, ENOBUFS, ENOENT, EPERM};
use rtnetlink::sys::protocols::NETLINK_GENERIC;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, Socket, SocketAddr, TokioSocket};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use tokio::sync::oneshot;

/// The kernel's network block devices.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    sysfs: Sysfs,
}

impl Kernel {
    /// Take the devices that are shown there.
    pub fn new(sysfs: Sysfs) -> Self {
        Self { sysfs }
    }

    /// The sysfs in which its devices are shown.
    pub fn sysfs(&self) -> &Sysfs {
        &self.sysfs
    }

    /// Connect a device to a server, and return its number. The socket is one on which the handshake is over, TCP or
    /// a unix stream; it is the kernel's from now on. A device may be connected even if this is dropped before it is
    /// done: [`Sysfs::find`] tells.
    ///
    /// # Errors
    /// Why the device is not connected; then it is as before.
    pub async fn connect(&self, device: Connect, socket: OwnedFd) -> Result<u32, Failure> {
        let (asked, backend) = (device.index, device.backend.clone());
        let number = socket.as_raw_fd();
        let answers = ask(Request::Connect(device, number), Some(socket)).await?.map_err(|why| {
            match (why.raw_os_error(), asked) {
                (Some(EBUSY), Some(index)) => Failure::InUse(index),
                _ => Failure::Refused { what: "to connect a network block device".into(), why },
            }
        })?;
        let index = answers.iter().find_map(message::connected);
        let index = index.ok_or_else(|| io::Error::other("the kernel does not say which device it has connected"))?;
        // A kernel that does not know the attribute passes it over, and would take any server later.
        let kept = self.sysfs.see(index)?.and_then(|seen| seen.backend);
        if kept != Some(backend.to_string()) {
            self.disconnect(index).await?;
            return Err(Failure::NoIdentifier);
        }
        Ok(index)
    }

    /// Give a device whose link is dead another socket, on which the handshake is over and the very same is served.
    /// Requests that wait for it go on.
    ///
    /// While the link is not dead the kernel passes the socket over without a word, and closes it: its server
    /// sees a client that hangs up at once. So it is for when [`LinkDead`] has told so, and for whoever has just
    /// begun to listen and does not know what was told before. The kernel tells of a dead link some
    /// microseconds before it takes another socket, which is less than a handshake lasts; a server of ours that
    /// sees its client hang up without a request while the device waits is to be given to it once more.
    ///
    /// # Errors
    /// Why the socket is not given: there is no such device, it is not connected, or to something else.
    pub async fn reconfigure(&self, index: u32, backend: &Backend, socket: OwnedFd) -> Result<(), Failure> {
        // A device of which it was told nothing the kernel takes for any other.
        let seen = self.sysfs.see(index)?.ok_or(Failure::NoDevice(index))?;
        if seen.pid.is_some() && seen.backend.is_none() {
            return Err(Failure::OtherBackend { index, found: None, wanted: backend.clone() });
        }
        let number = socket.as_raw_fd();
        match ask(Request::Reconfigure(index, backend.clone(), number), Some(socket)).await? {
            Ok(_) => Ok(()),
            Err(why) => Err(self.not_reconfigured(index, backend, why)),
        }
    }

    /// The kernel has one number for all of it.
    fn not_reconfigured(&self, index: u32, wanted: &Backend, why: io::Error) -> Failure {
        if why.raw_os_error() == Some(EINVAL) {
            match self.sysfs.see(index) {
                Ok(None) => return Failure::NoDevice(index),
                Ok(Some(seen)) if seen.pid.is_none() => return Failure::NotConnected(index),
                Ok(Some(seen)) if seen.backend != Some(wanted.to_string()) => {
                    return Failure::OtherBackend { index, found: seen.backend, wanted: wanted.clone() };
                }
                _ => {}
            }
        }
        Failure::Refused { what: format!("/dev/nbd{index} another server"), why }
    }

    /// Disconnect a device: the server is told, and what waits for it fails. One that is not connected is left as it
    /// is. It may take as long as the server does.
    ///
    /// # Errors
    /// If there is no such device, or the kernel refuses.
    pub async fn disconnect(&self, index: u32) -> Result<(), Failure> {
        match ask(Request::Disconnect(index), None).await? {
            Ok(_) => Ok(()),
            Err(_) if self.sysfs.see(index)?.is_none() => Err(Failure::NoDevice(index)),
            Err(why) => Err(Failure::Refused { what: format!("to disconnect /dev/nbd{index}"), why }),
        }
    }

    /// Whether a device is connected, its link dead or not; `None` if there is none of this number.
    ///
    /// # Errors
    /// If the kernel refuses to say so.
    pub async fn status(&self, index: u32) -> Result<Option<bool>, Failure> {
        match ask(Request::Status(index), None).await? {
            Ok(answers) => Ok(answers.iter().find_map(|answer| message::status(answer, index))),
            Err(why) => Err(Failure::Refused { what: format!("to tell of /dev/nbd{index}"), why }),
        }
    }

    /// Listen to the kernel's word of dead links from now on. It tells that in the host's own network only: a process
    /// in a network of its own hears nothing.
    ///
    /// # Errors
    /// Why the kernel cannot be listened to.
    pub async fn link_dead(&self) -> Result<LinkDead, Failure> {
        let family = aside(|| family(&socket()?)).await??;
        let mut socket = TokioSocket::new(NETLINK_GENERIC)?;
        socket.socket_mut().bind_auto()?;
        socket.socket_mut().add_membership(family.group)?;
        Ok(LinkDead { socket, told: VecDeque::new() })
    }
}

/// The kernel's word of dead links, as it comes.
pub struct LinkDead {
    socket: TokioSocket,
    told: VecDeque<u32>,
}

impl fmt::Debug for LinkDead {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("LinkDead").field("told", &self.told).finish_non_exhaustive()
    }
}

/// An event of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The link of the device of this number is dead: its server has gone. Requests wait for another.
    Dead(u32),
    /// Something was told that did not fit any more: the link of any device may be dead.
    Missed,
}

impl LinkDead {
    /// Take the next event. Cancel-safe: what is not taken stays.
    ///
    /// # Errors
    /// If the kernel cannot be listened to any more.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            if let Some(index) = self.told.pop_front() {
                return Ok(Event::Dead(index));
            }
            match self.socket.recv_from_full().await {
                Ok((bytes, _)) => {
                    let dead = message::answers(&bytes).into_iter().filter_map(|answer| match answer {
                        Answer::Said(packet) => message::link_dead(&packet),
                        _ => None,
                    });
                    self.told.extend(dead);
                }
                Err(why) if why.raw_os_error() == Some(ENOBUFS) => return Ok(Event::Missed),
                Err(why) => return Err(why),
            }
        }
    }
}

/// Ask aside. The inner error is the kernel's refusal; with the answer goes the descriptor that it names.
async fn ask(request: Request, socket: Option<OwnedFd>) -> Result<io::Result<Vec<Packet>>, Failure> {
    aside(move || {
        let kernel = self::socket()?;
        let family = family(&kernel)?;
        let answer = converse(&kernel, request.packet(family.id));
        drop(socket);
        match answer {
            Err(why) if why.raw_os_error() == Some(EPERM) => Err(Failure::Forbidden),
            answer => Ok(answer),
        }
    })
    .await?
}

/// Run something that the kernel may keep in a thread of its own; whoever waits for it can end before it has, and so
/// can the process.
///
/// # Errors
/// If there can be no thread.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    thread::Builder::new().name("nbd".into()).spawn(move || done.send(work()))?;
    result.await.map_err(|_| io::Error::other("what asks the kernel has broken off"))
}

fn socket() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_GENERIC)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// The family, as this kernel numbers it now: another time its module is loaded it may have another number.
fn family(kernel: &Socket) -> Result<Family, Failure> {
    match converse(kernel, message::find_family()) {
        Ok(answers) => answers.iter().find_map(message::family).ok_or(Failure::NoModule),
        Err(why) if why.raw_os_error() == Some(ENOENT) => Err(Failure::NoModule),
        Err(why) => Err(why.into()),
    }
}

/// Ask, and wait for the kernel to say that it is done.
fn converse(kernel: &Socket, packet: Packet) -> io::Result<Vec<Packet>> {
    kernel.send(&packet.bytes(1), 0)?;
    let mut said = Vec::new();
    loop {
        let (bytes, _) = kernel.recv_from_full()?;
        let answers = message::answers(&bytes);
        if answers.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer cannot be read"));
        }
        for answer in answers {
            match answer {
                Answer::Said(packet) => said.push(packet),
                Answer::Done => return Ok(said),
                Answer::Refused(why) => return Err(why),
                Answer::Else => {}
            }
        }
    }
}
