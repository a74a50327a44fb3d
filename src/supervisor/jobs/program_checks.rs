//! Programs that were found to run a moment ago: many ask at once, and one check is enough.

use crate::act::programs;
use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Time for which it is believed of a program that it runs, if nothing was done to its file.
const CHECK_LIFETIME: Duration = Duration::from_secs(10);

/// Programs that were found to run a moment ago: a restart looks when it is asked for and when its turn has
/// come, and of many regions at once.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Lately(Mutex<HashMap<Ran, Said>>);

/// Time at which a program has said that it runs, or that it does not and why.
type Said = (Instant, Result<(), String>);

/// File, as it was when its program ran, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Ran {
    user: String,
    program: PathBuf,
    state: programs::State,
}

impl Ran {
    fn now(user: &str, program: &Path) -> Option<Self> {
        let state = programs::state(program).ok()?;
        Some(Self { user: user.to_owned(), program: program.to_owned(), state })
    }
}

impl Lately {
    /// Ask a program whether it runs, unless this file of it did lately. Whoever comes meanwhile gets the same
    /// answer.
    pub(in crate::supervisor) async fn runs(
        &self,
        user: &str,
        program: &Path,
        ask: impl Future<Output = Result<(), String>>,
    ) -> Result<(), String> {
        let came = Instant::now();
        let mut known = self.0.lock().await;
        known.retain(|_, (when, _)| when.elapsed() < CHECK_LIFETIME);
        let before = Ran::now(user, program);
        match before.as_ref().and_then(|ran| known.get(ran)) {
            Some((_, Ok(()))) => return Ok(()),
            Some((when, Err(why))) if *when > came => return Err(why.clone()),
            _ => {}
        }
        let said = ask.await;
        // Of one that was replaced meanwhile it is not known which of the two it was.
        if let Some(ran) = before.filter(|ran| Ran::now(user, program).as_ref() == Some(ran)) {
            known.insert(ran, (Instant::now(), said.clone()));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_program_is_asked_once_for_a_request_and_its_job_and_anew_when_its_file_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "").unwrap();
        let (lately, asked) = (Lately::default(), AtomicU32::new(0));
        let runs = async |user: &str, well: bool| {
            let ask = async {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
                if well { Ok(()) } else { Err("it does not".to_owned()) }
            };
            lately.runs(user, &program, ask).await
        };
        let times = || asked.load(Ordering::Relaxed);
        // All twelve regions at once.
        for well in [false, true] {
            let all = futures_util::future::join_all((0..12).map(|_| runs("crucible", well))).await;
            assert!(all.iter().all(|ran| ran.is_ok() == well));
        }
        assert_eq!(times(), 2);
        asked.store(1, Ordering::Relaxed);
        runs("crucible", true).await.unwrap();
        assert_eq!(times(), 1);
        runs("nobody", true).await.unwrap();
        assert_eq!(times(), 2, "what one may run another may not");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(runs("crucible", false).await.is_err() && runs("crucible", false).await.is_err());
        assert_eq!(times(), 4, "that it does not run is seen each time");
        runs("crucible", true).await.unwrap();
        tokio::time::advance(CHECK_LIFETIME).await;
        runs("crucible", true).await.unwrap();
        assert_eq!(times(), 6);
        fs::remove_file(&program).unwrap();
        assert!(runs("crucible", false).await.is_err());
    }
}
