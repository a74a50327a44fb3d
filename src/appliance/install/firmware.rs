//! Firmware of a machine, told which disk it starts first: by an entry for the disk's boot loader, at the head of its
//! order (UEFI 2.10, 3.1 and 3.3). The entry of an installation before is taken over. Where the firmware keeps no
//! variables that can be written nothing is done: it finds the disk by its fallback path.

use super::table::Partition;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use uuid::Uuid;

/// The directory of the firmware's variables.
pub const VARIABLES: &str = "/sys/firmware/efi/efivars";
/// The GUID of the variables that UEFI itself defines.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// The attributes of an entry: kept, and for the boot services and the system.
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];
/// The name of our entry in the firmware's menu.
const NAME: &str = "Crucible sled";
/// The boot loader on the partition: the fallback path, at which every image has one.
const LOADER: &str = "\\EFI\\BOOT\\BOOTX64.EFI";

/// Have the firmware start the boot loader of a partition first; `false` if there are no variables here.
///
/// # Errors
/// A variable cannot be read or written, or the partition has no GUID.
pub fn start_first(variables: &Path, number: u32, esp: &Partition) -> io::Result<bool> {
    let order = variables.join(format!("BootOrder-{GLOBAL}"));
    if !variables.join(format!("BootCurrent-{GLOBAL}")).exists() && !order.exists() {
        return Ok(false);
    }
    let entry = entry(number, esp).map_err(io::Error::other)?;
    let known = entries(variables)?;
    let own = known.iter().find(|(_, option)| described(option).as_deref() == Some(NAME)).map(|(number, _)| *number);
    let taken: BTreeSet<_> = known.iter().map(|(number, _)| *number).collect();
    let number = own.or_else(|| (0..=u16::MAX).find(|number| !taken.contains(number)));
    let number = number.ok_or_else(|| io::Error::other("the firmware has no room for another entry"))?;
    let before = match fs::read(&order) {
        // It is not replaced by one that knows of nobody else.
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(named(&order, &why)),
        read => read.unwrap_or_default(),
    };
    put(&variables.join(format!("Boot{number:04X}-{GLOBAL}")), &entry)?;
    put(&order, &first(number, &before))?;
    Ok(true)
}

/// The entries that there are, by their numbers, without their attributes.
fn entries(variables: &Path) -> io::Result<Vec<(u16, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(variables)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix("Boot").and_then(|rest| rest.strip_suffix(&format!("-{GLOBAL}")));
        let number = number.filter(|number| number.len() == 4).and_then(|number| u16::from_str_radix(number, 16).ok());
        let Some(number) = number else { continue };
        let value = fs::read(entry.path())?;
        found.push((number, value.get(ATTRIBUTES.len()..).unwrap_or_default().to_vec()));
    }
    Ok(found)
}

/// Write a variable, in one call as the kernel wants it.
fn put(path: &Path, value: &[u8]) -> io::Result<()> {
    fs::write(path, [&ATTRIBUTES, value].concat()).map_err(|why| named(path, &why))
}

fn named(path: &Path, why: &io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("{}: {why}", path.display()))
}

/// The order with this entry at its head; `before` is the variable as it is, with its attributes.
fn first(number: u16, before: &[u8]) -> Vec<u8> {
    let rest = before.get(ATTRIBUTES.len()..).unwrap_or_default().as_chunks::<2>().0;
    let rest = rest.iter().filter(|one| **one != number.to_le_bytes()).flatten();
    number.to_le_bytes().iter().chain(rest).copied().collect()
}

/// The name of an entry.
fn described(option: &[u8]) -> Option<String> {
    let units = option.get(6..)?.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    String::from_utf16(&units.take_while(|unit| *unit != 0).collect::<Vec<_>>()).ok()
}

/// The entry (`EFI_LOAD_OPTION`) for the boot loader of a partition, by the GUID that the table gives it.
fn entry(number: u32, esp: &Partition) -> Result<Vec<u8>, String> {
    let uuid: Uuid = esp.uuid.parse().map_err(|_| format!("{} is no GUID", esp.uuid))?;
    let loader = text(LOADER);
    let drive = [
        &[4, 1, 42, 0][..],
        &number.to_le_bytes(),
        &esp.start.to_le_bytes(),
        &esp.size.to_le_bytes(),
        &uuid.to_bytes_le(),
        // Of a GPT, and known by its GUID.
        &[2, 2],
    ];
    let length = u16::try_from(loader.len() + 4).map_err(|why| why.to_string())?;
    let path = [&drive.concat()[..], &[4, 4], &length.to_le_bytes(), &loader, &[0x7f, 0xff, 4, 0]].concat();
    let length = u16::try_from(path.len()).map_err(|why| why.to_string())?;
    Ok([&1_u32.to_le_bytes()[..], &length.to_le_bytes(), &text(NAME), &path].concat())
}

/// A text as UEFI has it: of two bytes a character, with an end.
fn text(words: &str) -> Vec<u8> {
    words.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn esp() -> Partition {
        let (kind, uuid) = (String::new(), "0FC63DAF-8483-4772-8E79-3D69D8477DE4".into());
        Partition { start: 2048, size: 1 << 20, kind, uuid, name: "esp".into(), attrs: None }
    }

    /// As `efibootmgr --create` writes it, byte by byte.
    #[test]
    fn an_entry_is_the_path_to_the_boot_loader_of_a_partition() {
        let made = entry(1, &esp()).unwrap();
        assert_eq!(described(&made).as_deref(), Some(NAME));
        assert_eq!(made[..4], [1, 0, 0, 0], "it is active");
        let path = &made[6 + 2 * (NAME.len() + 1)..];
        assert_eq!(usize::from(u16::from_le_bytes([made[4], made[5]])), path.len());
        assert_eq!(path[..8], [4, 1, 42, 0, 1, 0, 0, 0]);
        assert_eq!(path[8..24], [0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0]);
        assert_eq!(path[24..28], [0xaf, 0x3d, 0xc6, 0x0f], "a GUID's first three numbers have the low byte first");
        assert_eq!(path[40..44], [2, 2, 4, 4]);
        assert_eq!(usize::from(path[44]), 4 + 2 * (LOADER.len() + 1));
        assert_eq!(path[path.len() - 4..], [0x7f, 0xff, 4, 0]);
        assert!(entry(1, &Partition { uuid: "x".into(), ..esp() }).is_err());
    }

    #[test]
    fn an_entry_comes_first_once_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let variable = |name: &str| dir.path().join(format!("{name}-{GLOBAL}"));
        assert!(!start_first(dir.path(), 1, &esp()).unwrap(), "a firmware without variables");
        let theirs = [&ATTRIBUTES[..], &[1, 0, 0, 0, 0, 0], &text("UEFI USB")].concat();
        fs::write(variable("Boot0000"), &theirs).unwrap();
        fs::write(variable("BootOrder"), [7, 0, 0, 0, 0, 0, 5, 0]).unwrap();
        for _ in 0..2 {
            assert!(start_first(dir.path(), 1, &esp()).unwrap());
            assert_eq!(fs::read(variable("BootOrder")).unwrap(), [7, 0, 0, 0, 1, 0, 0, 0, 5, 0]);
        }
        assert_eq!(fs::read(variable("Boot0000")).unwrap(), theirs);
        // An order that is there and cannot be read stays, and no entry is made for nothing.
        fs::remove_file(variable("BootOrder")).unwrap();
        fs::create_dir(variable("BootOrder")).unwrap();
        fs::remove_file(variable("Boot0001")).unwrap();
        let why = start_first(dir.path(), 1, &esp()).unwrap_err().to_string();
        assert!(why.contains("BootOrder") && variable("BootOrder").is_dir() && !variable("Boot0001").exists(), "{why}");
        fs::remove_dir(variable("BootOrder")).unwrap();
        fs::write(variable("BootCurrent"), [7, 0, 0, 0, 0, 0]).unwrap();
        assert!(start_first(dir.path(), 1, &esp()).unwrap(), "one that is not there is begun");
        assert!(!variable("Boot0002").exists() && variable("Boot0001").exists(), "one entry, and the same again");
    }
}
