//! Network adapter that is wanted in the bridge: one by its name or its hardware address, whichever is on the USB, or the
//! first of several that is there. One that is replaced has another name as a rule, which is made of its address. Pure.

use super::values::is_word;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// The word for whichever adapter is on the USB.
pub const USB: &str = "usb";
/// The longest name of an interface, in characters: another name that it has (`ALTIFNAMSIZ` of linux/if.h) may be that long.
const MOST: usize = 127;

/// A way in which an adapter is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// By its name, or another name that it has.
    Name(String),
    /// By its hardware address, in the usual form.
    Address(String),
    /// Whichever is on the USB.
    Usb,
}

impl FromStr for By {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: Vec<_> = text.split(':').collect();
        let byte = |text: &&str| text.len() == 2 && text.chars().all(|c| c.is_ascii_hexdigit());
        match text {
            USB => Ok(Self::Usb),
            _ if bytes.len() == 6 && bytes.iter().all(byte) => Ok(Self::Address(text.to_lowercase())),
            _ if is_word(text, MOST) => Ok(Self::Name(text.to_owned())),
            _ => Err("is no name of an interface, and no hardware address"),
        }
    }
}

/// The adapters that may be the bridge's port, the one that is wanted most in front. Read as a text it is what was
/// configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    text: String,
    all: Vec<By>,
}

impl Nic {
    /// Choose from adapters; `None` if that is no choice.
    pub fn new(all: Vec<(String, By)>) -> Option<Self> {
        let text = all.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(", ");
        let all: Vec<_> = all.into_iter().map(|(_, by)| by).collect();
        (!all.is_empty()).then_some(Self { text, all })
    }

    /// Choose one by its name.
    pub fn named(name: &str) -> Self {
        Self { text: name.to_owned(), all: vec![By::Name(name.to_owned())] }
    }

    /// The ways in which an adapter may be meant, the first being the one that is wanted most.
    pub fn all(&self) -> &[By] {
        &self.all
    }

    /// The names among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter_map(|by| match by {
            By::Name(name) => Some(name.as_str()),
            By::Address(_) | By::Usb => None,
        })
    }

    /// Whether it is one, by its name: then it is told if it has lost that.
    pub fn is_named(&self) -> bool {
        matches!(self.all[..], [By::Name(_)])
    }
}

impl Deref for Nic {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_meant_in_one_of_three_ways() {
        let read = |text: &str| text.parse::<By>();
        assert_eq!(read("usb"), Ok(By::Usb));
        assert_eq!(read("00:E0:4c:a8:11:10"), Ok(By::Address("00:e0:4c:a8:11:10".into())));
        for name in ["enx00e04ca81110", "eth0", "a.12", "enp0s13f0u1u4c2-of-the-rack"] {
            assert_eq!(read(name), Ok(By::Name(name.into())));
        }
        for wrong in
            ["", "00:e0:4c:a8:11", "00:e0:4c:a8:11:10:00", "0:e0:4c:a8:11:10", "a b", "a/b", "-a", "a:b:c:d:e:f"]
        {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
