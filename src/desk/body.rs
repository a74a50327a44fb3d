//! Body of JSON, as the faces send it. Never what is in it.

use crate::clean;
use bytes::Bytes;
use serde::Serialize;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Write a body as it is sent, in one line. Every wire type has a JSON form; should one not, the error is sent.
pub fn body(value: &impl Serialize) -> Bytes {
    let text = serde_json::to_string(value).map(|text| clean::json(&text).into_owned() + "\n");
    text.unwrap_or_else(|why| format!("{{\"error\":{why:?}}}")).into()
}

/// A body as it is sent, written when it is asked for first: an idle supervisor publishes far more often
/// than anybody asks. Cheap to clone.
#[derive(Clone)]
pub struct Body(Arc<LazyLock<Bytes, Box<dyn FnOnce() -> Bytes + Send>>>);

impl Body {
    /// Make one that is written by this, once.
    pub fn of(write: impl FnOnce() -> Bytes + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(write))))
    }

    /// Return its bytes, written now if they have not been.
    pub fn bytes(&self) -> Bytes {
        (**self.0).clone()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::of(|| text.into())
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::of(Bytes::new)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Body").field(&LazyLock::get(&self.0)).finish()
    }
}
