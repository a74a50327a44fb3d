//! What must hold of the description, whatever the tables say.

use super::super::operation::TABLE;
use super::schemas::Schemas;
use super::*;
use std::collections::BTreeSet;

/// Every member of this name, wherever it is.
fn members<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| members(value, name, found)),
        Value::Object(object) => {
            found.extend(object.get(name));
            object.values().for_each(|value| members(value, name, found));
        }
        _ => {}
    }
}

#[test]
fn every_operation_is_described_and_every_reference_leads_somewhere() {
    let document = document();
    let (mut references, mut ids) = (Vec::new(), Vec::new());
    members(&document, "$ref", &mut references);
    members(&document["paths"], "operationId", &mut ids);
    let ids: BTreeSet<_> = ids.into_iter().filter_map(Value::as_str).collect();
    assert_eq!(ids, TABLE.iter().map(|row| row.name).collect());
    assert!(references.len() > 200, "{}", references.len());
    let used: BTreeSet<_> = references.into_iter().map(|reference| reference.as_str().unwrap()).collect();
    for reference in &used {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
    }
    for (kind, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            assert!(used.contains(format!("#/components/{kind}/{name}").as_str()), "nobody refers to {kind}/{name}");
        }
    }
}

#[test]
fn every_parameter_has_a_meaning_and_every_meaning_a_parameter() {
    let named = || TABLE.iter().flat_map(|row| row.parameters.iter().map(move |parameter| (row, parameter.name)));
    for (row, name) in named() {
        assert!(parameters::meaning(row, name).is_some(), "{}: {name}", row.name);
    }
    for known in parameters::all() {
        let has = named().any(|(row, name)| name == known || format!("{}.{name}", row.name) == known);
        assert!(has, "no operation has the parameter {known}");
    }
}

/// A type that is both read and answered is described once.
#[test]
fn what_is_read_is_described_as_what_is_answered() {
    let mut schemas = Schemas::default();
    paths::paths(&mut schemas);
    assert_eq!(schemas.different(), Vec::<String>::new());
}

#[test]
fn an_answer_is_described_with_all_that_it_may_be() {
    let document = document();
    let answers = |path: &str, method: &str| {
        let answers = document["paths"][path][method]["responses"].as_object().unwrap();
        answers.keys().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(answers("/v1/volumes/{volume}", "get"), "200 304 400 403 404 421 500 503");
    assert_eq!(answers("/v1/volumes/{volume}/attach", "post"), "200 400 403 404 408 409 413 421 500 503");
    assert_eq!(answers("/v1/regions/{region}/hold", "post"), "200 202 400 403 404 409 500 503");
    let away = &document["paths"]["/v1/volumes/{volume}"]["get"]["responses"]["503"]["content"]["application/json"];
    assert_eq!(away["schema"]["anyOf"][0]["$ref"], "#/components/schemas/Volume");
    let volume = &document["components"]["schemas"]["Volume"];
    assert_eq!(volume["properties"]["as_of"]["format"], "date-time");
    assert!(volume["required"].as_array().unwrap().contains(&"holder".into()), "it is there, if null");
    let conflict = document["components"]["responses"]["Conflict"]["description"].as_str().unwrap();
    assert!(conflict.contains("- `HOST_ALONE`: A connected host would have too few"), "{conflict}");
}
