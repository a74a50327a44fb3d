//! Circles: modules of a folder that need one another.

use crate::{LAYERS, module_of, named, sources};
use std::collections::{BTreeMap, BTreeSet};

/// No two modules of a folder, whatever lies in them, need one another.
#[test]
fn there_is_no_circle_within_a_folder() {
    let names = LAYERS.iter().flat_map(|layer| layer.iter());
    let all: Vec<_> = names.flat_map(|module| sources(module)).collect();
    let modules: Vec<_> = all.iter().map(|(file, _)| module_of(file)).collect();
    // From each module to those that it names, by the folder in which both lie.
    let mut arrows: BTreeMap<&[String], BTreeMap<&str, BTreeSet<String>>> = BTreeMap::new();
    for ((file, code), module) in all.iter().zip(&modules) {
        for path in named(file, code) {
            let shared = module.iter().zip(&path).take_while(|(one, other)| one == other).count();
            let (Some(from), Some(to)) = (module.get(shared), path.get(shared)) else { continue };
            if shared > 0 && modules.iter().any(|module| module.starts_with(&path[..=shared])) {
                arrows.entry(&module[..shared]).or_default().entry(from).or_default().insert(to.clone());
            }
        }
    }
    let mut found = Vec::new();
    for (folder, arrows) in &arrows {
        let circle: Vec<_> = arrows.keys().filter(|module| reaches(arrows, module, module)).copied().collect();
        if !circle.is_empty() {
            found.push((folder.join("/"), circle));
        }
    }
    assert_eq!(found, Vec::new());
}

/// Whether one comes to the other by the arrows.
fn reaches(arrows: &BTreeMap<&str, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(at) = next.pop() {
        for other in arrows.get(at).into_iter().flatten() {
            if other == to {
                return true;
            }
            if seen.insert(other.as_str()) {
                next.push(other);
            }
        }
    }
    false
}
