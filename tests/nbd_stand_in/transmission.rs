//! Transmission to a client that has come to terms: one request after the other, through one buffer.
//!
//! The buffer is the connection's, and is never emptied. A payload passes through it in pieces, each a
//! request of its own to the volume, as they come.

use crate::faults::{Faults, Kind, Strike};
use crate::reply;
use crate::volume::{Part, Volume};
use std::io::{self, Error, ErrorKind, Read, Write};

const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const PIECE: usize = 64 << 10;
/// Bytes of an answer before its data.
const HEADER: usize = 16;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;

const EIO: u32 = 5;
const ENOSYS: u32 = 38;

struct Request {
    kind: u16,
    cookie: u64,
    offset: u64,
    length: usize,
}

/// The part of a request that is left to do.
enum Left {
    /// The request is answered, with an error or none.
    Answer(u32),
    /// Nothing any more.
    Nothing,
}

/// Serves a client until it leaves. An error is why the connection ends.
pub fn serve(client: &mut (impl Read + Write), volume: &mut Volume, faults: &Faults, nagle: bool) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let request = Request::read(client)?;
        faults.wait_while_hung();
        faults.dawdle();
        let kind = match request.kind {
            READ => Kind::Read,
            WRITE => Kind::Write,
            FLUSH => Kind::Flush,
            DISCONNECT => return Ok(()),
            TRIM | WRITE_ZEROES => {
                request.answer(client, ENOSYS, nagle)?;
                continue;
            }
            _ => return Err(invalid("Unknown command from client")),
        };
        let strike = faults.strike(kind);
        match strike {
            Some(Strike::Drop) => return Err(invalid("dropped on demand")),
            Some(Strike::Exit) => std::process::exit(1),
            _ => {}
        }
        let left = request.serve(client, volume, &mut buffer, kind, strike, nagle)?;
        match (strike, left) {
            (Some(Strike::Lose), _) => return Err(invalid("lost on demand")),
            (Some(Strike::Die | Strike::Half), _) => std::process::exit(1),
            (Some(Strike::Cut), _) => {
                client.write_all(&request.header(0)[..HEADER / 2])?;
                return Err(invalid("cut on demand"));
            }
            (_, Left::Answer(error)) => request.answer(client, error, nagle)?,
            (_, Left::Nothing) => {}
        }
    }
}

impl Request {
    fn read(client: &mut impl Read) -> io::Result<Self> {
        let mut bytes = [0; 28];
        client.read_exact(&mut bytes)?;
        let mut rest = &bytes[..];
        if u32::from_be_bytes(take(&mut rest)) != REQUEST_MAGIC {
            return Err(invalid("Invalid request magic"));
        }
        let _flags: [u8; 2] = take(&mut rest);
        Ok(Self {
            kind: u16::from_be_bytes(take(&mut rest)),
            cookie: u64::from_be_bytes(take(&mut rest)),
            offset: u64::from_be_bytes(take(&mut rest)),
            length: u32::from_be_bytes(take(&mut rest)) as usize,
        })
    }

    /// Does what is asked for, as far as the fault that strikes leaves it to be done.
    fn serve(
        &self,
        client: &mut (impl Read + Write),
        volume: &mut Volume,
        buffer: &mut [u8],
        kind: Kind,
        strike: Option<Strike>,
        nagle: bool,
    ) -> io::Result<Left> {
        let fail = strike == Some(Strike::Fail);
        match kind {
            Kind::Read if fail => Ok(Left::Answer(EIO)),
            Kind::Read if strike == Some(Strike::Cut) => {
                self.answer(client, 0, nagle)?;
                client.write_all(&buffer[..PIECE.min(self.length / 2)])?;
                Err(invalid("cut on demand"))
            }
            // A request that is lost is lost with its data.
            Kind::Read if strike.is_some() => Ok(Left::Nothing),
            Kind::Read => self.copy_out(client, volume, buffer, nagle),
            Kind::Write => self.copy_in(client, volume, buffer, fail),
            Kind::Flush if fail => Err(invalid("failed on demand")),
            Kind::Flush => {
                volume.flush(if strike == Some(Strike::Half) { Part::Half } else { Part::All })?;
                Ok(Left::Answer(0))
            }
        }
    }

    fn header(&self, error: u32) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&REPLY_MAGIC.to_be_bytes());
        header[4..8].copy_from_slice(&error.to_be_bytes());
        header[8..].copy_from_slice(&self.cookie.to_be_bytes());
        header
    }

    fn answer(&self, client: &mut impl Write, error: u32, nagle: bool) -> io::Result<()> {
        let header = self.header(error);
        reply::write(client, &[&header[..4], &header[4..8], &header[8..]], nagle)
    }

    /// Reads. It has said that all is well before it knows, so that an error after the first piece ends
    /// the connection. A read of nothing is never answered, and at the edge of a block it is the end.
    fn copy_out(
        &self,
        client: &mut impl Write,
        volume: &mut Volume,
        buffer: &mut [u8],
        nagle: bool,
    ) -> io::Result<Left> {
        if self.length == 0 {
            assert!(!self.offset.is_multiple_of(volume.block_size()), "index out of bounds: the len is 0");
            return Ok(Left::Nothing);
        }
        let mut done = 0;
        while done < self.length {
            let piece = PIECE.min(self.length - done);
            match volume.read(self.offset, done, &mut buffer[..piece]) {
                Ok(()) if done == 0 => self.answer(client, 0, nagle)?,
                Ok(()) => {}
                Err(error) if done == 0 => {
                    eprintln!("a read fails: {error}");
                    return Ok(Left::Answer(EIO));
                }
                Err(error) => return Err(error),
            }
            client.write_all(&buffer[..piece])?;
            done += piece;
        }
        Ok(Left::Nothing)
    }

    /// Writes. The first error is answered, and what is left of the payload is taken for a request.
    fn copy_in(&self, client: &mut impl Read, volume: &mut Volume, buffer: &mut [u8], fail: bool) -> io::Result<Left> {
        if volume.is_out_of_reach(self.offset) {
            return Ok(Left::Answer(EIO));
        }
        let mut done = 0;
        loop {
            // Of no length it waits for what comes after it.
            let piece = client.read(&mut buffer[..PIECE.min(self.length - done)])?;
            if piece == 0 {
                break;
            }
            if fail {
                return Ok(Left::Answer(EIO));
            }
            if let Err(error) = volume.write(self.offset, done, &buffer[..piece]) {
                eprintln!("a write fails: {error}");
                return Ok(Left::Answer(EIO));
            }
            done += piece;
            if done == self.length {
                break;
            }
        }
        if done == self.length { Ok(Left::Answer(0)) } else { Err(invalid("sudden EOF")) }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (field, rest) = bytes.split_first_chunk().expect("a request has as many bytes");
    *bytes = rest;
    *field
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}
