//! Output of a transient unit, in the machine's memory: a file without a name that it gets as its standard output or
//! error, and that goes away by itself; its input is one as well. It is never on a disk.

use crate::clean;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use zbus::Fd;

/// The most that is read of a unit's output, in bytes.
const OUTPUT_LIMIT_BYTES: u64 = 64 * 1024;

/// The output of one unit.
#[derive(Debug)]
pub struct Output(OwnedFd);

impl Output {
    /// Make one that nobody has written to.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn new() -> Result<Self, String> {
        memfd_create(c"output", MFdFlags::MFD_CLOEXEC).map(Self).map_err(|why| why.to_string())
    }

    /// Make one that holds this from its beginning: a unit's standard input.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn holding(text: &[u8]) -> Result<Self, String> {
        let Self(fd) = Self::new()?;
        let mut file = File::from(fd);
        let written = file.write_all(text).and_then(|()| file.seek(SeekFrom::Start(0)));
        written.map(|_| Self(file.into())).map_err(|why| why.to_string())
    }

    /// The file, as a unit's settings take it.
    pub fn fd(&self) -> Fd<'_> {
        self.0.as_fd().into()
    }

    /// Read what was written, without the blanks around it; `None` if it cannot be read.
    pub fn text(self) -> Option<String> {
        let mut file = File::from(self.0);
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(0)).and_then(|_| file.take(OUTPUT_LIMIT_BYTES).read_to_end(&mut text)).ok()?;
        Some(clean::lines(String::from_utf8_lossy(&text).trim()).into_owned())
    }
}
