//! Media types of answers. Pure.

/// A form in which an operation is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// A JSON value.
    Json,
    /// A line of text.
    Text,
    /// Metrics in the text form of OpenMetrics.
    OpenMetrics,
    /// Metrics in the text form of Prometheus before that.
    PrometheusText,
    /// A page for people.
    Html,
    /// Server-sent events.
    EventStream,
    /// Bytes as they are.
    Bytes,
}

impl Media {
    /// The media type as the header `Content-Type` has it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::PrometheusText => "text/plain; version=0.0.4; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::EventStream => "text/event-stream",
            Self::Bytes => "application/octet-stream",
        }
    }
}
