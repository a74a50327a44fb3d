//! Schemas of the wire types, each once: as it is sent, and of bodies of requests as it is read. Pure.

use super::super::row::Form;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value};

/// Place of the schemas in the description.
const PLACE: &str = "/components/schemas";

/// The highest numbers of types, by the names that their schemas have for them.
const MOST: [(&str, u64); 3] = [("uint", u64::MAX), ("uint32", u32::MAX as u64), ("uint64", u64::MAX)];

/// Schemas that were asked for so far.
pub(super) struct Schemas {
    /// Of what a sled reads.
    asked: SchemaGenerator,
    /// Of what a sled answers.
    told: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = PLACE.into());
        Self { asked: settings.clone().into_generator(), told: settings.for_serialize().into_generator() }
    }
}

impl Schemas {
    /// Refer to the schema of what is read.
    pub(super) fn asked(&mut self, form: Form) -> Schema {
        form(&mut self.asked)
    }

    /// Refer to the schema of what is answered.
    pub(super) fn told(&mut self, form: Form) -> Schema {
        form(&mut self.told)
    }

    /// Take every schema that something refers to. What is read and answered has one schema: that of the answer.
    pub(super) fn take(mut self) -> Map<String, Value> {
        let mut all = self.asked.take_definitions(true);
        all.extend(self.told.take_definitions(true));
        all
    }

    /// Name the schemas that differ by whether something is read or answered.
    #[cfg(test)]
    pub(super) fn different(mut self) -> Vec<String> {
        let (asked, told) = (self.asked.take_definitions(true), self.told.take_definitions(true));
        let differs = |(name, schema): (String, Value)| told.get(&name).filter(|told| **told != schema).map(|_| name);
        asked.into_iter().filter_map(differs).collect()
    }
}

/// Bound every number by its type, and free every text from what the documentation of code has and people do not read:
/// breaks of lines, and links to code.
pub(super) fn plain(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(plain),
        Value::Object(members) => {
            let format = members.get("format").and_then(Value::as_str);
            if let Some((_, most)) = format.and_then(|format| MOST.iter().find(|(known, _)| *known == format)) {
                members.entry("maximum").or_insert((*most).into());
            }
            if let Some(Value::String(text)) = members.get_mut("description")
                && !text.contains("\n- ")
            {
                *text = unlinked(&text.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            members.values_mut().for_each(plain);
        }
        _ => {}
    }
}

/// Write links to code as the code: ``[`Volume`]`` and ``[`Volume`](super::Volume)`` as `` `Volume` ``.
fn unlinked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((code, behind)) = link.split_once("`]") else { break };
        out.extend([before, "`", code, "`"]);
        let target = behind.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(behind, |(_, behind)| behind);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_for_people() {
        for (written, shown) in [
            ("A [`Volume`].", "A `Volume`."),
            ("An [`ErrorBody`](super::ErrorBody) with [`Job`]s.", "An `ErrorBody` with `Job`s."),
            ("a [list] of `x`", "a [list] of `x`"),
            ("[`open", "[`open"),
        ] {
            assert_eq!(unlinked(written), shown);
        }
        let mut value =
            serde_json::json!({ "description": "One\nline, [`x`].", "items": [{ "description": "a\n- b" }] });
        plain(&mut value);
        assert_eq!(value["description"], "One line, `x`.");
        assert_eq!(value["items"][0]["description"], "a\n- b");
    }
}
