//! That the test machine is worth testing on: systemd enforces there what the units ask for.
//! Without BPF it accepts these settings and does nothing.

use crate::machine::Layer;

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
