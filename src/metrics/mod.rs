//! Metrics of a sled, as Prometheus reads them: what the last verdict says, and what is counted beside verdicts.
//! Rendered when somebody asks, and never before. What node_exporter and smartctl_exporter tell is not told again.
//! Pure.
//!
//! | module | job |
//! |---|---|
//! | [`counts`] | what is counted, for longer than a verdict stands |
//! | [`gauges`] | the table of what a verdict says |
//! | [`form`] | the two forms that there are of a page |
//!
//! Names and units are those of <https://prometheus.io/docs/practices/naming/>: base units, times as timestamps,
//! `_total` for counters alone. No label has values without a bound: they are names of the configuration, or words
//! of a table.

mod counts;
mod form;
mod gauges;
#[cfg(test)]
mod tests;

pub use counts::{Class, Counts};
pub use form::Form;
pub use gauges::Process;

use crate::wire;
use gauges::Verdict;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Material of a page.
#[derive(Debug)]
pub struct Material {
    /// View of the sled, as it was last published.
    pub sled: Arc<wire::Sled>,
    /// Bytes of the data disk that are to be kept free.
    pub reserve_bytes: u64,
    /// Jobs that are remembered.
    pub jobs: Arc<BTreeMap<u64, wire::Job>>,
    /// Counts, as they are when the page is made.
    pub counts: Counts,
}

/// Labels of a series, with their values.
type Labels = Vec<(&'static str, String)>;

/// Make the page of these metrics, in this form.
pub fn page(material: &Arc<Material>, process: Process, form: Form) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Verdict { material: material.clone(), process }));
    material.counts.register(&mut registry);
    let mut page = String::new();
    // Nothing that is written into a string fails; a page that was cut short has no end, by which it is known.
    _ = match form {
        Form::OpenMetrics => prometheus_client::encoding::text::encode(&mut page, &registry),
        Form::Plain => prometheus_client::encoding::prometheus_text::encode(&mut page, &registry),
    };
    page
}
