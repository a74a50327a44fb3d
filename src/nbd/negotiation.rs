//! Negotiation of a server: its half of the handshake, with one export by the name of its volume or by none. Pure.
//!
//! `GO` and `INFO` are answered with the block sizes, so that a client aligns what it asks for.
//! Structured replies are not offered: they would say what a simple reply says, as nothing here is sparse and
//! no read fails in the middle.

use super::{
    ACK, Broken, EXPORT_NAME, FIXED_NEWSTYLE, GO, GREETING, INFO_BLOCK_SIZE, INFO_EXPORT, INFORMATION, NO_ZEROES,
    OPTION, OPTION_REPLY, REFUSAL, UNKNOWN, UNSUPPORTED, ZEROES, take,
};
use bytes::{Buf, BytesMut};

/// The longest option that is read, in bytes; a name has at most 4,096.
const OPTION_LIMIT_BYTES: u32 = 16 * 1024;
const ABORT: u32 = 2;
const LIST: u32 = 3;
const INFO: u32 = 6;

const SERVER: u32 = 2;
const INVALID: u32 = REFUSAL | 3;

/// The export that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The export's name; the empty one means it as well.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its flags: [`flags`](super::flags).
    pub flags: u16,
    /// The sizes of requests, in bytes: at least, best, and at most.
    pub blocks: [u32; 3],
}

/// The part of the conversation that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The client is still to say something.
    Options,
    /// Requests.
    Transmission,
    /// Nothing: the client has what it wanted.
    End,
}

/// A handshake under way.
#[derive(Debug)]
pub struct Negotiation {
    export: Export,
    /// Whether the client wants zeroes after `EXPORT_NAME`, as it said first.
    zeroes: Option<bool>,
}

impl Negotiation {
    /// Begin a handshake, with what is to be said first.
    pub fn begin(export: Export, out: &mut Vec<u8>) -> Self {
        out.extend(GREETING);
        out.extend(OPTION);
        out.extend((FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
        Self { export, zeroes: None }
    }

    /// Take what the client has said, as far as it is whole, and write the answers to it.
    ///
    /// # Errors
    /// [`Broken`] if it is no such client, or wants what there is not and can be told so in no other way.
    pub fn hear(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Result<Next, Broken> {
        if self.zeroes.is_none() {
            let Some(said) = take::<4>(input) else { return Ok(Next::Options) };
            let said = u32::from_be_bytes(said);
            if said & !u32::from(FIXED_NEWSTYLE | NO_ZEROES) != 0 {
                return Err(Broken("the client wants flags that nobody offered".into()));
            }
            self.zeroes = Some(said & u32::from(NO_ZEROES) == 0);
        }
        loop {
            let Some(header) = input.first_chunk::<16>() else { return Ok(Next::Options) };
            if header[..8] != OPTION {
                return Err(Broken("what should be an option is none".into()));
            }
            let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let (option, length) = (word(8), word(12));
            if length > OPTION_LIMIT_BYTES {
                return Err(Broken(format!("an option of {length} bytes")));
            }
            if input.len() < 16 + length as usize {
                return Ok(Next::Options);
            }
            input.advance(16);
            let data = input.split_to(length as usize);
            match self.answer(option, &data, out)? {
                Next::Options => {}
                next => return Ok(next),
            }
        }
    }

    fn answer(&self, option: u32, data: &[u8], out: &mut Vec<u8>) -> Result<Next, Broken> {
        let mut reply = |kind: u32, data: &[u8]| {
            out.extend(OPTION_REPLY.to_be_bytes());
            out.extend(option.to_be_bytes());
            out.extend(kind.to_be_bytes());
            out.extend((data.len() as u32).to_be_bytes());
            out.extend(data);
        };
        match option {
            EXPORT_NAME if !self.is_named(data) => {
                return Err(Broken("the client wants an export that is not here".into()));
            }
            EXPORT_NAME => {
                out.extend(self.export.size.to_be_bytes());
                out.extend(self.export.flags.to_be_bytes());
                if self.zeroes.unwrap_or(true) {
                    out.extend([0; ZEROES]);
                }
                return Ok(Next::Transmission);
            }
            ABORT => {
                reply(ACK, &[]);
                return Ok(Next::End);
            }
            LIST if !data.is_empty() => reply(INVALID, b"the list is asked for with data"),
            LIST => {
                let name = self.export.name.as_bytes();
                reply(SERVER, &[&(name.len() as u32).to_be_bytes(), name].concat());
                reply(ACK, &[]);
            }
            INFO | GO => match wanted(data) {
                None => reply(INVALID, b"the option makes no sense"),
                Some(name) if !self.is_named(name) => reply(UNKNOWN, b"there is no such export"),
                Some(_) => {
                    let Export { size, flags, blocks, .. } = &self.export;
                    let export = [&INFO_EXPORT.to_be_bytes()[..], &size.to_be_bytes(), &flags.to_be_bytes()].concat();
                    reply(INFORMATION, &export);
                    let sizes: Vec<_> = blocks.iter().flat_map(|size| size.to_be_bytes()).collect();
                    reply(INFORMATION, &[&INFO_BLOCK_SIZE.to_be_bytes()[..], &sizes].concat());
                    reply(ACK, &[]);
                    if option == GO {
                        return Ok(Next::Transmission);
                    }
                }
            },
            _ => reply(UNSUPPORTED, b"this server does not do that"),
        }
        Ok(Next::Options)
    }

    fn is_named(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.export.name.as_bytes()
    }
}

/// The name in an `INFO` or `GO`. The information that is wanted does not matter: there is little, and all is told.
fn wanted(data: &[u8]) -> Option<&[u8]> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let (count, rest) = rest.split_first_chunk::<2>()?;
    (rest.len() == 2 * usize::from(u16::from_be_bytes(*count))).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Entered, Entry};
    use super::super::flags::{HAS_FLAGS, SEND_FLUSH};
    use super::*;
    use proptest::prelude::*;

    fn export() -> Export {
        Export { name: "still-fawn".into(), size: 1 << 30, flags: HAS_FLAGS | SEND_FLUSH, blocks: [1, 4096, 1 << 25] }
    }

    fn option(number: u32, data: &[u8]) -> Vec<u8> {
        [&OPTION[..], &number.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
    }

    fn go(name: &str, wanted: &[u16]) -> Vec<u8> {
        let words = wanted.iter().flat_map(|word| word.to_be_bytes());
        let mut data = (name.len() as u32).to_be_bytes().to_vec();
        data.extend(name.as_bytes());
        data.extend((wanted.len() as u16).to_be_bytes());
        data.extend(words);
        data
    }

    /// The answers to these bytes, in whatever pieces they come, and what is next.
    fn told(bytes: &[u8], pieces: usize) -> (Result<Next, Broken>, Vec<u8>) {
        let (mut out, mut input) = (Vec::new(), BytesMut::new());
        let mut negotiation = Negotiation::begin(export(), &mut out);
        out.clear();
        let mut next = Ok(Next::Options);
        for piece in bytes.chunks(pieces.max(1)) {
            input.extend_from_slice(piece);
            next = negotiation.hear(&mut input, &mut out);
            if next != Ok(Next::Options) {
                break;
            }
        }
        (next, out)
    }

    #[test]
    fn both_halves_understand_each_other() {
        let (mut said, mut asked) = (Vec::new(), Vec::new());
        let mut server = Negotiation::begin(export(), &mut said);
        let mut client = Entry::default();
        let (mut to_client, mut to_server) = (BytesMut::new(), BytesMut::new());
        loop {
            to_client.extend_from_slice(&std::mem::take(&mut said));
            if let Some(entered) = client.hear(&mut to_client, &mut asked).unwrap() {
                assert_eq!(entered, Entered { size: 1 << 30, flags: HAS_FLAGS | SEND_FLUSH });
                break;
            }
            to_server.extend_from_slice(&std::mem::take(&mut asked));
            server.hear(&mut to_server, &mut said).unwrap();
        }
        assert!(to_client.is_empty() && to_server.is_empty());
    }

    #[test]
    fn options_are_answered_one_by_one() {
        let first = 1_u32.to_be_bytes();
        for pieces in [1, 7, 1000] {
            let bytes = [
                &first[..],
                &option(8, &[]),
                &option(GO, &go("other", &[3])),
                &option(GO, &[0, 0, 0, 9]),
                &option(INFO, &go("", &[])),
                &option(GO, &go("still-fawn", &[0, 3])),
            ]
            .concat();
            let (next, out) = told(&bytes, pieces);
            assert_eq!(next, Ok(Next::Transmission));
            let mut kinds = Vec::new();
            let mut rest = &out[..];
            while let Some((header, more)) = rest.split_first_chunk::<20>() {
                assert_eq!(header[..8], OPTION_REPLY.to_be_bytes());
                kinds.push(u32::from_be_bytes(*header[12..].first_chunk().unwrap()));
                rest = &more[u32::from_be_bytes(*header[16..].first_chunk().unwrap()) as usize..];
            }
            let told = [INFORMATION, INFORMATION, ACK];
            assert_eq!(kinds, [&[UNSUPPORTED, UNKNOWN, INVALID], &told[..], &told].concat());
        }
        let (next, out) = told(&[&first[..], &option(EXPORT_NAME, b"still-fawn")].concat(), 1000);
        assert_eq!((next, out.len()), (Ok(Next::Transmission), 10 + ZEROES));
        let (next, out) = told(&[&3_u32.to_be_bytes()[..], &option(EXPORT_NAME, b"")].concat(), 1000);
        assert_eq!((next, out.len()), (Ok(Next::Transmission), 10));
        assert!(told(&[&first[..], &option(EXPORT_NAME, b"other")].concat(), 1000).0.is_err());
        assert!(told(&4_u32.to_be_bytes(), 1).0.is_err());
        let (next, _) = told(&[&first[..], &option(LIST, &[]), &option(ABORT, &[])].concat(), 5);
        assert_eq!(next, Ok(Next::End));
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(bytes: Vec<u8>, options in proptest::collection::vec((0_u32..12, any::<Vec<u8>>()), 0..6), pieces in 1_usize..40) {
            _ = told(&bytes, pieces);
            let said: Vec<u8> = options.iter().flat_map(|(number, data)| option(*number, data)).collect();
            let bytes = [&1_u32.to_be_bytes()[..], &said].concat();
            let (whole, out) = told(&bytes, usize::MAX);
            prop_assert_eq!(told(&bytes, pieces), (whole, out), "it matters in which pieces it comes");
        }
    }
}
