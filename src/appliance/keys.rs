//! Public keys of those who may log in (`authorized_keys` of sshd(8)): what is one, and what is never taken for one. A
//! file without a key that sshd would read locks everybody out, and one with a private key gives that away. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The kind of key that is the usual one.
const ED25519: &str = "ssh-ed25519";
/// The kinds of keys that sshd of Debian 13 takes.
const KINDS: [&str; 7] = [
    ED25519,
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];
/// The length of a key of Ed25519 (RFC 8709), in bytes.
const ED25519_BYTES: usize = 32;
/// The words that private keys begin with: those of OpenSSH, of PEM and of PuTTY.
const PRIVATE: [&str; 2] = ["PRIVATE KEY-----", "PuTTY-User-Key-File-"];

/// Read the keys of a file that was brought, as sshd reads them: lines end in a line feed alone.
///
/// # Errors
/// The reason why the file would let nobody in, or is nobody's to see.
pub fn read(bytes: &[u8]) -> Result<String, String> {
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        let why =
            "begins with a byte-order mark, at which sshd does not know its first key: save it as UTF-8 without one";
        return Err(why.into());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is no text: save it as UTF-8")?;
    if PRIVATE.iter().any(|words| text.contains(words)) {
        let why = "holds a private key, which is for nobody else to see: take it off there, make a new pair (ssh-keygen), \
                   and bring the public one, whose name ends in .pub";
        return Err(why.into());
    }
    if !text.lines().any(is_key) {
        return Err(no_key(text).into());
    }
    Ok(text.lines().map(|line| line.trim_end_matches('\r').to_owned() + "\n").collect())
}

/// Say what a text without a key is instead.
fn no_key(text: &str) -> &'static str {
    match text.trim_start().chars().next() {
        None => "is empty",
        Some('<') => "is a web page, and no list of keys",
        Some('-') if text.contains("PUBLIC KEY") => {
            "is a public key of another form: `ssh-keygen -i -f FILE` writes the one that is wanted"
        }
        Some(_) => "has no public key that is whole: each is one line, such as `ssh-ed25519 AAAA… somebody`",
    }
}

/// Whether sshd would read a line as a key: a kind and the key itself, with options before it or not.
fn is_key(line: &str) -> bool {
    let line = line.trim();
    let words = words(line);
    let kind = words.iter().take(2).position(|word| KINDS.contains(word));
    let pair = kind.and_then(|at| Some((words.get(at)?, words.get(at + 1)?)));
    !line.starts_with('#') && pair.is_some_and(|(kind, key)| is_whole(kind, key))
}

/// The words of a line; blanks within quotes are part of one, as in the option `command="…"`.
fn words(line: &str) -> Vec<&str> {
    let (mut quoted, mut before) = (false, '\0');
    let split = line.split(move |c: char| {
        quoted ^= c == '"' && before != '\\';
        before = c;
        !quoted && (c == ' ' || c == '\t')
    });
    split.filter(|word| !word.is_empty()).collect()
}

/// Whether a key is of this kind and none of it is missing: strings with their lengths before them (RFC 4253, 6.6), of
/// which the first names the kind.
fn is_whole(kind: &str, key: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(key) else { return false };
    let (mut rest, mut parts) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let Some((length, after)) = rest.split_first_chunk::<4>() else { return false };
        let Some((part, after)) =
            usize::try_from(u32::from_be_bytes(*length)).ok().and_then(|at| after.split_at_checked(at))
        else {
            return false;
        };
        parts.push(part);
        rest = after;
    }
    match parts[..] {
        [name, key] => name == kind.as_bytes() && kind == ED25519 && key.len() == ED25519_BYTES,
        [name, _, _, ..] => name == kind.as_bytes() && kind != ED25519,
        _ => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A key that nobody has the other half of.
    pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f somebody\n";

    fn why(text: &str) -> String {
        read(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_key_is_known_with_options_before_it_and_whatever_ends_its_line() {
        for line in [
            KEY.to_owned(),
            format!("# whose\n\nrestrict,command=\"echo \\\"a b\\\"\" {KEY}"),
            format!("from=\"192.168.4.0/24\" {KEY}"),
            format!("no key at all\n{KEY}"),
        ] {
            assert_eq!(read(line.as_bytes()), Ok(line));
        }
        assert_eq!(read(KEY.replace('\n', "\r\n").as_bytes()), Ok(KEY.to_owned()));
        assert_eq!(read(KEY.trim_end().as_bytes()), Ok(KEY.to_owned()));
    }

    #[test]
    fn what_lets_nobody_in_is_none() {
        assert_eq!(why(""), "is empty");
        assert_eq!(why("\n \r\n"), "is empty");
        assert!(why("<!DOCTYPE html><html>").contains("web page"));
        assert!(why(&format!("\u{feff}{KEY}")).contains("byte-order mark"));
        assert!(read(&[0xff, 0xfe, b's', 0]).unwrap_err().contains("no text"));
        assert!(why("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n").contains("another form"));
        for line in [
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            // Cut off where a terminal was narrow.
            &KEY[..60],
            &format!("#{KEY}"),
            &KEY.replace("ssh-ed25519", "ssh-rsa"),
            &format!("command=\"x {KEY}"),
        ] {
            assert!(why(line).contains("no public key that is whole"), "{line}");
        }
    }

    #[test]
    fn a_private_key_is_refused_beside_public_ones_as_well() {
        let begin = |what: &str| format!("-----BEGIN {what}PRIVATE KEY-----\nb3BlbnNzaA==\n");
        for text in [begin("OPENSSH "), begin("RSA "), begin(""), begin("ENCRYPTED "), KEY.to_owned() + &begin("EC ")] {
            assert!(why(&text).contains("private key"), "{text}");
        }
        assert!(why("PuTTY-User-Key-File-3: ssh-ed25519\n").contains("private key"));
    }
}
