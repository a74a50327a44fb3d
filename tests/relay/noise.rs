//! The relay's two protocol sides under noise, in this process: servers that answer by chance rightly, wrongly, in part,
//! or with anything, and clients that say anything. One honest client beside them sees none of it: each of its requests
//! is answered without an error, and it reads what it wrote.

use crate::BLOCK;
use bytes::BytesMut;
use crucible_sled::device::dial::shake_hands;
use crucible_sled::nbd::Broken;
use crucible_sled::nbd::flags::{HAS_FLAGS, SEND_FLUSH};
use crucible_sled::nbd::negotiation::{Export, Negotiation, Next};
use crucible_sled::nbd::transmission::{Command, REPLY, REQUEST, Reply, Request};
use crucible_sled::relay::log::{Log, Records};
use crucible_sled::relay::{Door, End, Relay, Silence, Supply, Volume};
use proptest::prelude::*;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const BLOCKS: usize = 16;
const SIZE: usize = BLOCKS * BLOCK;

/// The noise of a server after so many right answers.
#[derive(Debug, Clone)]
enum Noise {
    /// The server says this instead of its greeting.
    Greets(Vec<u8>),
    /// The server says this instead of an answer.
    Babbles(Vec<u8>),
    /// The server answers this much of an answer, and leaves.
    Breaks(usize),
    /// The server answers a request that nobody made.
    Confuses(u64),
    /// The server cannot do it, for this reason.
    Fails(u32),
    /// The server answers, and says more than that.
    Adds(Vec<u8>),
    /// The server leaves.
    Leaves,
}

fn noise() -> impl Strategy<Value = (usize, Noise)> {
    let bytes = || proptest::collection::vec(any::<u8>(), 1..200);
    // Long enough that it is not waited for the rest, and never right by chance.
    let wrong = || proptest::collection::vec(1..=u8::MAX, REPLY..200);
    let noise = prop_oneof![
        proptest::collection::vec(any::<u8>(), 18..200).prop_map(Noise::Greets),
        wrong().prop_map(Noise::Babbles),
        (0..REPLY + BLOCK).prop_map(Noise::Breaks),
        any::<u64>().prop_map(Noise::Confuses),
        (1..200u32).prop_map(Noise::Fails),
        bytes().prop_map(Noise::Adds),
        Just(Noise::Leaves),
    ];
    (0..12usize, noise)
}

/// The steps of the honest client.
#[derive(Debug, Clone)]
enum Step {
    Write(Range<usize>, u8),
    Read(Range<usize>),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let range = || (0..SIZE, 1..3 * BLOCK).prop_map(|(from, length)| from..(from + length).min(SIZE));
    prop_oneof![
        4 => (range(), any::<u8>()).prop_map(|(range, byte)| Step::Write(range, byte)),
        4 => range().prop_map(Step::Read),
        1 => Just(Step::Flush),
    ]
}

/// The words of other clients: anything, or a handshake that is right and then requests that may be.
#[derive(Debug, Clone)]
enum Stranger {
    Babbles(Vec<u8>),
    Asks(Vec<(u16, u16, u64, u32)>, Vec<u8>),
}

fn stranger() -> impl Strategy<Value = Stranger> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    // No write: what it wrote would be read.
    let command =
        prop_oneof![Just(0u16), Just(3), 4..20u16, any::<u16>().prop_filter("a write", |number| *number != 1)];
    let length = prop_oneof![0..70_000u32, any::<u32>()];
    let request = (prop_oneof![9 => Just(0u16), 1 => any::<u16>()], command, any::<u64>(), length);
    prop_oneof![
        bytes().prop_map(Stranger::Babbles),
        (proptest::collection::vec(request, 0..20), bytes()).prop_map(|(asks, then)| Stranger::Asks(asks, then)),
    ]
}

/// Servers, the noisy ones first. What is flushed is everybody's; what is not is lost with its server.
struct Servers {
    noisy: std::vec::IntoIter<(usize, Noise)>,
    lasting: Arc<Mutex<Vec<u8>>>,
}

impl Supply for Servers {
    type End = io::Error;

    async fn next(&mut self) -> io::Result<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (noise, lasting) = (self.noisy.next(), self.lasting.clone());
        let connected = TcpStream::connect(listener.local_addr()?).await?;
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move { serve(stream, noise, &lasting).await });
        Ok(connected)
    }

    async fn silence(&mut self) -> Silence {
        Silence::Excused("it is one of a test's".into())
    }
}

fn broken(why: Broken) -> io::Error {
    io::Error::other(why)
}

/// The handshake of one that serves rightly so far.
async fn enter(stream: &mut TcpStream) -> io::Result<()> {
    let export = Export {
        name: "v".into(),
        size: SIZE as u64,
        flags: HAS_FLAGS | SEND_FLUSH,
        blocks: [1, BLOCK as u32, 32 << 20],
    };
    let (mut out, mut input, mut byte) = (Vec::new(), BytesMut::new(), [0; 1]);
    let mut negotiation = Negotiation::begin(export, &mut out);
    loop {
        stream.write_all(&std::mem::take(&mut out)).await?;
        stream.read_exact(&mut byte).await?;
        input.extend_from_slice(&byte);
        if negotiation.hear(&mut input, &mut out).map_err(broken)? == Next::Transmission {
            return stream.write_all(&out).await;
        }
    }
}

/// Serve as one server, until it is left or leaves.
async fn serve(mut stream: TcpStream, noise: Option<(usize, Noise)>, lasting: &Mutex<Vec<u8>>) -> io::Result<()> {
    if let Some((_, Noise::Greets(bytes))) = &noise {
        return stream.write_all(bytes).await;
    }
    enter(&mut stream).await?;
    let mut own = lasting.lock().unwrap().clone();
    let mut answered = 0;
    loop {
        let mut header = [0; REQUEST];
        stream.read_exact(&mut header).await?;
        let Request { command, cookie, offset, length, .. } = Request::read(&header).map_err(broken)?;
        let range = offset as usize..offset as usize + length as usize;
        let mut data = Vec::new();
        match command {
            Command::Write => {
                let mut written = vec![0; range.len()];
                stream.read_exact(&mut written).await?;
                own[range].copy_from_slice(&written);
            }
            Command::Read => data.extend_from_slice(&own[range]),
            Command::Disconnect => return Ok(()),
            _ => {}
        }
        let right = |cookie| [&Reply::of(cookie, Ok(())).written()[..], &data].concat();
        let noise = noise.as_ref().filter(|(after, _)| answered == *after).map(|(_, noise)| noise);
        if command == Command::Flush && matches!(noise, None | Some(Noise::Adds(_))) {
            lasting.lock().unwrap().copy_from_slice(&own);
        }
        match noise {
            None => stream.write_all(&right(cookie)).await?,
            Some(Noise::Babbles(bytes)) => stream.write_all(bytes).await?,
            Some(Noise::Breaks(length)) => {
                let right = right(cookie);
                return stream.write_all(&right[..(*length).min(right.len() - 1)]).await;
            }
            Some(Noise::Confuses(other)) => stream.write_all(&right(cookie ^ other.max(&1))).await?,
            Some(Noise::Fails(error)) => {
                let failed = Reply { error: *error, cookie };
                stream.write_all(&failed.written()).await?;
            }
            Some(Noise::Adds(bytes)) => {
                stream.write_all(&[&right(cookie)[..], bytes].concat()).await?;
                // Bytes that follow are no answer, whatever they were; the relay may take them for the beginning of
                // one.
                return Ok(());
            }
            Some(Noise::Leaves | Noise::Greets(_)) => return Ok(()),
        }
        answered += 1;
    }
}

/// The honest client's requests, one after the other.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    command: Command,
    range: &Range<usize>,
    data: &[u8],
) -> io::Result<Vec<u8>> {
    let (offset, length) = (range.start as u64, range.len() as u32);
    let request = Request { command, flags: 0, cookie: 7, offset, length };
    stream.write_all(&[&request.written()[..], data].concat()).await?;
    let mut header = [0; REPLY];
    stream.read_exact(&mut header).await?;
    let reply = Reply::read(&header).map_err(broken)?;
    assert_eq!((reply.cookie, reply.error), (7, 0), "{command:?} of {range:?}");
    let mut read = vec![0; if command == Command::Read { range.len() } else { 0 }];
    stream.read_exact(&mut read).await?;
    Ok(read)
}

async fn honest(door: &Door, steps: &[Step]) -> io::Result<()> {
    let (mut stream, far) = duplex(1 << 16);
    tokio::spawn(door.clone().serve(far));
    shake_hands(&mut stream, "v").await.map_err(io::Error::other)?;
    let mut own = vec![0; SIZE];
    for step in steps {
        match step {
            Step::Write(range, byte) => {
                own[range.clone()].fill(*byte);
                ask(&mut stream, Command::Write, range, &own[range.clone()]).await?;
            }
            Step::Read(range) => {
                let read = ask(&mut stream, Command::Read, range, &[]).await?;
                assert!(read == own[range.clone()], "{range:?} is not what was written");
            }
            Step::Flush => _ = ask(&mut stream, Command::Flush, &(0..0), &[]).await?,
        }
    }
    let read = ask(&mut stream, Command::Read, &(0..SIZE), &[]).await?;
    assert!(read == own, "the volume is not what was written");
    Ok(())
}

/// A client that says what it likes, and reads whatever comes until it is left.
async fn strange(door: &Door, stranger: &Stranger) {
    let (mut stream, far) = duplex(1 << 16);
    tokio::spawn(door.clone().serve(far));
    let bytes = match stranger {
        Stranger::Babbles(bytes) => bytes.clone(),
        Stranger::Asks(asks, then) => {
            shake_hands(&mut stream, "v").await.unwrap();
            let ask = |&(flags, number, offset, length): &(u16, u16, u64, u32)| {
                let offset = if length < 70_000 { offset % SIZE as u64 } else { offset };
                Request { command: Command::Other(number), flags, cookie: offset, offset, length }.written()
            };
            [asks.iter().flat_map(ask).collect(), then.clone()].concat()
        }
    };
    let (mut read, mut write) = tokio::io::split(stream);
    let heard = tokio::spawn(async move {
        let mut all = Vec::new();
        // However it ends.
        _ = read.read_to_end(&mut all).await;
    });
    _ = write.write_all(&bytes).await;
    _ = write.shutdown().await;
    heard.await.unwrap();
}

async fn endures(noisy: Vec<(usize, Noise)>, steps: &[Step], strangers: &[Stranger]) -> io::Result<()> {
    let volume = Volume { name: "v".into(), size: SIZE as u64, block: BLOCK as u32 };
    let (news, _heard) = watch::channel(None);
    let (relay, door) = Relay::new(&volume, Log::create("v")?, Records::new(), news);
    let lasting = Arc::new(Mutex::new(vec![0; SIZE]));
    let (stop, stopped) = watch::channel(false);
    let relay =
        relay.run(Servers { noisy: noisy.into_iter(), lasting }, stopped, std::future::pending(), watch::channel(()).1);
    let clients = async {
        let beside = async {
            for stranger in strangers {
                strange(&door, stranger).await;
            }
        };
        let (asked, ()) = tokio::join!(honest(&door, steps), beside);
        stop.send_replace(true);
        asked
    };
    let ((_, end), asked) = tokio::join!(relay, clients);
    match end {
        End::Stopped { left } => assert_eq!((left.kept_writes, left.requests), (0, 0)),
        End::Refused(why) => return Err(why),
    }
    asked
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn noise_on_either_side_is_a_pause(
        noisy in proptest::collection::vec(noise(), 0..6),
        steps in proptest::collection::vec(step(), 1..40),
        strangers in proptest::collection::vec(stranger(), 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(endures(noisy, &steps, &strangers)).unwrap();
    }
}
