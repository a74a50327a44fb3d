//! This process, by the kernel's word: how much memory it has, and when it began. What cannot be told is none.

use procfs::process::Process;

/// Tell how many bytes of memory this process has.
pub fn memory() -> Option<u64> {
    Some(Process::myself().ok()?.statm().ok()?.resident * procfs::page_size())
}

/// Tell when this process began, in seconds since 1970.
pub fn started() -> Option<u64> {
    let after_boot = Process::myself().ok()?.stat().ok()?.starttime / procfs::ticks_per_second();
    Some(procfs::boot_time_secs().ok()? + after_boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_begun() {
        let now = jiff::Timestamp::now().as_second().unsigned_abs();
        let hour = now - 3600..=now + 1;
        assert!(hour.contains(&started().unwrap()), "{:?}", started());
        assert!((1 << 20..1 << 32).contains(&memory().unwrap()), "{:?}", memory());
    }
}
