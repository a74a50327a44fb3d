//! Words where systemd does not enforce the port map.

use super::*;
use crate::check::Code;
use crate::decide::facts::{Enforcement, Gap};
use crate::decide::verdict::judge;

/// The words, and that they keep no host from its volume.
fn said(bind: Result<(), Gap>, address: Result<(), Gap>) -> Option<(String, String)> {
    let config = config();
    let facts = Facts { enforcement: Some(Enforcement { bind, address }), ..well(&config) };
    let verdict = judge(&config, &facts);
    assert!(verdict.ready(&volume()));
    assert!(verdict.findings.iter().all(|finding| finding.code == Code::PortMapNotEnforced));
    assert!(verdict.findings.len() <= 1);
    verdict.findings.into_iter().next().map(|finding| (finding.cause, finding.remedy))
}

#[test]
fn one_finding_names_all_that_is_not_enforced_and_why() {
    assert_eq!(said(Ok(()), Ok(())), None);
    let (cause, remedy) = said(Err(Gap::NoLibrary), Ok(())).unwrap();
    assert!(cause.contains("SocketBindAllow=") && !cause.contains("IPAddressAllow="), "{cause}");
    assert!(cause.contains("libbpf1") && remedy.contains("apt install libbpf1"), "{cause}; {remedy}");
    let (cause, remedy) = said(Err(Gap::NotBuilt("systemd 257".into())), Err(Gap::NotLoaded)).unwrap();
    assert!(cause.contains("SocketBindAllow=): systemd 257 was built without BPF; and"), "{cause}");
    assert!(cause.contains("IPAddressAllow=): the kernel or the container"), "{cause}");
    assert!(remedy.contains("+BPF_FRAMEWORK") && remedy.contains("CONFIG_CGROUP_BPF"), "{remedy}");
}

#[test]
fn one_cause_has_one_remedy_and_what_was_not_tried_is_not_called_open() {
    let (_, remedy) = said(Err(Gap::NotLoaded), Err(Gap::NotLoaded)).unwrap();
    assert_eq!(remedy.matches("CONFIG_CGROUP_BPF").count(), 1);
    let untried = || Err(Gap::Untried("no time".into()));
    let (cause, _) = said(untried(), untried()).unwrap();
    assert!(cause.contains("it is not known whether") && cause.contains("no time"), "{cause}");
    assert!(!cause.contains("does not enforce"), "{cause}");
}
