//! Backend of a device: the server's export that it is connected to, in the words that the kernel keeps of it.
//! Another server can take the place of a dead one only if it serves the very same.

use crate::names::VolumeName;
use std::fmt;
use std::str::FromStr;

/// The beginning of every identifier of ours. The udev rule makes `/dev/crucible/VOLUME` of what lies between the
/// beginning and the `@`.
const PREFIX: &str = "crucible/";
/// The longest identity in bytes: the kernel shows an identifier in one page of sysfs, and takes any.
pub const LONGEST_IDENTITY: usize = 255;

/// A volume and its identity: `crucible/VOLUME@IDENTITY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    volume: VolumeName,
    identity: String,
}

/// A text that is no identifier of ours, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The text is not written as one.
    #[error("it is not of the form crucible/VOLUME@IDENTITY")]
    Form,
    /// The identity is empty, too long, or has other characters than A-Z, a-z, 0-9, -, _, . and :
    #[error("an identity has 1 to {LONGEST_IDENTITY} characters of A-Z, a-z, 0-9, -, _, . and :")]
    Identity,
}

impl Backend {
    /// Take a volume, and the identity that tells it from another that once had its name.
    ///
    /// # Errors
    /// [`BackendError::Identity`].
    pub fn new(volume: VolumeName, identity: &str) -> Result<Self, BackendError> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.:".contains(&c);
        if identity.is_empty() || identity.len() > LONGEST_IDENTITY || !identity.bytes().all(plain) {
            return Err(BackendError::Identity);
        }
        Ok(Self { volume, identity: identity.into() })
    }

    /// The volume.
    pub fn volume(&self) -> &VolumeName {
        &self.volume
    }

    /// The identity, which tells the volume from another of its name.
    pub fn identity(&self) -> &str {
        &self.identity
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{PREFIX}{}@{}", self.volume.as_str(), self.identity)
    }
}

impl FromStr for Backend {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Self, BackendError> {
        let (volume, identity) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('@')).ok_or(BackendError::Form)?;
        Self::new(volume.parse().map_err(|_| BackendError::Form)?, identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_identifier_is_a_volume_and_its_identity() {
        let volume: VolumeName = "still-fawn".parse().unwrap();
        let backend = Backend::new(volume.clone(), "0b6ba0f5-2c1e.7:9").unwrap();
        assert_eq!(backend.to_string(), "crucible/still-fawn@0b6ba0f5-2c1e.7:9");
        assert_eq!((backend.volume(), backend.identity()), (&volume, "0b6ba0f5-2c1e.7:9"));
        for wrong in ["", "a b", "a/b", "a@b", "ä", "a\n", &"x".repeat(256)] {
            assert_eq!(Backend::new(volume.clone(), wrong), Err(BackendError::Identity), "{wrong}");
        }
        for (text, why) in [
            ("still-fawn@1", BackendError::Form),
            ("crucible/still-fawn", BackendError::Form),
            ("crucible/../etc@1", BackendError::Form),
            ("crucible/@1", BackendError::Form),
            ("crucible/still-fawn@", BackendError::Identity),
        ] {
            assert_eq!(text.parse::<Backend>(), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(volume in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", identity in "[A-Za-z0-9._:-]{1,255}") {
            let backend = Backend::new(volume.parse().unwrap(), &identity).unwrap();
            prop_assert_eq!(backend.to_string().parse(), Ok(backend));
        }

        #[test]
        fn what_is_read_is_what_was_written(text in "(crucible/)?[a-z@/-]{0,12}") {
            if let Ok(backend) = text.parse::<Backend>() {
                prop_assert_eq!(backend.to_string(), text);
            }
        }
    }
}
