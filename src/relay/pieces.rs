//! Pieces of a request, into which it is cut for the server. Pure.

use super::written::Written;
use bytes::Bytes;

/// The largest piece of a request, in bytes: with its header it fits into one segment on loopback (65,483 bytes), so
/// that the server finds it whole when it reads. A piece that it finds a part of it writes a part of, and that costs
/// it a read.
pub const PIECE_BYTES: u32 = 60 * 1024;

/// The place of a write among what is kept. Later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kept(pub u64);

/// A piece as it is sent to the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Piece {
    /// The cookie by which its reply is told.
    pub cookie: u64,
    /// The order that it is.
    pub order: Order,
}

/// The order of a piece.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Order {
    /// So many bytes from an offset on.
    Read(u64, u32),
    /// These bytes at an offset.
    Write(u64, Bytes),
    /// So many bytes at an offset, which lie among what is kept so far behind where it begins.
    Again(u64, Kept, u32, u32),
    /// A flush: what was written is to last.
    Flush,
}

/// Cut one piece off so many bytes at an offset, in blocks of `block` bytes: whole blocks, or a part of one. Its
/// length.
pub fn cut(block: u32, at: u64, length: u32) -> u32 {
    let into = (at % u64::from(block)) as u32;
    let whole = length.min(PIECE_BYTES.max(block)) / block * block;
    match into {
        0 if whole > 0 => whole,
        _ => length.min(block - into),
    }
}

/// The number of so many bytes at an offset that is read at once: the blocks that are known to have been written, or
/// parts of such as are not, of which one request has two at most: where it begins and where it ends.
pub fn certain(written: &Written, at: u64, length: u32) -> u32 {
    let block = written.block();
    let (into, piece) = ((at % u64::from(block)) as u32, cut(block, at, length));
    if into > 0 {
        // With it a part of the next one, if that has to be read in parts as well.
        let behind = length - piece;
        let next = if behind < block { behind } else { block / 2 };
        let doubtful = behind > 0 && !written.has(at + u64::from(piece));
        return if doubtful { piece + next } else { piece };
    }
    if piece < block {
        return piece;
    }
    let blocks = (0..piece / block).take_while(|index| written.has(at + u64::from(index * block))).count();
    if blocks == 0 { block / 2 } else { blocks as u32 * block }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_whole_blocks_or_a_part_of_one() {
        let most = PIECE_BYTES / 512 * 512;
        for (at, length, piece) in [(0, 512, 512), (0, 1 << 20, most), (512, 1000, 512), (1, 1 << 20, 511), (3, 7, 7)] {
            assert_eq!(cut(512, at, length), piece, "{length} at {at}");
        }
        // A block is not cut, however large it is.
        assert_eq!(cut(1 << 17, 0, 1 << 20), 1 << 17);
    }

    #[test]
    fn what_is_not_known_to_be_written_is_read_in_parts() {
        let mut written = Written::nothing(8 * 512, 512);
        written.note(512, 1024);
        for (at, length, piece) in [
            (0, 2048, 256),
            // Known blocks need not be.
            (256, 1792, 256),
            (512, 2048, 1024),
            (1536, 2048, 256),
            (1792, 1792, 512),
            (3584, 512, 256),
            (3840, 256, 256),
            // A client that asks in part is right by that.
            (1700, 500, 500),
            (1700, 200, 200),
            (1536, 100, 100),
        ] {
            assert_eq!(certain(&written, at, length), piece, "{length} at {at}");
        }
    }

    /// However long a read is, no request has the whole of a block in it that may never have been written.
    #[test]
    fn no_doubtful_block_is_read_whole() {
        let mut written = Written::nothing(16 * 512, 512);
        [3, 4, 9].into_iter().for_each(|block| written.note(block * 512, 512));
        for (offset, end) in (0..40).flat_map(|at| (at + 1..80).map(move |end| (at * 100, end * 100))) {
            let mut at = offset;
            while at < end {
                let piece = u64::from(certain(&written, at, (end - at) as u32));
                let whole = at.div_ceil(512)..(at + piece) / 512;
                assert!(piece > 0 && at + piece <= end, "{piece} at {at} of {offset} to {end}");
                assert!(whole.clone().all(|block| written.has(block * 512)), "{whole:?} of {offset} to {end}");
                at += piece;
            }
        }
    }
}
