//! Bodies of requests: what each operation takes beside its parameters, how much of it, and how it is read.
//! Pure.

use super::media::Media;
use super::row::Form;
use crate::wire::{Attach, Drained, Error, LARGEST_ASKED, Refusal, Release, Word};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest program that is taken, in bytes; the real one has some 40 MB.
const PROGRAM_LIMIT_BYTES: usize = 512 << 20;
/// The largest word to a job, in bytes: it may explain at some length why not.
const WORD_LIMIT_BYTES: usize = 1 << 20;

/// A body as the table of operations has it.
#[derive(Debug, Clone, Copy)]
pub struct BodyRow {
    /// The type that it is, as [`crate::wire`] names it.
    pub name: &'static str,
    /// The most that is read of it, in bytes.
    pub limit_bytes: usize,
    /// Example of what to send.
    pub example: &'static str,
    /// Media type that it has.
    pub media: Media,
    /// Schema of it; `None` for bytes as they are.
    pub form: Option<Form>,
    /// Whether nothing may be sent in its place.
    pub optional: bool,
}

/// Body that comes with a request.
pub trait Body: Sized {
    /// Row of the body in the table.
    const ROW: BodyRow;

    /// Read a body.
    ///
    /// # Errors
    /// The bytes are no such thing.
    fn read(bytes: Bytes) -> Result<Self, Error>;

    /// The body as [`Body::read`] reads it.
    fn write(&self) -> Bytes;
}

/// A downstairs program that is brought; empty: none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(pub Bytes);

impl Body for Program {
    const ROW: BodyRow = BodyRow {
        name: "Program",
        limit_bytes: PROGRAM_LIMIT_BYTES,
        example: "the program itself, or nothing",
        media: Media::Bytes,
        form: None,
        optional: true,
    };

    fn read(bytes: Bytes) -> Result<Self, Error> {
        Ok(Self(bytes))
    }

    fn write(&self) -> Bytes {
        self.0.clone()
    }
}

/// A JSON object, of which nothing is all of its defaults where there are any.
macro_rules! json {
    ($type:ident, $limit:expr, $example:literal, $nothing:expr) => {
        impl Body for $type {
            const ROW: BodyRow = BodyRow {
                name: stringify!($type),
                limit_bytes: $limit,
                example: $example,
                media: Media::Json,
                form: Some(|generator| generator.subschema_for::<$type>()),
                optional: {
                    let nothing: Option<fn() -> Self> = $nothing;
                    nothing.is_some()
                },
            };

            fn read(bytes: Bytes) -> Result<Self, Error> {
                let nothing: Option<fn() -> Self> = $nothing;
                match nothing.filter(|_| bytes.trim_ascii().is_empty()) {
                    Some(nothing) => Ok(nothing()),
                    None => object(&bytes).map_err(|why| unlike(&Self::ROW, &why)),
                }
            }

            fn write(&self) -> Bytes {
                written(self)
            }
        }
    };
}

json!(Attach, LARGEST_ASKED, "{\"at_least\": 0, \"takeover\": false}, or nothing", Some(Self::default));
json!(Release, LARGEST_ASKED, "{\"generation\": 1769300000}, or nothing", Some(Self::default));
json!(Drained, LARGEST_ASKED, "{\"id\": 1769300000000, \"state\": \"detached\"}", None);

impl Body for Word {
    const ROW: BodyRow = BodyRow {
        name: "Word",
        limit_bytes: WORD_LIMIT_BYTES,
        example: "\"well\"",
        media: Media::Json,
        form: Some(|generator| generator.subschema_for::<Self>()),
        optional: false,
    };

    fn read(bytes: Bytes) -> Result<Self, Error> {
        serde_json::from_slice(&bytes).map_err(|why| unlike(&Self::ROW, &format!("the body is no word: {why}")))
    }

    fn write(&self) -> Bytes {
        written(self)
    }
}

fn unlike(row: &BodyRow, why: &str) -> Error {
    Error::new(Refusal::BadBody, why, format!("send {}", row.example))
}

fn object<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let text = text.trim_ascii();
    // A list would do for a struct, too.
    if !text.starts_with(b"{") {
        return Err("the body is no JSON object".into());
    }
    serde_json::from_slice(text).map_err(|why| format!("the body is not what is asked for: {why}"))
}

fn written(value: &impl Serialize) -> Bytes {
    // None of them has a key that is no text, or a number that JSON has not.
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_wish_is_read_or_refused() {
        let read = |text: &str| Attach::read(Bytes::from(text.to_owned())).ok();
        let wish = |at_least, takeover| Some(Attach { at_least, takeover });
        assert_eq!(read(""), wish(0, false));
        assert_eq!(read(" \n"), wish(0, false));
        assert_eq!(read("{}"), wish(0, false));
        assert_eq!(read("{\"at_least\": 7, \"takeover\": true}"), wish(7, true));
        let unlike = ["{", "[]", "[7, true]", "7", "null", "{}{}", "{\"force\": true}"];
        let twice = "{\"at_least\": 1, \"at_least\": 2}";
        for wrong in unlike.into_iter().chain(["{\"at_least\": -1}", "{\"at_least\": 1e30}", twice]) {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(Drained::read(Bytes::new()).unwrap_err().code, Refusal::BadBody);
    }

    #[test]
    fn a_body_is_read_as_it_was_written() {
        let attach = Attach { at_least: 7, takeover: true };
        assert_eq!(Attach::read(attach.write()), Ok(attach));
        let release = Release { generation: Some(3) };
        assert_eq!(Release::read(release.write()), Ok(release));
        for word in [Word::Well, Word::No(Error::new(Refusal::SiblingDown, "x", "y"))] {
            assert_eq!(Word::read(word.write()), Ok(word));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            _ = Attach::read(bytes.clone().into());
            _ = Release::read(bytes.clone().into());
            _ = Drained::read(bytes.into());
        }

        #[test]
        fn any_text_like_it_is_read_or_refused(text in "[{}\\[\\]\":,a-z_0-9 .eE+-]{0,80}") {
            _ = Attach::read(text.into());
        }
    }
}
