//! Extents that rot, and are repaired from the volume's other regions.

use crate::rotting::{is_told, rots, said};
use std::fs::{read, write as put};
use support::extents::{extent, rot};
use support::layer::Layer;
use support::machine::has;

#[test]
fn what_a_scrub_finds_is_repaired_from_a_sibling_and_from_no_other() {
    let machine = Layer::small().boot_and_create();
    let never = said(&machine, &["sledctl", "region", "repair", "still-fawn-0"], 1);
    assert!(never.contains("it was never scrubbed"), "{never}");
    rots(&machine, "still-fawn-0", || ());
    is_told(&machine);
    let whole = read(extent(&machine, "still-fawn-1")).unwrap();

    let before = machine.region("still-fawn-0").pid;
    let told = said(&machine, &["sledctl", "region", "repair", "still-fawn-0", "--dry-run"], 0);
    assert!(told.contains("extent 0 would be taken from still-fawn-1"), "{told}");
    assert_eq!(machine.region("still-fawn-0").pid, before);
    let done = said(&machine, &["sledctl", "region", "repair", "still-fawn-0"], 0);
    assert!(done.contains("1 extent was repaired; what was there is kept in .trash/still-fawn-0.extents."), "{done}");
    machine.wait_for("still-fawn", |volume| volume.ready && !has(volume, "REGION_BITROT"));
    assert_ne!(machine.region("still-fawn-0").pid, before, "it was stopped for that");
    assert!(read(extent(&machine, "still-fawn-0")).unwrap() == whole, "it is not what its sibling has");
    assert_eq!(machine.sh("ls -A /crucible/.incoming"), "");
    assert_eq!(machine.sh("stat -c %U /crucible/still-fawn-0/00/000/000"), "crucible\n");
    machine.sh("cmp -s /crucible/.trash/still-fawn-0.extents.*/0 /crucible/still-fawn-0/00/000/000 && exit 1 || true");

    // One that is held and rotten, and whose siblings are so as well, stays as it is.
    machine.ok(&["sledctl", "region", "hold", "still-fawn-0"]);
    (0..3).for_each(|index| rot(&machine, &format!("still-fawn-{index}")));
    machine.run(&["sledctl", "region", "scrub", "still-fawn-0"]);
    let left = said(&machine, &["sledctl", "region", "repair", "still-fawn-0"], 1);
    assert!(
        left.contains("that of still-fawn-1 is rotten as well: 1 of its blocks, and that of still-fawn-2"),
        "{left}"
    );
    // Once a sibling is whole it is repaired where it is, and does not run because of it.
    put(extent(&machine, "still-fawn-2"), &whole).unwrap();
    let done = said(&machine, &["sledctl", "region", "repair", "still-fawn-0"], 0);
    assert!(done.contains("1 extent was repaired"), "{done}");
    assert!(read(extent(&machine, "still-fawn-0")).unwrap() == whole);
    assert!(machine.is_stopped("still-fawn-0"));

    // What is right after all, when it is looked at again, is told no more.
    rot(&machine, "still-fawn-0");
    machine.run(&["sledctl", "region", "scrub", "still-fawn-0"]);
    is_told(&machine);
    put(extent(&machine, "still-fawn-0"), &whole).unwrap();
    let done = said(&machine, &["sledctl", "region", "repair", "still-fawn-0"], 0);
    assert!(done.contains("nothing is wrong with what the last scrub found"), "{done}");
    machine.wait_for("still-fawn", |volume| !has(volume, "REGION_BITROT"));
}

#[test]
fn what_a_scrub_finds_is_repaired_by_itself_where_that_is_wanted() {
    let wanted = "[scrub]\nrepair = true\nschedule = \"off\"\n";
    let machine = Layer::small().with("etc/sled/sled.toml.d/60-scrub.toml", wanted).boot_and_create();
    rots(&machine, "still-fawn-2", || ());
    let whole = read(extent(&machine, "still-fawn-1")).unwrap();
    machine.until("sledctl jobs | grep -q 'repair.*still-fawn-2.*done'");
    machine.wait_for("still-fawn", |volume| volume.ready && !has(volume, "REGION_BITROT"));
    assert!(read(extent(&machine, "still-fawn-2")).unwrap() == whole);
}
