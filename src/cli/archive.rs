//! Archives that `sledctl` writes and reads: tar within gzip. One that is written is for its owner alone, and never
//! lies over another file; one that could not be finished is not left.

use crate::files::sync_dir;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Archive under way.
pub(super) struct Archive {
    path: PathBuf,
    tar: Option<Builder<GzEncoder<File>>>,
    time: u64,
}

impl Archive {
    /// Begin an archive whose files are of this time, in seconds since 1970.
    ///
    /// # Errors
    /// Something lies there, or the file cannot be made.
    pub(super) fn begin(path: &Path, time: i64) -> io::Result<Self> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let tar = Builder::new(GzEncoder::new(file, Compression::default()));
        Ok(Self { path: path.to_owned(), tar: Some(tar), time: u64::try_from(time).unwrap_or_default() })
    }

    /// Put a file in.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub(super) fn add(&mut self, name: &str, text: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        match &mut self.tar {
            Some(tar) => tar.append_data(&mut header, name, text),
            None => Err(io::Error::other("the archive is finished")),
        }
    }

    /// Finish it, durably.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if let Some(tar) = self.tar.take() {
            let written = tar.into_inner().and_then(GzEncoder::finish).and_then(|file| file.sync_all());
            let parent = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            written.and_then(|()| sync_dir(parent)).inspect_err(|_| _ = fs::remove_file(&self.path))?;
        }
        Ok(())
    }
}

impl Drop for Archive {
    /// Half an archive is none.
    fn drop(&mut self) {
        if self.tar.take().is_some() {
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Read the regular files of an archive, of at most so many bytes together.
///
/// # Errors
/// The file cannot be read, is no archive, holds a file twice, or more than that.
pub(super) fn read(path: &Path, most: u64) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let unpacked = GzDecoder::new(File::open(path)?).take(most + 1);
    let mut archive = tar::Archive::new(unpacked);
    let (mut files, mut bytes) = (BTreeMap::new(), 0);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let name = entry.path()?.display().to_string();
        let mut text = Vec::new();
        entry.read_to_end(&mut text)?;
        bytes += text.len() as u64;
        if bytes > most {
            return Err(io::Error::other(format!("it holds more than {most} bytes")));
        }
        if files.insert(name.clone(), text).is_some() {
            return Err(io::Error::other(format!("it holds {name} twice")));
        }
    }
    // What stands behind the last file is read too: the sum over all of it is the last thing in the archive.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    if rest.limit() == 0 {
        return Err(io::Error::other(format!("it holds more than {most} bytes")));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_goes_in_comes_out_and_nothing_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar.gz");
        let mut archive = Archive::begin(&path, 1).unwrap();
        archive.add("a/b", b"one").unwrap();
        archive.add("c", b"").unwrap();
        archive.finish().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let files = read(&path, 1 << 20).unwrap();
        assert_eq!(files, [("a/b".to_owned(), b"one".to_vec()), ("c".to_owned(), Vec::new())].into());
        assert_eq!(Archive::begin(&path, 1).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        // One that is dropped before its end is not left.
        let other = dir.path().join("b.tar.gz");
        drop(Archive::begin(&other, 1).unwrap());
        assert!(!other.exists());
    }

    #[test]
    fn what_is_cut_damaged_or_too_long_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar.gz");
        let mut archive = Archive::begin(&path, 1).unwrap();
        archive.add("a", &[7; 5000]).unwrap();
        archive.finish().unwrap();
        assert!(read(&path, 4000).is_err());
        let whole = fs::read(&path).unwrap();
        for cut in 1..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(read(&path, 1 << 20).is_err(), "{cut} of {} bytes", whole.len());
        }
        fs::write(&path, "no archive").unwrap();
        assert!(read(&path, 1 << 20).is_err());
    }
}
