//! Contents of an extent file: the layout of its blocks, their contexts and the bitmap that chooses between two, and
//! whether a block is what its context says. Pure: over bytes that others read.
//!
//! ```text
//! | n blocks of B bytes | n slots of 48 bytes | n slots of 48 bytes | bitmap, a bit a block | trailer |
//! ```
//!
//! A block's context says what the block is to be, by XxHash64: of the bytes as they lie there, and of what an upstairs
//! checks when it reads them (of an encrypted block its nonce and tag before its bytes). Tried on regions that the real
//! programs wrote, encrypted and not: every written block has both.
//!
//! Of the two slots of a block the bitmap chooses one **when the trailer says clean**; of a dirty extent the bitmap is
//! stale, and either slot may be the block's (as upstream's own verifier has it).
//!
//! A slot that has what no slot can have is a fault, chosen or not: of a dirty extent a downstairs reads both of each block
//! when it starts, and ends by such a one. So what nobody reads today keeps a region away after the next power cut.

use super::Geometry;
use super::format::TRAILER_BYTES;
use std::cell::OnceCell;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;
use twox_hash::XxHash64;

/// Bytes of a context slot.
pub const SLOT_BYTES: usize = 48;
/// Bytes of what an encrypted block's context has beside the hashes: the nonce and the tag.
const SEAL_BYTES: usize = 12 + 16;

/// Layout of an extent file: where what lies, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Number of blocks.
    pub blocks: u64,
}

impl Layout {
    /// The layout of a region's extents.
    pub fn of(geometry: Geometry) -> Self {
        Self { block_bytes: geometry.block_size, blocks: geometry.extent_size }
    }

    /// Where some blocks lie.
    pub fn data(self, blocks: &Range<u64>) -> Range<u64> {
        blocks.start * self.block_bytes..blocks.end * self.block_bytes
    }

    /// Where the slots of some blocks lie, in the first array or the second.
    pub fn slots(self, array: Array, blocks: &Range<u64>) -> Range<u64> {
        let slot = SLOT_BYTES as u64;
        let begin = self.blocks * self.block_bytes + if array == Array::Second { self.blocks * slot } else { 0 };
        begin + blocks.start * slot..begin + blocks.end * slot
    }

    /// Where the bits of some blocks lie: whole bytes.
    pub fn bits(self, blocks: &Range<u64>) -> Range<u64> {
        let begin = self.blocks * (self.block_bytes + 2 * SLOT_BYTES as u64);
        begin + blocks.start / 8..begin + blocks.end.div_ceil(8)
    }

    /// Where the trailer begins; it ends with the file.
    pub fn trailer(self) -> u64 {
        self.bits(&(0..self.blocks)).end
    }

    /// Bytes of the whole file.
    pub fn file_bytes(self) -> u64 {
        self.trailer() + TRAILER_BYTES as u64
    }
}

/// Array of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Array {
    /// The one that is chosen by a 0.
    First,
    /// The one that is chosen by a 1.
    Second,
}

impl Array {
    /// Both, in the order in which they lie there.
    pub const BOTH: [Self; 2] = [Self::First, Self::Second];

    /// The array that a bit of the bitmap chooses: that of block `index`, counted from the first bit of `bits`.
    pub fn chosen(bits: &[u8], index: usize) -> Option<Self> {
        let byte = bits.get(index / 8)?;
        Some(if byte >> (index % 8) & 1 == 1 { Self::Second } else { Self::First })
    }
}

/// Context of a block, as a slot has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Nothing was written: the block is zeroes.
    Empty,
    /// The block is to be what this says.
    Context {
        /// Hash that an upstairs checks.
        hash: u64,
        /// Nonce and tag of an encrypted block.
        seal: Option<[u8; SEAL_BYTES]>,
        /// Hash of the block's bytes as they lie there.
        on_disk: u64,
    },
    /// The slot has what no slot can have.
    Damaged,
}

impl Slot {
    /// Read a slot: u8 whether there is a context; u64 the hash; u8 whether it is encrypted, and if it is the nonce and
    /// the tag; u64 the hash on disk; all little endian.
    pub fn parse(bytes: &[u8; SLOT_BYTES]) -> Self {
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        match (bytes[0], bytes[9]) {
            (0, _) => Self::Empty,
            (1, 0) => Self::Context { hash: number(1), seal: None, on_disk: number(10) },
            (1, 1) => {
                let mut seal = [0; SEAL_BYTES];
                seal.copy_from_slice(&bytes[10..10 + SEAL_BYTES]);
                Self::Context { hash: number(1), seal: Some(seal), on_disk: number(10 + SEAL_BYTES) }
            }
            _ => Self::Damaged,
        }
    }

    /// Tell what is wrong with a block of which this is the context; `found` gives the hash of its bytes.
    fn fault(self, block: &[u8], found: &dyn Fn() -> u64) -> Option<Fault> {
        match self {
            Self::Empty if is_zero(block) => None,
            Self::Empty => Some(Fault::Unwritten { found: found() }),
            Self::Damaged => Some(Fault::NoContext),
            Self::Context { on_disk, .. } if on_disk != found() => {
                Some(Fault::Rotten { expected: on_disk, found: found() })
            }
            Self::Context { hash, seal, .. } => {
                let read = seal.map_or_else(found, |seal| {
                    let mut sealed = XxHash64::with_seed(0);
                    sealed.write(&seal);
                    sealed.write(block);
                    sealed.finish()
                });
                (hash != read).then_some(Fault::Refused { expected: hash, found: read })
            }
        }
    }
}

/// Tell whether a block is what was never written.
fn is_zero(block: &[u8]) -> bool {
    // Compared by the piece: byte by byte it takes as long as to read them from a disk.
    const ZEROES: [u8; 4096] = [0; 4096];
    block.chunks(ZEROES.len()).all(|piece| piece == &ZEROES[..piece.len()])
}

/// Fault of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The block is not what its context says.
    Rotten {
        /// Hash that the context has.
        expected: u64,
        /// Hash of what lies there.
        found: u64,
    },
    /// The block is what its context says of the disk, and not what it says of the upstairs: its nonce, its tag or that
    /// hash is another.
    Refused {
        /// Hash that the context has.
        expected: u64,
        /// Hash of what an upstairs would read.
        found: u64,
    },
    /// The block has no context, and is not zeroes.
    Unwritten {
        /// Hash of what lies there.
        found: u64,
    },
    /// A context of the block is none that anybody wrote.
    NoContext,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rotten { expected, found } => {
                write!(f, "its bytes have the hash {found:016x}, and its context says {expected:016x}")
            }
            Self::Refused { expected, found } => {
                write!(f, "a host would read the hash {found:016x}, and its context says {expected:016x}")
            }
            Self::Unwritten { found } => {
                write!(f, "it was never written, by its context, and its bytes have the hash {found:016x}")
            }
            Self::NoContext => f.write_str("a context of it is none that anybody wrote"),
        }
    }
}

/// Judge a block by its two slots: by the one that the bitmap chooses, of a clean extent; by either, of a dirty one
/// (`chosen` is `None`). The fault of a dirty one is that of the slot that says most of it: the one that has its bytes. Both
/// slots must be such that they can be read.
pub fn judge(block: &[u8], slots: [Slot; 2], chosen: Option<Array>) -> Result<(), Fault> {
    if slots.contains(&Slot::Damaged) {
        return Err(Fault::NoContext);
    }
    let hash = OnceCell::new();
    let found = || *hash.get_or_init(|| XxHash64::oneshot(0, block));
    let fault = |array: Array| slots[usize::from(array == Array::Second)].fault(block, &found);
    let fault = match chosen {
        Some(array) => fault(array),
        None => match Array::BOTH.map(fault) {
            [None, _] | [_, None] => None,
            [Some(refused @ Fault::Refused { .. }), _] | [_, Some(refused @ Fault::Refused { .. })] => Some(refused),
            [Some(rotten @ Fault::Rotten { .. }), _] => Some(rotten),
            [_, second] => second,
        },
    };
    fault.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAYOUT: Layout = Layout { block_bytes: 512, blocks: 100 };

    fn slot(hash: u64, on_disk: u64) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        slot[0] = 1;
        slot[1..9].copy_from_slice(&hash.to_le_bytes());
        slot[10..18].copy_from_slice(&on_disk.to_le_bytes());
        slot
    }

    /// The slot of a block that is encrypted with this nonce and tag.
    fn sealed(block: &[u8], seal: [u8; SEAL_BYTES]) -> [u8; SLOT_BYTES] {
        let hash = XxHash64::oneshot(0, &[&seal[..], block].concat());
        let mut slot = slot(hash, 0);
        slot[9] = 1;
        slot[10..38].copy_from_slice(&seal);
        slot[38..46].copy_from_slice(&XxHash64::oneshot(0, block).to_le_bytes());
        slot
    }

    #[test]
    fn the_parts_of_a_file_lie_one_after_the_other_and_fill_it() {
        let whole = 0..LAYOUT.blocks;
        assert_eq!(LAYOUT.data(&whole), 0..51_200);
        assert_eq!(LAYOUT.slots(Array::First, &whole), 51_200..56_000);
        assert_eq!(LAYOUT.slots(Array::Second, &whole), 56_000..60_800);
        assert_eq!(LAYOUT.bits(&whole), 60_800..60_813);
        assert_eq!(LAYOUT.file_bytes(), 60_845);
        assert_eq!(LAYOUT.bits(&(8..24)), 60_801..60_803);
        let usual = Geometry { block_size: 4096, extent_size: 32768, extent_count: 100 };
        assert_eq!(Layout::of(usual).file_bytes(), usual.extent_file_bytes());
    }

    #[test]
    fn a_block_is_judged_by_the_slot_that_is_chosen_and_of_a_dirty_extent_by_either() {
        let block = [7; 512];
        let hash = XxHash64::oneshot(0, &block);
        let right = Slot::parse(&slot(hash, hash));
        let old = Slot::parse(&slot(3, 3));
        let rotten = Fault::Rotten { expected: 3, found: hash };
        let other = Slot::parse(&slot(hash ^ 1, hash));
        let refused = Fault::Refused { expected: hash ^ 1, found: hash };
        let (first, second) = (Some(Array::First), Some(Array::Second));
        for (name, slots, chosen, wanted) in [
            ("chosen and right", [right, old], first, Ok(())),
            ("chosen and wrong, though the other is right", [right, old], second, Err(rotten)),
            ("dirty, the first", [right, old], None, Ok(())),
            ("dirty, the second", [old, right], None, Ok(())),
            ("dirty, neither", [old, old], None, Err(rotten)),
            ("dirty, one of them empty", [Slot::Empty, old], None, Err(rotten)),
            ("no context", [Slot::Empty, right], first, Err(Fault::Unwritten { found: hash })),
            ("a context that is none", [Slot::Damaged, right], first, Err(Fault::NoContext)),
            ("that, and nobody chose it", [Slot::Damaged, right], second, Err(Fault::NoContext)),
            ("dirty, and one of them is none", [right, Slot::Damaged], None, Err(Fault::NoContext)),
            ("dirty, the second refused", [old, other], None, Err(refused)),
            ("dirty, the first refused", [other, old], None, Err(refused)),
        ] {
            assert_eq!(judge(&block, slots, chosen), wanted, "{name}");
        }
        assert_eq!(judge(&[0; 512], [Slot::Empty; 2], first), Ok(()));
        assert_eq!(judge(&block, [other, old], first), Err(refused));
    }

    #[test]
    fn an_encrypted_block_is_held_to_its_nonce_and_its_tag() {
        let (block, seal) = ([9; 512], [5; SEAL_BYTES]);
        let well = sealed(&block, seal);
        assert_eq!(judge(&block, [Slot::parse(&well), Slot::Empty], Some(Array::First)), Ok(()));
        for at in 10..38 {
            let mut changed = well;
            changed[at] ^= 1;
            let judged = judge(&block, [Slot::parse(&changed), Slot::Empty], Some(Array::First));
            assert!(matches!(judged, Err(Fault::Refused { .. })), "byte {at}: {judged:?}");
        }
    }

    proptest! {
        #[test]
        fn any_slot_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), SLOT_BYTES)) {
            let slot: [u8; SLOT_BYTES] = bytes.try_into().unwrap();
            let _ = judge(&[1; 512], [Slot::parse(&slot), Slot::Empty], None);
        }

        #[test]
        fn one_bit_of_a_block_or_of_what_is_said_of_it_is_found(
            block in proptest::collection::vec(any::<u8>(), 512), at in 0..512usize + 16, bit in 0..8u8
        ) {
            let hash = XxHash64::oneshot(0, &block);
            let (mut block, mut said) = (block, slot(hash, hash));
            // The data, or one of the two hashes.
            match at {
                0..512 => block[at] ^= 1 << bit,
                512..520 => said[at - 511] ^= 1 << bit,
                _ => said[at - 510] ^= 1 << bit,
            }
            prop_assert!(judge(&block, [Slot::parse(&said), Slot::Empty], Some(Array::First)).is_err());
        }
    }
}
