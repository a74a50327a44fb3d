//! Entry of a client: its half of the handshake with a server that has one export. It is asked for by name, the empty
//! one, which every server understands. Pure.

use super::{Broken, EXPORT_NAME, FIXED_NEWSTYLE, GREETING, NO_ZEROES, OPTION, ZEROES, take};
use bytes::BytesMut;

/// The server's word on its export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entered {
    /// The size in bytes.
    pub size: u64,
    /// The flags.
    pub flags: u16,
}

/// A handshake under way.
#[derive(Debug, Default)]
pub struct Entry {
    /// `None` until the greeting has been answered; then the zeroes that follow.
    asked: Option<usize>,
}

impl Entry {
    /// Take what the server has said, as far as it is whole, and write what is to be said to it. The export, once it
    /// has told of it: after that comes the transmission.
    ///
    /// # Errors
    /// [`Broken`] if it is no such server.
    pub fn hear(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Result<Option<Entered>, Broken> {
        if self.asked.is_none() {
            if input.len() < 18 {
                return Ok(None);
            }
            let (greeting, option, offered) = (take::<8>(input), take::<8>(input), take::<2>(input));
            if greeting != Some(GREETING) || option != Some(OPTION) {
                return Err(Broken("it is no NBD server of the newstyle".into()));
            }
            let offered = u16::from_be_bytes(offered.unwrap_or_default());
            let flags = (FIXED_NEWSTYLE | NO_ZEROES) & offered;
            out.extend(u32::from(flags).to_be_bytes());
            out.extend(OPTION);
            out.extend(EXPORT_NAME.to_be_bytes());
            out.extend(0_u32.to_be_bytes());
            self.asked = Some(if flags & NO_ZEROES == 0 { ZEROES } else { 0 });
        }
        let zeroes = self.asked.unwrap_or_default();
        if input.len() < 10 + zeroes {
            return Ok(None);
        }
        let (size, flags) = (take::<8>(input), take::<2>(input));
        bytes::Buf::advance(input, zeroes);
        Ok(size
            .zip(flags)
            .map(|(size, flags)| Entered { size: u64::from_be_bytes(size), flags: u16::from_be_bytes(flags) }))
    }
}
