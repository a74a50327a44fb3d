//! The directory in which a volume's data is, and who may change it.
//!
//! It stands for what three sleds keep together. `data` holds the blocks, `written` a byte for each
//! that is 1 once the block was written, `record.json` the highest generation that was flushed and the
//! server that is active. They are changed under the lock of `lock` alone; a process that is killed has
//! lost it, and leaves nothing that the next one would stumble over.

use crate::settings::Settings;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stand_ins::failure::{Failure, Outcome};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The content of the file of a server's life once another one is active.
const DEPOSED: &[u8] = b"deposed";
/// Bytes that are written at once, about.
const RUN: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Shape {
    size: u64,
    block_size: u64,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Record {
    flushed: u64,
    active: Option<Holder>,
}

/// The server that is active, or was.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    generation: u64,
    /// A file that it keeps locked as long as it lives.
    life: String,
}

/// A volume's data, as long as nobody here may change it.
pub struct Store {
    dir: PathBuf,
    shape: Shape,
}

/// A volume's data, for the server that became active.
pub struct Active {
    /// Bytes of the volume.
    pub size: u64,
    /// Bytes of a block.
    pub block_size: u64,
    dir: PathBuf,
    holder: Holder,
    life: File,
    data: File,
    written: File,
    /// The content of `written`: nobody else changes it meanwhile.
    known: Mutex<Vec<u8>>,
}

impl Store {
    /// Finds the volume, or makes it.
    pub fn open(settings: &Settings) -> Outcome<Self> {
        let dir = settings.store.clone();
        fs::create_dir_all(&dir)?;
        let _lock = lock(&dir)?;
        if let Some(shape) = read(&dir.join("volume.json"))? {
            return Ok(Self { dir, shape });
        }
        let block_size = settings.block_size;
        let (Some(size), true) = (settings.size, block_size.is_power_of_two()) else {
            return Err(Failure::new(format!("no volume in {dir:?}, and no STAND_IN_SIZE to make one")));
        };
        let shape = Shape { size: size / block_size * block_size, block_size };
        File::create(dir.join("data"))?.set_len(shape.size)?;
        File::create(dir.join("written"))?.set_len(shape.size / block_size)?;
        write(&dir.join("volume.json"), &shape)?;
        Ok(Self { dir, shape })
    }

    /// Makes this server the one that may change the data, unless a living one has a higher generation.
    pub fn activate(self, generation: u64) -> Outcome<Result<Active, Self>> {
        let _lock = lock(&self.dir)?;
        let record = record(&self.dir)?;
        if generation == 0 {
            return Err(Failure::new("Negotiation error: Generation 0 is illegal"));
        }
        if generation <= record.flushed {
            let found = record.flushed + 1;
            let text = format!("Generation number is too low: requested {generation}, found {found}");
            return Err(Failure::new(format!("Negotiation error: {text}")));
        }
        if let Some(active) = &record.active {
            if active.generation >= generation && active.lives(&self.dir)? {
                return Ok(Err(self));
            }
            let life = self.dir.join(&active.life);
            // The server looks for that before each request.
            _ = fs::write(&life, DEPOSED);
            _ = fs::remove_file(life);
        }
        let holder = Holder { generation, life: format!("life.{generation}.{}", std::process::id()) };
        let life =
            File::options().create(true).truncate(true).read(true).write(true).open(self.dir.join(&holder.life))?;
        life.lock()?;
        write(&self.dir.join("record.json"), &Record { active: Some(holder.clone()), ..record })?;
        let open = |name: &str| File::options().read(true).write(true).open(self.dir.join(name));
        Ok(Ok(Active {
            size: self.shape.size,
            block_size: self.shape.block_size,
            data: open("data")?,
            written: open("written")?,
            known: Mutex::new(fs::read(self.dir.join("written"))?),
            dir: self.dir,
            holder,
            life,
        }))
    }
}

impl Holder {
    fn lives(&self, dir: &Path) -> io::Result<bool> {
        match File::open(dir.join(&self.life)) {
            Ok(life) => match life.try_lock() {
                Ok(()) => Ok(false),
                Err(TryLockError::WouldBlock) => Ok(true),
                Err(TryLockError::Error(error)) => Err(error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Active {
    /// Whether another server has become active since.
    pub fn is_deposed(&self) -> io::Result<bool> {
        Ok(self.life.read_at(&mut [0], 0)? > 0)
    }

    /// So many blocks from this one on: those that were ever written.
    pub fn blocks(&self, first: u64, count: usize) -> io::Result<Vec<Option<Vec<u8>>>> {
        let known = self.known.lock().expect("a panic ends the process");
        let known = &known[first as usize..][..count];
        if known.iter().all(|written| *written == 0) {
            return Ok(vec![None; count]);
        }
        let mut data = vec![0; count * self.block_size as usize];
        self.data.read_exact_at(&mut data, first * self.block_size)?;
        let blocks = data.chunks(self.block_size as usize).zip(known);
        Ok(blocks.map(|(block, written)| (*written != 0).then(|| block.to_vec())).collect())
    }

    /// Keeps these blocks, unless another server has become active.
    pub fn keep<'a>(&self, blocks: impl Iterator<Item = (&'a u64, &'a Vec<u8>)>) -> io::Result<bool> {
        let _lock = lock(&self.dir)?;
        let mut record = record(&self.dir)?;
        if record.active.as_ref() != Some(&self.holder) {
            return Ok(false);
        }
        let mut blocks = blocks.peekable();
        if blocks.peek().is_some() && record.flushed < self.holder.generation {
            record.flushed = self.holder.generation;
            write(&self.dir.join("record.json"), &record)?;
        }
        // Neighbours together: a store may lie where each call takes its time.
        let (mut first, mut run) = (0, Vec::new());
        for (number, block) in blocks {
            let next = first + run.len() as u64 / self.block_size;
            if *number != next || run.len() >= RUN {
                self.put(first, &run)?;
                (first, run) = (*number, Vec::new());
            }
            run.extend_from_slice(block);
        }
        self.put(first, &run)?;
        Ok(true)
    }

    fn put(&self, first: u64, run: &[u8]) -> io::Result<()> {
        self.data.write_all_at(run, first * self.block_size)?;
        let count = run.len() / self.block_size as usize;
        self.known.lock().expect("a panic ends the process")[first as usize..][..count].fill(1);
        self.written.write_all_at(&vec![1; count], first)
    }
}

/// Keeps all others out until it is closed.
fn lock(dir: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(dir.join("lock"))?;
    file.lock()?;
    Ok(file)
}

fn record(dir: &Path) -> io::Result<Record> {
    Ok(read(&dir.join("record.json"))?.unwrap_or_default())
}

fn read<T: DeserializeOwned>(file: &Path) -> io::Result<Option<T>> {
    match fs::read(file) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whole or not at all, to who reads it meanwhile.
fn write(file: &Path, content: &impl Serialize) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, serde_json::to_vec(content)?)?;
    fs::rename(new, file)
}
