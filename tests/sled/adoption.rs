//! Sleds as the runbook leaves them: directories and units made by hand, taken over under a
//! client that is connected.

use crucible_sled::wire::State;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use support::hosts::SLED;
use support::layer::{Layer, SMALL};
use support::machine::{Machine, has};

const UUID: &str = "5a11fa40-0000-4000-8000-000000000001";

/// The three regions and units of the runbook, running; `extra` goes on each command line.
fn runbook(machine: &Machine, extra: &str) {
    machine.sh(&format!(
        "for i in 0 1 2; do
            /usr/lib/crucible/crucible-downstairs create -d /crucible/vm-still-fawn-$i -u {UUID} \
                --block-size 512 --extent-size 64 --extent-count 4 >/dev/null
            chown -R nobody:nogroup /crucible/vm-still-fawn-$i
            printf '[Unit]\\nDescription=by hand\\n[Service]\\nType=simple\\nUser=nobody\\nRestart=always\\nRestartSec=5\\n\
ExecStart=/usr/lib/crucible/crucible-downstairs run -p 383%s -d /crucible/vm-still-fawn-%s {extra}\\n\
[Install]\\nWantedBy=multi-user.target\\n' $i $i >/etc/systemd/system/crucible-vm-still-fawn-$i.service
         done
         systemctl daemon-reload; systemctl enable --quiet --now crucible-vm-still-fawn-0 crucible-vm-still-fawn-1 crucible-vm-still-fawn-2
         for i in 0 1 2; do until ss -Htln \"sport = :383$i\" | grep -q .; do sleep 0.02; done; done"
    ));
}

/// The runbook's sled as it is: to be the same after an adoption that was undone.
fn as_it_was(machine: &Machine) -> String {
    machine.sh("cd /crucible; find vm-still-fawn-* -printf '%p %u %g %m %s\\n' | sort; \
         systemctl is-active crucible-vm-still-fawn-0 crucible-vm-still-fawn-1 crucible-vm-still-fawn-2; \
         systemctl is-enabled crucible-vm-still-fawn-0 crucible-vm-still-fawn-1 crucible-vm-still-fawn-2; \
         ls /crucible | grep -v vm- || true")
}

/// A host that holds a connection to each region and comes back when one breaks, and how many
/// it missed at once.
struct Host {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicU32>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Host {
    fn attach(machine: &Machine) -> Self {
        let (stop, down, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(3)), Arc::default());
        let up = Arc::new(AtomicBool::new(false));
        let threads = (3830..3833).map(|port| {
            let (poller, stop, down, most, up): (_, _, _, Arc<AtomicU32>, _) =
                (machine.poller(), stop.clone(), down.clone(), Arc::clone(&most), up.clone());
            std::thread::spawn(move || {
                poller.enter();
                while !stop.load(Ordering::Relaxed) {
                    // That somebody listens is told to nobody.
                    let Ok(stream) = TcpStream::connect((SLED, port)) else {
                        std::thread::sleep(Duration::from_millis(10));
                        continue;
                    };
                    if down.fetch_sub(1, Ordering::SeqCst) == 1 {
                        up.store(true, Ordering::SeqCst);
                    }
                    hold(stream, &stop);
                    let now = down.fetch_add(1, Ordering::SeqCst) + 1;
                    if up.load(Ordering::SeqCst) && !stop.load(Ordering::Relaxed) {
                        most.fetch_max(now, Ordering::SeqCst);
                    }
                }
            })
        });
        let threads = threads.collect();
        while down.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        Self { stop, most, threads }
    }

    /// Detaches; returns how many regions were down at once, at most.
    fn detach(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.most.load(Ordering::SeqCst)
    }
}

/// Keeps a connection as a host does, asking now and then, until it breaks.
fn hold(mut stream: TcpStream, stop: &AtomicBool) {
    use std::io::{Read, Write};
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut answer = [0; 8];
    while !stop.load(Ordering::Relaxed) {
        if stream.write_all(&crucible_sled::protocol::RUOK).is_err() {
            return;
        }
        match stream.read(&mut answer) {
            Ok(0) => return,
            Err(why) if !matches!(why.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => return,
            _ => {}
        }
    }
}

#[test]
fn a_runbooks_volume_is_adopted_under_a_connected_host() {
    let machine = Layer::small().boot();
    runbook(&machine, "");
    let check = machine.wait_for_check("still-fawn", "REGION_UNADOPTED");
    assert!(check.remedy.contains("sledctl region adopt still-fawn-0"), "{check:#?}");
    let refused = machine.run(&["sledctl", "region", "create", "still-fawn-0"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("vm-still-fawn-0 is there"), "{refused:?}");

    let host = Host::attach(&machine);
    let before = as_it_was(&machine);
    let proposed = machine.ok(&["sledctl", "region", "adopt", "--all", "--dry-run"]);
    assert_eq!(proposed.matches("would be adopted").count(), 3, "{proposed}");
    assert!(proposed.contains("crucible-vm-still-fawn-2.service  192.168.4.17"), "{proposed}");
    assert_eq!(as_it_was(&machine), before, "a dry run changed something");

    let said = machine.ok(&["sledctl", "region", "adopt", "--all"]);
    assert_eq!(said.matches("adopted from /crucible/vm-still-fawn-").count(), 3, "{said}");
    assert_eq!(machine.get("/v1/volumes/still-fawn?wait=60").0, 200);
    assert_eq!(host.detach(), 1, "a host that was attached saw more than one region down");

    let volume = machine.volume("still-fawn");
    assert!(volume.regions.iter().all(|region| region.uuid.unwrap().to_string() == UUID));
    assert!(has(&volume, "REGION_UUID_SHARED"), "{volume:#?}");
    assert_eq!(
        machine.sh("stat -c '%U %a' /crucible/still-fawn-1; ls -d /crucible/vm-* 2>/dev/null | wc -l"),
        "crucible 750\n0\n"
    );
    assert_eq!(machine.sh("systemctl is-enabled crucible-vm-still-fawn-0 || true"), "disabled\n");
    assert_eq!(machine.sh("pgrep -fc '^/usr/lib/crucible/crucible-downstairs run'"), "3\n");
    let again = machine.run(&["sledctl", "region", "adopt", "still-fawn-0"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is on record already"), "{again:?}");
}

/// The new unit cannot run it: everything is put back, and the old unit serves again.
#[test]
fn an_adoption_that_fails_is_undone_wholly() {
    let script =
        "#!/bin/sh\ncase \"$*\" in *--data*) echo 'not today' >&2; exit 1;; esac\nexec /usr/lib/crucible/real \"$@\"\n";
    let layer = Layer::small().with_script("usr/lib/crucible/wrapper", script);
    let machine = layer.boot();
    machine.sh("mv /usr/lib/crucible/crucible-downstairs /usr/lib/crucible/real; \
                mv /usr/lib/crucible/wrapper /usr/lib/crucible/crucible-downstairs");
    runbook(&machine, "");
    let before = as_it_was(&machine);
    let refused = machine.run(&["sledctl", "region", "adopt", "still-fawn-1"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("ends again and again") && said.contains("everything is as it was"), "{said}");
    assert_eq!(as_it_was(&machine), before);
    let record = machine.sh("cat /crucible/.sled/ledger.json");
    assert!(record.contains("\"adoptions\": {}") && record.contains("\"regions\": {}"), "{record}");
    assert_eq!(machine.region("still-fawn-1").state, Some(State::Held));
}

/// Regions that do not fit the map or are not whole are left as they are, and the reason names both sides.
#[test]
fn what_does_not_fit_is_refused_with_the_difference() {
    let machine = Layer::small().boot();
    runbook(&machine, "");
    let before = as_it_was(&machine);
    let refusal = |machine: &Machine, words: &[&str]| {
        let refused = machine.run(&[&["sledctl", "region", "adopt"], words].concat());
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        String::from_utf8_lossy(&refused.stderr).into_owned()
    };
    machine.sh(
        "sed -i 's/-p 3831/-p 3931/' /etc/systemd/system/crucible-vm-still-fawn-1.service; systemctl daemon-reload",
    );
    let said = refusal(&machine, &["still-fawn-1"]);
    assert!(said.contains("on port 3931, and the port map gives it 3831"), "{said}");
    machine.sh(
        "sed -i 's/-p 3931/-p 3831/' /etc/systemd/system/crucible-vm-still-fawn-1.service; systemctl daemon-reload",
    );

    machine.sh("cp -a /crucible/vm-still-fawn-2/00/000/003 /root/; truncate -s 7 /crucible/vm-still-fawn-2/00/000/003");
    assert!(refusal(&machine, &["still-fawn-2"]).contains("extent 3 (00/000/003): it has 7 bytes"));
    machine
        .sh("cp -a /root/003 /crucible/vm-still-fawn-2/00/000/003; chown root /crucible/vm-still-fawn-2/region.json");
    assert!(refusal(&machine, &["still-fawn-2"]).contains("region.json belongs to the user with id 0"));
    machine.sh("chown nobody /crucible/vm-still-fawn-2/region.json");

    assert!(refusal(&machine, &["still-fawn-0", "--from", "/crucible/nothing"]).contains("/crucible/nothing"));
    assert!(refusal(&machine, &["still-fawn-0", "--from", "/etc"]).contains("another file system"));
    assert!(refusal(&machine, &["still-fawn-0", "--from", "../x"]).contains("no plain absolute path"));
    machine.sh("ln -s vm-still-fawn-0 /crucible/link");
    assert!(refusal(&machine, &["still-fawn-0", "--from", "/crucible/link"]).contains("not a directory"));
    machine.sh("rm /crucible/link");
    assert!(refusal(&machine, &["still-fawn-0", "--from", "/crucible/.sled/x"]).contains("the supervisor's own"));

    // A process that no unit's command line tells of is found by the files that it has open.
    machine.sh("systemd-run -q --unit=stray tail -f /crucible/vm-still-fawn-2/region.json");
    let said = refusal(&machine, &["still-fawn-2"]);
    assert!(said.contains("of stray.service runs on /crucible/vm-still-fawn-2"), "{said}");
    machine.sh("systemctl stop stray");

    // A host that is connected to one region alone would be left with none of the others.
    let host = machine.in_outside(|| TcpStream::connect((SLED, 3830)).unwrap());
    let proposed = machine.run(&["sledctl", "region", "adopt", "still-fawn-0", "--dry-run"]);
    let said = String::from_utf8_lossy(&proposed.stdout).into_owned();
    assert!(said.contains("192.168.4.17 is connected to it and not to still-fawn-1"), "{said}");
    assert_eq!(proposed.status.code(), Some(3));
    drop(host);
    assert_eq!(as_it_was(&machine), before);
}

/// A directory from elsewhere on the disk that nothing serves.
#[test]
fn a_directory_without_a_unit_is_adopted_from_where_it_lies() {
    let map = SMALL.replace("extent_count = 4", "extent_count = 1");
    let machine = Layer::small().with("etc/sled/port-map.toml", &map).boot();
    machine.sh(&format!(
        "mkdir /crucible/old; /usr/lib/crucible/crucible-downstairs create -d /crucible/old/region -u {UUID} \
         --block-size 512 --extent-size 64 --extent-count 1"
    ));
    machine.ok(&["sledctl", "region", "adopt", "still-fawn-0", "--from", "/crucible/old/region"]);
    machine.wait_for("still-fawn", |volume| volume.regions[0].state == Some(State::Serving));
    assert_eq!(machine.sh("ls -A /crucible/old"), "");
    assert_eq!(machine.region("still-fawn-0").uuid.unwrap().to_string(), UUID);
}
