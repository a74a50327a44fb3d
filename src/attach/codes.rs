//! The conditions of a volume on a host: one entry for each, the worst first.

use crate::check::codes;

codes! {
    /// The service has ended, as another host was granted the volume (which one, and when), or what has its name is
    /// something else; and what is mounted of it still, and fails.
    VolumeLost = "VOLUME_LOST", Blocking, Volume:
        "its service has ended, and it is another host's: which one, and how"
        => "what is mounted of it fails: end what uses it, and umount it; if it is to be here again: detach it there, then: systemctl start crucible-attach@VOLUME";
    /// The volume is to be served here, and no relay serves it.
    RelayDown = "RELAY_DOWN", Blocking, Volume:
        "no relay serves it, and its service is STATE"
        => "journalctl -u crucible-attach@VOLUME says why; then: systemctl start crucible-attach@VOLUME";
    /// The kernel has a device of the volume, and no relay serves it: requests wait, and fail when ten minutes are over.
    DeviceAlone = "DEVICE_ALONE", Blocking, Volume:
        "DEVICE is connected and no relay serves it: its requests wait, and fail when 10 minutes are over"
        => "systemctl start crucible-attach@VOLUME";
    /// Requests have been held for five seconds or longer; for how long, and why. They go on by themselves.
    RequestsHeld = "REQUESTS_HELD", Blocking, Volume:
        "requests are held for TIME: WHY"
        => "crucible-attach status VOLUME shows what its sleds lack; requests go on by themselves";
    /// What is mounted can be read only: the file system has met an error, or was mounted so.
    MountReadOnly = "MOUNT_READ_ONLY", Blocking, Volume:
        "it is read-only: it was mounted so, or the file system has met an error"
        => "dmesg says which; after an error, stop what uses it, then: umount DIR && fsck DEVICE && mount DIR";
    /// The device is there, `install` has set up that it is mounted, and it is not.
    NotMounted = "NOT_MOUNTED", Blocking, Volume:
        "DEVICE is there, and is to be mounted here, and is not"
        => "systemctl start the unit of its mount, and journalctl -u that says why it was not";
    /// No sled answers; a warning as long as requests go on.
    SledsSilent = "SLEDS_SILENT", Blocking, Volume:
        "no sled answers: each, and why"
        => "are they on, and is this host's network up?";
    /// A relay waits for the volume, and has not won it yet.
    NotWon = "NOT_WON", Blocking, Volume:
        "VOLUME is not won yet: WHY"
        => "crucible-attach status VOLUME shows what its sleds lack; requests go on by themselves";
    /// The service is to connect the kernel's device, serves the volume, and there is none.
    DeviceMissing = "DEVICE_MISSING", Blocking, Volume:
        "the kernel has no device of it, and its service is to connect one"
        => "journalctl -u crucible-attach@VOLUME says why; is the kernel's module there (modprobe nbd)?";
    /// A relay runs and does not say how it is, or may be asked by root alone (NOT_ROOT).
    RelaySilent = "RELAY_SILENT", Warning, Volume:
        "the relay does not say how it is: WHY"
        => "as the reason asks for: as a rule, ask as root";
    /// A request has waited for ten seconds, though a server serves: as a rule for a sled.
    RequestsSlow = "REQUESTS_SLOW", Warning, Volume:
        "a request waits for TIME, though a server serves"
        => "crucible-attach status VOLUME shows what its sleds lack; requests go on by themselves";
    /// The server serves without a replica.
    ServerDegraded = "SERVER_DEGRADED", Warning, Volume:
        "it is degraded: which replicas it lacks"
        => "crucible-attach status VOLUME shows how its sled is; the replica is repaired by itself when it is back";
    /// The server repairs a replica.
    ServerRepairs = "SERVER_REPAIRS", Warning, Volume, passes:
        "it is repairing a replica, and how far it is"
        => "wait until it has gone through all extents; meanwhile restart no other sled of the volume";
    /// The server does not say how it is.
    ServerSilent = "SERVER_SILENT", Warning, Volume:
        "it does not say how it is: WHY"
        => "it is replaced by itself if it answers no requests either; journalctl -u crucible-attach@VOLUME";
    /// The device has another size than the volume.
    DeviceSize = "DEVICE_SIZE", Warning, Volume:
        "it has N bytes, and the volume has N"
        => "systemctl restart crucible-attach@VOLUME connects it anew; nothing is lost by that";
    /// A sled does not answer.
    SledSilent = "SLED_SILENT", Warning, Volume:
        "the sled does not answer: WHY"
        => "is it on, and is the network between the two up?";
    /// A sled says that the volume may not be attached as it is, and why.
    VolumeNotReady = "VOLUME_NOT_READY", Warning, Volume:
        "CODE: what the sled says"
        => "what the sled says is to be done; sledctl explain CODE there says more";
    /// Proxmox does not find its storage usable on this host.
    StorageInactive = "STORAGE_INACTIVE", Warning, Volume:
        "Proxmox does not find it usable on this host"
        => "is it enabled for this node, and mounted? pvesm status --storage STORAGE";
    /// Proxmox would write beneath the mountpoint while nothing is mounted there.
    StorageUnguarded = "STORAGE_UNGUARDED", Warning, Volume:
        "Proxmox writes to the directory beneath when nothing is mounted there, and fills this host's own disk"
        => "pvesm set STORAGE --is_mountpoint yes";
    /// The service was stopped, and does not begin with the machine.
    Detached = "DETACHED", Information, Volume:
        "its service was stopped, and does not begin with the machine"
        => "to attach it: systemctl enable --now crucible-attach@VOLUME";
}
