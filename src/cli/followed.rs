//! Server-sent events as they are read from a stream, whatever pieces it comes in.

/// One of them, as far as this program knows of such things.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The name of its kind; none as a rule.
    pub(super) name: Option<String>,
    /// The number with which to come back.
    pub(super) id: Option<u64>,
    /// The text; none of a heartbeat.
    pub(super) data: String,
}

/// Text of a stream that has not come to the end of an event yet.
#[derive(Debug, Default)]
pub(super) struct Rest(Vec<u8>);

impl Rest {
    /// Take more of the stream, and return what is complete by that.
    pub(super) fn take(&mut self, more: &[u8]) -> Vec<Told> {
        self.0.extend_from_slice(more);
        let mut told = Vec::new();
        while let Some(end) = self.0.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.0.drain(..end + 2).collect();
            told.push(Told::read(&String::from_utf8_lossy(&block)));
        }
        told
    }
}

impl Told {
    fn read(block: &str) -> Self {
        let (mut told, mut data) = (Self::default(), Vec::new());
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => told.name = Some(value.to_owned()),
                "id" => told.id = value.parse().ok(),
                "data" => data.push(value),
                _ => {}
            }
        }
        Self { data: data.join("\n"), ..told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_in_whatever_pieces_it_comes() {
        let stream =
            ": sled\nretry: 1000\n\nid: 7\ndata: {\"a\": 1}\n\n:\n\nevent: lagged\nid: 9\ndata: {\ndata: }\n\nid: 1";
        let told = |name: Option<&str>, id, data: &str| Told { name: name.map(str::to_owned), id, data: data.into() };
        let expected = [
            Told::default(),
            told(None, Some(7), "{\"a\": 1}"),
            Told::default(),
            told(Some("lagged"), Some(9), "{\n}"),
        ];
        for length in [1, 2, 3, 7, 1000] {
            let mut rest = Rest::default();
            let found: Vec<_> = stream.as_bytes().chunks(length).flat_map(|piece| rest.take(piece)).collect();
            assert_eq!(found, expected, "in pieces of {length}");
            assert_eq!(rest.0, b"id: 1");
        }
    }
}
