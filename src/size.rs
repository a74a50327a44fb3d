//! Sizes as people say them. Pure.

/// Bytes in the largest binary unit, with a decimal where it says something.
pub fn spoken(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let fitting = units.iter().find(|(_, shift)| bytes >> shift > 0);
    match fitting {
        None => format!("{bytes} B"),
        Some((unit, shift)) => {
            let tenths = (bytes >> (shift - 10)) * 10 / 1024;
            match tenths % 10 {
                0 => format!("{} {unit}", tenths / 10),
                tenth => format!("{}.{tenth} {unit}", tenths / 10),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_say_them() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (13_421_772_800, "12.5 GiB"), (1 << 40, "1 TiB")];
        for (number, text) in cases {
            assert_eq!(spoken(number), text);
        }
    }
}
