//! Activity of upstream's server, as it tells it (`/info` of its `--control`). Pure.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The server's answer, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Info {
    /// `active`, once it serves.
    pub(super) state: String,
    /// The state of each replica, in the same words.
    pub(super) ds_state: Vec<Replica>,
    /// Extents that were made alike before it serves, and how many are to be.
    #[serde(default)]
    pub(super) reconcile_done: u64,
    #[serde(default)]
    pub(super) reconcile_needed: u64,
    /// The extent that the repair of each replica has come to, while the server serves.
    #[serde(default)]
    pub(super) extent_limit: Vec<Option<u64>>,
}

/// The state of one replica, in the server's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Replica {
    #[serde(rename = "type")]
    pub(super) state: String,
}

impl Info {
    /// Read the server's answer.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub(super) fn read(body: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(body)
    }

    /// Whether an active server has lost so many of its replicas that nothing is flushed before it has connected to
    /// them anew.
    pub(super) fn is_adrift(&self) -> bool {
        let connecting = self.ds_state.iter().filter(|replica| replica.state == "connecting").count();
        self.state == "active" && connecting >= 2
    }

    /// The activity that these states come to.
    pub(super) fn activity(&self) -> Activity {
        let Self { reconcile_done: done, reconcile_needed: needed, .. } = *self;
        if self.state != "active" {
            return match needed {
                0 => Activity::Activating,
                needed => Activity::Reconciling { done, needed },
            };
        }
        let repaired = self.extent_limit.iter().enumerate().find_map(|(index, at)| Some((index, (*at)?)));
        if let Some((replica, extent)) = repaired {
            return Activity::Repairing { replica, extent };
        }
        let away = self.ds_state.iter().enumerate().filter(|(_, replica)| replica.state != "active");
        let away: Vec<_> = away.map(|(index, _)| index).collect();
        if away.is_empty() { Activity::Active } else { Activity::Degraded { replicas: away } }
    }
}

impl Activity {
    /// The activity in a word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Activating => "activating",
            Self::Reconciling { .. } => "reconciling",
            Self::Active => "active",
            Self::Degraded { .. } => "degraded",
            Self::Repairing { .. } => "repairing",
            Self::Unknown => "unknown",
        }
    }
}

/// The activity of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Activity {
    /// The server looks for its replicas.
    Activating,
    /// The server makes its replicas alike before it serves: so many extents of so many.
    Reconciling { done: u64, needed: u64 },
    /// The server serves, with all replicas.
    Active,
    /// The server serves, without these replicas.
    Degraded { replicas: Vec<usize> },
    /// The server serves, and repairs a replica, whose extents it goes through: it has come to this one.
    Repairing { replica: usize, extent: u64 },
    /// A later version knows of more.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Activity {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Activating => write!(to, "activating: it looks for its replicas"),
            Self::Reconciling { done, needed } => write!(to, "reconciling its replicas: {done} of {needed} extents"),
            Self::Active => write!(to, "active"),
            Self::Degraded { replicas } => {
                let replicas: Vec<_> = replicas.iter().map(ToString::to_string).collect();
                write!(to, "active without replica {}", replicas.join(" and "))
            }
            Self::Repairing { replica, extent } => {
                write!(to, "active, repairing replica {replica}: at extent {extent}")
            }
            Self::Unknown => write!(to, "at something that this version does not know"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_of_themselves_is_understood() {
        let said = |state: &str, replicas: [&str; 3]| {
            let replicas = replicas.map(|state| serde_json::json!({"type": state, "value": {"mode": "x"}}));
            Info::read(serde_json::json!({"state": state, "ds_state": replicas, "up_jobs": 0}).to_string().as_bytes())
                .unwrap()
        };
        let is_active = |info: &Info| info.activity() == Activity::Active;
        assert!(is_active(&said("active", ["active", "active", "active"])));
        assert!(!is_active(&said("active", ["active", "live_repair", "active"])));
        assert!(!is_active(&said("initializing", ["connecting", "connecting", "connecting"])));
        assert!(Info::read(b"{}").is_err());
        // Answers of real servers, where they are at hand.
        let Some(dir) = std::env::var_os("CRUCIBLE_FIXTURES") else { return };
        for file in std::fs::read_dir(std::path::Path::new(&dir).join("info")).unwrap() {
            let path = file.unwrap().path();
            let info = Info::read(&std::fs::read(&path).unwrap()).unwrap();
            let named = path.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(is_active(&info), named == "active-active-active-active.json", "{named}");
        }
    }

    #[test]
    fn what_a_server_is_at_is_told_with_its_progress() {
        let base = serde_json::json!({"state": "active", "ds_state": [{"type": "active"}, {"type": "active"}]});
        for (changed, said) in [
            (serde_json::json!({}), "active"),
            (serde_json::json!({"state": "initializing"}), "activating: it looks for its replicas"),
            (
                serde_json::json!({"state": "initializing", "reconcile_done": 3, "reconcile_needed": 100}),
                "reconciling its replicas: 3 of 100 extents",
            ),
            (serde_json::json!({"ds_state": [{"type": "faulted"}, {"type": "active"}]}), "active without replica 0"),
            (
                serde_json::json!({"ds_state": [{"type": "active"}, {"type": "live_repair"}], "extent_limit": [null, 63]}),
                "active, repairing replica 1: at extent 63",
            ),
        ] {
            let mut info = base.clone();
            changed.as_object().unwrap().iter().for_each(|(name, value)| info[name] = value.clone());
            let activity = Info::read(info.to_string().as_bytes()).unwrap().activity();
            assert_eq!(activity.to_string(), said);
            let written = serde_json::to_string(&activity).unwrap();
            assert_eq!(serde_json::from_str::<Activity>(&written).unwrap(), activity);
        }
        let later: Activity = serde_json::from_str("{\"is\": \"asleep\", \"since\": 7}").unwrap();
        assert_eq!(later, Activity::Unknown);
    }
}
