//! JSON as people read it: the same value with a line for each of its parts. Pure.

use bytes::Bytes;

/// Space by which what is within something is indented.
const STEP: &[u8] = b"  ";

/// Indent a JSON text, as serde_json's pretty form is indented. Strings, numbers and the order of keys stay as they
/// are; a text that is no JSON gets some other form, and loses nothing but spaces.
pub(super) fn indented(text: &[u8]) -> Bytes {
    let mut out = Indented { text: Vec::with_capacity(text.len() * 2), depth: 0, empty: false };
    let (mut within, mut escaped) = (false, false);
    for byte in text.iter().copied() {
        if within {
            out.text.push(byte);
            within = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        within = byte == b'"';
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {}
            b'{' | b'[' => out.open(byte),
            b'}' | b']' => out.close(byte),
            b',' => {
                out.text.push(byte);
                out.line();
            }
            b':' => out.text.extend(b": "),
            _ => out.token(byte),
        }
    }
    out.text.push(b'\n');
    out.text.into()
}

struct Indented {
    text: Vec<u8>,
    depth: usize,
    /// Something was opened last, and has nothing in it yet.
    empty: bool,
}

impl Indented {
    fn open(&mut self, byte: u8) {
        self.token(byte);
        (self.depth, self.empty) = (self.depth + 1, true);
    }

    fn close(&mut self, byte: u8) {
        self.depth = self.depth.saturating_sub(1);
        if !std::mem::take(&mut self.empty) {
            self.line();
        }
        self.text.push(byte);
    }

    fn token(&mut self, byte: u8) {
        if std::mem::take(&mut self.empty) {
            self.line();
        }
        self.text.push(byte);
    }

    fn line(&mut self) {
        self.text.push(b'\n');
        (0..self.depth).for_each(|_| self.text.extend(STEP));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ -~\\n\"\\\\äß]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::hash_map("[a-z:,{}\"]{0,5}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_is_indented_as_the_library_does_it(value in values()) {
            let expected = serde_json::to_string_pretty(&value).unwrap() + "\n";
            for text in [serde_json::to_string(&value).unwrap(), expected.clone()] {
                prop_assert_eq!(indented(text.as_bytes()), expected.clone());
            }
        }

        #[test]
        fn any_bytes_are_indented_and_nothing_but_spaces_is_lost(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let plain = |bytes: &[u8]| bytes.iter().copied().filter(|b| !b" \n\r\t".contains(b)).collect::<Vec<_>>();
            prop_assert_eq!(plain(&indented(&bytes)), plain(&bytes));
        }
    }
}
