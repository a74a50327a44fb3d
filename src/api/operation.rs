//! The table of operations: what may be asked of a supervisor. A row is a sentence, the name with its parameters
//! and body, the method and the path, the door at which it is taken, whether the disk is looked at first,
//! whether it is long work, what it answers in which form, what else with which statuses, and whether an answer has a
//! tag or can be followed. Everything else that speaks of operations reads it here. Pure.

use super::body::{Body, BodyRow, Program};
use super::door::Door;
use super::media::Media;
use super::parameter::{
    Choice, ConfigNumber, Directory, Held, JobId, PRETTY, Parameter, ParameterRow, Pretty, Sentence, Since, Unix,
};
use super::request::{Outgoing, Values, in_path, outgoing, segments};
use super::row::{AwayRow, Form, Look, Manner, Work};
use crate::config::Kept;
use crate::names::{RegionName, VolumeName};
use crate::span::Span;
use crate::wire::{
    Attach, Configurations, Difference, Drain, Drained, Error, Events, Extents, Granted, Hardware, Hosts, Job,
    Maintenance, Marked, NetworkDetail, Notified, Ports, Proposal, Refusal, RefusedTicket, Region, Release, Released,
    Replica, Sled, StorageDetail, TargetGroup, Ticket, Volume, Volumes, Word,
};
use bytes::Bytes;
use http::Method;
use std::time::Duration;
use uuid::Uuid;

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// The operation's name, as the enum has it.
    pub name: &'static str,
    /// Summary of what it does, in a sentence that begins with a verb.
    pub summary: &'static str,
    /// HTTP method of a request for it.
    pub method: Method,
    /// Path of the operation; `{name}` stands for a parameter.
    pub path: &'static str,
    /// Door at which it is taken.
    pub door: Door,
    /// Knowledge of the disk that it needs.
    pub look: Look,
    /// Length of its work.
    pub work: Work,
    /// Parameters of the operation: those of the path, and those of the query.
    pub parameters: &'static [ParameterRow],
    /// Body that comes with it, if any does.
    pub body: Option<BodyRow>,
    /// Form of what it answers when it is done; refusals are JSON everywhere.
    pub media: Media,
    /// Schema of what it answers when it is done.
    pub answer: Form,
    /// What it answers with some statuses when it is not done, if that says more than why.
    pub away: Option<AwayRow>,
    /// Manner in which it is answered when it is done.
    pub manner: Manner,
    read: fn(&Values) -> Result<Operation, Error>,
}

impl Row {
    /// Read an operation of this row. What a mistyped parameter was to say must not be overlooked, so one that
    /// the row does not have is refused.
    ///
    /// # Errors
    /// A parameter or the body is none, is missing, or is not known.
    pub fn read(&self, values: &Values) -> Result<Operation, Error> {
        let own = || self.parameters.iter().map(|parameter| parameter.name).filter(|name| !self.in_path(name));
        let known = || own().chain(self.is_json().then_some(PRETTY.name));
        if let Some((key, _)) = values.query.iter().find(|(key, _)| !known().any(|known| known == key)) {
            let all = known().collect::<Vec<_>>().join(", ");
            let remedy = if all.is_empty() { "none is known here".into() } else { format!("known: {all}") };
            return Err(Error::new(Refusal::BadQuery, format!("there is no parameter {key:?}"), remedy));
        }
        values.parameter::<Pretty>(PRETTY.name)?;
        (self.read)(values)
    }

    /// Tell whether it is answered with JSON, which people may have indented ([`PRETTY`]).
    pub fn is_json(&self) -> bool {
        self.media == Media::Json
    }

    /// Tell whether a parameter stands in the path.
    pub fn in_path(&self, name: &str) -> bool {
        in_path(self.path, name)
    }

    /// The segments of the path.
    pub(super) fn segments(&self) -> impl Iterator<Item = &'static str> {
        segments(self.path)
    }
}

/// The name of a parameter: its field's, or as it is said beside it.
macro_rules! named {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident, $name:literal) => {
        $name
    };
}

/// The row of a body, if there is one.
macro_rules! body_row {
    () => {
        None
    };
    ($content:ty) => {
        Some(<$content as Body>::ROW)
    };
}

/// What an operation answers that is not done, if there is more than an error.
macro_rules! away {
    () => {
        None
    };
    ($type:ty => $($status:literal)+) => {
        Some(AwayRow { form: |generator| generator.subschema_for::<$type>(), statuses: &[$($status),+] })
    };
}

/// The manner of an answer: plain, if none is said.
macro_rules! manner {
    () => {
        Manner::Plain
    };
    (tagged) => {
        Manner::Tagged
    };
    (followed) => {
        Manner::Followed
    };
}

macro_rules! operations {
    ($(
        #[doc = $summary:literal]
        $name:ident { $($field:ident $(($wire:literal))? : $type:ty),* } $([ $body:ident : $content:ty ])?
            = $method:ident $path:literal, $door:ident, $look:ident, $work:ident, $media:ident $answer:ty
                $(| $away:ty => $($status:literal)+)? $(, $manner:ident)?;
    )*) => {
        /// An operation, with all that it says.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Operation {
            $(
                #[doc = $summary]
                $name {
                    $(
                        #[doc = concat!("The parameter `", named!($field $(, $wire)?), "`.")]
                        $field: $type,
                    )*
                    $(
                        #[doc = concat!("The body, a [`", stringify!($content), "`].")]
                        $body: $content,
                    )?
                },
            )*
        }

        #[derive(Clone, Copy)]
        enum Index {
            $($name,)*
        }

        /// Every operation that there is.
        pub static TABLE: &[Row] = &[$(
            Row {
                name: stringify!($name),
                summary: $summary,
                method: Method::$method,
                path: $path,
                door: Door::$door,
                look: Look::$look,
                work: Work::$work,
                media: Media::$media,
                parameters: &[$(
                    ParameterRow {
                        name: named!($field $(, $wire)?),
                        kind: <$type as Parameter>::KIND,
                        required: <$type as Parameter>::REQUIRED,
                    },
                )*],
                body: body_row!($($content)?),
                answer: |generator| generator.subschema_for::<$answer>(),
                away: away!($($away => $($status)+)?),
                manner: manner!($($manner)?),
                read: |_values| Ok(Operation::$name {
                    $($field: _values.parameter(named!($field $(, $wire)?))?,)*
                    $($body: <$content as Body>::read(_values.body.clone())?,)?
                }),
            },
        )*];

        impl Operation {
            /// The operation's row in the table.
            pub fn row(&self) -> &'static Row {
                let index = match self { $(Self::$name { .. } => Index::$name,)* };
                &TABLE[index as usize]
            }

            /// The request that asks for it.
            pub fn request(&self) -> Outgoing {
                match self {
                    $(
                        Self::$name { $($field,)* $($body,)? } => {
                            let values: &[(&'static str, Option<String>)] =
                                &[$((named!($field $(, $wire)?), $field.write()),)*];
                            let body = Bytes::new();
                            $(let body = { _ = body; $body.write() };)?
                            outgoing(&self.row().method, self.row().path, values, body)
                        }
                    )*
                }
            }
        }
    };
}

impl Operation {
    /// Tell how long the answer may be held, as was asked for.
    pub fn hold(&self) -> Duration {
        match self {
            Self::ShowVolume { wait: Some(Held(hold)), .. } | Self::ShowJob { wait: Some(Held(hold)), .. } => *hold,
            _ => Duration::ZERO,
        }
    }

    /// Tell how much longer than any other the answer may take, as it is made by a look at each of a region's extents; who
    /// has waited in vain asks again.
    pub fn look(&self) -> Duration {
        match self {
            Self::ShowReplica { .. } | Self::ShowExtents { .. } => LOOK_LIMIT,
            _ => Duration::ZERO,
        }
    }
}

/// Time that a look at the extents of a region may take. One that is not in memory costs a rotating disk two seeks, of its
/// inode and of its trailer, some 25 ms: of 1,000 (128 GiB by the runbook's geometry) all are read within it. Of more the
/// look goes on when nobody waits for it any longer, and the next one finds in memory what this one has read.
pub const LOOK_LIMIT: Duration = Duration::from_secs(25);

operations! {
    /// Tell whether the supervisor's loop turns.
    Health {} = GET "/healthz", Anyone, Published, Short, Text String;
    /// Show the sled to a person, as a page that follows what happens.
    ShowPage {} = GET "/", Anyone, Published, Short, Html String;
    /// Explain every condition to a person; each has its code as its anchor.
    ExplainConditions {} = GET "/checks", Anyone, Published, Short, Html String;
    /// Show this description of the operations, for programs: OpenAPI.
    DescribeApi {} = GET "/openapi.json", Anyone, Published, Short, Json serde_json::Value, tagged;
    /// Show metrics, for Prometheus.
    ShowMetrics {} = GET "/metrics", Anyone, Published, Short, OpenMetrics String;
    /// List every sled of the port map, for the service discovery of Prometheus (`http_sd_configs`).
    ListTargets {} = GET "/v1/targets", Anyone, Published, Short, Json Vec<TargetGroup>, tagged;
    /// Show everything about the sled.
    ShowSled {} = GET "/v1/sled", Anyone, Published, Short, Json Sled;
    /// Show all volumes in short.
    ListVolumes {} = GET "/v1/volumes", Anyone, Published, Short, Json Volumes, tagged;
    /// Show a volume: 200 if a host may attach it now, else 503.
    ShowVolume { volume: VolumeName, wait: Option<Held>, revision: Option<u64> }
        = GET "/v1/volumes/{volume}", Anyone, Published, Short, Json Volume | Volume => 503, tagged;
    /// Show who is connected to a volume, by a look that is made for the answer.
    ShowHosts { volume: VolumeName } = GET "/v1/volumes/{volume}/hosts", Anyone, Nothing, Short, Json Hosts;
    /// Ask for a ticket of a volume, for the address that asks.
    AttachVolume { volume: VolumeName } [ wanted: Attach ]
        = POST "/v1/volumes/{volume}/attach", Host, Nothing, Short, Json Ticket | RefusedTicket => 400 403 409 503;
    /// Let go of the ticket that the address holds that asks.
    ReleaseVolume { volume: VolumeName } [ held: Release ]
        = POST "/v1/volumes/{volume}/release", Host, Nothing, Short, Json Released | RefusedTicket => 400 403 409 503;
    /// Say what has come of that the host is to detach a volume.
    ReportDrain { volume: VolumeName } [ said: Drained ]
        = POST "/v1/volumes/{volume}/drained", Host, Nothing, Short, Json Drain | RefusedTicket => 400 403 409 503;
    /// Let a host talk to a volume again.
    AllowHost { volume: VolumeName, host: String }
        = POST "/v1/volumes/{volume}/allow", Admin, Nothing, Short, Json ();
    /// Cut a host off from a volume.
    DenyHost { volume: VolumeName, host: String }
        = POST "/v1/volumes/{volume}/deny", Admin, Nothing, Short, Json ();
    /// Have a volume drained: who has it is asked to detach it.
    DrainVolume { volume: VolumeName, reason: Option<Sentence> }
        = POST "/v1/volumes/{volume}/drain", Admin, Nothing, Short, Json Drain;
    /// End the drain of a volume.
    EndDrain { volume: VolumeName } = DELETE "/v1/volumes/{volume}/drain", Admin, Nothing, Short, Json Option<Drain>;
    /// Show a region, as its volume does.
    ShowRegion { region: RegionName } = GET "/v1/regions/{region}", Anyone, Published, Short, Json Region, tagged;
    /// Show how the files of a region's extents stand, by a look that is made for this answer.
    ShowExtents { region: RegionName } = GET "/v1/regions/{region}/extents", Admin, Nothing, Short, Json Extents;
    /// Show what a region has flushed, by a look that is made for this answer: for one that is to be filled from it.
    ShowReplica { region: RegionName } = GET "/v1/regions/{region}/replica", Anyone, Nothing, Short, Json Replica;
    /// Create a region; with its name said once more, if it may have existed.
    CreateRegion { region: RegionName, never_existed: Option<RegionName> }
        = POST "/v1/regions/{region}", Admin, First, Long, Json Granted;
    /// Delete a region; with its name said once more, if the port map has it.
    DeleteRegion { region: RegionName, yes_destroy: Option<String> }
        = DELETE "/v1/regions/{region}", Admin, First, Long, Json Granted;
    /// Have a deleted region back; of several the one that was deleted at that second.
    RestoreRegion { region: RegionName, deleted: Option<Unix> }
        = POST "/v1/regions/{region}/restore", Admin, First, Long, Json Granted;
    /// Remove a deleted region for good, with what is destroyed said once more.
    PurgeRegion { region: RegionName, deleted: Option<Unix>, yes_destroy: Option<String> }
        = POST "/v1/regions/{region}/purge", Admin, First, Long, Json Granted;
    /// Tell what adopting a region would come to.
    ProposeAdoption { region: RegionName, from: Option<Directory> }
        = GET "/v1/regions/{region}/adopt", Admin, First, Short, Json Proposal;
    /// Adopt a region, from this directory or from where it is found.
    AdoptRegion { region: RegionName, from: Option<Directory> }
        = POST "/v1/regions/{region}/adopt", Admin, First, Long, Json Granted;
    /// Restart a region's downstairs.
    RestartRegion { region: RegionName, force: bool, rolling: bool }
        = POST "/v1/regions/{region}/restart", Admin, First, Long, Json Granted;
    /// Repair what a region's last scrub found, from the volume's other regions on this sled; or tell what would be done.
    RepairRegion { region: RegionName, dry_run: bool }
        = POST "/v1/regions/{region}/repair", Admin, First, Long, Json Granted;
    /// Make a region anew in the place of one that cannot be repaired, `attached`: also under a host; or tell what would be.
    RebuildRegion { region: RegionName, dry_run: bool, attached: bool }
        = POST "/v1/regions/{region}/rebuild", Admin, First, Long, Json Granted;
    /// Stop a region and keep it from running, for this reason.
    HoldRegion { region: RegionName, force: bool, reason: Option<Sentence> }
        = POST "/v1/regions/{region}/hold", Admin, First, Long, Json Granted;
    /// Let a region run again that is held.
    ReleaseRegion { region: RegionName } = POST "/v1/regions/{region}/release", Admin, First, Long, Json Granted;
    /// Hold every block of a region to its checksum; it goes on meanwhile.
    ScrubRegion { region: RegionName } = POST "/v1/regions/{region}/scrub", Admin, First, Long, Json Granted;
    /// Roll another downstairs program over all regions: the one that is brought, or the one of sled.toml.
    UpgradeDownstairs { force: bool, from: Option<String> } [ program: Program ]
        = POST "/v1/downstairs/upgrade", Admin, First, Long, Json Granted;
    /// List what happened: the last of it, or from some point on. Asked for as a stream, what happens from then on.
    ListEvents {
        since: Option<Since>, region: Option<RegionName>, volume: Option<VolumeName>, code: Option<String>,
        limit: Option<u64>
    } = GET "/v1/events", Anyone, Published, Short, Json Events, followed;
    /// List the jobs that are remembered.
    ListJobs {} = GET "/v1/jobs", Anyone, Published, Short, Json Vec<Job>;
    /// Show a job; with `wait`, when it has ended; with `asks` also when it asks something.
    ShowJob { id: JobId, wait: Option<Held>, revision: Option<u64>, asks: bool }
        = GET "/v1/jobs/{id}", Anyone, Published, Short, Json Job;
    /// Tell a job what it has asked, by the number of the question.
    AnswerJob { id: JobId, number: u64 } [ word: Word ]
        = POST "/v1/jobs/{id}/word", Admin, First, Long, Json Granted;
    /// End a job early.
    CancelJob { id: JobId } = DELETE "/v1/jobs/{id}", Admin, First, Long, Json Granted;
    /// Show whether hosts are asked to wait, why and until when.
    ShowMaintenance {} = GET "/v1/maintenance", Anyone, Published, Short, Json Option<Maintenance>;
    /// Ask hosts to wait, or not any more.
    SetMaintenance { on: Choice, time("for"): Option<Span>, reason: Option<Sentence> }
        = PUT "/v1/maintenance", Admin, Nothing, Short, Json Option<Maintenance>;
    /// Show what takes the data disk.
    ShowStorage {} = GET "/v1/storage", Anyone, Published, Short, Json StorageDetail;
    /// Show the way from the cable to the sled's address.
    ShowNetwork {} = GET "/v1/network", Anyone, Published, Short, Json NetworkDetail;
    /// Show what the machine is made of, and how that is.
    ShowHardware {} = GET "/v1/hardware", Admin, Published, Short, Json Hardware;
    /// Show the ports of this sled's regions, who listens at each, and who is connected.
    ShowPorts {} = GET "/v1/ports", Anyone, Published, Short, Json Ports;
    /// Mark the data disk as this sled's, in place of the one that is named.
    InitStorage { replace: Option<Uuid> } = POST "/v1/storage/init", Admin, First, Short, Json Marked;
    /// Look at the disk and at everything that lies there, and answer when what was seen is shown.
    Look {} = POST "/v1/look", Admin, Afresh, Short, Json ();
    /// Take the configuration over from its files, or show what that would change.
    Reload { dry_run: bool, yes: bool, unattended: bool, kept: Option<ConfigNumber>, by: Option<Sentence> }
        = POST "/v1/reload", Admin, Nothing, Short, Json Difference;
    /// Tell everybody who is to be told of checks that this is a test, and say what came back.
    TestNotify {} = POST "/v1/notify/test", Admin, Nothing, Short, Json Notified;
    /// List the configurations that were in force.
    ListConfigurations {} = GET "/v1/config", Admin, Nothing, Short, Json Configurations;
    /// Show a configuration that was in force, with its files.
    ShowConfiguration { number: ConfigNumber } = GET "/v1/config/{number}", Admin, Nothing, Short, Json Kept;
}
