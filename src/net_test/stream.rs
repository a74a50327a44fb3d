//! Data of a network test, in one direction: pieces, each with its length before it, and one of no length at the end.
//! Between them, lines of JSON.

use super::Leg;
use crate::kernel::tcp_info;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

/// Bytes of a piece: large enough that it is the way that counts, and not the calls.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest line of JSON, in bytes.
const LINE_BYTES: usize = 4096;
/// Time for which nothing may arrive.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// Share of what was sent that had to be sent again.
#[derive(Debug, Serialize, Deserialize)]
struct Sent {
    resent: Option<f64>,
}

/// Send data for some time, not faster than so many Mbit/s.
///
/// # Errors
/// The other side has gone, or takes nothing any more.
pub async fn send(stream: &mut TcpStream, time: Duration, rate_mbps: Option<u32>) -> io::Result<()> {
    let mut piece = vec![0x5a; 4 + PIECE_BYTES];
    piece[..4].copy_from_slice(&(PIECE_BYTES as u32).to_be_bytes());
    let (began, before) = (Instant::now(), tcp_info::sent(&*stream).ok());
    let mut bytes = 0u64;
    while began.elapsed() < time {
        patiently(stream.write_all(&piece)).await?;
        bytes += PIECE_BYTES as u64;
        if let Some(rate) = rate_mbps {
            // Mbit/s are bits a microsecond.
            sleep_until(began + Duration::from_micros(bytes * 8 / u64::from(rate.max(1)))).await;
        }
    }
    patiently(stream.write_all(&[0; 4])).await?;
    let resent = before.zip(tcp_info::sent(&*stream).ok()).map(|(before, after)| {
        let segments = after.resent_segments.saturating_sub(before.resent_segments);
        f64::from(segments) * f64::from(after.segment_bytes) / bytes.max(1) as f64
    });
    write_line(stream, &Sent { resent }).await
}

/// Receive what the other side sends, for no longer than this.
///
/// # Errors
/// The other side has gone, sends nothing any more, or does not end.
pub async fn receive(stream: &mut TcpStream, most: Duration) -> io::Result<Leg> {
    let mut piece = vec![0; PIECE_BYTES];
    let (mut bytes, mut began) = (0u64, None);
    loop {
        let length = patiently(stream.read_u32()).await? as usize;
        let first = *began.get_or_insert_with(Instant::now);
        if length == 0 {
            let ms = u64::try_from(first.elapsed().as_millis()).unwrap_or(u64::MAX);
            let Sent { resent } = read_line(stream).await?;
            return Ok(Leg { bytes, ms, resent });
        }
        let Some(room) = piece.get_mut(..length) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a piece of {length} bytes")));
        };
        patiently(stream.read_exact(room)).await?;
        bytes += length as u64;
        if first.elapsed() > most {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the other side does not end"));
        }
    }
}

/// Write a line of JSON.
///
/// # Errors
/// The other side has gone.
pub async fn write_line(stream: &mut TcpStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    patiently(stream.write_all(&line)).await
}

/// Read a line of JSON.
///
/// # Errors
/// The other side has gone, says nothing, or says something else.
pub async fn read_line<T: DeserializeOwned>(stream: &mut TcpStream) -> io::Result<T> {
    let mut line = Vec::new();
    loop {
        match patiently(stream.read_u8()).await? {
            b'\n' => return Ok(serde_json::from_slice(&line)?),
            byte if line.len() < LINE_BYTES => line.push(byte),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "no line of a network test")),
        }
    }
}

/// Wait for the other side, but not for ever.
async fn patiently<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("nothing moved for {} s", SILENCE_LIMIT.as_secs()));
    timeout(SILENCE_LIMIT, what).await.unwrap_or_else(|_| Err(late()))
}
