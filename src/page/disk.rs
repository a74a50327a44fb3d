//! Data disk: what is used, what is promised, what is free, and what is kept in reserve, as a bar and in numbers.

use super::parts::percent;
use super::tone::Tone;
use crate::size::spoken;
use crate::wire::StorageDetail;
use maud::{Markup, html};

/// A part of the disk, in the order in which the parts lie in the bar.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    class: &'static str,
    label: &'static str,
    bytes: u64,
}

/// Divide the disk: the parts add up to its capacity. What is promised and not taken yet, and the reserve, are parts
/// of what is free, as far as there is so much.
fn parts(of: &StorageDetail) -> [Part; 5] {
    let storage = &of.storage;
    let free = storage.free_bytes.min(storage.capacity_bytes);
    let taken = storage.capacity_bytes - free;
    let used = storage.used_bytes.min(taken);
    let promised = of.unreserved_bytes.min(free);
    let reserve = of.reserve_bytes.min(free - promised);
    [
        Part { class: "used", label: "used by regions", bytes: used },
        Part { class: "other", label: "used by others", bytes: taken - used },
        Part { class: "promised", label: "promised, not taken yet", bytes: promised },
        Part { class: "free", label: "free", bytes: free - promised - reserve },
        Part { class: "reserve", label: "kept in reserve", bytes: reserve },
    ]
}

/// Draw the disk.
pub(super) fn render(of: &StorageDetail) -> Markup {
    let storage = &of.storage;
    html! { section.card aria-labelledby="disk" {
        h2 #disk { "Data disk" }
        @if storage.mounted && storage.capacity_bytes > 0 {
            p { (Tone::Well.says("mounted")) " at " span.name { (storage.root) } ", " (spoken(storage.capacity_bytes)) ", " (of.provisioning) }
            (bar(of))
        } @else {
            p { (Tone::Bad.says("not mounted")) " at " span.name { (storage.root) } }
        }
    } }
}

fn bar(of: &StorageDetail) -> Markup {
    let (parts, storage) = (parts(of), &of.storage);
    let whole = storage.capacity_bytes as f64;
    let mut at = 0;
    let placed: Vec<_> = parts
        .iter()
        .map(|part| {
            let begins = at;
            at += part.bytes;
            (begins, part)
        })
        .collect();
    html! {
        svg.bar role="img" aria-label={ "Of " (spoken(storage.capacity_bytes)) " " (spoken(storage.free_bytes)) " is free" } {
            @for (begins, part) in &placed {
                rect class=(part.class) x=(percent(*begins as f64, whole)) width=(percent(part.bytes as f64, whole)) height="100%" {}
            }
        }
        ul.legend {
            @for part in &parts {
                li {
                    svg.swatch aria-hidden="true" { rect class=(part.class) width="100%" height="100%" {} }
                    span { (part.label) } b { (spoken(part.bytes)) }
                }
            }
        }
        p.sum {
            (spoken(storage.promised_bytes)) " promised to regions in all, " (spoken(storage.free_bytes)) " free in all."
            @if !of.trash.is_empty() {
                " " (super::parts::count(of.trash.len(), "deleted region is", "deleted regions are")) " kept, and used as well."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn storage(capacity: u64, free: u64, used: u64, unreserved: u64, reserve: u64) -> StorageDetail {
        let value = json!({
            "root": "/crucible", "mounted": true, "capacity_bytes": capacity, "free_bytes": free,
            "promised_bytes": 0, "used_bytes": used, "reserve_bytes": reserve, "provisioning": "thin",
            "unreserved_bytes": unreserved, "regions": [], "trash": [], "disk": null, "belongs_to": null,
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn parts_add_up_to_the_disk_whatever_is_said_of_it() {
        for (of, expected) in [
            (storage(100, 60, 30, 10, 5), [30, 10, 10, 45, 5]),
            (storage(100, 60, 30, 70, 5), [30, 10, 60, 0, 0]),
            (storage(100, 8, 95, 5, 5), [92, 0, 5, 0, 3]),
            (storage(100, 120, 1, 0, 200), [0, 0, 0, 0, 100]),
        ] {
            let parts = parts(&of);
            assert_eq!(parts.iter().map(|part| part.bytes).collect::<Vec<_>>(), expected);
            assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), of.storage.capacity_bytes);
        }
    }
}
