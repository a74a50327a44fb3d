//! Priority of the calling thread: that it comes last at a disk, or takes no processor from another by waking up.

use nix::libc;
use std::io;

/// `IOPRIO_WHO_PROCESS` of linux/ioprio.h: with 0, the calling thread.
const WHO_PROCESS: libc::c_long = 1;
/// `IOPRIO_CLASS_IDLE`, where the class stands (`IOPRIO_CLASS_SHIFT`): served when nobody else asks the disk.
const IDLE: libc::c_long = 3 << 13;

/// Let the calling thread come last at every disk whose scheduler knows of classes (ioprio_set(2)): bfq and mq-deadline
/// do, and without a scheduler nobody comes last.
///
/// # Errors
/// The kernel's, or the service's filter of system calls.
#[expect(unsafe_code, reason = "no library asks this of the kernel")]
pub fn yield_at_disks() -> io::Result<()> {
    // SAFETY: three numbers, and no memory.
    match unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0 as libc::c_long, IDLE) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Let the calling thread wait for a processor when it wakes up, until whoever has one is through with its turn or waits
/// itself (`SCHED_BATCH` of sched(7)).
///
/// # Errors
/// The kernel's, or the service's filter of system calls.
#[expect(unsafe_code, reason = "no library asks this of the kernel")]
pub fn let_others_go_on() -> io::Result<()> {
    let usual = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters live until the call has returned; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const usual) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "it is asked for what was set")]
    fn a_thread_lets_others_go_on_and_no_other_does() {
        // SAFETY: a number, and no memory.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let waits = std::thread::spawn(move || {
            let_others_go_on().unwrap();
            policy()
        });
        assert_eq!(waits.join().unwrap(), libc::SCHED_BATCH);
        assert_ne!(policy(), libc::SCHED_BATCH);
    }

    #[test]
    #[expect(unsafe_code, reason = "it is asked for what was set")]
    fn a_thread_comes_last_and_no_other_does() {
        // SAFETY: two numbers, and no memory.
        let class = || unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0 as libc::c_long) } >> 13;
        let last = std::thread::spawn(move || {
            yield_at_disks().unwrap();
            class()
        });
        assert_eq!(last.join().unwrap(), 3);
        assert_ne!(class(), 3);
    }
}
