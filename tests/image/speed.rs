//! How long the sled takes from the kernel's start to its first 200, and to that of its last volume,
//! beside what a plain minimal Debian takes to multi-user.target on the same machine.

use crate::guest::{BOOT, Disk, Guest, image, run};
use std::process::Command;
use std::time::Instant;

const ROUNDS: usize = 3;
/// Volumes are started in the order of their names.
const FIRST: &str = "chief-horse";
const LAST: &str = "still-fawn";

#[test]
#[ignore = "a benchmark"]
fn from_the_kernels_start_to_the_first_200() {
    let sled = Disk::new().whole().configured(true);
    let mut guest = sled.boot();
    guest.until_ready(LAST);
    guest.switch_off();
    let plain = Disk::empty();
    run(Command::new("cp").args(["--sparse=always"]).arg(image("plain.img")).arg(plain.path()));
    let (mut ours, mut last, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut guest = sled.boot();
        let ready = [FIRST, LAST].map(|volume| {
            guest.until_ready(volume);
            Instant::now()
        });
        let (uptime, now) = (uptime(&guest), Instant::now());
        let since_start = |ready: Instant| uptime - now.duration_since(ready).as_secs_f64();
        ours.push(since_start(ready[0]));
        last.push(since_start(ready[1]));
        guest.switch_off();
        theirs.push(multi_user(&plain));
    }
    let (ours, last, theirs) = (sorted(ours), sorted(last), sorted(theirs));
    let shown = |values: &[f64]| format!("{:.1} s ({:.1}-{:.1})", values[1], values[0], values[2]);
    println!(
        "first 200 after {}, plain Debian {}: {:.2} of 1.30; all four volumes after {}: {:.2}",
        shown(&ours),
        shown(&theirs),
        ours[1] / theirs[1],
        shown(&last),
        last[1] / theirs[1]
    );
}

fn uptime(guest: &Guest<'_>) -> f64 {
    guest.says("cut -d' ' -f1 /proc/uptime").trim().parse().unwrap()
}

fn multi_user(plain: &Disk) -> f64 {
    const WORD: &str = "ActiveEnterTimestampMonotonic=";
    _ = std::fs::remove_file(plain.file("console"));
    let mut guest = plain.boot();
    guest.until("multi-user.target", BOOT, |guest| {
        let shown = guest.console();
        let digits: String = shown.split_once(WORD)?.1.chars().take_while(char::is_ascii_digit).collect();
        // The number is whole when something follows it.
        (shown.split_once(WORD)?.1.len() > digits.len()).then(|| digits.parse::<f64>().unwrap() / 1e6)
    })
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}
