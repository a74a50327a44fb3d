//! Messages to the kernel and its answers, as bytes: the family `nbd` of generic netlink, and as much of its
//! controller as it takes to find that. Nothing here knows of a socket.
//!
//! The numbers are those of linux/netlink.h, linux/genetlink.h and linux/nbd-netlink.h.

use super::backend::Backend;
use rtnetlink::packet_core::{
    DecodeError, DefaultNla, Emitable, NLA_F_NESTED, NLM_F_ACK, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlaBuffer, NlasIterator,
};
use std::io;
use std::time::Duration;

/// The name of the family, and of its group that is told of dead links.
pub const FAMILY: &str = "nbd";
const GROUP: &str = "nbd_mc_group";

/// The controller's number, which is the same everywhere, and its version.
const CONTROLLER: u16 = 0x10;
const CONTROLLER_VERSION: u8 = 2;
/// The controller's question for a family, and what is said of one.
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const GROUPS: u16 = 7;
const GROUP_NAME: u16 = 1;
const GROUP_ID: u16 = 2;

/// The version of `nbd`, its commands, and their attributes.
const VERSION: u8 = 1;
const CONNECT: u8 = 1;
const DISCONNECT: u8 = 2;
const RECONFIGURE: u8 = 3;
const LINK_DEAD: u8 = 4;
const STATUS: u8 = 5;
const INDEX: u16 = 1;
const SIZE: u16 = 2;
const BLOCK_SIZE: u16 = 3;
const TIMEOUT: u16 = 4;
const SERVER_FLAGS: u16 = 5;
const CLIENT_FLAGS: u16 = 6;
const SOCKETS: u16 = 7;
const DEAD_TIMEOUT: u16 = 8;
const DEVICES: u16 = 9;
const BACKEND: u16 = 10;
/// One of the sockets, and its descriptor; one of the devices, and what is said of it.
const ITEM: u16 = 1;
const SOCKET: u16 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_CONNECTED: u16 = 2;

/// The length of a generic netlink header: command, version, and two bytes that are kept for later.
const HEADER_BYTES: usize = 4;

/// The device goes with its connection, instead of being there without one (`NBD_CFLAG_DESTROY_ON_DISCONNECT`).
pub const DESTROY_ON_DISCONNECT: u64 = 1 << 0;
/// The device is disconnected when the last one closes it (`NBD_CFLAG_DISCONNECT_ON_CLOSE`).
pub const DISCONNECT_ON_CLOSE: u64 = 1 << 1;

/// A message of generic netlink: whose it is, what it wants, and its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    family: u16,
    command: u8,
    version: u8,
    attributes: Vec<u8>,
}

impl NetlinkSerializable for Packet {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        HEADER_BYTES + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..HEADER_BYTES].copy_from_slice(&[self.command, self.version, 0, 0]);
        buffer[HEADER_BYTES..].copy_from_slice(&self.attributes);
    }
}

impl NetlinkDeserializable for Packet {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let [command, version, _, _, attributes @ ..] = payload else {
            return Err("a message of generic netlink without its header".into());
        };
        Ok(Self { family: header.message_type, command: *command, version: *version, attributes: attributes.into() })
    }
}

impl Packet {
    /// Write the packet as it is sent, with the order to say when it is done.
    pub fn bytes(self, sequence: u32) -> Vec<u8> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK;
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(self));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn attributes(&self) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
        attributes(&self.attributes)
    }

    fn attribute(&self, kind: u16) -> Option<NlaBuffer<&[u8]>> {
        self.attributes().find(|attribute| attribute.kind() == kind)
    }
}

/// The attributes in some bytes, up to the first that is none.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

/// A message of those that the kernel has answered.
#[derive(Debug)]
pub enum Answer {
    /// A message of some family.
    Said(Packet),
    /// The request is done.
    Done,
    /// The request is refused.
    Refused(io::Error),
    /// Something that is none of this.
    Else,
}

/// The messages in what was read from a socket at once, up to the first that is damaged.
pub fn answers(bytes: &[u8]) -> Vec<Answer> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(length) = rest.first_chunk().map(|length| u32::from_ne_bytes(*length) as usize) {
        // The length that a message gives for itself holds, or nothing behind it can be found.
        let Some(one) = rest.get(..length).filter(|one| !one.is_empty()) else { break };
        let Ok(message) = NetlinkMessage::<Packet>::deserialize(one) else { break };
        found.push(match message.payload {
            NetlinkPayload::InnerMessage(packet) => Answer::Said(packet),
            NetlinkPayload::Done(_) => Answer::Done,
            NetlinkPayload::Error(error) if error.code.is_none() => Answer::Done,
            NetlinkPayload::Error(error) => Answer::Refused(error.to_io()),
            _ => Answer::Else,
        });
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The question for the family `nbd`.
pub fn find_family() -> Packet {
    let name = attribute(FAMILY_NAME, text(FAMILY));
    Packet { family: CONTROLLER, command: GET_FAMILY, version: CONTROLLER_VERSION, attributes: emitted(&[name]) }
}

/// A family: the numbers that this kernel has given it and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The family's number.
    pub id: u16,
    /// The number of the group that is told of dead links.
    pub group: u32,
}

/// Read the controller's answer; `None` if it is not this.
pub fn family(packet: &Packet) -> Option<Family> {
    let id = packet.attribute(FAMILY_ID)?.value().try_into().ok().map(u16::from_ne_bytes)?;
    let groups = packet.attribute(GROUPS)?;
    let group = attributes(groups.value()).find_map(|group| {
        let within =
            |kind| attributes(group.value()).find(|part| part.kind() == kind).map(|part| part.value().to_vec());
        (within(GROUP_NAME)? == text(GROUP)).then(|| within(GROUP_ID)).flatten()
    })?;
    Some(Family { id, group: u32_of(&group)? })
}

/// A device that is to be connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The device's number; `None` lets the kernel choose one that is free, or make one.
    pub index: Option<u32>,
    /// The size in bytes: a multiple of the block size.
    pub size: u64,
    /// The size of its blocks in bytes: a power of two from 512 up to a page.
    pub block_size: u64,
    /// The server's abilities, as it said in the handshake (`NBD_FLAG_*`).
    pub server_flags: u16,
    /// The device's own doings: [`DESTROY_ON_DISCONNECT`], [`DISCONNECT_ON_CLOSE`], or 0.
    pub client_flags: u64,
    /// The time that requests wait for another socket when theirs is dead, in whole seconds; then they fail.
    pub dead_timeout: Duration,
    /// The time, in whole seconds, after which a server that does not answer a request is taken for dead. `None`:
    /// never, however long it takes.
    pub timeout: Option<Duration>,
    /// The backend: what the server serves.
    pub backend: Backend,
}

/// A request to the family. Descriptors are numbers of the process that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Connects a device to a socket.
    Connect(Connect, i32),
    /// Gives a device another socket in place of one that is dead.
    Reconfigure(u32, Backend, i32),
    /// Disconnects a device.
    Disconnect(u32),
    /// Whether a device is connected.
    Status(u32),
}

impl Request {
    /// Write the request as a message to the family of this number.
    pub fn packet(&self, family: u16) -> Packet {
        let (command, attributes) = match self {
            Self::Connect(device, socket) => (CONNECT, connect(device, *socket)),
            Self::Reconfigure(index, backend, socket) => {
                (RECONFIGURE, vec![of_index(*index), sockets(*socket), of_backend(backend)])
            }
            Self::Disconnect(index) => (DISCONNECT, vec![of_index(*index)]),
            Self::Status(index) => (STATUS, vec![of_index(*index)]),
        };
        Packet { family, command, version: VERSION, attributes: emitted(&attributes) }
    }
}

fn connect(device: &Connect, socket: i32) -> Vec<DefaultNla> {
    let number = |kind, number: u64| attribute(kind, number.to_ne_bytes().into());
    let mut list: Vec<_> = device.index.map(of_index).into_iter().collect();
    list.push(number(SIZE, device.size));
    list.push(number(BLOCK_SIZE, device.block_size));
    list.push(number(SERVER_FLAGS, device.server_flags.into()));
    list.push(number(CLIENT_FLAGS, device.client_flags));
    list.push(number(DEAD_TIMEOUT, device.dead_timeout.as_secs()));
    // 0 is "never" as well, and says so on each connection.
    list.extend(device.timeout.map(|timeout| number(TIMEOUT, timeout.as_secs().max(1))));
    list.extend([sockets(socket), of_backend(&device.backend)]);
    list
}

fn of_index(index: u32) -> DefaultNla {
    attribute(INDEX, index.to_ne_bytes().into())
}

fn of_backend(backend: &Backend) -> DefaultNla {
    attribute(BACKEND, text(&backend.to_string()))
}

/// A list of sockets with this one in it.
fn sockets(socket: i32) -> DefaultNla {
    let socket = attribute(SOCKET, socket.to_ne_bytes().into());
    let item = attribute(ITEM | NLA_F_NESTED, emitted(&[socket]));
    attribute(SOCKETS | NLA_F_NESTED, emitted(&[item]))
}

fn attribute(kind: u16, value: Vec<u8>) -> DefaultNla {
    DefaultNla::new(kind, value)
}

fn emitted(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}

/// A text as the kernel writes it: with a zero behind it.
fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn u32_of(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// Read which device was connected, from the answer to [`Request::Connect`].
pub fn connected(packet: &Packet) -> Option<u32> {
    let index = packet.attribute(INDEX).filter(|_| packet.command == CONNECT)?;
    u32_of(index.value())
}

/// Read the device whose link is dead, from what the group is told.
pub fn link_dead(packet: &Packet) -> Option<u32> {
    let index = packet.attribute(INDEX).filter(|_| packet.command == LINK_DEAD)?;
    u32_of(index.value())
}

/// Read whether a device is connected, from the answer to [`Request::Status`]; `None` if there is no such device.
pub fn status(packet: &Packet, index: u32) -> Option<bool> {
    let devices = packet.attribute(DEVICES).filter(|_| packet.command == STATUS)?;
    attributes(devices.value()).find_map(|device| {
        let within =
            |kind| attributes(device.value()).find(|part| part.kind() == kind).map(|part| part.value().to_vec());
        (u32_of(&within(DEVICE_INDEX)?)? == index).then(|| within(DEVICE_CONNECTED)).flatten().map(|is| is == [1])
    })
}

#[cfg(test)]
mod tests;
