//! The system calls that change a file system, and what each is about.

use nix::libc;

/// The subject of a call: the numbers are those of its arguments.
pub enum On {
    /// The file of this descriptor.
    Fd(usize),
    /// This path.
    Path(usize),
    /// From the directory of this descriptor the path after it.
    At(usize),
}

/// Finds a call by its number, and its name without `SYS_`.
macro_rules! calls {
    ($number:expr; $($on:expr => $($call:ident)+;)+) => {
        match $number {
            $($(libc::$call => Some((stringify!($call).split_at(4).1, &$on)),)+)+
            _ => None,
        }
    };
}

/// The calls that change a file system.
pub fn changing(number: i64) -> Option<(&'static str, &'static [On])> {
    use On::{At, Fd, Path};
    calls! { number;
        [Fd(0)] => SYS_write SYS_pwrite64 SYS_writev SYS_pwritev SYS_pwritev2 SYS_sendfile
            SYS_ftruncate SYS_fallocate SYS_fchmod SYS_fchown SYS_fsetxattr SYS_fremovexattr
            SYS_fsync SYS_fdatasync SYS_syncfs SYS_sync_file_range;
        [Fd(2)] => SYS_copy_file_range SYS_splice;
        [Path(0)] => SYS_open SYS_creat SYS_truncate SYS_unlink SYS_rmdir SYS_mkdir SYS_mknod
            SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes
            SYS_setxattr SYS_lsetxattr SYS_removexattr SYS_lremovexattr;
        [Path(1)] => SYS_symlink;
        [Path(0), Path(1)] => SYS_rename SYS_link;
        [At(0)] => SYS_openat SYS_openat2 SYS_unlinkat SYS_mkdirat SYS_mknodat
            SYS_fchmodat SYS_fchmodat2 SYS_fchownat SYS_futimesat SYS_utimensat;
        [At(1)] => SYS_symlinkat;
        [At(0), At(2)] => SYS_renameat SYS_renameat2 SYS_linkat;
        [] => SYS_sync;
    }
}
