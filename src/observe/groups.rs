//! Control groups of the regions' units, by their main processes. The number of a process that has ended is given to
//! another one: what is in another group than the region's is none of it. Reads only.

use crate::kernel::attributes::raw;
use crate::names::RegionName;
use crate::observe::observer::Kernel;
use crate::systemd::names::unit;
use std::path::PathBuf;

/// Find the directory of the control group of a region's unit, which has this main process. `None`: the process has ended,
/// or is another's.
pub(super) fn of(kernel: &Kernel, region: &RegionName, pid: u32) -> Option<PathBuf> {
    let groups = raw(&kernel.proc.join(pid.to_string()).join("cgroup"))?;
    let own = unit(region);
    let is_own = |path: &&str| path.split('/').any(|group| group == own);
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/")).filter(is_own)?;
    Some(kernel.sysfs.join("fs/cgroup").join(path))
}
