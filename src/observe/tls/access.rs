//! Access of a user to a file: whether it may be read, by the modes of the file and of every
//! directory on the way to it. The supervisor may read everything, so trying is no answer.

use nix::unistd::{User, getgrouplist};
use std::ffi::{CString, OsStr};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const READ: u32 = 4;
const SEARCH: u32 = 1;
/// Attribute in which the kernel keeps an access control list.
const ACL: &str = "system.posix_acl_access";

/// A user, and the groups that it is in; nobody in particular if there is no such user, and to
/// that one nothing is objected.
pub(super) struct Reader(Option<(u32, Vec<u32>)>);

impl Reader {
    /// The user of this name.
    pub(super) fn of(name: &str) -> Self {
        let user = User::from_name(name).ok().flatten();
        Self(user.map(|user| {
            let groups = CString::new(name).ok().and_then(|name| getgrouplist(&name, user.gid).ok());
            let groups = groups.unwrap_or_else(|| vec![user.gid]);
            (user.uid.as_raw(), groups.into_iter().map(|group| group.as_raw()).collect())
        }))
    }

    /// Whoever asks.
    pub(super) const ANYBODY: Self = Self(None);

    /// Tell whether the user is somebody in particular.
    pub(super) fn is_somebody(&self) -> bool {
        self.0.is_some()
    }

    /// The first path that keeps the user from reading a file: a directory on the way, or the
    /// file itself. Also on the way to where a symbolic link points.
    pub(super) fn barrier(&self, file: &Path) -> Option<PathBuf> {
        let target = fs::canonicalize(file).ok();
        let ways = [Some(file.to_owned()), target.filter(|target| target != file)];
        ways.into_iter().flatten().find_map(|way| {
            let mut steps: Vec<_> = way.ancestors().collect();
            steps.reverse();
            let closed = steps.iter().find(|step| !self.may(step, if **step == way { READ } else { SEARCH }));
            closed.map(|step| step.to_path_buf())
        })
    }

    fn may(&self, path: &Path, what: u32) -> bool {
        let Self(Some((uid, groups))) = self else { return true };
        // What vanishes in between is missed by somebody else.
        fs::metadata(path).map_or(true, |found| mode_for(&found, *uid, groups) & what != 0 || has_acl(path))
    }
}

/// The three bits of a mode that are the user's.
fn mode_for(found: &Metadata, uid: u32, groups: &[u32]) -> u32 {
    if found.uid() == uid {
        // Of root as well: the regions' units have no capabilities.
        found.mode() >> 6
    } else if groups.contains(&found.gid()) {
        found.mode() >> 3
    } else {
        found.mode()
    }
}

/// A list decides there, which is not read here: it is taken to allow it.
fn has_acl(path: &Path) -> bool {
    let mut nothing: [u8; 0] = [];
    rustix::fs::getxattr(path, OsStr::new(ACL), &mut nothing).is_ok_and(|length| length > 0)
}
