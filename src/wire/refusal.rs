//! The refusals: why a request or a command is not done, each by a stable code. This is the one table of
//! them: code that decides by a refusal names a variant, HTTP answers with the status that stands here, and
//! what other versions say that this one does not know is kept as it was written. Pure.
//!
//! A refusal may also be a condition of the table of checks ([`crate::check::Code`]), in its own words:
//! [`ErrorCode`](super::ErrorCode) is either.

use http::StatusCode;
use std::fmt;

macro_rules! refusals {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal $(, $status:ident)?;)*) => {
        /// Why something is not done, where no condition of the sled is the reason.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Refusal {
            $($(#[doc = $doc])* $name,)*
        }

        impl Refusal {
            /// Every refusal that there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The refusal as it is written everywhere.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The meaning of the refusal, in a sentence or two.
            pub fn about(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// The status with which HTTP says it; `None` for one that only a program says of itself.
            pub fn status(self) -> Option<StatusCode> {
                match self { $(Self::$name => None $(.or(Some(StatusCode::$status)))?,)* }
            }
        }
    };
}

refusals! {
    // Of a request over HTTP, whatever it asks for.
    /// The body is not what is asked for, is too long, or did not come.
    BadBody = "BAD_BODY", BAD_REQUEST;
    /// A name in the path is none of a region.
    BadName = "BAD_NAME", BAD_REQUEST;
    /// The path, or one in a parameter, cannot be used as one.
    BadPath = "BAD_PATH", BAD_REQUEST;
    /// A parameter is not known, is there twice, is missing, or has a value that is none.
    BadQuery = "BAD_QUERY", BAD_REQUEST;
    /// The peer of the unix socket is neither root nor of the group `sled`.
    Forbidden = "FORBIDDEN", FORBIDDEN;
    /// The path does not take that method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED;
    /// The request names another machine than this sled.
    NameForeign = "NAME_FOREIGN", MISDIRECTED_REQUEST;
    /// There is nothing at that path.
    NotFound = "NOT_FOUND", NOT_FOUND;
    /// A web page of somebody else's makes the request.
    OriginForeign = "ORIGIN_FOREIGN", FORBIDDEN;
    /// The supervisor's loop has not turned for long.
    LoopStuck = "LOOP_STUCK", SERVICE_UNAVAILABLE;
    /// The supervisor has not seen everything yet.
    Starting = "STARTING", SERVICE_UNAVAILABLE;
    /// The supervisor is ending.
    Stopping = "STOPPING", SERVICE_UNAVAILABLE;

    // Of regions and jobs.
    /// The region was deleted more than once, and it is not said which one is meant.
    Ambiguous = "AMBIGUOUS", CONFLICT;
    /// Another job is at the region, or another upgrade is under way.
    Busy = "BUSY", CONFLICT;
    /// The job was cancelled; everything is as it was.
    Cancelled = "CANCELLED", CONFLICT;
    /// The region was not created.
    CreateFailed = "CREATE_FAILED", CONFLICT;
    /// The supervisor ended while the job was at work.
    CutShort = "CUT_SHORT", CONFLICT;
    /// The region was not moved to the trash.
    DeleteFailed = "DELETE_FAILED", CONFLICT;
    /// The work ended for a reason that has no code of its own.
    Failed = "FAILED", INTERNAL_SERVER_ERROR;
    /// A connected host would have too few of the volume's regions left.
    HostAlone = "HOST_ALONE", CONFLICT;
    /// Hosts, or programs of this host, use what would be taken away.
    InUse = "IN_USE", CONFLICT;
    /// No job of that number is remembered.
    JobUnknown = "JOB_UNKNOWN", NOT_FOUND;
    /// The region was not adopted; everything is as it was.
    NotAdopted = "NOT_ADOPTED", CONFLICT;
    /// The job does not ask that, or not any more.
    NotAsked = "NOT_ASKED", CONFLICT;
    /// The job has ended, or has gone too far to be cancelled.
    NotCancellable = "NOT_CANCELLABLE", CONFLICT;
    /// The data disk was not marked as this sled's.
    NotMarked = "NOT_MARKED", CONFLICT;
    /// The region was not made anew, or is not filled yet; the error says which.
    NotRebuilt = "NOT_REBUILT", CONFLICT;
    /// Some of what is wrong with the region was not repaired, and is as it was.
    NotRepaired = "NOT_REPAIRED", CONFLICT;
    /// Nobody is to be told of checks.
    NotifyUnset = "NOTIFY_UNSET", CONFLICT;
    /// The region's unit was not stopped.
    NotStopped = "NOT_STOPPED", CONFLICT;
    /// The data disk has too little room for the region.
    NoRoom = "NO_ROOM", CONFLICT;
    /// The user as whom downstairs run does not exist.
    NoUser = "NO_USER", CONFLICT;
    /// The region that is to come back is older than its siblings, and would win over them at the next activation.
    OlderWouldWin = "OLDER_WOULD_WIN", CONFLICT;
    /// The downstairs program cannot be run by the unit's user.
    ProgramUnusable = "PROGRAM_UNUSABLE", CONFLICT;
    /// The deleted region was not removed whole.
    PurgeFailed = "PURGE_FAILED", CONFLICT;
    /// The port map puts the region on another sled.
    RegionElsewhere = "REGION_ELSEWHERE", NOT_FOUND;
    /// The region is there already.
    RegionExists = "REGION_EXISTS", CONFLICT;
    /// The port map, the ledger or the trash has no such region.
    RegionUnknown = "REGION_UNKNOWN", NOT_FOUND;
    /// The region's downstairs does not serve again.
    RestartFailed = "RESTART_FAILED", CONFLICT;
    /// The deleted region was not moved to its place.
    RestoreFailed = "RESTORE_FAILED", CONFLICT;
    /// The scrub of the region could not go on.
    ScrubFailed = "SCRUB_FAILED", CONFLICT;
    /// Another region of the volume does not serve.
    SiblingDown = "SIBLING_DOWN", CONFLICT;
    /// Another region of the volume, from which this one would be filled, is not known to be whole.
    SiblingNotWhole = "SIBLING_NOT_WHOLE", CONFLICT;
    /// Whether the volume's regions on other sleds serve cannot be told.
    SiblingUnknown = "SIBLING_UNKNOWN", CONFLICT;
    /// A region does not serve with the new program, and the old one runs again.
    UpgradeFailed = "UPGRADE_FAILED", CONFLICT;
    /// The new program cannot be used; nothing was changed.
    UpgradeRefused = "UPGRADE_REFUSED", CONFLICT;
    /// What would be destroyed is not named once more.
    YesDestroy = "YES_DESTROY", CONFLICT;

    // Of the configuration.
    /// No configuration of that number is kept.
    ConfigUnknown = "CONFIG_UNKNOWN", NOT_FOUND;
    /// The change would interrupt hosts that are connected.
    HostsConnected = "HOSTS_CONNECTED", CONFLICT;
    /// The change takes effect by a restart of the supervisor only.
    NeedsRestart = "NEEDS_RESTART", CONFLICT;
    /// The change would do harm, and that is not agreed to.
    NeedsYes = "NEEDS_YES", CONFLICT;
    /// The configuration could not be kept, so it is not in force.
    NotKept = "NOT_KEPT", CONFLICT;

    // Of events.
    /// As many follow the events already as can be served.
    TooManyFollow = "TOO_MANY_FOLLOW", SERVICE_UNAVAILABLE;

    // Of volumes and tickets.
    /// Whoever asked is not there any more to be answered.
    AskerGone = "ASKER_GONE", BAD_REQUEST;
    /// Whether somebody waits for the answer cannot be seen.
    AskerUnseen = "ASKER_UNSEEN", SERVICE_UNAVAILABLE;
    /// No generation is left above the highest one.
    GenerationsUsedUp = "GENERATIONS_USED_UP", SERVICE_UNAVAILABLE;
    /// The generation asked for is far above all that were granted.
    GenerationTooHigh = "GENERATION_TOO_HIGH", BAD_REQUEST;
    /// The host was cut off from the volume.
    HostDenied = "HOST_DENIED", FORBIDDEN;
    /// The host may not attach the volume.
    HostNotAllowed = "HOST_NOT_ALLOWED", FORBIDDEN;
    /// The port map has no host of that name.
    HostUnknown = "HOST_UNKNOWN", CONFLICT;
    /// The volume is not being drained, or that was asked for anew.
    NotDraining = "NOT_DRAINING", CONFLICT;
    /// Whom the regions let in was not changed, or that is not proved.
    NotFenced = "NOT_FENCED", SERVICE_UNAVAILABLE;
    /// The host does not hold the volume's ticket.
    NotHeld = "NOT_HELD", CONFLICT;
    /// The volume may not be attached now.
    NotReady = "NOT_READY", SERVICE_UNAVAILABLE;
    /// What was asked for could not be written down, so it is not so.
    NotRecorded = "NOT_RECORDED", SERVICE_UNAVAILABLE;
    /// The host is connected to what it would let go of.
    StillAttached = "STILL_ATTACHED", CONFLICT;
    /// Another host is connected to the volume.
    VolumeAttachedElsewhere = "VOLUME_ATTACHED_ELSEWHERE", CONFLICT;
    /// No region of the volume is on this sled.
    VolumeElsewhere = "VOLUME_ELSEWHERE", NOT_FOUND;
    /// Another host holds the volume's ticket and may come back.
    VolumeHeldElsewhere = "VOLUME_HELD_ELSEWHERE", CONFLICT;
    /// The port map has no such volume.
    VolumeUnknown = "VOLUME_UNKNOWN", NOT_FOUND;

    // Of `sledctl`.
    /// This boot of the image is not a good one.
    BootFailed = "BOOT_FAILED";
    /// There is no condition of that code to be explained; of `crucible-attach` as well.
    CodeUnknown = "CODE_UNKNOWN";
    /// The answers to `sledctl setup` are not complete.
    Incomplete = "INCOMPLETE";
    /// The ssh keys that are named let nobody in, or are private.
    KeysUnusable = "KEYS_UNUSABLE";
    /// The backup is another sled's, or of another data disk.
    BackupForeign = "BACKUP_FOREIGN";
    /// A record is newer here than in the backup.
    BackupOlder = "BACKUP_OLDER";
    /// The records change while they are looked at.
    BackupUnsettled = "BACKUP_UNSETTLED";
    /// The file is no backup, is damaged, or cannot be used.
    BackupUnusable = "BACKUP_UNUSABLE";
    /// The supervisor must not run while that is done.
    SupervisorRuns = "SUPERVISOR_RUNS";
    /// The arguments of a command do not go together, or one is missing.
    Misused = "MISUSED";
    /// Nobody is there who could be asked whether something is meant.
    NotConfirmed = "NOT_CONFIRMED";
    /// The machine does not reboot.
    NotRebooted = "NOT_REBOOTED";
    /// Only root may do that.
    NotRoot = "NOT_ROOT";
    /// A file of the configuration could not be written.
    NotWritten = "NOT_WRITTEN";
    /// A file that is named cannot be read.
    NoFile = "NO_FILE";
    /// The machine does not run the image of a sled.
    NoImage = "NO_IMAGE";
    /// The program that is named cannot be read or run, or is not installed.
    NoProgram = "NO_PROGRAM";
    /// The disk is none to install on, or it was not said what becomes of the regions on it.
    DiskRefused = "DISK_REFUSED";
    /// The image was not installed whole.
    InstallFailed = "INSTALL_FAILED";
    /// The disk that the machine was started from is none to install from.
    NoStick = "NO_STICK";
    /// Nobody has said where updates come from.
    NoSource = "NO_SOURCE";
    /// The update that is named cannot be used.
    NoUpdate = "NO_UPDATE";
    /// No version before the running one is there that could be started.
    NoneBefore = "NONE_BEFORE";
    /// The update needs a newer layout of the machine's disks than they have.
    LayoutOld = "LAYOUT_OLD";
    /// The running version of the image is on trial.
    OnTrial = "ON_TRIAL";
    /// The port map has no such sled beside this one.
    SledUnknown = "SLED_UNKNOWN";
    /// The supervisor, or a sled, cannot be reached.
    Unreachable = "UNREACHABLE";
    /// The update was not installed.
    UpdateFailed = "UPDATE_FAILED";

    // Of `crucible-attach`.
    /// What has the volume's name is another volume than before.
    BackendChanged = "BACKEND_CHANGED";
    /// The volume holds something else than the file system that is wanted.
    ContentForeign = "CONTENT_FOREIGN";
    /// The volume is installed with another mountpoint.
    HasMount = "HAS_MOUNT";
    /// Another command of this host is at the machine's network or the volumes.
    HostBusy = "HOST_BUSY";
    /// The writes that were kept cannot be read.
    KeptUnreadable = "KEPT_UNREADABLE";
    /// The lock of a volume cannot be taken.
    LockFailed = "LOCK_FAILED";
    /// The mountpoint has something in it.
    MountpointNotEmpty = "MOUNTPOINT_NOT_EMPTY";
    /// Something else is mounted, or lies, at the mountpoint.
    MountpointTaken = "MOUNTPOINT_TAKEN";
    /// The volume holds no file system.
    NothingThere = "NOTHING_THERE";
    /// The server cannot have a network of its own.
    NotApart = "NOT_APART";
    /// Writes that were acknowledged are not on the sleds yet.
    NotFlushed = "NOT_FLUSHED";
    /// A part of the host's package is not installed.
    NotInstalled = "NOT_INSTALLED";
    /// The process that serves the volume is none of the service's.
    NotOurs = "NOT_OURS";
    /// The ticket was not released on every sled.
    NotReleased = "NOT_RELEASED";
    /// The volume's device is not there.
    NoDevice = "NO_DEVICE";
    /// A step was carried out and what it was for is not so.
    NoEffect = "NO_EFFECT";
    /// Fewer than two of the volume's regions are to be had.
    NoMajority = "NO_MAJORITY";
    /// The host is none of Proxmox.
    NoProxmox = "NO_PROXMOX";
    /// The volume's server cannot be run.
    NoServer = "NO_SERVER";
    /// The socket on which the volume is served cannot be had.
    NoSocket = "NO_SOCKET";
    /// systemd does not answer on D-Bus.
    NoSystemd = "NO_SYSTEMD";
    /// A sled answered something that is no answer.
    OddAnswer = "ODD_ANSWER";
    /// A line of /etc/fstab mounts what is to be taken over.
    OldInFstab = "OLD_IN_FSTAB";
    /// The unit that is to be taken over serves another volume.
    OldIsAnother = "OLD_IS_ANOTHER";
    /// The volume, or what it holds, has another size than the ticket says.
    OtherSize = "OTHER_SIZE";
    /// A program that was run has failed.
    ProgramFailed = "PROGRAM_FAILED";
    /// A program that was run has not ended in time.
    ProgramHangs = "PROGRAM_HANGS";
    /// The sleds refuse the volume.
    Refused = "REFUSED";
    /// The volume's relay does not say how it is.
    RelaySilent = "RELAY_SILENT";
    /// `crucible-nbd-server` is not installed.
    ServerMissing = "SERVER_MISSING";
    /// The sleds say different things of the volume.
    SledsDisagree = "SLEDS_DISAGREE";
    /// Whatever answers at the address of a sled of the volume is not that sled.
    SledMissing = "SLED_MISSING";
    /// Proxmox has another storage of that name.
    StorageTaken = "STORAGE_TAKEN";
    /// The time that was given is up.
    TimedOut = "TIMED_OUT";
    /// A unit was not started or stopped.
    UnitFailed = "UNIT_FAILED";
    /// Somebody else has a unit of that name.
    UnitTaken = "UNIT_TAKEN";
    /// What the device holds cannot be read.
    Unreadable = "UNREADABLE";
    /// The command line asks for something that makes no sense.
    Usage = "USAGE";
    /// Another process of this host serves the volume.
    VolumeBusy = "VOLUME_BUSY";
    /// Another host was granted the volume.
    VolumeTaken = "VOLUME_TAKEN";

    // Of a network test between a host and a sled.
    /// The test has not come to its end.
    NetTestFailed = "NET_TEST_FAILED";
    /// The sled does not test with this host, or not for so long.
    NetTestRefused = "NET_TEST_REFUSED";

    // Of the kernel's network block device.
    /// The kernel let go of the device at once.
    NbdDropped = "NBD_DROPPED";
    /// Only root may set up devices.
    NbdForbidden = "NBD_FORBIDDEN";
    /// The server speaks no NBD, or not the kind that is needed.
    NbdHandshake = "NBD_HANDSHAKE";
    /// The device is connected, or mounted.
    NbdInUse = "NBD_IN_USE";
    /// The kernel has not done it in time.
    NbdLate = "NBD_LATE";
    /// The device is not connected.
    NbdNotConnected = "NBD_NOT_CONNECTED";
    /// The kernel has no such device.
    NbdNoDevice = "NBD_NO_DEVICE";
    /// The kernel does not remember what a device is of.
    NbdNoIdentifier = "NBD_NO_IDENTIFIER";
    /// The kernel has no network block device.
    NbdNoModule = "NBD_NO_MODULE";
    /// The device is of another volume.
    NbdOtherBackend = "NBD_OTHER_BACKEND";
    /// The kernel refuses it.
    NbdRefused = "NBD_REFUSED";
    /// The server cannot be reached.
    NbdUnreachable = "NBD_UNREACHABLE";
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
