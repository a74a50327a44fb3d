//! Adapter's facts: what each leads to, with the words that somebody acts on.

use super::*;
use crate::check::{Code, Severity};
use crate::decide::facts::{Faults, Hub, Incident, KernelLog, Sign};
use crate::decide::finding::{Finding, Scope};
use crate::decide::verdict::judge;

/// What is otherwise, the condition that it leads to, and what its cause and its remedy say.
type Case = (fn(&mut Facts), Code, Severity, &'static str, &'static str);

fn nic(facts: &mut Facts) -> &mut Nic {
    facts.network.as_mut().unwrap().nic.as_mut().unwrap()
}

fn usb(facts: &mut Facts) -> &mut Usb {
    nic(facts).usb.as_mut().unwrap()
}

fn realtek(facts: &mut Facts, driver: &str) {
    nic(facts).driver = Some(driver.into());
    usb(facts).id = Some("0bda:8156".into());
}

fn found(change: impl Fn(&mut Facts)) -> Vec<Finding> {
    let mut facts = well(&config());
    change(&mut facts);
    judge(&config(), &facts).findings
}

const CASES: &[Case] = &[
    (
        |f| nic(f).up = false,
        Code::NicNoCarrier,
        Severity::Blocking,
        "is switched off",
        "ip link set enx00e04ca81110 up",
    ),
    (|f| nic(f).carrier = false, Code::NicNoCarrier, Severity::Blocking, "has no link", "check the cable"),
    (|f| nic(f).link_mbps = Some(1000), Code::NicSlow, Severity::Warning, "1000 Mbit/s, and 2500", "Cat 5e"),
    (
        |f| (nic(f).renamed, nic(f).mac) = (Some("eth7".into()), Some("00:e0:4c:a8:11:10".into())),
        Code::NicRenamed,
        Severity::Warning,
        "is called eth7 now: it has the same hardware address, 00:e0:4c:a8:11:10",
        "ip link property add dev eth7 altname enx00e04ca81110",
    ),
    (
        |f| nic(f).twins = vec!["eth7".into()],
        Code::NicRenamed,
        Severity::Warning,
        "enx00e04ca81110 and eth7 have one hardware address",
        "unplug eth7",
    ),
    (|f| nic(f).losses = 4, Code::NicFlapping, Severity::Warning, "lost its link 4 times", "another cable"),
    (
        |f| nic(f).faults = Faults { received: 5000, received_faulty: 10, ..Faults::default() },
        Code::NicErrors,
        Severity::Warning,
        "within ten minutes more than 1 in 1000 arrived damaged",
        "another cable",
    ),
    (
        |f| nic(f).faults = Faults { received: 100_000, missed: 10, sent: 10, sent_faulty: 40, ..Faults::default() },
        Code::NicErrors,
        Severity::Warning,
        "more than 1 in 100000 were missed, as the USB does not take them fast enough; more than 1 in 10 could not be sent",
        "a USB 3 port of the machine itself",
    ),
    (|f| nic(f).half_duplex = true, Code::NicHalfDuplex, Severity::Warning, "half duplex", "autoneg on"),
    (
        |f| usb(f).mbps = Some(480),
        Code::NicUsb2,
        Severity::Warning,
        "at 480 Mbit/s, and 5000 are expected: 2-1, port 1 of USB bus 2",
        "USB 3 port (blue)",
    ),
    (
        |f| {
            let hub = Hub { path: "1-2".into(), name: Some("USB2.0 Hub".into()), mbps: Some(480) };
            *usb(f) = Usb { path: "1-2.3".into(), mbps: Some(480), hubs: vec![hub], ..Usb::default() };
        },
        Code::NicUsb2,
        Severity::Warning,
        "1-2.3, port 3 of the hub at 1-2 (USB2.0 Hub, 480 Mbit/s)",
        "of the machine itself, not into the hub at 1-2",
    ),
    (
        |f| realtek(f, "cdc_ncm"),
        Code::NicDriver,
        Severity::Warning,
        "the driver cdc_ncm has it, not r8152",
        "echo 1 > /sys/bus/usb/devices/2-1/bConfigurationValue",
    ),
    (
        |f| usb(f).autosuspend = true,
        Code::NicAutosuspend,
        Severity::Warning,
        "may suspend enx00e04ca81110",
        "echo on > /sys/bus/usb/devices/2-1/power/control",
    ),
    (
        |f| {
            realtek(f, "r8152");
            f.network.as_mut().unwrap().kernel = Some("6.1.0-13-amd64".into());
        },
        Code::NicKernel,
        Severity::Information,
        "the kernel 6.1.0-13-amd64 is known to be bad for enx00e04ca81110",
        "a kernel since 6.6",
    ),
];

#[test]
fn each_fault_of_the_adapter_is_told_with_what_mends_it() {
    for (change, code, severity, cause, remedy) in CASES {
        let found = found(change);
        assert_eq!(found.len(), 1, "{code}: {found:#?}");
        assert_eq!((found[0].code, found[0].code.severity(), &found[0].scope), (*code, *severity, &Scope::Sled));
        assert!(found[0].cause.contains(cause) && found[0].remedy.contains(remedy), "{found:#?}");
        assert_eq!(found[0].subject, "nic enx00e04ca81110");
    }
}

#[test]
fn what_is_as_it_should_be_is_not_told() {
    let well: [fn(&mut Facts); 8] = [
        // Somebody has plugged the cable elsewhere, and back.
        |f| nic(f).losses = 3,
        |f| nic(f).faults = Faults { received: 9, received_faulty: 9, ..Faults::default() },
        |f| nic(f).faults = Faults { received: 1_000_000, received_faulty: 99, ..Faults::default() },
        |f| realtek(f, "r8152"),
        // Another maker's adapter has no other driver.
        |f| (nic(f).driver, usb(f).id) = (Some("cdc_ncm".into()), Some("0b95:1790".into())),
        |f| f.network.as_mut().unwrap().kernel = Some("6.1.0-13-amd64".into()),
        |f| {
            realtek(f, "r8152");
            f.network.as_mut().unwrap().kernel = Some("odd".into());
        },
        // Without a link nothing is negotiated.
        |f| (nic(f).usb, nic(f).driver) = (None, Some("igc".into())),
    ];
    for change in well {
        assert_eq!(found(change), []);
    }
}

fn said(facts: &mut Facts, device: &str, all: &[(i64, &[Sign])]) {
    nic(facts).lineage = ["0000:00:14.0", "usb2", "2-1", "enx00e04ca81110"].map(Into::into).into();
    let incident = |(second, signs): &(i64, &[Sign])| Incident {
        began: Timestamp::from_second(*second).unwrap(),
        signs: signs.iter().copied().collect(),
        words: "usb 2-1: the kernel's words".into(),
    };
    facts.kernel_log = KernelLog([(device.into(), all.iter().map(incident).collect())].into());
}

#[test]
fn signs_in_the_kernels_log_are_counted_by_incident() {
    let once: &[&[Sign]] = &[
        &[Sign::UsbReset],
        &[Sign::UsbLost],
        &[Sign::UsbFound, Sign::UsbLost, Sign::UsbReset],
        &[Sign::TransmitFailed],
    ];
    for signs in once {
        // Once it may be somebody's hand; twice it is the adapter.
        assert_eq!(found(|f| said(f, "2-1", &[(0, signs)])), [], "{signs:?}");
        let twice = found(|f| said(f, "2-1", &[(0, signs), (3600, signs)]));
        assert_eq!((twice.len(), twice[0].code, twice[0].code.severity()), (1, Code::NicResets, Severity::Warning));
        assert!(
            twice[0].cause.contains("failed 2 times within a day, the last time at 1970-01-01T01:00:00Z"),
            "{twice:?}"
        );
        assert!(
            twice[0].cause.contains("the kernel's words") && twice[0].remedy.contains("another USB port"),
            "{twice:?}"
        );
    }
    for sign in [Sign::TransmitTimeout, Sign::UsbMute, Sign::UsbResetFailed, Sign::UsbControllerLost] {
        let found = found(|f| said(f, "0000:00:14.0", &[(0, &[sign])]));
        assert!(found.len() == 1 && found[0].cause.contains("failed once within a day"), "{sign:?}: {found:?}");
        assert!(found[0].cause.contains(sign.of_adapter().unwrap()), "{found:?}");
    }
    // Each time that it is found, the driver resets it.
    let plugged: &[Sign] = &[Sign::UsbFound, Sign::UsbReset];
    assert_eq!(found(|f| said(f, "2-1", &[(0, plugged), (60, plugged), (120, &[Sign::UsbFound])])), []);
    // Of another device nothing is said here.
    assert_eq!(found(|f| said(f, "3-1", &[(0, &[Sign::TransmitTimeout])])), []);
}
