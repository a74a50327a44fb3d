//! Pages for people, with the headers by which a browser runs nothing in them but their own script, and shows them
//! in no frame of others.

use super::answer::{Answer, ready};
use crate::api::Media;
use crate::desk::bulletin::Bulletin;
use crate::page;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderValue, StatusCode};
use std::sync::LazyLock;

/// Headers that stand with every page, beside its policy.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];
/// Explanation of every condition, written when it is asked for first.
static EXPLANATIONS: LazyLock<Bytes> = LazyLock::new(|| page::explanations().into());

/// Answer with the page of the sled, whatever there is to show.
pub(super) fn page(bulletin: Option<&Bulletin>) -> Answer {
    match bulletin {
        Some(bulletin) if bulletin.broken.is_none() => html(StatusCode::OK, bulletin.page.bytes()),
        Some(bulletin) => html(StatusCode::SERVICE_UNAVAILABLE, bulletin.page.bytes()),
        None => html(StatusCode::SERVICE_UNAVAILABLE, page::starting().into()),
    }
}

/// Answer with what every condition means.
pub(super) fn explanations() -> Answer {
    html(StatusCode::OK, EXPLANATIONS.clone())
}

fn html(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = ready(status, Media::Html, body);
    answer.headers_mut().extend(HEADERS);
    // Of digests and words nothing can be no header.
    if let Ok(policy) = HeaderValue::try_from(page::POLICY.as_str()) {
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::body::Body;
    use crate::wire::{Error, Refusal};
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn there_is_a_page_whatever_was_published_and_each_has_its_policy() {
        let (page, well) = (Body::from("<main>"), StatusCode::OK);
        let known = Bulletin { page, ..Bulletin::default() };
        let broken = Some(Error::new(Refusal::Failed, "x", "y"));
        let refused = Bulletin { page: Body::from("<main>"), broken, ..Bulletin::default() };
        let away = StatusCode::SERVICE_UNAVAILABLE;
        let asked = [(Some(&known), well), (Some(&refused), away), (None, away)];
        let pages = asked.map(|(bulletin, status)| (super::page(bulletin), status));
        for (answer, status) in pages.into_iter().chain([(explanations(), well)]) {
            assert_eq!(
                (answer.status(), &answer.headers()["content-type"] == "text/html; charset=utf-8"),
                (status, true)
            );
            assert_eq!(answer.headers()["content-security-policy"].to_str().unwrap(), page::POLICY.as_str());
            for (name, value) in HEADERS {
                assert_eq!(answer.headers()[&name], value);
            }
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(body.windows(6).any(|part| part == b"<main>"), "{body:?}");
        }
    }
}
