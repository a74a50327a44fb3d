//! `create`: lays out a new region.
//!
//! As the real program it is neither atomic nor retryable, and never fsyncs:
//! killed half way, it leaves a directory that a second `create` refuses.

use crate::command::CreateOptions;
use crate::faults::Faults;
use crate::region::{self, Region};
use crate::{extent, log};
use stand_ins::failure::{Failure, Outcome};
use std::fs;

/// Creates a region.
pub fn create(options: &CreateOptions) -> Outcome {
    let faults = Faults::of_environment()?;
    faults.strike_at_start();
    let mut region = Region::new(options.uuid, options.block_size, options.extent_size, options.encrypted)?;
    let file = region::file(&options.data);
    if file.exists() {
        return Err(Failure::new(format!("Config file already exists {file:?}")));
    }
    fs::create_dir_all(&options.data)?;
    // Without extents first: who looks now, or after a crash, sees size zero.
    region.write(&options.data)?;
    log::plain(&format!("Created new region file {file:?}"));
    region.extent_count = options.extent_count;
    region.write(&options.data)?;
    for number in 0..region.extent_count {
        std::thread::sleep(faults.slow_create());
        extent::create(&options.data, &region, number, faults.disk_full_at(number))?;
    }
    log::plain(&format!("UUID: {}", region.uuid));
    log::plain(&format!("Blocks per extent:{} Total Extents: {}", region.extent_size.value, region.extent_count));
    Ok(())
}
