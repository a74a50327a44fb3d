//! Manners of answers, whatever they say: who has an answer already is told so (304), and JSON is indented for people.
//!
//! What has a revision has a tag (ETag, RFC 9110) that changes with it. Tags are weak: an answer tells as of when it is
//! so, and that changes while nothing else does.

use super::answer::Answer;
use super::indent::indented;
use super::target;
use crate::api::{Media, PRETTY, Parameter, Pretty};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Wishes of a client for the form of an answer.
pub(super) struct Manners {
    /// JSON is to be indented.
    pretty: bool,
    /// Tags of the answers that the client has already, as its headers have them.
    known: Vec<HeaderValue>,
}

impl Manners {
    /// Read what a client wishes. What it says wrongly is refused elsewhere.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let query = target::query(request.uri()).unwrap_or_default();
        let pretty = query.iter().find(|(key, _)| key == PRETTY.name);
        let pretty = pretty.and_then(|(key, value)| Pretty::read(key, value).ok());
        // Only what is read may be had already.
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let known = request.headers().get_all(IF_NONE_MATCH).iter().filter(|_| reads).cloned().collect();
        Self { pretty: pretty.is_some_and(|Pretty(pretty)| pretty), known }
    }

    /// Give an answer the form that is wished for.
    pub(super) async fn of_answer(self, answer: Answer) -> Answer {
        if answer.status() == StatusCode::OK && self.knows(answer.headers()) {
            return not_modified(answer);
        }
        if !self.pretty || !is_json(answer.headers()) {
            return answer;
        }
        let (head, body) = answer.into_parts();
        let body = match body {
            Either::Left(whole) => {
                let Ok(whole) = whole.collect().await;
                Either::Left(Full::new(indented(&whole.to_bytes())))
            }
            Either::Right(stream) => Either::Right(stream),
        };
        Answer::from_parts(head, body)
    }

    /// Tell whether the client has an answer with this tag, by the weak comparison.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(tag) = headers.get(ETAG).and_then(|tag| tag.to_str().ok()) else { return false };
        let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let known = self.known.iter().filter_map(|known| known.to_str().ok()).flat_map(|known| known.split(','));
        known.map(strong).any(|known| known == "*" || known == strong(tag))
    }
}

/// Put a tag to an answer: of the revision that it is of, or of whatever changes when it does.
pub(super) fn tagged(mut answer: Answer, revision: &impl Hash) -> Answer {
    let mut hasher = DefaultHasher::new();
    revision.hash(&mut hasher);
    if let Ok(tag) = HeaderValue::try_from(format!("W/\"{:016x}\"", hasher.finish())) {
        answer.headers_mut().insert(ETAG, tag);
        // It may be kept by who asks each time whether it is still so.
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    answer
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|media| media == Media::Json.content_type())
}

/// Say that an answer is the one that the client has.
fn not_modified(mut answer: Answer) -> Answer {
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    answer.headers_mut().remove(CONTENT_TYPE);
    *answer.body_mut() = Either::Left(Full::new(Bytes::new()));
    answer
}

#[cfg(test)]
mod tests {
    use super::super::answer::{json, ready};
    use super::*;
    use crate::wire::{Error, Refusal};

    async fn asked(method: Method, target: &str, known: &[&str], answer: Answer) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(target);
        for known in known {
            request = request.header(IF_NONE_MATCH, *known);
        }
        let answer = Manners::of(&request.body(()).unwrap()).of_answer(answer).await;
        let (status, has_type) = (answer.status(), answer.headers().contains_key(CONTENT_TYPE));
        assert_eq!(has_type, status != StatusCode::NOT_MODIFIED);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn ask(revision: u64) -> Answer {
        tagged(json(StatusCode::OK, &[revision]), &revision)
    }

    #[tokio::test]
    async fn who_has_an_answer_already_is_told_so() {
        let tag = |revision| ask(revision).headers()[ETAG].to_str().unwrap().to_owned();
        let (seven, strong) = (tag(7), tag(7)["W/".len()..].to_owned());
        assert!(seven.starts_with("W/\"") && seven == tag(7) && seven != tag(8), "{seven}");
        assert_eq!(ask(7).headers()[CACHE_CONTROL], "no-cache");
        let list = format!("\"x\", {seven}");
        for known in [&[seven.as_str()][..], &[&strong], &[&list], &["\"x\"", &strong], &["*"]] {
            for method in [Method::GET, Method::HEAD] {
                let told = asked(method, "/", known, ask(7)).await;
                assert_eq!(told, (StatusCode::NOT_MODIFIED, String::new()), "{known:?}");
            }
            assert_eq!(asked(Method::POST, "/", known, ask(7)).await.0, StatusCode::OK, "{known:?}");
        }
        for known in [&[][..], &["\"x\""], &["7"], &[""], &[&tag(8)]] {
            assert_eq!(asked(Method::GET, "/", known, ask(7)).await, (StatusCode::OK, "[7]\n".into()), "{known:?}");
        }
        // A volume that cannot be attached is never "as before", and what has no tag is told whole.
        let away = tagged(json(StatusCode::SERVICE_UNAVAILABLE, &[7]), &7);
        assert_eq!(asked(Method::GET, "/", &["*"], away).await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked(Method::GET, "/", &["*"], json(StatusCode::OK, &7)).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn json_is_indented_for_people_and_nothing_else_is() {
        for pretty in ["/?pretty", "/?pretty=true", "/?a=1&pretty="] {
            assert_eq!(asked(Method::GET, pretty, &[], ask(7)).await.1, "[\n  7\n]\n", "{pretty}");
            let refused = super::super::answer::error(Error::new(Refusal::NotFound, "x", "y"));
            assert!(asked(Method::GET, pretty, &[], refused).await.1.starts_with("{\n  \"error\": {\n"));
            let text = ready(StatusCode::OK, Media::Text, "[7]".into());
            assert_eq!(asked(Method::GET, pretty, &[], text).await.1, "[7]");
        }
        for plain in ["/", "/?pretty=false", "/?pretty=x", "/?a=1", "/?pretty&pretty"] {
            assert_eq!(asked(Method::GET, plain, &[], ask(7)).await.1, "[7]\n", "{plain}");
        }
    }
}
