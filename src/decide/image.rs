//! Image that a machine runs, and what is to be told of it.

use super::facts::{Facts, Image};
use super::finding::Finding;
use crate::check::Code;

/// The findings of the image; none on a machine that was set up by hand.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    facts.image.iter().flat_map(of).collect()
}

fn of(image: &Image) -> Vec<Finding> {
    let about =
        |code: Code, cause: String| Finding::new(code, format!("image {}", image.version), cause, code.remedy());
    let demonstration =
        image.demonstration.then(|| about(Code::Demonstration, Code::Demonstration.about().cause.into()));
    let given_up = image.given_up.as_ref().map(|(version, why)| {
        let cause = format!("version {version} was tried and given up: {why}");
        about(Code::UpdateGivenUp, cause)
    });
    let refused = (!image.refused.is_empty()).then(|| {
        let cause = format!("the configuration that was brought last has faults: {}", image.refused.join("; "));
        about(Code::ConfigRefused, cause)
    });
    [demonstration, given_up, refused].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_tells_what_is_odd_about_it() {
        let codes = |image: Option<Image>| {
            let facts = Facts { image, ..Facts::default() };
            findings(&facts).into_iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(None), []);
        assert_eq!(codes(Some(Image::default())), []);
        let all = Image {
            version: "1".into(),
            demonstration: true,
            given_up: Some(("2".into(), "it was late".into())),
            refused: vec!["sled.toml:1: x".into()],
        };
        assert_eq!(codes(Some(all)), [Code::Demonstration, Code::UpdateGivenUp, Code::ConfigRefused]);
    }
}
