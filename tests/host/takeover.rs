//! A volume that is mounted on one host, and taken over by another: the first has errors at once, and is told who has
//! the volume; the second has all that the first had flushed, and nothing that came after.

use crate::machine::Machine;
use crate::mounted::{AT, IsHost};
use crate::network::{IsSled, Network, SLED, VOLUME, address};
use crate::steps::Steps;

/// The path at which the second host mounts it.
const THERE: &str = "/mnt/crucible-still-fawn";
/// The name of the second host on the sleds.
const SECOND: &str = "pumped-piglet";

#[test]
fn a_mounted_volume_that_is_taken_over_fails_at_once_and_is_the_others() {
    let network = Network::new();
    let (sled, first, second) = (network.sled(), network.host(1), network.host(2));
    let (sled, first) = (sled.boot(), first.boot());
    let mut steps = Steps::new();
    sled.create();
    first.serves("--device");
    first.until_served();
    first.mounts();
    first.says(&format!("head -c 3M /dev/urandom >{AT}/kept && sync {AT}/kept"));
    let kept = first.says(&format!("sha256sum <{AT}/kept"));
    writes(&first);
    steps.took("the first host's volume");
    let second = second.boot();
    is_refused(&second);
    steps.took("the second host's boot");
    second.says(&format!("crucible-attach ticket {VOLUME} --sled {SLED} --takeover"));
    has_errors(&first);
    says_who_has_it(&first);
    steps.took("the first host's loss");
    second.says(&format!("crucible-attach install {VOLUME} --sled {SLED}"));
    assert_eq!(second.says(&format!("sha256sum <{THERE}/kept")), kept);
    second.says(&format!("cp {THERE}/kept {THERE}/second && sync {THERE}/second"));
    steps.took("the second host's volume");
    has_it_no_more(&first);
    steps.took("the first host's restarts");
    // Nothing was written beneath it.
    second.says(&format!(
        "echo 3 >/proc/sys/vm/drop_caches; cmp {THERE}/kept {THERE}/second && umount {THERE} && \
         e2fsck -fn /dev/crucible/{VOLUME}"
    ));
    steps.took("the comparison");
}

/// Writes for as long as that works.
fn writes(first: &Machine<'_>) {
    first.says(&format!(
        "systemd-run --quiet --unit=writer sh -c \
         'while dd if=/dev/zero of={AT}/more bs=64k count=4 conv=fsync 2>/run/said; do echo >>/run/rounds; done'"
    ));
    first.until_says("cat /run/rounds", |rounds| !rounds.is_empty());
}

/// Nothing is taken from anybody unless somebody says so.
fn is_refused(second: &Machine<'_>) {
    let install = format!("crucible-attach install {VOLUME} --sled {SLED} --timeout 60s");
    second.until("the sled", || {
        let asked = format!("crucible-attach wait {VOLUME} --sled {SLED} --timeout 0s");
        (second.run(&asked).code != 4).then_some(())
    });
    let refused = second.run(&install);
    assert_eq!(refused.code, 1, "{refused:?}");
    let said = refused.errors;
    assert!(said.contains(&address(1)) && said.contains(&format!("ticket {VOLUME} --takeover")), "{said}");
}

/// Requests to the volume fail, and do not wait.
fn has_errors(first: &Machine<'_>) {
    first.until_says("systemctl is-active writer", |state| state.trim() != "active");
    let said = first.says("cat /run/said");
    assert!(["Input/output error", "Read-only file system"].iter().any(|error| said.contains(error)), "{said}");
    first.until_says(&format!("systemctl is-failed crucible-attach@{VOLUME}"), |state| state.trim() == "failed");
    assert_eq!(first.relay("ExecMainStatus"), "5");
    reads_nothing(first);
}

/// A read of what was its device fails.
fn reads_nothing(first: &Machine<'_>) {
    let said = first.refuses("timeout 60 dd if=/dev/nbd0 of=/dev/null bs=4k count=1 iflag=direct && exit; test $? != 124 || echo hangs >&2; exit 1");
    assert!(
        said.contains("Input/output error") || said.contains("0+0 records") || said.contains("No such device"),
        "{said}"
    );
}

fn says_who_has_it(first: &Machine<'_>) {
    let who = format!("{SECOND} ({})", address(2));
    let journal = first.says(&format!("journalctl -b -o cat -u crucible-attach@{VOLUME}"));
    assert!(journal.contains("is another host's") && journal.contains(&who), "{journal}");
    let check = first.run(&format!("crucible-attach check {VOLUME}"));
    assert!(check.code == 2 && check.printed.contains("VOLUME_LOST") && check.printed.contains(&who), "{check:?}");
    let status = first.run(&format!("crucible-attach status {VOLUME}"));
    assert!(status.code != 0 && status.printed.contains("VOLUME_LOST"), "{status:?}");
    assert!(status.printed.contains(&who), "{status:?}");
}

/// Whatever is tried there, the mounted device does not become the volume again: what its file system remembers of it is
/// not so any more. Nor does another device, while the volume is the other host's.
fn has_it_no_more(first: &Machine<'_>) {
    first.refuses(&format!("systemctl restart crucible-attach@{VOLUME}"));
    reads_nothing(first);
    first.refuses(&format!("touch {AT}/touched && sync {AT}/touched"));
    first.says(&format!("umount {AT}"));
    first.refuses(&format!("systemctl restart crucible-attach@{VOLUME}"));
    first.refuses(&format!("test -e /dev/crucible/{VOLUME}"));
}
