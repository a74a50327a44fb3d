//! Of which blocks it is known that they were written. Pure.
//!
//! Of any other the server may answer, when it is read whole, with what the connection carried before; when a
//! part of it is read, what was never written is zeros. So a doubtful block is read in two parts, and one
//! that has anything but zeros in it was written.

/// The blocks of a volume, by what is known of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Written {
    /// The size of a block in bytes: a power of two.
    block: u32,
    /// A bit a block.
    bits: Vec<u64>,
}

impl Written {
    /// Nothing is known of any block of a volume of `size` bytes.
    pub fn nothing(size: u64, block: u32) -> Self {
        let blocks = size.div_ceil(block.into());
        Self { block, bits: vec![0; usize::try_from(blocks.div_ceil(64)).unwrap_or_default()] }
    }

    /// The size of a block in bytes.
    pub fn block(&self) -> u32 {
        self.block
    }

    /// Whether the block at this offset is known to have been written.
    pub fn has(&self, offset: u64) -> bool {
        let (word, bit) = self.place(offset);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }

    /// All blocks of which so many bytes from this offset on are a part have been written, or are about to be
    /// before anything else is asked.
    pub fn note(&mut self, offset: u64, length: u32) {
        let block = u64::from(self.block);
        for block_at in offset / block..(offset + u64::from(length)).div_ceil(block) {
            let (word, bit) = self.place(block_at * block);
            if let Some(word) = self.bits.get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn place(&self, offset: u64) -> (usize, u64) {
        let block = offset / u64::from(self.block);
        (usize::try_from(block / 64).unwrap_or(usize::MAX), 1 << (block % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_that_is_touched_is_known() {
        let mut written = Written::nothing(200 * 512, 512);
        written.note(511, 2);
        written.note(64 * 512, 512);
        let known: Vec<u64> = (0..200).filter(|block| written.has(block * 512 + 7)).collect();
        assert_eq!(known, [0, 1, 64]);
        written.note(199 * 512, 4096);
        assert!(written.has(199 * 512) && !written.has(1 << 40));
    }
}
