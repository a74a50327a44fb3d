//! Enforcement of what the regions' units ask for, where systemd does not do it. Whether it does was found out by
//! trying; what was not tried yet is not judged.

use super::facts::{Enforcement, Facts, Gap};
use super::finding::Finding;
use crate::check::Code;

/// Find in one finding all that is not enforced.
pub(super) fn finding(facts: &Facts) -> Option<Finding> {
    let Enforcement { bind, address } = facts.enforcement.as_ref()?;
    let ports = ("on which ports a downstairs may listen (SocketBindAllow=)", bind);
    let hosts = ("with which hosts it may speak (IPAddressAllow=)", address);
    let gaps = [ports, hosts].into_iter().filter_map(|(what, proof)| Some((what, proof.as_ref().err()?)));
    let (causes, mut remedies): (Vec<_>, Vec<_>) = gaps.map(|(what, gap)| (cause(what, gap), remedy(gap))).unzip();
    remedies.dedup();
    (!causes.is_empty())
        .then(|| Finding::new(Code::PortMapNotEnforced, "systemd", causes.join("; and "), remedies.join("; then ")))
}

fn cause(what: &str, gap: &Gap) -> String {
    match gap {
        Gap::NotBuilt(version) => format!("systemd does not enforce {what}: {version} was built without BPF"),
        Gap::NoLibrary => format!("systemd does not enforce {what}: libbpf1 is not installed"),
        Gap::NotLoaded => {
            format!("systemd does not enforce {what}: the kernel or the container does not let it load BPF programs")
        }
        Gap::Untried(why) => format!("it is not known whether systemd enforces {what}: {why}"),
    }
}

fn remedy(gap: &Gap) -> &'static str {
    match gap {
        Gap::NotBuilt(_) => "install a systemd with +BPF_FRAMEWORK (systemctl --version shows it)",
        Gap::NoLibrary => "apt install libbpf1, then systemctl daemon-reexec",
        Gap::NotLoaded => {
            "boot a kernel with CONFIG_CGROUP_BPF and cgroup v2, or allow the container the system call bpf; until \
             then keep others out by a firewall"
        }
        Gap::Untried(_) => "it is tried again every minute; see journalctl -u sledd -u 'sled-canary-*'",
    }
}
