use super::*;
use crate::appliance::KEYS;
use crate::appliance::keys::tests::KEY;

const EXAMPLE: &str = include_str!("../../../etc/sled.toml");
const MAP: &str = include_str!("../../../etc/port-map.toml");

struct Machine {
    dir: tempfile::TempDir,
    places: Places,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (partition, credentials) = (at("config"), Some(at("credentials")));
        let sources = Sources { partition, others: vec![at("sdb1")], credentials };
        let places = Places { root: at("root"), run: at("run"), sources };
        for dir in [at("root/var"), at("config"), at("credentials"), at("sdb1")] {
            fs::create_dir_all(dir).unwrap();
        }
        Self { dir, places }
    }

    fn bring(&self, file: &str, text: &str) -> &Self {
        fs::write(self.dir.path().join(file), text).unwrap();
        self
    }

    fn boot(&self) -> String {
        run(&self.places).join("\n")
    }

    fn has(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join("root/var/etc").join(file)).unwrap_or_default()
    }

    fn has_gateway(&self, gateway: &str) -> bool {
        self.has("network/20-bridge.network").contains(&format!("Gateway={gateway}\n"))
    }

    fn taken(&self) -> Taken {
        serde_json::from_str(&self.has(TAKEN)).unwrap()
    }
}

/// A machine with a network of the gateway 192.168.4.1 that has one of 192.168.4.2 on trial, and its record.
fn on_trial() -> (Machine, PathBuf, trial::Record) {
    let machine = Machine::new();
    machine.bring("config/sled.toml", EXAMPLE).bring("config/port-map.toml", MAP);
    machine.boot();
    let (own, memory) = (machine.dir.path().join("root/var/etc"), machine.dir.path().join("root/var/lib/sled"));
    fs::create_dir_all(&memory).unwrap();
    machine.bring("root/var/etc/sled/sled.toml", &EXAMPLE.replace("192.168.4.1\"", "192.168.4.2\""));
    let config = config_dir::read(&own.join("sled")).unwrap();
    let (files, asked) = (trial::named(network::files(&config)), network::asked(&config));
    let (before, boot, at) = (trial::present(&own, &files), "b".to_owned(), times::now());
    let record = trial::Record { taken_back: false, put_back: false, boot, applied: Some(5), asked, at, before };
    trial::store(&memory, &record).unwrap();
    trial::put(&own, &files).unwrap();
    assert!(machine.has_gateway("192.168.4.2"));
    (machine, memory, record)
}

/// The power went while it was on trial: the network before is booted with, until another one is asked for.
#[test]
fn a_network_on_trial_does_not_outlive_the_boot() {
    let (machine, memory, began) = on_trial();
    for _ in 0..2 {
        let said = machine.boot();
        assert!(said.contains("that was on trial is not in force"), "{said}");
        assert!(machine.has_gateway("192.168.4.1"));
        let record = trial::load(&memory).unwrap();
        assert_eq!((record.taken_back, record.put_back, &record.before), (true, true, &began.before));
    }
    machine.bring("root/var/etc/sled/sled.toml", &EXAMPLE.replace("192.168.4.1\"", "192.168.4.3\""));
    machine.boot();
    assert!(machine.has_gateway("192.168.4.3"));
    assert_eq!(trial::load(&memory), None);
}

/// Of the record there are two: with one of them the network before is known, and without any it is told that it is not.
#[test]
fn a_record_that_cannot_be_read_keeps_no_network_on_trial_in_force_untold() {
    for garbage in ["", "{\"taken_back\": fal"] {
        let (machine, memory, _) = on_trial();
        fs::write(memory.join("network-trial.json"), garbage).unwrap();
        let said = machine.boot();
        assert!(said.contains("is not in force: the one before is") && machine.has_gateway("192.168.4.1"), "{said}");
        assert!(trial::load(&memory).is_some_and(|record| record.put_back) && !trial::lost(&memory));
    }
    let (machine, memory, _) = on_trial();
    garble(&memory);
    let said = machine.boot();
    assert!(said.contains("cannot be read: what is in force may be that") && trial::lost(&memory), "{said}");
    // It is told until somebody says that the network is to be kept, or has another put on trial.
    assert!(!machine.boot().contains("cannot be read") && trial::lost(&memory));
    trial::confirm(&memory).unwrap();
    assert!(!trial::lost(&memory) && trial::load(&memory).is_none());
    // The check of a file system may remove the record alone.
    let (machine, memory, _) = on_trial();
    fs::remove_file(memory.join("network-trial.json")).unwrap();
    let said = machine.boot();
    assert!(said.contains("is not in force: the one before is") && machine.has_gateway("192.168.4.1"), "{said}");
    // Another version, which knows of no copy, has removed the record of a trial that had ended.
    let (machine, memory, _) = on_trial();
    fs::remove_file(memory.join("network-trial.json")).unwrap();
    fs::create_dir_all(machine.places.root.join("usr/lib/sled")).unwrap();
    machine.bring("root/usr/lib/sled/image.json", "{\"version\": \"2\"}").boot();
    assert!(trial::load(&memory).is_none() && machine.has_gateway("192.168.4.2"));
}

/// What sled.toml asks for is then the network that was taken back.
#[test]
fn a_network_that_was_taken_back_stays_out_of_force_where_its_record_is_lost() {
    let (machine, memory, _) = on_trial();
    machine.boot();
    garble(&memory);
    for _ in 0..2 {
        assert!(machine.boot().contains("the network stays as it was"));
        assert!(machine.has_gateway("192.168.4.1") && trial::lost(&memory));
    }
    // Whoever keeps the one that is in force has it at the next boot too.
    trial::confirm(&memory).unwrap();
    machine.boot();
    assert!(machine.has_gateway("192.168.4.1") && !trial::lost(&memory));
    machine.bring("root/var/etc/sled/sled.toml", &EXAMPLE.replace("192.168.4.1\"", "192.168.4.3\""));
    machine.boot();
    assert!(machine.has_gateway("192.168.4.3") && !memory.join("network-trial.lost").exists());
}

fn garble(memory: &Path) {
    for file in ["network-trial.json", "network-trial.copy.json"] {
        fs::write(memory.join(file), "").unwrap();
    }
}

/// Whether it was on trial, or its taking back was cut off: a file with a fault in it does not keep it in force.
#[test]
fn a_configuration_with_faults_keeps_no_network_on_trial_in_force() {
    for taken_back in [false, true] {
        let (machine, memory, record) = on_trial();
        trial::store(&memory, &trial::Record { taken_back, ..record }).unwrap();
        machine.bring("root/var/etc/sled/sled.toml", "[");
        let said = machine.boot();
        assert!(said.contains("has faults") && said.contains("is not in force: the one before is"), "{said}");
        assert!(machine.has_gateway("192.168.4.1"));
        let record = trial::load(&memory).unwrap();
        assert!(record.taken_back && record.put_back);
    }
}

/// Another version writes other files for the same network, and more of them, or fewer.
#[test]
fn a_network_that_was_taken_back_stays_so_for_a_version_with_other_files() {
    let (machine, memory, record) = on_trial();
    machine.boot();
    let asked = record.asked;
    let files =
        trial::Files::from([("hostname".into(), Some("other".into())), ("network/99-new.network".into(), None)]);
    assert_eq!(trial::at_boot(&memory, &asked, files.clone()).unwrap(), record.before);
    assert!(trial::load(&memory).is_some_and(|record| record.taken_back));
    assert_eq!(trial::at_boot(&memory, &asked.replace("4.2", "4.3"), files.clone()).unwrap(), files);
    assert_eq!(trial::load(&memory), None);
}

#[test]
fn what_is_brought_is_taken_over_once() {
    let machine = Machine::new();
    machine.boot();
    let id = machine.has("machine-id");
    assert_eq!(id.len(), 33);
    assert!(machine.has("sled/sled.toml").is_empty() && machine.has("hostname").is_empty());
    machine.bring("config/sled.toml", EXAMPLE).bring("config/port-map.toml", MAP).bring("config/authorized_keys", KEY);
    let said = machine.boot();
    assert!(said.contains("taken over: authorized_keys, port-map.toml, sled.toml"), "{said}");
    assert_eq!((machine.has("sled/port-map.toml").as_str(), machine.has(KEYS).as_str()), (MAP, KEY));
    assert_eq!((machine.has("hostname").as_str(), machine.has("machine-id")), ("proper-raptor\n", id));
    assert!(machine.has("network/20-bridge.network").contains("Address=192.168.4.189/24"));
    // An operator's changes since are not taken back.
    machine.bring("root/var/etc/sled/sled.toml", &EXAMPLE.replace("thick", "thin"));
    assert_eq!(machine.boot(), "");
    assert!(machine.has("sled/sled.toml").contains("\"thin\""));
}

#[test]
fn credentials_come_before_the_partition() {
    let machine = Machine::new();
    machine.bring("config/sled.toml", EXAMPLE).bring("config/port-map.toml", MAP);
    machine.bring("credentials/sled.port-map.toml", &MAP.replace("192.168.4.189", "192.168.4.188"));
    machine.bring("credentials/ssh.authorized_keys.root", KEY);
    machine.boot();
    assert!(machine.has("network/20-bridge.network").contains("192.168.4.188/24"));
    assert_eq!(machine.has(KEYS), KEY);
}

#[test]
fn faults_take_nobodys_place() {
    let machine = Machine::new();
    // Nothing is there: it is taken, and whoever asks the sled is told.
    machine.bring("config/sled.toml", "[sledd]\n").bring("config/port-map.toml", MAP);
    assert!(machine.boot().contains("the network stays as it was"));
    assert_eq!(machine.has("sled/sled.toml"), "[sledd]\n");
    machine.bring("config/sled.toml", EXAMPLE);
    machine.boot();
    assert_eq!(machine.has("sled/sled.toml"), EXAMPLE);
    // Something is there that works.
    machine.bring("config/sled.toml", &EXAMPLE.replace("nic =", "nick ="));
    let said = machine.boot();
    assert!(said.contains("not taken over: sled.toml that was brought"), "{said}");
    assert_eq!(machine.has("sled/sled.toml"), EXAMPLE);
    assert!(machine.taken().refused.iter().any(|fault| fault.contains("network.nick")), "{:?}", machine.taken());
    assert_eq!(machine.boot(), "", "it is told once");
    // A configuration that is mended is another.
    machine.bring("config/sled.toml", &EXAMPLE.replace("thick", "thin"));
    machine.boot();
    assert_eq!(machine.taken().refused, Vec::<String>::new());
    assert!(machine.has("sled/sled.toml").contains("\"thin\""));
}

/// Somebody adds a key on CONFIG, months after the map was changed on the sled.
#[test]
fn only_what_changed_is_taken_and_what_is_newer_here_is_told() {
    let machine = Machine::new();
    machine.bring("config/sled.toml", EXAMPLE).bring("config/port-map.toml", MAP).bring("config/authorized_keys", KEY);
    machine.boot();
    let newer = MAP.replace("extent_count = 100", "extent_count = 90");
    assert_ne!(newer, MAP);
    machine.bring("root/var/etc/sled/port-map.toml", &newer);
    machine.bring("config/authorized_keys", &format!("{KEY}# another\n"));
    let said = machine.boot();
    assert!(said.contains("taken over: authorized_keys;"), "{said}");
    assert!(said.contains("what this sled has is newer and stays: port-map.toml"), "{said}");
    assert_eq!(machine.has("sled/port-map.toml"), newer);
    assert_eq!(machine.has(KEYS), format!("{KEY}# another\n"));
    // One that is brought after all takes its place, and nothing is lost.
    machine.bring("config/port-map.toml", &format!("{MAP}# newest\n"));
    let said = machine.boot();
    assert!(said.contains("kept aside with the ending .replaced: port-map.toml"), "{said}");
    assert_eq!(machine.has("sled/port-map.toml.replaced"), newer);
    assert_eq!(machine.has("sled/port-map.toml"), format!("{MAP}# newest\n"));
    let aside: Vec<_> = replaced(&machine.places.root.join("var/etc"));
    assert!(aside.len() == 1 && aside[0].ends_with("sled/port-map.toml.replaced"), "{aside:?}");
    assert_eq!(machine.boot(), "");
}

/// What a sled does not read for everybody stays so, and what says why it is so stays with it.
#[test]
fn fragments_are_taken_over_as_they_are() {
    let machine = Machine::new();
    machine.bring("config/sled.toml", EXAMPLE).bring("config/port-map.toml", MAP);
    fs::create_dir(machine.dir.path().join("config/SLED.TOML.D")).unwrap();
    let fragment = "# the trunk of the rack\n[network]\nvlan = 5\n";
    machine.bring("config/SLED.TOML.D/10-vlan.toml", fragment);
    machine.bring("config/SLED.TOML.D/owners.txt", "0600 0 0 10-vlan.toml\n");
    let said = machine.boot();
    assert!(said.contains("taken over: port-map.toml, sled.toml, sled.toml.d/10-vlan.toml"), "{said}");
    let own = machine.places.root.join("var/etc");
    let owner = || Owner::of(&own.join("sled/sled.toml.d/10-vlan.toml"));
    assert_eq!((machine.has("sled/sled.toml.d/10-vlan.toml").as_str(), owner().mode), (fragment, 0o600));
    assert_eq!(machine.has("sled/sled.toml"), EXAMPLE);
    assert!(machine.has("network/20-bridge.network").contains("PVID=5\n"));
    assert_eq!(machine.boot(), "");
    // Changed on the sled: another that is brought takes its place, and nobody else may read what it was.
    machine.bring("root/var/etc/sled/sled.toml.d/10-vlan.toml", "[network]\nvlan = 6\n");
    assert_eq!(machine.boot(), "written: network/20-bridge.network, network/30-nic.network");
    machine.bring("config/SLED.TOML.D/10-vlan.toml", "[network]\nvlan = 7\n");
    let said = machine.boot();
    assert!(said.contains("kept aside with the ending .replaced: sled.toml.d/10-vlan.toml"), "{said}");
    let aside = own.join("sled/sled.toml.d/10-vlan.toml.replaced");
    assert_eq!((replaced(&own), Owner::of(&aside).mode), (vec![aside], 0o600));
    // One with a fault takes nobody's place, and alone they make no sled.
    machine.bring("config/SLED.TOML.D/10-vlan.toml", "[network]\nvlam = 7\n");
    let said = machine.boot();
    assert!(said.contains("not taken over: sled.toml.d/10-vlan.toml that was brought:2: network.vlam"), "{said}");
    assert_eq!(machine.has("sled/sled.toml.d/10-vlan.toml"), "[network]\nvlan = 7\n");
    let machine = Machine::new();
    fs::create_dir(machine.dir.path().join("config/sled.toml.d")).unwrap();
    machine.bring("config/sled.toml.d/10.toml", fragment);
    assert!(machine.boot().contains("sled.toml is missing: a sled needs both"));
}

#[test]
fn a_record_of_an_older_version_takes_nothing_again() {
    let machine = Machine::new();
    machine.bring("config/sled.toml", EXAMPLE).bring("config/port-map.toml", MAP);
    machine.boot();
    let mut record: serde_json::Value = serde_json::from_str(&machine.has(TAKEN)).unwrap();
    for key in ["seen", "digests", "unread", "from"] {
        record.as_object_mut().unwrap().remove(key);
    }
    machine.bring("root/var/etc/taken.json", &record.to_string());
    machine.bring("root/var/etc/sled/sled.toml", &EXAMPLE.replace("thick", "thin"));
    machine.boot();
    assert!(machine.has("sled/sled.toml").contains("\"thin\""));
    machine.bring("config/authorized_keys", KEY);
    machine.boot();
    assert!(machine.has("sled/sled.toml").contains("\"thin\"") && machine.has(KEYS) == KEY);
}

#[test]
fn a_set_is_whole_or_refused_and_taken_when_it_is_mended() {
    let machine = Machine::new();
    machine.bring("config/port-map.toml", MAP).bring("config/sled.toml.txt", EXAMPLE);
    let said = machine.boot();
    assert!(said.contains("not taken over: sled.toml.txt is not looked at: is sled.toml meant?"), "{said}");
    assert!(!said.contains("is missing: a sled"), "{said}");
    assert_eq!((machine.has("sled/port-map.toml"), machine.boot().contains("taken")), (String::new(), false));
    fs::remove_file(machine.dir.path().join("config/sled.toml.txt")).unwrap();
    assert!(machine.boot().contains("sled.toml is missing: a sled needs both"));
    machine.bring("config/SLED.TOML", EXAMPLE);
    machine.boot();
    assert_eq!((machine.has("sled/sled.toml").as_str(), machine.has("sled/port-map.toml").as_str()), (EXAMPLE, MAP));
    // Keys that let nobody in keep the rest back as well, and what works stays.
    machine.bring("config/authorized_keys", KEY);
    machine.boot();
    machine.bring("config/authorized_keys", "<html>").bring("config/SLED.TOML", &EXAMPLE.replace("thick", "thin"));
    let said = machine.boot();
    assert!(said.contains("not taken over: authorized_keys is a web page"), "{said}");
    assert_eq!((machine.has(KEYS).as_str(), machine.has("sled/sled.toml").as_str()), (KEY, EXAMPLE));
    machine.bring("config/authorized_keys", KEY);
    machine.boot();
    assert!(machine.has("sled/sled.toml").contains("\"thin\"") && machine.taken().refused.is_empty());
}

#[test]
fn a_refusal_ends_when_nothing_is_brought_any_more() {
    let machine = Machine::new();
    machine.bring("config/authorized_keys", "none");
    assert!(machine.boot().contains("no public key"));
    fs::remove_file(machine.dir.path().join("config/authorized_keys")).unwrap();
    machine.boot();
    assert_eq!(machine.taken().refused, Vec::<String>::new());
}

#[test]
fn another_disk_sets_a_new_machine_up_once_and_that_is_told() {
    let machine = Machine::new();
    machine.bring("sdb1/sled.toml", EXAMPLE).bring("sdb1/port-map.toml", MAP);
    let said = machine.boot();
    assert!(said.contains("taken over from the partition CONFIG of another disk (sdb1)"), "{said}");
    assert_eq!(machine.taken().from.as_deref(), Some("sdb1"));
    machine.bring("sdb1/sled.toml", &EXAMPLE.replace("thick", "thin"));
    assert_eq!((machine.boot().as_str(), machine.has("sled/sled.toml").as_str()), ("", EXAMPLE));
}

#[test]
fn a_configuration_that_is_broken_on_the_sled_leaves_the_network_as_it_was() {
    let machine = Machine::new();
    machine.bring("config/sled.toml", EXAMPLE).bring("config/port-map.toml", MAP);
    machine.boot();
    machine.bring("root/var/etc/sled/sled.toml", "[");
    assert!(machine.boot().contains("stays as it was"));
    assert!(machine.has("network/20-bridge.network").contains("192.168.4.189/24"));
}

#[test]
fn a_staged_downstairs_goes_with_the_version_it_was_staged_with() {
    let machine = Machine::new();
    for dir in ["usr/lib/sled", "var/lib/sled"] {
        fs::create_dir_all(machine.places.root.join(dir)).unwrap();
    }
    let staged = || machine.places.root.join(PROGRAMS).exists();
    let image = |version: &str| {
        machine.bring("root/usr/lib/sled/image.json", &format!("{{\"version\": \"{version}\"}}"));
    };
    image("1");
    machine.boot();
    machine.bring("root/var/lib/sled/programs.json", "{}");
    machine.boot();
    assert!(staged(), "the same version boots again");
    image("2");
    assert!(machine.boot().contains("brings its own downstairs"));
    assert!(!staged());
    machine.bring("root/var/lib/sled/programs.json", "{}");
    image("1");
    machine.boot();
    assert!(!staged(), "and so when the version before comes back");
}

/// What an adapter was found by is not what another is.
#[test]
fn an_adapter_that_is_meant_otherwise_leaves_no_file_behind() {
    let machine = Machine::new();
    machine.bring("config/sled.toml", &EXAMPLE.replace("\"enx00e04ca81110\"", "\"usb\""));
    machine.bring("config/port-map.toml", MAP).boot();
    assert!(
        machine.has("network/32-nic-on-usb.network").contains("ID_BUS=usb")
            && machine.has("network/30-nic.network").is_empty()
    );
    machine.bring("config/sled.toml", EXAMPLE).boot();
    assert!(
        machine.has("network/32-nic-on-usb.network").is_empty() && !machine.has("network/30-nic.network").is_empty()
    );
}

#[test]
fn the_screen_is_shown_on_the_serial_line_that_is_configured() {
    let machine = Machine::new();
    machine.bring("config/sled.toml", &EXAMPLE.replace("[appliance]", "[appliance]\nserial = \"ttyS1,9600\""));
    machine.bring("config/port-map.toml", MAP).boot();
    let units = machine.places.run.join("systemd/system");
    let link = fs::read_link(units.join("getty.target.wants/serial-getty@ttyS1.service")).unwrap();
    assert_eq!(link, Path::new("/usr/lib/systemd/system/serial-getty@.service"));
    let speed = fs::read_to_string(units.join("serial-getty@ttyS1.service.d/20-speed.conf")).unwrap();
    assert!(speed.contains("stty -F /dev/%I 9600\n"), "{speed}");
    assert!(!machine.boot().contains("serial"), "it is there already");
}
