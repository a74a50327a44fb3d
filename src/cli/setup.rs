//! `sledctl setup`: a machine becomes one sled, by arguments, by questions, or at boot by what was
//! brought. `appliance` makes the files; here they are asked for.

mod typed;

use super::failure::Failure;
use crate::appliance::answers::{Addressed, Answers, Cidr};
use crate::appliance::boot::{self, Places};
use crate::appliance::brought::Sources;
use crate::appliance::{self, CONFIG, KEYS, OWN, keys};
use crate::check::Code;
use crate::config::{Configuration, Vlan, usual_prefix};
use crate::config_dir::{self, PORT_MAP, SLED};
use crate::files::{make_dir, replace, set_mode};
use crate::names::SledName;
use crate::source::Source;
use crate::terminal;
use crate::wire::Refusal;
use clap::Args;
use std::fmt::Display;
use std::fs;
use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use typed::{Key, Maybe, Place, Whose};

/// Make a machine with the image one sled: by arguments, or by questions.
#[derive(Debug, Args)]
pub(super) struct SetupCommand {
    /// The sled's name in the port map.
    #[arg(long)]
    name: Option<SledName>,
    /// Its address with the length of its network's prefix: 192.168.4.189/24; with --dhcp the address alone: 192.168.4.189.
    /// With --port-map it has to be the one that stands there.
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    address: Option<Place>,
    /// Have a DHCP server give it that address, by a reservation; it says gateway and prefix, which are refused beside it.
    #[arg(long, conflicts_with = "gateway")]
    dhcp: bool,
    /// The network adapter in the bridge: as `ip link` names it, enx00e04ca81110; its hardware address; or `usb`, whichever
    /// is there.
    #[arg(long)]
    nic: Option<String>,
    /// A second adapter, which takes over when that one has no link.
    #[arg(long, value_name = "NIC")]
    spare: Option<String>,
    /// The VLAN of its packets on the cable, which the switch's port has to have tagged.
    #[arg(long, value_name = "ID")]
    vlan: Option<Vlan>,
    /// Where packets to other networks go.
    #[arg(long)]
    gateway: Option<IpAddr>,
    /// Who is asked for names; may be given several times.
    #[arg(long)]
    dns: Vec<IpAddr>,
    /// Who is asked for the time; may be given several times.
    #[arg(long)]
    ntp: Vec<IpAddr>,
    /// Create all regions of the port map when the data disk is taken into use.
    #[arg(long)]
    create_on_first_boot: bool,
    /// A sled.toml in the place of what all these would make; with --port-map.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "address", "dhcp", "nic", "spare", "vlan", "gateway", "dns", "ntp", "create_on_first_boot"])]
    sled_toml: Option<PathBuf>,
    /// The fleet's port map; without it, one of this sled alone and without volumes.
    #[arg(long, value_name = "FILE")]
    port_map: Option<PathBuf>,
    /// The public ssh keys of those who may log in as root; without it those who could before, or nobody.
    #[arg(long, value_name = "FILE")]
    authorized_keys: Option<PathBuf>,
    /// Write the files here, as they lie on the image's CONFIG partition, and change nothing else.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,

    /// Take over what was brought, and set the network up (the initrd).
    #[arg(long, hide = true)]
    boot: bool,
    /// The machine's root, with --boot.
    #[arg(long, hide = true, default_value = "/")]
    root: PathBuf,
    /// The CONFIG partition, with --boot.
    #[arg(long, hide = true, default_value = "/run/sled-config")]
    partition: PathBuf,
    /// The CONFIG partitions of other disks, each below this, with --boot.
    #[arg(long, hide = true, default_value = "/run/sled-config-others")]
    others: PathBuf,
}

impl SetupCommand {
    /// Write the files of a configuration, or take over at boot what was brought.
    pub(super) fn run(&self) -> Result<bool, Failure> {
        if self.boot {
            let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
            let partition = self.partition.clone();
            let sources = Sources { partition, others: below(&self.others), credentials };
            let places = Places { root: self.root.clone(), run: "/run".into(), sources };
            for line in boot::run(&places) {
                terminal::note(&line);
            }
            return Ok(true);
        }
        let files = if self.say_nothing() && io::stdin().is_terminal() { ask()? } else { given(self)? };
        let config = check(&files)?;
        self.agrees(&config)?;
        match &self.into {
            Some(dir) => write_config_partition(dir, &files)?,
            None => install(&files)?,
        }
        Ok(true)
    }

    /// Decide whether the arguments leave everything to questions, beside which no other argument would count.
    fn say_nothing(&self) -> bool {
        let Self { name, address, dhcp, nic, spare, vlan, gateway, dns, ntp, create_on_first_boot, .. } = self;
        let own = name.is_some() || address.is_some() || nic.is_some() || gateway.is_some();
        let own = own || *dhcp || spare.is_some() || vlan.is_some();
        let files = [&self.sled_toml, &self.port_map, &self.authorized_keys];
        let more = !dns.is_empty() || !ntp.is_empty() || *create_on_first_boot;
        !own && !more && files.iter().all(|file| file.is_none())
    }

    /// Refuse an address beside a port map that gives the sled another: the map's would be in force, and nobody be told.
    fn agrees(&self, config: &Configuration) -> Result<(), Failure> {
        let said = self.address.map(|place| place.address().to_canonical());
        let (Some(said), Some(map), there) = (said, &self.port_map, config.address) else { return Ok(()) };
        if said == there {
            return Ok(());
        }
        let (name, map) = (&config.sled.name, map.display());
        let why = format!("{map} gives the sled {name} the address {there}, and --address says {said}");
        Err(misused(why, "the address is that of the port map: change one of the two"))
    }
}

/// Refuse arguments that do not go together, or of which one is missing.
fn misused(why: impl Into<String>, remedy: &str) -> Failure {
    Failure::refused(Refusal::Misused, why, remedy)
}

/// List what lies in a directory, in the order of the names.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

/// Files of a configuration.
struct Files {
    sled: String,
    port_map: String,
    keys: Option<String>,
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|why| {
        Failure::refused(Refusal::NoFile, format!("{}: {why}", path.display()), "name a file that can be read")
    })
}

/// Read the keys of those who may log in.
fn read_keys(path: &Path) -> Result<String, Failure> {
    usable_keys(read(path)?.as_bytes(), &path.display())
}

/// Refuse keys that would let nobody in.
fn usable_keys(text: &[u8], what: &dyn Display) -> Result<String, Failure> {
    keys::read(text).map_err(|why| {
        let remedy = "name a file of public keys, one a line: ssh-keygen makes a pair, of which that is the file *.pub";
        Failure::refused(Refusal::KeysUnusable, format!("{what} {why}"), remedy)
    })
}

/// Make the files from the arguments.
fn given(arguments: &SetupCommand) -> Result<Files, Failure> {
    let needed = |what: &str| {
        misused(format!("{what} is missing"), "give --name, --address and --nic, or --sled-toml and --port-map")
    };
    let keys = arguments.authorized_keys.as_deref().map(read_keys).transpose()?;
    if let Some(path) = &arguments.sled_toml {
        let map = arguments.port_map.as_deref().ok_or_else(|| needed("--port-map"))?;
        return Ok(Files { sled: read(path)?, port_map: read(map)?, keys });
    }
    let answers = Answers {
        name: arguments.name.clone().ok_or_else(|| needed("--name"))?,
        address: addressed(arguments.address.ok_or_else(|| needed("--address"))?, arguments)?,
        nic: arguments.nic.clone().ok_or_else(|| needed("--nic"))?,
        spare: arguments.spare.clone(),
        vlan: arguments.vlan,
        dns: arguments.dns.clone(),
        ntp: arguments.ntp.clone(),
        create_on_first_boot: arguments.create_on_first_boot,
    };
    let port_map = arguments.port_map.as_deref().map_or_else(|| Ok(answers.port_map()), read)?;
    Ok(Files { sled: answers.sled_toml(), port_map, keys })
}

/// Decide who sets the address up, and refuse a prefix that is one too many, or is missing.
fn addressed(place: Place, arguments: &SetupCommand) -> Result<Addressed, Failure> {
    match (place, arguments.dhcp) {
        (Place::Alone(address), true) => Ok(Addressed::Dhcp(address)),
        (Place::Within(cidr), false) => Ok(Addressed::Static(cidr, arguments.gateway)),
        (Place::Within(Cidr { address, prefix }), true) => {
            let why = format!("--dhcp has the server say the length of the prefix, and --address says {prefix} bits");
            Err(misused(why, &format!("leave it out, --address {address}; or leave --dhcp out")))
        }
        (Place::Alone(address), false) => {
            let why = format!("--address {address} lacks the length of its network's prefix");
            Err(misused(why, &format!("write --address {address}/{}, say; or add --dhcp", usual_prefix(address))))
        }
    }
}

/// Make the files from answers to questions on a terminal.
fn ask() -> Result<Files, Failure> {
    terminal::out(
        "This makes the machine one sled of your fleet. What is in [ ] is taken if you just press Enter.\n\n",
    )?;
    let adapters = adapters();
    for (name, what) in &adapters {
        terminal::out(&format!("    {name:<18} {what}\n"))?;
    }
    let nic = question("Network adapter", adapters.first().map(|(name, _)| name.clone()))?;
    let spare = question("Second adapter, which takes over when that one has no link (none: -)", Some(Maybe(None)))?.0;
    let vlan = question("VLAN, if its packets have one on the cable (none: -)", Some(Maybe::<Vlan>(None)))?.0;
    let name = question::<SledName>("Name of this sled in the port map", None)?;
    let address = ask_address()?;
    let gateway = if let Addressed::Static(_, gateway) = address { gateway } else { None };
    let dns = question("Name server (none: -)", Some(Maybe(gateway)))?.0;
    terminal::out("Who may log in by ssh, as root? One public key, on one line; without one nobody can.\n")?;
    let keys = question("Key (none: -)", Some(Key(None)))?.0;
    let (dns, create) = (dns.into_iter().collect(), false);
    let answers = Answers { name, address, nic, spare, vlan, dns, ntp: Vec::new(), create_on_first_boot: create };
    Ok(Files { sled: answers.sled_toml(), port_map: answers.port_map(), keys })
}

/// Ask for the address, and who sets it up: a DHCP server by its own word alone, as a prefix is soon forgotten.
fn ask_address() -> Result<Addressed, Failure> {
    const WHICH: &str = "Address, with the length of its network's prefix (192.168.4.189/24), or with the word dhcp if a \
                         DHCP server has reserved it (192.168.4.189 dhcp)";
    let cidr = match question::<Whose>(WHICH, None)? {
        Whose::Own(cidr) => cidr,
        Whose::Reserved(address) => return Ok(Addressed::Dhcp(address.into())),
    };
    let gateway = question("Gateway (none: -)", Some(Maybe(first_of(cidr))))?.0;
    Ok(Addressed::Static(cidr, gateway))
}

/// Find the network's first address, where a gateway often is.
fn first_of(cidr: Cidr) -> Option<IpAddr> {
    let IpAddr::V4(address) = cidr.address else { return None };
    let mask = u32::MAX.checked_shl(32 - u32::from(cidr.prefix)).unwrap_or(0);
    Some(IpAddr::V4(((address.to_bits() & mask) + 1).into()))
}

/// Ask until the answer can be understood.
fn question<T>(text: &str, default: Option<T>) -> Result<T, Failure>
where
    T: FromStr<Err: Display> + Display,
{
    loop {
        match &default {
            Some(default) => terminal::out(&format!("{text} [{default}]: "))?,
            None => terminal::out(&format!("{text}: "))?,
        }
        let mut line = String::new();
        if io::stdin().read_line(&mut line)? == 0 {
            return Err(Failure::refused(Refusal::Incomplete, "the answers ended", "answer every question"));
        }
        match (line.trim(), &default) {
            ("", Some(default)) => return default.to_string().parse().map_err(|_| no_default()),
            (answer, _) => match answer.parse() {
                Ok(value) => return Ok(value),
                Err(why) => terminal::out(&format!("    {why}\n"))?,
            },
        }
    }
}

fn no_default() -> Failure {
    Failure::refused(Refusal::Incomplete, "the proposed answer is none", "write one")
}

/// List the network adapters, those on USB first.
fn adapters() -> Vec<(String, String)> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let real = entries.filter(|entry| entry.path().join("device").exists());
    let mut all: Vec<_> = real
        .map(|entry| {
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            let usb =
                fs::canonicalize(path.join("device")).is_ok_and(|device| device.to_string_lossy().contains("/usb"));
            let link = fs::read_to_string(path.join("carrier")).is_ok_and(|carrier| carrier.trim() == "1");
            let what = format!("{}{}", if usb { "USB" } else { "built in" }, if link { ", with a link" } else { "" });
            (!usb, name, what)
        })
        .collect();
    all.sort();
    all.into_iter().map(|(_, name, what)| (name, what)).collect()
}

/// Refuse files that have a fault, before one of them is written.
fn check(files: &Files) -> Result<Configuration, Failure> {
    let source = |file: &'static str, text: &str| (file, Source { file: file.into(), text: Ok(text.to_owned()) });
    let others = [source(SLED, &files.sled), source(PORT_MAP, &files.port_map)];
    // Only the two files count: there are no fragments in a directory that is none.
    config_dir::read_with(Path::new("/nonexistent"), others).map_err(|faults| {
        let list = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let why = format!("the configuration that this makes has {} fault(s):\n{list}", faults.len());
        Failure::refused(
            Code::ConfigInvalid,
            why,
            "nothing was written: change the arguments, or the file that they name",
        )
    })
}

fn write_config_partition(dir: &Path, files: &Files) -> Result<(), Failure> {
    let write = || {
        fs::create_dir_all(dir)?;
        fs::write(dir.join(SLED), &files.sled)?;
        fs::write(dir.join(PORT_MAP), &files.port_map)?;
        files.keys.as_ref().map_or(Ok(()), |keys| fs::write(dir.join("authorized_keys"), keys))
    };
    write().map_err(|why: io::Error| {
        let why = format!("the files cannot be written to {}: {why}", dir.display());
        Failure::refused(Refusal::Failed, why, "name a directory that can be written to, or made")
    })
}

/// Write the configuration of this machine; a reboot sets everything up by it.
fn install(files: &Files) -> Result<(), Failure> {
    if !appliance::is_image() {
        let remedy = "write /etc/sled/sled.toml and /etc/sled/port-map.toml by hand, or give --into DIR";
        return Err(Failure::refused(Refusal::NoImage, "this machine does not run the image of a sled", remedy));
    }
    let own = Path::new(OWN);
    make_dir(&own.join(CONFIG), 0o755)?;
    for (name, text) in [(SLED, &files.sled), (PORT_MAP, &files.port_map)] {
        replace(&own.join(CONFIG), name, text.as_bytes())?;
        set_mode(&own.join(CONFIG).join(name), 0o644)?;
    }
    if let Some(keys) = &files.keys {
        let (dir, name) = KEYS.rsplit_once('/').unwrap_or(("", KEYS));
        replace(&own.join(dir), name, keys.as_bytes())?;
        set_mode(&own.join(KEYS), 0o644)?;
    }
    terminal::out("The configuration is written. The sled is set up by it when it boots: systemctl reboot\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: SetupCommand,
    }

    fn parsed(words: &[&str]) -> Result<SetupCommand, clap::Error> {
        Line::try_parse_from([&["setup"], words].concat()).map(|line| line.arguments)
    }

    /// An argument is used, or refused where a file or a question would take its place.
    #[test]
    fn nothing_that_is_said_is_lost() {
        for said in [
            ["--name", "a"],
            ["--spare", "eno1"],
            ["--vlan", "5"],
            ["--gateway", "192.168.4.1"],
            ["--create-on-first-boot", "--into=/x"],
        ] {
            parsed(&[&["--sled-toml", "x", "--port-map", "y"], &said[..]].concat()).unwrap_err();
            assert!(!parsed(&said).unwrap().say_nothing(), "{said:?}");
        }
        for file in ["--port-map", "--authorized-keys"] {
            assert!(!parsed(&[file, "x"]).unwrap().say_nothing(), "{file}");
        }
        assert!(parsed(&[]).unwrap().say_nothing() && parsed(&["--into", "/x"]).unwrap().say_nothing());
    }
}
