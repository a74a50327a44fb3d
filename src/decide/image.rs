//! Image that a machine runs, and what is to be told of it.

use super::facts::{Facts, Image, Newer, Var};
use super::finding::Finding;
use crate::check::Code;
use crate::size::spoken;
use crate::times;

/// The least that is well to be free at `/var`, in bytes and as a percentage: what is written there at a time is small, but
/// for the journal, which ends at 256 MiB by itself.
const VAR_LEAST: (u64, u64) = (64 << 20, 5);
/// The least percentage of its inodes.
const VAR_LEAST_INODES: u64 = 2;

/// The findings of the image; none on a machine that was set up by hand.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    facts.image.iter().flat_map(of).collect()
}

fn of(image: &Image) -> Vec<Finding> {
    let about =
        |code: Code, cause: String| Finding::new(code, format!("image {}", image.version), cause, code.remedy());
    let demonstration =
        image.demonstration.then(|| about(Code::Demonstration, Code::Demonstration.about().cause.into()));
    let bare = image.no_firmware.then(|| about(Code::FirmwareMissing, Code::FirmwareMissing.about().cause.into()));
    let given_up = image.given_up.as_ref().map(|(version, why)| {
        let cause = format!("version {version} was tried and given up: {why}");
        about(Code::UpdateGivenUp, cause)
    });
    let taken_back = image.network_taken_back.map(|at| {
        let cause = format!(
            "the network that sled.toml asks for was taken back at {}: nobody had reached the sled by it; the one before is \
             in force",
            times::in_seconds(at)
        );
        about(Code::NetworkTakenBack, cause)
    });
    let unproven =
        image.network_unproven.then(|| about(Code::NetworkUnproven, Code::NetworkUnproven.about().cause.into()));
    let refused = (!image.refused.is_empty()).then(|| {
        let cause = format!("the configuration that was brought last has faults: {}", image.refused.join("; "));
        about(Code::ConfigRefused, cause)
    });
    let replaced = (!image.replaced.is_empty()).then(|| {
        let files = image.replaced.join(", ");
        let cause = format!(
            "{files} was changed on this sled, and another one that was brought has taken its place at boot; it is kept \
             with the ending .replaced"
        );
        about(Code::ConfigReplaced, cause)
    });
    let renewed = image
        .renewed
        .as_ref()
        .map(|what| about(Code::VarRenewed, format!("what this sled remembers (/var) could not be read: {what}")));
    let reset = image.reset.clone().map(|cause| about(Code::ResetUnfinished, cause));
    let [stick, left_in] = of_sticks(image).map(|told| told.map(|(code, cause)| about(code, cause)));
    let var = image.var.and_then(low).map(|cause| about(Code::VarLow, cause));
    let newer = image.newer.as_ref().map(|newer| about(Code::UpdateAvailable, available(image, newer)));
    [demonstration, bare, given_up, taken_back, unproven, refused, replaced, renewed, reset, stick, left_in, var, newer]
        .into_iter()
        .flatten()
        .collect()
}

/// What is to be told of sticks: the one that the machine was started from, and those that were left in.
fn of_sticks(image: &Image) -> [Option<(Code, String)>; 2] {
    let (disks, sticks) = &image.others;
    let started = image.stick.as_ref().map(|stick| (Code::StartedFromStick, started_from(stick, disks)));
    let left_in = (image.stick.is_none() && !sticks.is_empty()).then(|| {
        let sticks = sticks.join(", ");
        let cause =
            format!("the stick {sticks} with an image is in this machine, which was started from a disk of its own");
        (Code::StickLeftIn, cause)
    });
    [started, left_in]
}

/// Say that a machine was started from a stick, and which disks of it have the image already.
fn started_from(stick: &str, disks: &[String]) -> String {
    let installed = match disks {
        [] => String::new(),
        disks => format!("; the image is on {}", disks.join(", ")),
    };
    format!(
        "this machine was started from the stick {stick}, from which the image is installed, and serves no region{installed}"
    )
}

/// Say what there is little of at `/var`.
fn low(var: Var) -> Option<String> {
    let (bytes, percent) = VAR_LEAST;
    if var.free < bytes.max(var.capacity / 100 * percent) {
        let (free, capacity) = (spoken(var.free), spoken(var.capacity));
        return Some(format!("{free} of {capacity} is free at /var, where this sled keeps what it remembers"));
    }
    (var.inodes_free * 100 < var.inodes * VAR_LEAST_INODES).then(|| {
        let (free, inodes) = (var.inodes_free, var.inodes);
        format!("{free} of {inodes} inodes are free at /var, where this sled keeps what it remembers")
    })
}

fn available(image: &Image, newer: &Newer) -> String {
    let changes = match newer.changes.as_slice() {
        [] => "its release does not say what changes".to_owned(),
        changes => changes.join("; "),
    };
    let lacks: String = newer.lacks.iter().map(|why| format!("; this machine cannot take it: {why}")).collect();
    let waits = newer.waits.as_ref().map(|why| format!("; it is not applied yet: {why}")).unwrap_or_default();
    format!("version {} can be had, and {} is in use: {changes}{lacks}{waits}", newer.version, image.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_tells_what_is_odd_about_it() {
        let codes = |image: Option<Image>| {
            let facts = Facts { image, ..Facts::default() };
            findings(&facts).into_iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(None), []);
        assert_eq!(codes(Some(Image::default())), []);
        let all = Image {
            version: "1".into(),
            demonstration: true,
            no_firmware: true,
            given_up: Some(("2".into(), "it was late".into())),
            network_taken_back: Some(jiff::Timestamp::UNIX_EPOCH),
            network_unproven: true,
            refused: vec!["sled.toml:1: x".into()],
            replaced: vec!["/var/etc/sled/sled.toml".into()],
            renewed: Some("it was made anew".into()),
            reset: Some("a reset was asked for".into()),
            stick: Some("/dev/sda".into()),
            others: (Vec::new(), Vec::new()),
            var: Some(Var { capacity: 2 << 30, free: 1 << 20, inodes: 1000, inodes_free: 900 }),
            newer: Some(Newer { version: "3".into(), ..Newer::default() }),
        };
        let of_the_image = [Code::Demonstration, Code::FirmwareMissing, Code::UpdateGivenUp];
        let of_the_network = [Code::NetworkTakenBack, Code::NetworkUnproven];
        let of_the_machine = [Code::ConfigRefused, Code::ConfigReplaced, Code::VarRenewed, Code::ResetUnfinished];
        let of_the_disks = [Code::StartedFromStick, Code::VarLow, Code::UpdateAvailable];
        assert_eq!(codes(Some(all)), [&of_the_image[..], &of_the_network, &of_the_machine, &of_the_disks].concat());
    }

    #[test]
    fn a_stick_is_told_where_it_was_started_and_where_it_was_left_in() {
        let told = |stick: Option<&str>, disks: &[&str], sticks: &[&str]| {
            let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
            let image =
                Image { stick: stick.map(str::to_owned), others: (owned(disks), owned(sticks)), ..Image::default() };
            of(&image).into_iter().map(|finding| (finding.code, finding.cause)).collect::<Vec<_>>()
        };
        assert_eq!(told(None, &["/dev/sdb"], &[]), [], "an older disk of somebody's in a machine that works");
        let [(code, cause)] = told(Some("/dev/sda"), &[], &["/dev/sdc"]).try_into().unwrap();
        assert!(code == Code::StartedFromStick && cause.ends_with("serves no region"), "{cause}");
        let [(_, cause)] = told(Some("/dev/sda"), &["/dev/sdb (serial S6P1)"], &[]).try_into().unwrap();
        assert!(cause.ends_with("the image is on /dev/sdb (serial S6P1)"), "{cause}");
        let [(code, cause)] = told(None, &[], &["/dev/sda"]).try_into().unwrap();
        assert!(code == Code::StickLeftIn && cause.starts_with("the stick /dev/sda"), "{cause}");
    }

    #[test]
    fn a_var_that_fills_is_told_before_it_is_full() {
        let var = |free: u64, inodes_free: u64| Var { capacity: 2 << 30, free, inodes: 1000, inodes_free };
        assert_eq!(low(var(200 << 20, 900)), None);
        assert!(low(var(90 << 20, 900)).is_some_and(|why| why.starts_with("90 MiB of 2 GiB is free")));
        assert!(low(var(1 << 30, 19)).is_some_and(|why| why.starts_with("19 of 1000 inodes")));
        assert_eq!(low(Var { inodes: 0, inodes_free: 0, ..var(1 << 30, 0) }), None, "a file system without a limit");
        assert!(low(Var { capacity: 256 << 20, ..var(60 << 20, 900) }).is_some(), "a small one");
    }

    #[test]
    fn a_version_that_can_be_had_is_told_with_what_changes_and_what_it_waits_for() {
        let image = Image { version: "1".into(), ..Image::default() };
        let mut newer = Newer { version: "2".into(), ..Newer::default() };
        let bare = "version 2 can be had, and 1 is in use: its release does not say what changes";
        assert_eq!(available(&image, &newer), bare);
        newer.changes = vec!["repairs are faster".into(), "it needs a reboot".into()];
        newer.lacks = vec!["its root has 2 GiB, and the partition for it 400 MiB".into()];
        newer.waits = Some("its window is Sun 04:00-06:00".into());
        let whole = "version 2 can be had, and 1 is in use: repairs are faster; it needs a reboot; this machine cannot \
                     take it: its root has 2 GiB, and the partition for it 400 MiB; it is not applied yet: its window is Sun 04:00-06:00";
        assert_eq!(available(&image, &newer), whole);
    }
}
