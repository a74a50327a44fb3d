//! The downstairs' wire protocol, as far as a probe needs it: `Ruok` and `Imok`.
//!
//! A frame is a little-endian u32 of its total length, these four bytes included, then a
//! u32 tag. Nothing here is ever sent but `Ruok`: it is answered by the downstairs' main
//! loop, needs no `HereIAm`, leaves no trace, and cannot demote an active upstairs. A frame
//! of less than four bytes would crash the peer; no such frame can be made here.

/// The question: are you okay?
pub const RUOK: [u8; 8] = [8, 0, 0, 0, 9, 0, 0, 0];
/// The only answer to it.
pub const IMOK: [u8; 8] = [8, 0, 0, 0, 10, 0, 0, 0];
