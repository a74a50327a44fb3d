//! The keys of `sled.toml`, as sled.toml(5) describes them. Pure.

use super::vlan::VLANS;
use crate::source::Absent::{Fault, Means, Value};
use crate::source::{Absent, Key};
use std::ops::RangeInclusive;

/// Speeds, in Mbit/s.
const SPEEDS: RangeInclusive<u64> = 1..=u32::MAX as u64;
const SOME_TIME: &str = "a length of time, at least 1s";
const A_PATH: &str = "an absolute path of letters, digits and ._-+";
const UNTOLD: Absent = Means("nobody is told this way");
const NO_TLS: Absent = Means("the data ports speak plainly; of the three files all are named, or none");

/// Every key of the file, in the order in which the manual has them.
pub const KEYS: &[Key] = &[
    key(
        "sled.name",
        "the name of a sled in port-map.toml",
        Fault,
        "\"proper-raptor\"",
        "Which sled of the fleet this machine is.",
    ),
    key(
        "storage.root",
        A_PATH,
        Value("\"/crucible\""),
        "\"/srv/crucible\"",
        "The directory that holds every region, one directory each.",
    ),
    key(
        "storage.require_mount",
        "true or false",
        Value("true"),
        "false",
        "Whether the root must be a mount point of its own. As long as the data disk is not mounted there, nothing is \
         created and nothing started, and every volume says so.",
    ),
    key(
        "storage.provisioning",
        "\"thick\" or \"thin\"",
        Value("\"thick\""),
        "\"thin\"",
        "`thick` reserves every block of a region when it is created, so that a full disk shows then, and not when a host \
         writes. `thin` takes blocks as they are written: more can be promised than there is, and a full disk then stops \
         every region.",
    ),
    key(
        "storage.reserve",
        "a share from \"0%\" to \"100%\", or a size in B, KiB, MiB, GiB or TiB",
        Value("\"5%\""),
        "\"20GiB\"",
        "How much of the data file system is kept free. With less than that DISK_LOW is raised, and no region is created.",
    ),
    key(
        "storage.keep_deleted",
        "a length of time in days or hours",
        Value("\"7d\""),
        "\"12h\"",
        "How long a deleted region is kept; until then `sledctl region restore` brings it back.",
    ),
    key(
        "storage.verify_after_crash",
        "\"recent\", \"all\" or \"off\"",
        Value("\"recent\""),
        "\"all\"",
        "Which extents are held to their checksums before a region serves, when the machine ended without a shutdown: with \
         `recent` those whose files changed in the last minute or two, with `all` every one that was written, which takes as \
         long as to read them. Until then the region does not serve. Where `recent` is enough, and where it is not, stands \
         under AFTER AN END WITHOUT A SHUTDOWN.",
    ),
    key(
        "downstairs.program",
        A_PATH,
        Value("\"/usr/lib/crucible/crucible-downstairs\""),
        "\"/opt/crucible/crucible-downstairs\"",
        "The program that serves a region.",
    ),
    key(
        "downstairs.user",
        "a user, of up to 31 letters, digits and ._-",
        Value("\"crucible\""),
        "\"storage\"",
        "The user that owns the regions and runs the program.",
    ),
    key(
        "downstairs.hung_after",
        SOME_TIME,
        Value("\"5s\""),
        "\"8s\"",
        "A downstairs that listens and leaves a question unanswered for so long is hung. It is reported, and left alone \
         unless `restart_hung_after` says otherwise: a restart cures neither a full disk nor a journal that has stopped.",
    ),
    key(
        "downstairs.restart_hung_after",
        "\"never\", or a length of time, at least 1s",
        Value("\"never\""),
        "\"5m\"",
        "A downstairs that has been hung for so long is restarted, if the disk is not full and the volume's other regions \
         serve.",
    ),
    number(
        "downstairs.crashes",
        2..=1_000_000,
        Value("5"),
        "3",
        "So many ends within `crashes_within` are a crash loop: the region is held until `sledctl region release`. Until \
         then systemd starts it again, after 0.1 s and then ever more slowly.",
    ),
    key(
        "downstairs.crashes_within",
        SOME_TIME,
        Value("\"2m\""),
        "\"10m\"",
        "The time within which `crashes` are counted.",
    ),
    key(
        "downstairs.steady_after",
        SOME_TIME,
        Value("\"1m\""),
        "\"5m\"",
        "A downstairs that has served for so long is well again: its next restart comes at once, and an upgrade goes on to \
         the next region.",
    ),
    key(
        "network.bridge",
        "an interface, of up to 15 letters, digits and ._-",
        Value("\"br0\""),
        "\"br1\"",
        "The bridge that carries the sled's address.",
    ),
    key(
        "network.nic",
        "an interface, as `ip link` names it; a hardware address; \"usb\"; or a list of these",
        Fault,
        "\"enx00e04ca81110\"",
        "The network adapter that must be a port of the bridge: by its name, or another name that it has; by its hardware \
         address; or whichever is on the USB, so that one that is replaced needs no other configuration. Of a list it is the \
         first that is there. With the image all of them are put into the bridge: never let two of them lead to one switch, \
         which is a loop.",
    ),
    key(
        "network.spare",
        "an interface, as `ip link` names it; a hardware address; or \"usb\"",
        Means("no other adapter takes over"),
        "\"eno1\"",
        "A second adapter, which takes over when the first has no link or is gone: the image puts both into a bond \
         (`active-backup`), which is the bridge's port, and both cables may lead to one switch. `NIC_SPARE_IN_USE` says that \
         it carries, `NIC_SPARE_DOWN` that it could not. Then `nic` is one adapter, and no list.",
    ),
    number(
        "network.vlan",
        VLANS,
        Means("packets have none"),
        "5",
        "The VLAN of the sled's packets on the cable, which the switch's port has to have tagged. The bridge looks at it (VLAN \
         filtering), and the image sets that up; set up by hand, a VLAN interface of the adapter in the bridge does as well.",
    ),
    key(
        "network.address",
        "\"static\" or \"dhcp\"",
        Value("\"static\""),
        "\"dhcp\"",
        "How the bridge gets the sled's address, which is the one of port-map.toml either way: hosts know no other. With `dhcp` \
         (IPv4) the image asks a server, and that needs a reservation of the address for the bridge's hardware address; \
         prefix, gateway and time servers are the DHCP server's then. Another address than the map's is `BRIDGE_ADDRESS`, and \
         no volume is ready.",
    ),
    number(
        "network.min_link_mbps",
        SPEEDS,
        Value("2500"),
        "1000",
        "The least link speed that is well, in Mbit/s. Below it the sled serves, with a warning.",
    ),
    number(
        "network.min_usb_mbps",
        SPEEDS,
        Value("5000"),
        "480",
        "The least speed of the adapter's USB port that is well, in Mbit/s: USB 2 has 480, USB 3 has 5000.",
    ),
    key(
        "network.rejoin",
        "true or false",
        Value("true"),
        "false",
        "Whether an adapter that was away and is plugged in again is put back into the bridge, once, if nothing else has \
         done so within five seconds. One that somebody has taken out of the bridge stays out; with a VLAN or a spare it is \
         left to whatever sets these up.",
    ),
    key(
        "http.listen",
        "a list of \"ADDRESS:PORT\"",
        Means("the sled's address in port-map.toml, port 3800"),
        "[\"192.168.4.189:3801\"]",
        "Where hosts ask. A change needs a restart of sledd.socket.",
    ),
    key(
        "http.names",
        "a list of machines' names, without ports",
        Value("[]"),
        "[\"storage.example.com\"]",
        "Names by which the sled may be asked beside its address, names without a dot, and names below a domain that is \
         private to a network (lan, local, internal, home.arpa and such). A web page could let any other name point to the \
         sled, and read what it answers.",
    ),
    key(
        "tls.cert",
        A_PATH,
        NO_TLS,
        "\"/etc/sled/tls/other.pem\"",
        "The certificate with which the data ports speak TLS, for the names downstairs0, downstairs1 and downstairs2, to be \
         used by a server and by a client. With all three files they let nobody in but who has a certificate of the same \
         root. The repair ports speak plainly in any case. A downstairs reads the files when it starts.",
    ),
    key(
        "tls.key",
        A_PATH,
        NO_TLS,
        "\"/etc/sled/tls/other.pem\"",
        "The certificate's key: an RSA key of the old form (`openssl rsa -traditional` makes one of another), which \
         belongs to `downstairs.user` and has mode 0400.",
    ),
    key(
        "tls.root_cert",
        A_PATH,
        NO_TLS,
        "\"/etc/sled/tls/other.pem\"",
        "The root certificate that has issued those of sleds and hosts.",
    ),
    key(
        "tls.expires_warning",
        "a length of time in days or hours",
        Value("\"30d\""),
        "\"7d\"",
        "A certificate that ends within this time is a warning.",
    ),
    key(
        "notify.program",
        "a list: the path of a program, and its arguments",
        UNTOLD,
        "[\"/usr/local/bin/tell\", \"--sled\"]",
        "A program that is run for each check that is raised or over, with the notification as JSON on its standard input. \
         It runs as a user of its own that owns nothing and writes nowhere, and has ten seconds.",
    ),
    key(
        "notify.webhook",
        "a URL of http or https",
        UNTOLD,
        "\"http://192.168.4.9:8080/sled\"",
        "Where each notification is posted as JSON: the sled, the check, whether it is `raised` or `over`, and when. What \
         does not answer 2xx within ten seconds is tried again, five times in all, and then `NOTIFY_FAILED` is raised.",
    ),
    key(
        "notify.ntfy",
        "a URL of http or https with a topic",
        UNTOLD,
        "\"https://ntfy.sh/my-sleds\"",
        "A topic of ntfy that each notification is published under, with a title, a priority and tags. A topic that asks for \
         a token takes it in the query (`?auth=`).",
    ),
    key(
        "notify.severity",
        "\"blocking\" or \"warning\"",
        Value("\"blocking\""),
        "\"warning\"",
        "The least severe checks that are told. Those that pass by themselves never are.",
    ),
    key(
        "notify.delay",
        "a length of time",
        Value("\"30s\""),
        "\"2m\"",
        "How long a check must be raised, or over, before that is told: what is over sooner is not.",
    ),
    number(
        "notify.at_most",
        1..=1000,
        Value("12"),
        "60",
        "The most notifications in an hour. What is left out is counted, and the next one says how many.",
    ),
    key(
        "events.size",
        "a size in B, KiB, MiB, GiB or TiB, at least 64KiB",
        Value("\"16MiB\""),
        "\"64MiB\"",
        "How much of what happened is kept, below `/var/lib/sled/events`: when that is full, the oldest goes. `sledctl \
         events` shows it.",
    ),
    key(
        "events.age",
        "a length of time in days or hours",
        Value("\"90d\""),
        "\"30d\"",
        "How long it is kept, as long as there is room. Time in which the machine was switched off does not count.",
    ),
    key(
        "scrub.schedule",
        "\"daily\", \"weekly\", \"monthly\" or \"off\"",
        Value("\"weekly\""),
        "\"monthly\"",
        "How often each region is scrubbed by itself: every written block is read and held to its checksum, one region of \
         the sled after the other, at times that differ by volume; those of one volume are a third of that time apart, on \
         whichever sleds they are. It waits while another region of the volume does not serve, a host lacks one, a job is \
         at the volume, or hosts are asked to wait.",
    ),
    key(
        "scrub.rate",
        "a size a second, at least 1MiB/s",
        Value("\"64MiB/s\""),
        "\"200MiB/s\"",
        "How much a scrub reads in a second at most. While the regions themselves wait for the disk it reads an eighth of \
         it.",
    ),
    key(
        "scrub.outdated_after",
        "\"never\", or a length of time in days or hours",
        Value("\"35d\""),
        "\"14d\"",
        "SCRUB_OVERDUE is raised when the last whole scrub of a region is older.",
    ),
    key(
        "scrub.repair",
        "true or false",
        Value("false"),
        "true",
        "Whether what a scrub finds is repaired by itself, as sledctl region repair does it: from the volume's other regions \
         on this sled, where one is the same and whole, while the volume's regions serve and no job is at it.",
    ),
    key(
        "update.check",
        "\"never\", or a length of time, at least 15m",
        Value("\"1d\""),
        "\"6h\"",
        "How often it is looked for another version of the image, where `appliance.update` says; `UPDATE_AVAILABLE` tells of \
         one. With `apply = \"window\"` the window's length, if that is less than a day and nothing is written here. What \
         has not been found out for two of these times is not known any more.",
    ),
    key(
        "update.window",
        "days of Mon, Tue, Wed, Thu, Fri, Sat and Sun, and \"HH:MM-HH:MM\"; without days: each day",
        Means("no update is applied by itself"),
        "\"Sat,Sun 02:00-05:00\"",
        "When an update may be applied by itself, by the machine's clock and time zone (the image has UTC). An end before the \
         beginning is the next day's. With `apply = \"window\"` it is at least as long as `check`: nothing is applied by what \
         was found out too long ago. While the clock is not in step (CLOCK_UNSYNCHRONISED, CLOCK_BEHIND) no window is open.",
    ),
    key(
        "update.delay",
        "a length of time in days or hours",
        Value("\"7d\""),
        "\"0h\"",
        "How old a release must be before it is applied by itself: by its own word, or since this sled has seen it first, \
         where it does not say.",
    ),
    key(
        "update.apply",
        "\"manual\" or \"window\"",
        Value("\"manual\""),
        "\"window\"",
        "Whether an update is applied by itself, in the window, and the machine rebooted into it: one sled of a volume after \
         the other, while the others are well, and never again a version that has failed. `sledctl update status` says what it \
         waits for.",
    ),
    number(
        "appliance.prefix",
        1..=128,
        Means("24, or 64 for an address of IPv6"),
        "25",
        "The length of the prefix of the sled's network, in bits; 32 at most for an address of IPv4.",
    ),
    key(
        "appliance.gateway",
        "an address in the sled's network",
        Means("there is no way to other networks"),
        "\"192.168.4.1\"",
        "The router to which packets to other networks go.",
    ),
    key(
        "appliance.dns",
        "a list of addresses",
        Value("[]"),
        "[\"192.168.4.53\"]",
        "The servers that are asked for names.",
    ),
    key(
        "appliance.ntp",
        "a list of addresses",
        Value("[]"),
        "[\"192.168.4.53\"]",
        "The servers that are asked for the time.",
    ),
    key(
        "appliance.create_on_first_boot",
        "true or false",
        Value("false"),
        "true",
        "Whether every region of the port map is created when the data disk is taken into use for the first time. Otherwise \
         they wait for `sledctl region create --all`.",
    ),
    key(
        "appliance.update",
        "a URL (https, http, file), or a directory",
        Means("updates are given to `sledctl update apply` by hand"),
        "\"https://updates.example/sled\"",
        "Where `sledctl update check` looks for updates. They are signed.",
    ),
    key(
        "appliance.serial",
        "a serial line, and its speed in bits a second",
        Means("the screen is shown where the kernel has its console"),
        "\"ttyS1,115200\"",
        "The serial line on which the screen is shown as well, from the next boot on.",
    ),
];

const fn key(
    path: &'static str,
    values: &'static str,
    absent: Absent,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key { path, values, range: None, absent, example, meaning }
}

const fn number(
    path: &'static str,
    range: RangeInclusive<u64>,
    absent: Absent,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key { path, values: "a number", range: Some(range), absent, example, meaning }
}
