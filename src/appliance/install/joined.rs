//! Configuration of several files as one: `sled.toml` with what its fragments say, since a partition CONFIG takes one
//! file. What says the same as the files that it is made of is one; nothing else is. Reads only.

use crate::config::{FRAGMENTS, PORT_MAP, SLED, Texts};
use crate::config_dir;
use crate::source::Fault;
use std::path::Path;
use toml::{Table, Value};

/// Join the fragments of a directory's configuration into its `sled.toml`; `None`: it has none.
///
/// # Errors
/// The reason why it cannot be joined: its faults, or that it would not say the same.
pub fn joined(dir: &Path) -> Result<Option<String>, String> {
    of_texts(&config_dir::texts(dir), dir)
}

fn of_texts(texts: &Texts, dir: &Path) -> Result<Option<String>, String> {
    let fragments: Vec<&str> = texts.0.keys().map(String::as_str).filter(|name| name.starts_with(FRAGMENTS)).collect();
    if fragments.is_empty() {
        return Ok(None);
    }
    let before = config_dir::read_texts(texts, dir).map_err(|faults| said(&faults))?;
    let mut whole = Table::new();
    for name in [SLED].into_iter().chain(fragments.iter().copied()) {
        let text = texts.0.get(name).and_then(|text| text.as_deref().ok()).unwrap_or_default();
        overlay(&mut whole, text.parse().map_err(|why| format!("{name}: {why}"))?);
    }
    let text = format!("# {SLED}, joined with {} when the image was installed.\n\n{whole}", fragments.join(", "));
    let mut one = Texts([(SLED.to_owned(), Ok(text.clone()))].into());
    one.0.extend(texts.0.get_key_value(PORT_MAP).map(|(name, map)| (name.clone(), map.clone())));
    match config_dir::read_texts(&one, dir) {
        Ok(after) if after == before => Ok(Some(text)),
        Ok(_) => Err("it would not say the same as one file".into()),
        Err(faults) => Err(said(&faults)),
    }
}

fn said(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Lay one table over another: tables key by key, anything else as a whole.
fn overlay(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            (_, value) => _ = under.insert(key, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLED_TOML: &str = "# mine\n[sled]\nname = \"proper-raptor\"\n[network]\nnic = \"usb\"\n[http]\n\
                             listen = [\"192.168.4.189:3800\"]\n";
    const MAP: &str = "[sleds.proper-raptor]\naddress = \"192.168.4.189\"\n";

    fn texts(sled: &str, fragments: &[&str]) -> Texts {
        let own = [(SLED.to_owned(), Ok(sled.to_owned())), (PORT_MAP.to_owned(), Ok(MAP.to_owned()))];
        let name = |number| format!("{FRAGMENTS}/{number}0-own.toml");
        let fragments = fragments.iter().enumerate().map(|(number, text)| (name(number), Ok((*text).to_owned())));
        Texts(own.into_iter().chain(fragments).collect())
    }

    #[test]
    fn fragments_are_joined_as_they_override_each_other_or_not_at_all() {
        let dir = Path::new("/etc/sled");
        let sled = SLED_TOML;
        assert_eq!(of_texts(&texts(sled, &[]), dir), Ok(None));
        let first = "[storage]\nprovisioning = \"thin\"\n[http]\nlisten = [\"192.168.4.189:3900\"]\n";
        let all = texts(sled, &[first, "[network]\nvlan = 5\n[storage]\nprovisioning = \"thick\"\n"]);
        let text = of_texts(&all, dir).unwrap().unwrap();
        let one = config_dir::read_texts(&texts(&text, &[]), dir).unwrap();
        assert_eq!(one, config_dir::read_texts(&all, dir).unwrap());
        assert!(
            one.sled.network.vlan == "5".parse().ok()
                && text.contains("joined with sled.toml.d/00-own.toml, sled.toml.d/1")
        );
        // What has a fault is not joined, wherever that is.
        for (sled, fragment) in [(sled, "[network]\nvlam = 5\n"), ("[sled", first), (sled, "[network")] {
            assert!(of_texts(&texts(sled, &[fragment]), dir).is_err(), "{sled} {fragment}");
        }
    }
}
