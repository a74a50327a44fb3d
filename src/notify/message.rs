//! Message of a notification: what a webhook and what ntfy is sent. Pure.

use crate::check::Severity;
use crate::wire::{Notification, Occasion, Way};
use bytes::Bytes;

/// A message, ready to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The headers, beside those of every request.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Message {
    /// Write what is told by this way.
    ///
    /// # Errors
    /// It cannot be written in JSON.
    pub fn of(way: Way, told: &Notification) -> serde_json::Result<Self> {
        if way == Way::Ntfy {
            return Ok(ntfy(told));
        }
        let headers = vec![("content-type", "application/json".to_owned())];
        Ok(Self { headers, body: serde_json::to_vec(told)?.into() })
    }
}

/// Write it in the manner of ntfy: a text, with its title, its priority and its tags in headers.
fn ntfy(told: &Notification) -> Message {
    let (sled, blocks) = (&told.sled, told.check.as_ref().is_some_and(|check| check.severity == Severity::Blocking));
    let code = told.check.as_ref().map(|check| check.code.as_str()).unwrap_or_default();
    let (title, priority, tag) = match (told.occasion, blocks) {
        (Occasion::Raised, true) => (format!("{sled}: {code}"), "high", "rotating_light"),
        (Occasion::Raised, false) => (format!("{sled}: {code}"), "default", "warning"),
        (Occasion::Over, _) => (format!("{sled}: {code} is over"), "default", "white_check_mark"),
        (Occasion::Test, _) => (format!("{sled}: a test"), "low", "speech_balloon"),
    };
    let tags = if code.is_empty() { tag.to_owned() } else { format!("{tag},{code}") };
    let headers = vec![
        ("content-type", "text/plain; charset=utf-8".to_owned()),
        ("title", title),
        ("priority", priority.to_owned()),
        ("tags", tags),
    ];
    Message { headers, body: text(told).into() }
}

fn text(told: &Notification) -> String {
    let mut text = match (&told.check, told.occasion) {
        (None, _) => format!("{} can tell of its checks: this is a test", told.sled),
        (Some(check), Occasion::Over) => format!("{}: over; it was: {}", check.subject, check.cause),
        (Some(check), _) => format!("{}: {}\n{}", check.subject, check.cause, check.remedy),
    };
    if told.left_out > 0 {
        text += &format!("\n({} before it were left out)", told.left_out);
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::check::Code;
    use crate::wire::Check;
    use jiff::Timestamp;

    pub(crate) fn told(occasion: Occasion, code: Option<Code>) -> Notification {
        let check = code.map(|code| Check {
            code,
            severity: code.severity(),
            subject: "sled".into(),
            cause: "nothing is free".into(),
            remedy: "free some".into(),
            since: Timestamp::UNIX_EPOCH,
        });
        let time = Timestamp::UNIX_EPOCH;
        Notification { sled: "proper-raptor".parse().unwrap(), occasion, check, time, left_out: 0 }
    }

    #[test]
    fn a_webhook_gets_it_as_it_is() {
        let told = Notification { left_out: 3, ..told(Occasion::Over, Some(Code::DiskFull)) };
        let message = Message::of(Way::Webhook, &told).unwrap();
        assert_eq!(serde_json::from_slice::<Notification>(&message.body).unwrap(), told);
        let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!((&body["occasion"], &body["check"]["code"]), (&"over".into(), &"DISK_FULL".into()));
    }

    #[test]
    fn ntfy_gets_a_text_with_a_title_a_priority_and_tags() {
        for (occasion, code, title, priority, body) in [
            (
                Occasion::Raised,
                Some(Code::DiskFull),
                "proper-raptor: DISK_FULL",
                "high",
                "sled: nothing is free\nfree some",
            ),
            (
                Occasion::Raised,
                Some(Code::DiskLow),
                "proper-raptor: DISK_LOW",
                "default",
                "sled: nothing is free\nfree some",
            ),
            (Occasion::Over, Some(Code::DiskFull), "proper-raptor: DISK_FULL is over", "default", "over; it was"),
            (Occasion::Test, None, "proper-raptor: a test", "low", "this is a test"),
        ] {
            let message = Message::of(Way::Ntfy, &told(occasion, code)).unwrap();
            let header =
                |name| message.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
            assert_eq!((header("title"), header("priority")), (Some(title), Some(priority)));
            assert_eq!(header("tags").unwrap().contains("DISK"), code.is_some());
            assert!(String::from_utf8_lossy(&message.body).contains(body), "{message:?}");
        }
    }
}
