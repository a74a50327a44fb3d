//! That the test machine is worth testing on: systemd enforces there what the units ask for.
//! Without BPF it accepts these settings and does nothing; that the supervisor finds it out.

use support::layer::Layer;
use support::machine::{Machine, has};

const CODE: &str = "PORT_MAP_NOT_ENFORCED";

#[test]
fn canary_socket_bind_and_address_filters_bite() {
    let machine = Layer::small().boot();
    let listen = |properties: &[&str]| {
        let mut words = vec!["systemd-run", "--quiet", "--pipe", "--wait", "--collect"];
        words.extend(properties);
        words.extend(["timeout", "1", "systemd-socket-activate", "-l", "192.168.4.189:5000", "true"]);
        machine.run(&words).status.code()
    };
    // 124: it listened until its time was up.
    assert_eq!(listen(&[]), Some(124));
    assert_eq!(listen(&["-pSocketBindDeny=any"]), Some(1));
    assert_eq!(listen(&["-pSocketBindDeny=any", "-pSocketBindAllow=tcp:5000"]), Some(124));

    let reach = |properties: &[&str]| {
        let mut words = vec!["systemd-run", "--quiet", "--pipe", "--wait", "--collect"];
        words.extend(properties);
        words.extend(["timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/192.168.4.189/3800"]);
        machine.run(&words).status.code()
    };
    assert_eq!(reach(&[]), Some(0));
    assert_ne!(reach(&["-pIPAddressDeny=any"]), Some(0));
    assert_eq!(reach(&["-pIPAddressDeny=any", "-pIPAddressAllow=192.168.4.189"]), Some(0));
}

/// Waits until so many canaries have found this, as the journal has it.
fn wait_for_canaries(machine: &Machine, found: &str, wanted: usize) {
    let count = format!("journalctl -b -o cat -u sledd --grep='canary: {found}' | wc -l");
    machine.until(&format!("[ $({count}) -ge {wanted} ]"));
}

const ALL_WELL: &str = "ports enforced, addresses enforced";

#[test]
fn canary_where_all_is_enforced_nothing_is_said_and_it_is_tried_again_after_systemd_changes() {
    let machine = Layer::small().boot();
    wait_for_canaries(&machine, ALL_WELL, 1);
    machine.ok(&["systemctl", "daemon-reexec"]);
    wait_for_canaries(&machine, ALL_WELL, 2);
    // A burst of them is one change.
    for _ in 0..5 {
        machine.ok(&["systemctl", "daemon-reload"]);
    }
    wait_for_canaries(&machine, ALL_WELL, 3);
    // Between two there are ten seconds.
    assert_eq!(machine.hear(12, "sledd.service", "canary: "), "");
    assert_eq!(machine.count("sledd.service", "canary: "), 3);
    assert!(!has(&machine.volume("still-fawn"), CODE));
    // No unit of a canary is left, neither running nor failed.
    assert_eq!(machine.sh("systemctl list-units --all --plain --no-legend 'sled-canary-*'"), "");
}

#[test]
fn canary_without_libbpf_the_ports_are_not_enforced_until_it_is_installed() {
    let library = format!("usr/lib/{}-linux-gnu/libbpf.so.1", std::env::consts::ARCH);
    let machine = Layer::small().with(&library, "").boot();
    let check = machine.wait_for_check("still-fawn", CODE);
    assert!(check.cause.contains("SocketBindAllow") && check.cause.contains("libbpf1"), "{check:?}");
    assert!(!check.cause.contains("IPAddressAllow"), "{check:?}");
    assert!(check.remedy.contains("apt install libbpf1"), "{check:?}");
    // The remedy's own words.
    machine.sh(&format!("cd $(dirname /{library}); ln -sf libbpf.so.1.* libbpf.so.1; systemctl daemon-reexec"));
    machine.wait_for("still-fawn", |volume| !has(volume, CODE));
}

#[test]
fn canary_without_bpf_nothing_is_enforced() {
    let machine = Layer::small().without_bpf().boot();
    let check = machine.wait_for_check("still-fawn", CODE);
    assert!(check.cause.contains("SocketBindAllow") && check.cause.contains("IPAddressAllow"), "{check:?}");
    assert!(check.cause.contains("the kernel or the container") && !check.cause.contains("libbpf1"), "{check:?}");
}
