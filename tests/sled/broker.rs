//! The supervisor has no network of its own: what it reaches is what is opened for it.

use crucible_sled::wire::State;
use support::layer::Layer;
use support::machine::{Machine, cause};

const REGION: &str = "still-fawn-1";
const BROKER: &str = "sled-sockets.service";

fn pid(machine: &Machine, unit: &str) -> String {
    machine.sh(&format!("systemctl show -P MainPID {unit}")).trim().to_owned()
}

#[test]
fn broker_the_supervisor_sees_no_network_and_its_sockets_reach_this_sled_alone() {
    let machine = Layer::small().boot_and_create();
    let supervisor = pid(&machine, "sledd.service");
    let inside = machine.sh(&format!("readlink /proc/{supervisor}/ns/net"));
    assert_ne!(inside, machine.sh("readlink /proc/1/ns/net"));
    assert_eq!(machine.sh(&format!("tail -n +3 /proc/{supervisor}/net/dev | wc -l")).trim(), "1", "but loopback");
    // The supervisor is told of the machine's all the same.
    assert!(machine.sled().network.addresses.unwrap().contains(&"192.168.4.189".parse().unwrap()));

    // The group of whoever opens a socket there: nobody listens at this sled's own port 9, and elsewhere nobody is
    // even asked.
    let group = format!("/sys/fs/cgroup$(systemctl show -P ControlGroup {BROKER})/cgroup.procs");
    let reach = |address: &str| {
        let script = format!("echo $$ >{group}; exec timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/9' 2>&1");
        machine.sh(&format!("bash -c '{}' || true", script.replace('\'', "'\\''")))
    };
    assert!(reach("192.168.4.189").contains("refused"));
    for elsewhere in ["127.0.0.1", "192.168.4.1", "8.8.8.8"] {
        let said = reach(elsewhere);
        assert!(!said.contains("refused"), "{elsewhere}: {said}");
    }
}

#[test]
fn broker_killed_or_hung_it_holds_up_nobody_for_long_and_what_serves_serves_on() {
    let machine = Layer::small().boot_and_create();
    let supervisor = pid(&machine, "sledd.service");
    machine.sh(&format!("systemctl kill --signal=KILL {BROKER}"));
    let before = machine.region(REGION).pid;
    machine.kill("KILL", REGION);
    // Both from one answer: one from before the kill was noticed is ready too, and nothing runs.
    machine.wait_for("still-fawn", |volume| volume.ready && volume.regions[1].pid != before);

    // A broker that hangs: nothing can be opened, so nothing is started; but all else goes on.
    machine.sh(&format!("systemctl kill --signal=STOP {BROKER}"));
    machine.kill("KILL", REGION);
    let down = machine.wait_for("still-fawn", |volume| !volume.ready);
    let serving = |volume: &crucible_sled::wire::Volume| {
        volume.regions.iter().filter(|region| region.state == Some(State::Serving)).count()
    };
    assert_eq!(serving(&down), 2, "{down:?}");
    let told = machine
        .wait_for("still-fawn", |volume| cause(volume, "REGION_DOWN").is_some_and(|cause| cause.contains(BROKER)));
    assert_eq!(serving(&told), 2, "{told:?}");
    machine.sh(&format!("systemctl kill --signal=CONT {BROKER}"));
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(pid(&machine, "sledd.service"), supervisor, "it was not restarted");
}
