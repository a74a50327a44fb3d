//! Remedy of a fault, as an operator is told it, perhaps at an hour at which nobody reads twice.
//!
//! One rule: **no remedy destroys data where a milder cause fits.** A fault that looks like a lost replica is most
//! often something else: a wrong owner, a disk that is not all there, a directory that was moved. So a remedy names
//! what leaves all data as it is; and where a replica may really be lost, it names the mild things first, and the
//! last resort after them, in the words of [`or_replace`]. These are written here and nowhere else: a test holds the
//! sources, and all that can be found, against it.

use crate::config::Configuration;
use crate::names::RegionName;

/// The words that open the last resort.
pub const LAST: &str = "only if that does not bring it back";

/// The remedy of a fault of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Something that leaves all data as it is. `{dir}` stands for the region's directory, and
    /// `{user}` for the user who runs its downstairs.
    Mild(&'static str),
    /// Some of its data may be gone: what brings it back, before it is replaced.
    Lost(&'static str),
}

impl Remedy {
    /// The words for a region, in this directory and of this user.
    pub fn of(self, name: &RegionName, dir: &str, user: &str) -> String {
        match self {
            Self::Mild(words) => words.replace("{dir}", dir).replace("{user}", user),
            Self::Lost(words) => or_replace(&Self::Mild(words).of(name, dir, user), name),
        }
    }
}

/// Whether a remedy is of something of which data may be gone.
pub fn may_be_lost(remedy: &str) -> bool {
    remedy.contains(LAST)
}

/// Compose a remedy of the mild one, and if it does not help, to make the replica anew from the others.
pub fn or_replace(mild: &str, name: &RegionName) -> String {
    format!(
        "{mild}; {LAST}, and the volume's other regions are whole: sledctl region delete {name} --yes-destroy {name} \
         (what there is of it is kept for a while), then create it anew, and the host repairs it"
    )
}

/// The remedy for what a look at a region's files found wrong. Only a file that is gone, or has another length, may
/// be lost.
pub fn of_files(config: &Configuration, name: &RegionName, fault: &str) -> String {
    let (user, dir) = (&config.sled.downstairs.user, config.region_dir(name).display().to_string());
    if fault.contains("belongs to") {
        return format!("chown -R {user}: {dir}; it starts by itself then");
    }
    if fault.contains("its mode") {
        return format!("chmod -R u+rwX {dir}; it starts by itself then");
    }
    if fault.contains("mounted") {
        return format!("umount {dir} (findmnt {dir} shows what is mounted there); nothing is started on it as it is");
    }
    let lost = ["bytes, and", "os error 2)", "not a regular file", "it is none", "it is gone"];
    if lost.iter().any(|words| fault.contains(words)) {
        or_replace(&format!("put back what was moved, or restore {dir} from a backup"), name)
    } else {
        format!("look at the disk (dmesg): the files may be whole; nothing is started on {dir} as it is")
    }
}
