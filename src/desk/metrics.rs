//! Metrics of a bulletin, made when they are asked for first. Never what is in them.

use crate::desk::body::Body;
use crate::metrics::{Form, Material, Process, page};
use std::sync::Arc;

/// Metrics of a bulletin, in each form.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    open: Body,
    plain: Body,
}

impl Metrics {
    /// Prepare the metrics of this, which is all that they cost as long as nobody asks. `process` tells of the
    /// supervisor's own then.
    pub fn of(material: Material, process: fn() -> Process) -> Self {
        let material = Arc::new(material);
        let write = |form| {
            let material = material.clone();
            Body::of(move || page(&material, process(), form).into())
        };
        Self { open: write(Form::OpenMetrics), plain: write(Form::Plain) }
    }

    /// Find the page of this form.
    pub fn in_form(&self, form: Form) -> &Body {
        match form {
            Form::OpenMetrics => &self.open,
            Form::Plain => &self.plain,
        }
    }
}
