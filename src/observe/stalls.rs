//! Stalls of the regions: for how much of the last minute a region's downstairs did not get on, as it waited for a disk
//! (`io.pressure` of its unit's control group). A process that is in another group is none of the region's any more: its
//! number was given to somebody else. Looked at in the common rhythm; reads only.

use crate::config::Configuration;
use crate::decide::facts::Facts;
use crate::kernel::pressure;
use crate::names::RegionName;
use crate::observe::observer::{Begin, Kernel, Observer, TakenOver};
use crate::observe::owners::Pids;
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, groups, publish};
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// Time between two looks.
const SLOW_LOOK: Duration = Duration::from_secs(15);
/// The percentage below which a stall is none: a region that is written to waits for its disk.
const LEAST_PERCENT: u8 = 50;

/// The regions that waited, and for how much of the last minute, in percent.
type Stalled = BTreeMap<RegionName, u8>;

/// Observer of the regions' stalls.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "stalls";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = None;
    const BEGIN: Begin = Begin::Once(|ground, to| {
        Some(watch(ground.kernel.clone(), ground.pids.subscribe(), ground.rhythm.clone(), to).boxed())
    });
    type Fact = Stalled;

    fn tell(seen: Self::Fact) -> Observation {
        Observation::known(move |facts| {
            for (name, region) in &mut facts.regions {
                region.io_stalled = seen.get(name).copied();
            }
        })
    }

    fn is_known(_: &Configuration, _: &Facts) -> bool {
        true
    }

    fn forget(_: &TakenOver, _: &mut Facts) {}
}

/// Watches until nobody listens any more.
async fn watch(
    kernel: Kernel,
    pids: watch::Receiver<Pids>,
    rhythm: Rhythm,
    to: Publisher,
) -> Result<(), NobodyListens> {
    let (mut slow, mut known) = (rhythm.in_turn(SLOW_LOOK, 0), Stalled::new());
    loop {
        slow.next().await;
        // Files of the kernel's, which wait for no disk.
        let seen = look(&kernel, &pids.borrow());
        if known != seen {
            known.clone_from(&seen);
            publish::<Watch>(&to, seen).await?;
        }
    }
}

fn look(kernel: &Kernel, pids: &Pids) -> Stalled {
    // Whoever waits for a disk is somebody of the machine: where nobody does, no region is asked for one by one. Nobody at
    // all: of the machine's share that of a processor which waits is as much less as the others compute.
    if pressure::somebody(&kernel.proc.join("pressure/io")) == Some(0) {
        return Stalled::new();
    }
    let of = |(name, pid): (&RegionName, &u32)| {
        let seen = pressure::read(&groups::of(kernel, name, *pid)?.join("io.pressure"))?;
        // In steps of ten: nobody is told of each.
        let percent = seen.last_minute / 10 * 10;
        (percent >= LEAST_PERCENT).then(|| (name.clone(), percent))
    };
    pids.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_region_that_waits_is_found_by_its_control_group() {
        let tree = tempfile::tempdir().unwrap();
        let kernel = Kernel { sysfs: tree.path().join("sys"), proc: tree.path().join("proc"), log: None };
        let group = "system.slice/crucible-downstairs@still-fawn-0.service";
        let pids: Pids = [("still-fawn-0".parse().unwrap(), 7), ("still-fawn-1".parse().unwrap(), 8)].into();
        assert_eq!(look(&kernel, &pids), Stalled::new());
        fs::create_dir_all(kernel.proc.join("7")).unwrap();
        fs::create_dir_all(kernel.sysfs.join("fs/cgroup").join(group)).unwrap();
        fs::write(kernel.proc.join("7/cgroup"), format!("1:name=systemd:/x\n0::/{group}\n")).unwrap();
        for (percent, wanted) in [("97.12", Some(90)), ("49.40", None), ("50.60", Some(50))] {
            let text = format!("some avg10=99.00 avg60=99.00\nfull avg10=0.00 avg60={percent} avg300=0.00 total=1\n");
            fs::write(kernel.sysfs.join("fs/cgroup").join(group).join("io.pressure"), text).unwrap();
            let seen = look(&kernel, &pids);
            assert_eq!(seen.values().next().copied(), wanted, "{seen:?}");
        }
        // Where nobody of the machine waits no region does.
        fs::create_dir_all(kernel.proc.join("pressure")).unwrap();
        for (percent, found) in [("0.40", 0), ("0.60", 1)] {
            let text = format!("some avg10=0.00 avg60={percent} avg300=0.00 total=1\n");
            fs::write(kernel.proc.join("pressure/io"), text).unwrap();
            assert_eq!(look(&kernel, &pids).len(), found, "{percent}");
        }
        // The number of a process that has ended is another's now, which waits as well.
        for other in ["system.slice/crucible-downstairs@still-fawn-1.service", "system.slice", ""] {
            fs::create_dir_all(kernel.sysfs.join("fs/cgroup").join(other)).unwrap();
            let waits = "full avg10=99.00 avg60=99.00 avg300=0.00 total=1\n";
            fs::write(kernel.sysfs.join("fs/cgroup").join(other).join("io.pressure"), waits).unwrap();
            fs::write(kernel.proc.join("7/cgroup"), format!("0::/{other}\n")).unwrap();
            assert_eq!(look(&kernel, &pids), Stalled::new(), "{other}");
        }
    }
}
