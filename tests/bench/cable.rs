//! How soon hosts hear of a cable: from the moment at which it is pulled or plugged until a poll that waits is answered,
//! beside the moment at which a bare listener of the kernel's hears of it.

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};
use support::figures::{is_within, rounds, show, sorted};
use support::hosts::{EVENT_LIMIT, SLED, Space, ask_at};
use support::layer::Layer;
use support::machine::Machine;

/// How often the cable is pulled, and plugged as often.
const PULLS: usize = 30;
/// A poll may be answered so many times as late as the kernel has told.
const MOST: f64 = 2.0;
/// The time after which a poll waits that was sent.
const SETTLED: Duration = Duration::from_millis(50);
/// The group of a netlink socket that is told of links (`RTMGRP_LINK` of linux/rtnetlink.h).
const LINKS: u32 = 1;
/// Where a message of a link has its index and its flags, behind the header, and the flag that it has a carrier
/// (`IFF_LOWER_UP`).
const INDEX: usize = 20;
const FLAGS: usize = 24;
const LOWER_UP: u32 = 0x10000;

/// One pull or plug: when the kernel has told, and when the poll was answered.
struct Change {
    told: Duration,
    answered: Duration,
}

/// Pulls and plugs.
pub fn cable() -> bool {
    let machine = Layer::small().boot_and_create();
    machine.wait_for("still-fawn", |volume| volume.ready);
    let space = Space::of(machine.leader());
    let index: u32 = machine.sh("cat /sys/class/net/enx00e04ca81110/ifindex").trim().parse().unwrap();
    let mut cable = Cable::of(&machine);
    let mut changes = Vec::new();
    let mut revision = poll(&space);
    for plugged in (0..rounds(PULLS)).flat_map(|_| [false, true]) {
        let (change, next) = change(&space, index, &mut cable, plugged, revision);
        changes.push(change);
        revision = next;
    }
    println!("a cable, {} times pulled and plugged, in ms", changes.len() / 2);
    show("the kernel tells", &sorted(&changes, |change| change.told));
    show("a poll is answered", &sorted(&changes, |change| change.answered));
    let ratio = |change: &Change| change.answered.div_duration_f64(change.told);
    let mut ratios: Vec<_> = changes.iter().map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let middle = ratios[ratios.len() / 2];
    println!("  the ratio: {middle:.2} ({:.2} to {:.2}; limit {MOST})", ratios[0], ratios[ratios.len() - 1]);
    is_within(middle <= MOST)
}

/// Pulls or plugs it once, and waits until the kernel has told and the poll is answered; with the volume's revision then.
fn change(space: &Space, index: u32, cable: &mut Cable, plugged: bool, revision: u64) -> (Change, u64) {
    let (told, when_told) = channel();
    let (asked, when_asked) = channel();
    let (answered, when_answered) = channel();
    let (listener, poller) = (space.clone(), space.clone());
    let listens = std::thread::spawn(move || listener.within(move || listen(index, plugged, &asked, &told)));
    when_asked.recv_timeout(EVENT_LIMIT).unwrap();
    let polls = std::thread::spawn(move || poller.within(move || answered.send(wait(revision, plugged)).unwrap()));
    // Until the poll waits: nobody tells that.
    std::thread::sleep(SETTLED);
    let began = Instant::now();
    cable.set(plugged);
    let told = when_told.recv_timeout(EVENT_LIMIT).unwrap() - began;
    let answered = when_answered.recv_timeout(EVENT_LIMIT).unwrap() - began;
    listens.join().unwrap();
    polls.join().unwrap();
    (Change { told, answered }, poll(space))
}

/// Polls until the volume is ready, or is not, and returns when the answer began to come.
fn wait(mut revision: u64, ready: bool) -> Instant {
    loop {
        let mut stream = TcpStream::connect((SLED, 3800)).unwrap();
        let path = format!("/v1/volumes/still-fawn?wait=60&revision={revision}");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: sled\r\nConnection: close\r\n\r\n").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        let came = Instant::now();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        if answer.contains(if ready { " 200 " } else { " 503 " }) {
            return came;
        }
        // Something else has changed meanwhile.
        let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        revision = body["revision"].as_u64().unwrap();
    }
}

/// Listens until the kernel tells that a link has its carrier, or has lost it.
fn listen(index: u32, carrier: bool, listens: &Sender<()>, told: &Sender<Instant>) {
    let (family, kind, protocol) = (AddressFamily::Netlink, SockType::Raw, SockProtocol::NetlinkRoute);
    let links: OwnedFd = socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
    bind(links.as_raw_fd(), &NetlinkAddr::new(0, LINKS)).unwrap();
    listens.send(()).unwrap();
    let mut message = [0; 16384];
    loop {
        let length = recv(links.as_raw_fd(), &mut message, MsgFlags::empty()).unwrap();
        let heard = Instant::now();
        let number = |at: usize| message[at..at + 4].try_into().map(u32::from_ne_bytes).unwrap();
        if length > FLAGS + 4 && number(INDEX) == index && (number(FLAGS) & LOWER_UP != 0) == carrier {
            told.send(heard).unwrap();
            return;
        }
    }
}

/// The volume's revision now.
fn poll(space: &Space) -> u64 {
    let answer = space.within(|| ask_at(SLED, "GET", "/v1/volumes/still-fawn", "").unwrap().1);
    let body: serde_json::Value = serde_json::from_str(&answer).unwrap();
    body["revision"].as_u64().unwrap()
}

/// The other end of the cable, held by a program that does at once what it is told.
struct Cable(Child, ChildStdin);

impl Cable {
    fn of(machine: &Machine) -> Self {
        let mut command = machine.host("192.168.4.17").space.command(&["ip", "-batch", "-"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        Self(child, orders)
    }

    fn set(&mut self, plugged: bool) {
        writeln!(self.1, "link set outside {}", if plugged { "up" } else { "down" }).unwrap();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
