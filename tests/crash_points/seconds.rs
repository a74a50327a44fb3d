//! Which second kills are tried: of each point of an operation the supervisor may be killed at each point of
//! the recovery, too. All those pairs take hours; a run takes a sample, another one each time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many points of a recovery are tried; they have about as many.
const RECOVERY: usize = 12;
/// The points, one in so many, that have a second kill, in a sample.
const ONE_IN: u64 = 3;

/// The choice of a run.
pub enum Seconds {
    /// Every pair.
    All,
    /// Some, by this seed.
    Some(u64),
}

impl Seconds {
    /// Read what the arguments and the environment say.
    pub fn wanted() -> Self {
        if std::env::args().any(|argument| argument == "--pairs") {
            return Self::All;
        }
        let now = || u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos());
        let seed = std::env::var("CRASH_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
        println!("CRASH_SEED={seed}");
        Self::Some(seed)
    }

    /// The tries of this point, once for each: no second kill, or one at that point of the recovery.
    pub fn of(&self, operation: &str, number: usize) -> impl Iterator<Item = Option<usize>> + use<> {
        let chosen = match self {
            Self::All => (0..=RECOVERY).map(|second| (second > 0).then_some(second)).collect(),
            Self::Some(seed) => vec![sample(*seed, operation, number)],
        };
        chosen.into_iter()
    }
}

fn sample(seed: u64, operation: &str, number: usize) -> Option<usize> {
    let mut hasher = DefaultHasher::new();
    (seed, operation, number).hash(&mut hasher);
    let thrown = hasher.finish();
    (thrown.is_multiple_of(ONE_IN)).then(|| usize::try_from(thrown / ONE_IN % RECOVERY as u64).unwrap() + 1)
}
