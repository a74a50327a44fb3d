//! Sources of the configuration, as files are read: values that know their place, and faults that name it. The
//! meaning of a key is not known here. Pure: the texts are fetched by others.

mod document;
mod fault;
mod key;
mod section;

pub use document::{Document, Origin};
pub use fault::{Fault, Faults, nearest};
pub use key::{Absent, Key};
pub use section::Section;

/// A file's name, as it is shown, and its text.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name that faults carry.
    pub file: String,
    /// The contents, or why they could not be read.
    pub text: Result<String, String>,
}
