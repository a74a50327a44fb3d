//! How a client and the server come to terms: fixed newstyle, one export under any name.

use crate::reply;
use std::io::{self, Error, ErrorKind, Read, Write};

const OPTION_MAGIC: u64 = 0x4948_4156_454F_5054;
const REPLY_MAGIC: u64 = 0x0003_E889_0455_65A9;
/// Fixed newstyle, and no zeroes: of the server and of the client.
const FIXED: u32 = 1;
const NO_ZEROES: u32 = 2;
/// The flags of an export that has flags, and takes flushes.
const FLAGS: u16 = 0b101;
const OPTION_LIMIT_BYTES: u32 = 100_000;

const EXPORT_NAME: u32 = 1;
const ABORT: u32 = 2;
const LIST: u32 = 3;
const STARTTLS: u32 = 5;
/// INFO, GO, STRUCTURED_REPLY and EXTENDED_HEADERS.
const UNSUPPORTED: [u32; 4] = [6, 7, 8, 11];

const ACK: u32 = 1;
const SERVER: u32 = 2;
const ERR_UNSUP: u32 = 1 << 31 | 1;

/// Returns once the client has chosen the export.
pub fn shake(client: &mut (impl Read + Write), size: u64, nagle: bool) -> io::Result<()> {
    reply::write(client, &[b"NBDMAGIC", b"IHAVEOPT", &[0, (FIXED | NO_ZEROES) as u8]], nagle)?;
    let flags = u32::from_be_bytes(read(client)?);
    if flags != FIXED && flags != FIXED | NO_ZEROES {
        return Err(refused("Invalid client flag"));
    }
    loop {
        let (option, data) = read_option(client)?;
        let mut answer = |kind: u32, data: &[u8]| {
            let parts: [&[u8]; 5] = [
                &REPLY_MAGIC.to_be_bytes(),
                &option.to_be_bytes(),
                &kind.to_be_bytes(),
                &(data.len() as u32).to_be_bytes(),
                data,
            ];
            reply::write(client, &parts, nagle)
        };
        match option {
            EXPORT_NAME => {
                std::str::from_utf8(&data).map_err(|_| refused("Non-UTF8 export name requested"))?;
                let zeroes: &[u8] = if flags & NO_ZEROES == 0 { &[0; 124] } else { &[] };
                return reply::write(client, &[&size.to_be_bytes(), &FLAGS.to_be_bytes(), zeroes], nagle);
            }
            ABORT => {
                answer(ACK, b"")?;
                return Err(refused("Client abort"));
            }
            LIST if data.is_empty() => {
                answer(SERVER, b"\0\0\0\x07rustnbd")?;
                answer(ACK, b"")?;
            }
            LIST => return Err(refused("NBD_OPT_LIST with content")),
            STARTTLS => return Err(refused("TLS not supported")),
            _ if UNSUPPORTED.contains(&option) => answer(ERR_UNSUP, b"")?,
            _ => return Err(refused("Invalid client option type")),
        }
    }
}

fn read_option(client: &mut impl Read) -> io::Result<(u32, Vec<u8>)> {
    if u64::from_be_bytes(read(client)?) != OPTION_MAGIC {
        return Err(refused("Invalid client optmagic"));
    }
    let option = u32::from_be_bytes(read(client)?);
    let length = u32::from_be_bytes(read(client)?);
    if length > OPTION_LIMIT_BYTES {
        return Err(refused("Suspiciously big option length"));
    }
    let mut data = vec![0; length as usize];
    client.read_exact(&mut data)?;
    Ok((option, data))
}

fn read<const N: usize>(client: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}
