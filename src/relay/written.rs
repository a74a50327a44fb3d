//! Written blocks, as far as it is known that they were written. Pure.
//!
//! A read of any other block, if it is whole, may be answered with what the connection carried before; when a part of
//! it is read, what was never written is zeros. So a doubtful block is read in two parts, and one that has anything
//! but zeros in it was written.

/// The blocks of a volume, by what is known of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Written {
    /// The size of a block in bytes: a power of two.
    block: u32,
    /// A bit a block.
    bits: Vec<u64>,
}

impl Written {
    /// Know nothing of any block of a volume of `size` bytes.
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

    /// Note that all blocks of which so many bytes from this offset on are a part have been written, or are about to
    /// be before anything else is asked.
    pub fn note(&mut self, offset: u64, length: u32) {
        let block = u64::from(self.block);
        for block_at in offset / block..(offset + u64::from(length)).div_ceil(block) {
            let (word, bit) = self.place(block_at * block);
            if let Some(word) = self.bits.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// Learn from a read that began at an offset, and of which this much was read before: of the blocks that have
    /// been read whole since, those in which there is anything have been written.
    pub fn learn(&mut self, offset: u64, before: u32, read: &[u8]) {
        let block = u64::from(self.block);
        let end = offset + read.len() as u64;
        let mut at = (offset + u64::from(before)) / block * block;
        while at + block <= end {
            if at >= offset && !self.has(at) {
                let begins = (at - offset) as usize;
                if read.get(begins..begins + block as usize).is_some_and(|read| read.iter().any(|byte| *byte != 0)) {
                    self.note(at, self.block);
                }
            }
            at += block;
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

    #[test]
    fn a_block_that_was_read_whole_and_is_not_empty_was_written() {
        let mut written = Written::nothing(8 * 512, 512);
        let mut read = vec![0; 4 * 512];
        read[700] = 1;
        read[3 * 512] = 1;
        // The first block is read in part, and so is the last.
        written.learn(100, 0, &read[100..3 * 512 + 10]);
        let known = |written: &Written| (0..8).filter(|block| written.has(block * 512)).collect::<Vec<_>>();
        assert_eq!(known(&written), [1]);
        written.learn(100, 3 * 512, &read[100..]);
        assert_eq!(known(&written), [1, 3]);
    }
}
