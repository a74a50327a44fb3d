//! The files that an installation writes: the configuration of the volume's service, and the unit that mounts
//! the volume. Pure.

pub(in crate::attach) use super::conf::{OPTIONS, SLEDS, values};
use crate::names::VolumeName;
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

/// The option that makes `serve` connect the kernel's device.
const DEVICE: &str = "--device";
/// The options that name files for TLS, each with a value.
pub(in crate::attach) const TLS: [&str; 3] = ["--cert-pem", "--key-pem", "--root-cert-pem"];
/// How the first line of a mount's unit begins; the volume follows.
const MARK: &str = "# Made by crucible-attach(1) for the volume ";

/// The name of a volume's service.
pub(in crate::attach) fn service(volume: &VolumeName) -> String {
    format!("crucible-attach@{volume}.service")
}

/// The device of a volume.
pub(in crate::attach) fn device(volume: &VolumeName) -> PathBuf {
    Path::new("/dev/crucible").join(volume.as_str())
}

/// The unit that systemd has for the device.
pub(in crate::attach) fn device_unit(volume: &VolumeName) -> String {
    format!("{}.device", escaped(&device(volume)))
}

/// Compose a configuration with these sleds and this for TLS, and for the rest as it was.
pub(in crate::attach) fn conf(was: Option<&str>, sleds: Option<&[String]>, tls: Option<&[String]>) -> String {
    let before = values(was.unwrap_or_default());
    let of = |name: &str| before.get(name).cloned().unwrap_or_default();
    let sleds = sleds.map_or_else(|| of(SLEDS), |sleds| sleds.join(","));
    let options = options(&of(OPTIONS), tls);
    let (mut text, mut left) = (String::new(), vec![(SLEDS, sleds), (OPTIONS, options)]);
    for line in was.unwrap_or("# Written by crucible-attach install; see crucible-attach(1).\n").lines() {
        let name = line.split_once('=').map(|(name, _)| name.trim());
        match left.iter().position(|(own, _)| name == Some(own)) {
            Some(at) => {
                let (name, value) = left.remove(at);
                _ = writeln!(text, "{name}={value}");
            }
            // Said twice.
            None if [Some(SLEDS), Some(OPTIONS)].contains(&name) => {}
            None => _ = writeln!(text, "{line}"),
        }
    }
    for (name, value) in left {
        _ = writeln!(text, "{name}={value}");
    }
    // A configuration that says the same is left as it is written.
    match was {
        Some(was) if values(was) == values(&text) => was.to_owned(),
        _ => text,
    }
}

/// The options of `serve`: what it was told, and the device, and these files instead of others.
fn options(before: &str, tls: Option<&[String]>) -> String {
    let mut words: Vec<&str> = Vec::new();
    let mut given = before.split_whitespace();
    while let Some(word) = given.next() {
        let name = word.split('=').next().unwrap_or_default();
        if tls.is_none() || !TLS.contains(&name) {
            words.push(word);
        } else if word == name {
            given.next();
        }
    }
    if !words.contains(&DEVICE) {
        words.insert(0, DEVICE);
    }
    words.extend(tls.unwrap_or_default().iter().map(String::as_str));
    words.join(" ")
}

/// Escape a path to the name of its unit, as `systemd-escape --path` does.
pub(in crate::attach) fn escaped(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(part) => Some(part.to_string_lossy()),
            _ => None,
        })
        .collect();
    let (text, mut name) = (parts.join("/"), String::new());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at == 0 => name.push_str("\\x2e"),
            byte if byte.is_ascii_alphanumeric() || b":_.".contains(&byte) => name.push(char::from(byte)),
            byte => _ = write!(name, "\\x{byte:02x}"),
        }
    }
    if name.is_empty() { "-".into() } else { name }
}

/// The name of the unit that mounts something at a path.
pub(in crate::attach) fn mount_name(path: &Path) -> String {
    format!("{}.mount", escaped(path))
}

/// Compose the unit that mounts a volume at a path.
///
/// The unit follows its service and does not need it: a relay that is started anew is a pause, and no reason to
/// unmount. Nothing waits for it: neither a boot, for it belongs to no target, nor a shutdown for long. Its device
/// starts it, whenever that comes: a job of the boot's that waits for a device is given up after a minute and a half,
/// and with it the mount.
pub(in crate::attach) fn mount(volume: &VolumeName, path: &Path) -> String {
    let (service, wanted_by, device) = (service(volume), device_unit(volume), device(volume).display().to_string());
    let path = path.display().to_string().replace('%', "%%");
    format!(
        "{MARK}{volume}; crucible-attach uninstall {volume} removes it.\n\
         [Unit]\n\
         Description=Crucible volume {volume}\n\
         Documentation=man:crucible-attach(1)\n\
         DefaultDependencies=no\n\
         After={service}\n\
         Conflicts=umount.target\n\
         Before=umount.target\n\
         \n\
         [Mount]\n\
         What={device}\n\
         Where={path}\n\
         Type=ext4\n\
         Options=noatime\n\
         TimeoutSec=60\n\
         \n\
         [Install]\n\
         WantedBy={wanted_by}\n"
    )
}

/// The volume that a mount's unit was made for, if an installation has made it.
pub(in crate::attach) fn made_for(unit: &str) -> Option<VolumeName> {
    unit.lines().next()?.strip_prefix(MARK)?.split(';').next()?.parse().ok()
}

/// The value of a unit's setting; the last one counts.
pub(in crate::attach) fn setting<'a>(unit: &'a str, name: &str) -> Option<&'a str> {
    unit.lines()
        .filter_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='))
        .next_back()
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_path_is_escaped_as_systemd_does() {
        for (path, name) in [
            ("/mnt/crucible-storage", "mnt-crucible\\x2dstorage.mount"),
            ("/mnt//a/", "mnt-a.mount"),
            ("/.a/.b", "\\x2ea-.b.mount"),
            ("/srv/ä b", "srv-\\xc3\\xa4\\x20b.mount"),
            ("/", "-.mount"),
        ] {
            assert_eq!(mount_name(Path::new(path)), name);
        }
    }

    #[test]
    fn a_configuration_keeps_what_is_not_given() {
        let first = conf(None, Some(&words("10.0.0.1:3800 10.0.0.2:3800")), None);
        assert!(first.ends_with("CRUCIBLE_SLEDS=10.0.0.1:3800,10.0.0.2:3800\nCRUCIBLE_OPTIONS=--device\n"), "{first}");
        assert_eq!(conf(Some(&first), None, None), first);
        assert_eq!(conf(Some(&first), Some(&words("10.0.0.1:3800 10.0.0.2:3800")), None), first);
        let tls = words("--cert-pem /c --key-pem /k --root-cert-pem /r");
        let with = conf(Some(&first), None, Some(&tls));
        assert!(with.contains("CRUCIBLE_OPTIONS=--device --cert-pem /c --key-pem /k --root-cert-pem /r\n"), "{with}");
        assert_eq!(conf(Some(&with), None, Some(&tls)), with);
        let other = conf(Some(&with), None, Some(&words("--cert-pem /d --key-pem /k --root-cert-pem /r")));
        assert!(other.contains("CRUCIBLE_OPTIONS=--device --cert-pem /d --key-pem /k --root-cert-pem /r\n"), "{other}");
    }

    #[test]
    fn what_somebody_has_written_into_a_configuration_stays() {
        let was = "# mine\nCRUCIBLE_SLEDS = \"a\"\nRUST_LOG=debug\nCRUCIBLE_OPTIONS='--listen 127.0.0.1:1 --cert-pem=/x'\nCRUCIBLE_SLEDS=b\n";
        let now = conf(Some(was), None, None);
        assert_eq!(
            now,
            "# mine\nCRUCIBLE_SLEDS=b\nRUST_LOG=debug\nCRUCIBLE_OPTIONS=--device --listen 127.0.0.1:1 --cert-pem=/x\n"
        );
        // The same in other words is left alone.
        let quoted = "CRUCIBLE_SLEDS=\"a\"\nCRUCIBLE_OPTIONS=\"--device\"\n";
        assert_eq!(conf(Some(quoted), Some(&words("a")), None), quoted);
        let now = conf(Some(was), None, Some(&words("--cert-pem /c")));
        assert!(now.contains("CRUCIBLE_OPTIONS=--device --listen 127.0.0.1:1 --cert-pem /c\n"), "{now}");
    }

    #[test]
    fn a_mount_says_whose_it_is() {
        let volume = "still-fawn".parse().unwrap();
        let text = mount(&volume, Path::new("/mnt/100%"));
        assert_eq!(made_for(&text), Some(volume));
        assert_eq!(made_for("[Unit]\n"), None);
        assert_eq!(setting(&text, "Where"), Some("/mnt/100%%"));
        assert_eq!(setting(&text, "What"), Some("/dev/crucible/still-fawn"));
        assert_eq!(setting(&text, "WantedBy"), Some("dev-crucible-still\\x2dfawn.device"));
        assert_eq!(setting("What = /dev/nbd0 \nWhatever=1", "What"), Some("/dev/nbd0"));
    }
}
