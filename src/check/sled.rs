//! The conditions of a sled: one entry for each, the ones that an operator should look at first in front. Those of the
//! network, of the data and of the machine below it are in files of their own.

use super::data::with_data;
use super::network::with_network;

with_network! { with_data: {
    /// The files of the configuration have faults. The sled is run by what was in force before, also over a reboot;
    /// if nothing was, nothing is supervised until they are mended, and every question but `config check`,
    /// `config diff` and `reload` is answered with the faults. What runs goes on.
    ConfigInvalid = "CONFIG_INVALID", Warning, Operator:
        "the files in DIR, changed TIME, have N fault(s): FIRST; the sled is run by what is in force"
        => "mend them, then: sledctl reload (sledctl config check lists all); or put the last ones back: sledctl config restore N";
    /// What is in force could not be written to `/var/lib/sled`: with a fault in the files the next start has nothing
    /// to serve with.
    ConfigNotKept = "CONFIG_NOT_KEPT", Warning, Operator:
        "what is in force cannot be kept: WHY; with a fault in the files the next start has nothing to serve with"
        => "make room for it and make it writable: /var/lib/sled; it is tried again by itself";
    /// The files of the configuration are not what is in force: `config diff` shows what they change. The next start of
    /// the supervisor takes them over.
    ConfigPending = "CONFIG_PENDING", Information, Operator:
        "the files in DIR, changed TIME, are not in force; that is what is in force since TIME; the next start of sledd takes the files"
        => "see what they change: sledctl config diff; then: sledctl reload; or put back what is in force: sledctl config restore N";
    /// systemd does not answer on D-Bus; what is shown of the units is what was last known.
    SystemdUnreachable = "SYSTEMD_UNREACHABLE", Warning, Sled:
        "systemd does not answer on D-Bus: WHY"
        => "systemctl status dbus; what is shown of the units is what was last known";
    /// Which downstairs program each region runs cannot be read: `/var/lib/sled/programs.json` is damaged, and so is
    /// its copy. The units stay as they were, and everything goes on by them; no upgrade is begun. Regions that another
    /// configuration has changed meanwhile are not started: the cause names them.
    ProgramsUnreadable = "PROGRAMS_UNREADABLE", Warning, Sled:
        "which downstairs program each region runs cannot be read, so the units are not written anew: WHY"
        => "restore /var/lib/sled/programs.json, for example from a backup; it is read again by itself";
    /// systemd does not have the units as they are configured, for example because `/run` is full. They stay as they
    /// were, and what runs goes on. The regions that are configured otherwise than their units, which the cause names,
    /// are not started before systemd has them; all others are.
    UnitsOutdated = "UNITS_OUTDATED", Warning, Sled:
        "systemd does not have the units as they are configured: WHY"
        => "see df -h /run and journalctl -b -p err _PID=1; it is tried again by itself";
    /// systemd accepts what the regions' units ask for, the ports to listen on or the hosts to speak with, and does not
    /// enforce it, or it is not known. It is tried with a unit made for it: at the start of sledd, and again whenever
    /// systemd has read its units or executed itself anew. The usual reason is that `libbpf1` is not installed, or a
    /// container that may not use the system call bpf.
    PortMapNotEnforced = "PORT_MAP_NOT_ENFORCED", Warning, Sled:
        "systemd does not enforce on which ports a downstairs may listen, or with which hosts it may speak: WHY"
        => "as the reason asks for: apt install libbpf1, then systemctl daemon-reexec; or a systemd, a kernel or a container with BPF";
    /// The data disk is not mounted at the storage root, or that is not there: nothing is created, and nothing started.
    DataNotMounted = "DATA_NOT_MOUNTED", Blocking, Sled:
        "no file system is mounted at ROOT: nothing is created and nothing is started"
        => "mount the data disk at ROOT (systemctl status '*.mount' shows why it is not)";
    /// The disk at the storage root is not marked as this sled's: `storage init`, if it is the right one. Nothing is
    /// done on it.
    DataForeign = "DATA_FOREIGN", Blocking, Sled:
        "the disk at ROOT belongs to the sled NAME, has no mark, or is another one than this sled's"
        => "mount this sled's own data disk at ROOT; if it is the right disk: sledctl storage init";
    /// The machine is being switched off.
    SledStopping = "SLED_STOPPING", Blocking, Sled:
        "the machine is being switched off, and the regions are stopped"
        => "wait until it is back";
    /// Somebody is at work on the sled, and hosts are asked to wait: `maintenance off`, or wait for the end that is
    /// shown. What is attached goes on.
    Maintenance = "MAINTENANCE", Blocking, Sled:
        "no host may attach a volume until TIME, as somebody is at work on the sled: REASON"
        => "wait until TIME, or: sledctl maintenance off";
    /// The volume is to be free: who has it is asked to detach it, and no other host gets a ticket until
    /// `volume drain --end`. The cause says what the host has said.
    VolumeDraining = "VOLUME_DRAINING", Blocking, Volume:
        "it is being drained (REASON), and no host gets a ticket; what its host has said"
        => "when it may be attached again: sledctl volume drain VOLUME --end";
    /// Something could not be looked at for too long, for example a disk that hangs: what is known of it may be old.
    NotSeen = "NOT_SEEN", Blocking, Sled:
        "the WHAT could not be looked at for N s: what was known of it may not be so any more"
        => "see journalctl -u sledd and dmesg for why the look at the WHAT does not come back";
    /// The data disk cannot be written to.
    DataReadOnly = "DATA_READ_ONLY", Blocking, Sled:
        "the file system at ROOT cannot be written to"
        => "see dmesg: after an error the kernel makes a file system read-only; check the disk and mount it again";
    /// The data disk is full, and the regions are thin; or no file can be made on it, as it has no inodes left. It
    /// blocks until there is room.
    DiskFull = "DISK_FULL", Blocking, Sled:
        "N of N is free at ROOT: a region that is written to hangs until there is more"
        => "make room on it at once (sledctl storage shows what takes it); a restart of the regions does not help";
    /// Less of the data disk is free than the largest extent file of a volume's regions takes. A repair copies such a
    /// file beside the old one, whether or not the regions' own blocks are reserved: without that room a region that
    /// was away stays out of date, and a host that attaches anew waits for ever. Hosts that are attached go on; make
    /// room before anything is restarted: `region restart`, `region hold`, `downstairs upgrade` and `region adopt` are
    /// refused meanwhile for regions that a host is connected to (but for `--force`), and a region whose ports were
    /// changed stays where it is.
    RepairImpossible = "REPAIR_IMPOSSIBLE", Blocking, Volume:
        "N is free at ROOT, and to repair a region takes N: a region that was away stays out of date, and a host that attaches anew would wait for its repair without end"
        => "make room on the disk (sledctl storage shows what takes it); hosts that are attached go on: restart neither them nor a region before";
    /// Less of the data disk is free than `storage.reserve` keeps.
    DiskLow = "DISK_LOW", Warning, Sled:
        "N of N is free at ROOT, and N is to be kept in reserve"
        => "make room, or add a disk, before it is full: sledctl storage shows what takes it";
    /// Neither copy of the record of which regions exist, `.sled/ledger.json` on the data disk, can be read. Nothing is
    /// started or created until `region adopt --all` has rebuilt it, if it is lost; one that a newer sledd wrote is not.
    LedgerUnreadable = "LEDGER_UNREADABLE", Blocking, Sled:
        "neither copy of the ledger can be read: WHY"
        => "if it is lost, it is rebuilt from the regions themselves: sledctl region adopt --all --dry-run, then without --dry-run; else install the sledd that wrote it";
    /// One of the ledger's two copies cannot be read. It is written anew from the other.
    LedgerDamaged = "LEDGER_DAMAGED", Warning, Sled:
        "one of the ledger's two copies cannot be read: WHY"
        => "none is needed: it is written anew from the other; see dmesg for errors of the disk";
    /// The record of who holds the last ticket of a volume, or of any, cannot be read, or is gone: nobody gets another
    /// one, and who is let in stays as it is, until an operator says who may have it (`volume allow`).
    TicketsUnreadable = "TICKETS_UNREADABLE", Blocking, Sled:
        "who holds the volume's last ticket cannot be read: WHY"
        => "say which host may have it: sledctl volume allow VOLUME HOST; and see dmesg for the disk";
    /// The record of who holds a volume's last ticket is not as it was written, while the supervisor knows what it said:
    /// it is written anew.
    TicketsDamaged = "TICKETS_DAMAGED", Warning, Volume:
        "the record of who holds its last ticket is not as it was written: WHY"
        => "none is needed: it is written anew, as what it said is known; see dmesg for errors of the disk";
    /// What an earlier supervisor left undone on the data disk could not be finished or undone.
    NotSettled = "NOT_SETTLED", Blocking, Sled:
        "what an earlier supervisor left undone cannot be finished: WHY"
        => "mend that; it is tried again every 10 s, and nothing is started or created before";
    /// More may still be written to the regions than is free.
    DiskOvercommitted = "DISK_OVERCOMMITTED", Warning, Sled:
        "N is promised to regions, of which N is taken: N more may be written, and N is free"
        => "watch it (sledctl storage): when it is full, every region that is written to hangs";
} {
    /// The files of `[tls]` cannot be used: one is missing, closed to the service user or damaged, the key is in a form
    /// that the downstairs does not take or open to others, they do not belong together, or the certificate is not valid
    /// now. What runs goes on with what it read when it started; nothing is started until they are mended. Of one region
    /// alone it is told when that goes on with a certificate that has ended.
    TlsUnusable = "TLS_UNUSABLE", Blocking, Sled:
        "what is wrong with FILE, or that the files do not belong together"
        => "the command that mends it; what runs is restarted after it: sledctl region restart --all --rolling";
    /// A certificate of `[tls]` ends within `tls.expires_warning`, 30 days unless something else is written. Once the
    /// sled's own has ended, hosts are refused, and it is TLS_UNUSABLE that says so.
    CertExpires = "CERT_EXPIRES", Warning, Sled:
        "FILE: the certificate of SUBJECT expires at TIME; from then on hosts are refused"
        => "put a renewed certificate there; then, as a downstairs reads it only when it starts: sledctl region restart --all --rolling";
    /// Another process listens on a port that the map gives to a region. The region starts by itself when it is free.
    PortTaken = "PORT_TAKEN", Blocking, Region:
        "process PID (COMMAND) of UNIT listens on port N, which belongs to REGION"
        => "systemctl disable --now UNIT, or end process PID; the region starts by itself when the port is free";
    /// The region was never created, was deleted, or its directory is gone. One that is on record is never created
    /// again.
    RegionMissing = "REGION_MISSING", Blocking, Region:
        "it has not been created; it was deleted at TIME; or ROOT/REGION is gone"
        => "sledctl region create REGION; a deleted one: sledctl region restore REGION; one that is gone: find out who moved or removed it, and put it back";
    /// A job creates the region.
    RegionCreating = "REGION_CREATING", Blocking, Region, passes:
        "it is being created"
        => "wait until it is done: sledctl jobs";
    /// A job takes the region over from what served it before; or one that was cut short is being undone.
    RegionAdopting = "REGION_ADOPTING", Blocking, Region, passes:
        "it is being adopted"
        => "wait until it is done: sledctl jobs";
    /// A job deletes the region, or restores it.
    RegionDeleting = "REGION_DELETING", Blocking, Region, passes:
        "it is being deleted or restored"
        => "wait until it is done: sledctl jobs";
    /// The region is there as it was before this supervisor, `ROOT/vm-REGION`, and waits to be adopted.
    RegionUnadopted = "REGION_UNADOPTED", Blocking, Region:
        "ROOT/vm-REGION is there, from before this supervisor"
        => "sledctl region adopt REGION; --dry-run shows what it does";
    /// What lies in the region's directory, or what answers for it, is not the region on record.
    RegionIdentity = "REGION_IDENTITY", Blocking, Region:
        "region.json has another UUID or geometry than is on record; it is the region of OTHER"
        => "restore DIR; the supervisor starts nothing on it as it is; directories that were swapped: give each its own name back";
    /// A file of the region is missing, has a wrong length, or belongs to somebody else. Looked at while its downstairs
    /// does not run: one that runs replaces files when it repairs them.
    RegionDamaged = "REGION_DAMAGED", Blocking, Region:
        "DIR: what is wrong with which file"
        => "one with a wrong owner: chown -R USER: DIR; one that is missing: put back what was moved, or restore DIR from a backup; else look at the disk (dmesg)";
    /// A directory with the region's name exists that the ledger does not know.
    RegionUnrecorded = "REGION_UNRECORDED", Blocking, Region:
        "DIR exists, and the ledger does not know it"
        => "if it is a region: sledctl region adopt REGION checks it and puts it on record; else move it away";
    /// Another process has files of the region open for writing, for example a downstairs that was started by hand. It
    /// is told and left alone; the region is not started beside it.
    RegionForeignProcess = "REGION_FOREIGN_PROCESS", Blocking, Region:
        "process PID (COMMAND) of UNIT has files of REGION open for writing; two writers corrupt a region"
        => "if it is no repair of yours: systemctl stop UNIT, or kill PID";
    /// The region's downstairs failed in a way that no restart cures. It is held until `region release`.
    RegionBroken = "REGION_BROKEN", Blocking, Region:
        "it is held: how its downstairs failed, and with which words"
        => "mend what the cause says; then: sledctl region release REGION";
    /// The region's downstairs ended `downstairs.crashes` times within `downstairs.crashes_within`. It is held until
    /// `region release`.
    RegionCrashLoop = "REGION_CRASH_LOOP", Blocking, Region:
        "it is held: its downstairs ended N times within TIME"
        => "find out why (journalctl -u crucible-downstairs@REGION -n 50); then: sledctl region release REGION";
    /// Somebody holds the region: it is kept from running until `region release`.
    RegionHeld = "REGION_HELD", Blocking, Region:
        "it is held, as was asked for: REASON"
        => "sledctl region release REGION";
    /// The region's downstairs does not run; the cause says why, or how it has ended, and with which words. After a
    /// passing trouble systemd starts it again, ever more slowly. One that found a port taken, its address missing or
    /// the disk full is stopped, and started again when that is over.
    RegionDown = "REGION_DOWN", Blocking, Region:
        "its downstairs does not run: WHY; or how it has ended"
        => "read why: journalctl -u crucible-downstairs@REGION -n 50; it is started again without a hand";
    /// The region's downstairs runs, and does not listen yet; or a job restarts it.
    RegionStarting = "REGION_STARTING", Blocking, Region, passes:
        "its downstairs runs and does not listen yet"
        => "wait";
    /// The machine ended without a shutdown, and the extents of the region that may not fit their checksums because of that
    /// are read before it serves (`storage.verify_after_crash`). What is found is told as by a scrub, and the region serves
    /// then in any case.
    RegionVerifying = "REGION_VERIFYING", Blocking, Region, passes:
        "the machine ended without a shutdown: what was being written then is held to its checksums before it serves"
        => "wait; how far it is: sledctl jobs follow N; to have it serve without: sledctl jobs cancel N";
    /// The region's downstairs listens and has not answered for `downstairs.hung_after`; the cause says what it is
    /// doing. It is restarted only with `downstairs.restart_hung_after`. On a full disk it is DISK_FULL that says so,
    /// and nothing is restarted.
    RegionHung = "REGION_HUNG", Blocking, Region:
        "its downstairs listens, and does not answer: what it is doing"
        => "look at the disk first (dmesg); if that is well: sledctl region restart REGION";
    /// The image was built without `crucible-downstairs`: a stand-in serves the regions and keeps no data.
    Demonstration = "DEMONSTRATION", Warning, Sled:
        "a stand-in serves the regions and keeps no data: this is a demonstration, and no storage"
        => "flash an image that was built with --crucible DIR";
    /// The image was built on a machine whose apt sources had no firmware (non-free-firmware), nor what processors are
    /// mended with (microcode).
    FirmwareMissing = "FIRMWARE_MISSING", Information, Operator:
        "the image has no firmware and no microcode: adapters and processors run with what they were made with, faults included"
        => "build it where apt has the component non-free-firmware (image/build says so), and update: sledctl update apply";
    /// A newer version of the image was tried and was not well; the one before it runs again. `update status` says why.
    UpdateGivenUp = "UPDATE_GIVEN_UP", Warning, Sled:
        "version VERSION was tried and given up: WHY"
        => "sledctl update status; then take another: sledctl update apply";
    /// Another version of the image can be had where updates come from, by the last look that was made there; `[update]`
    /// of sled.toml says how often it is looked. Of a look that failed, or too long ago, nothing is said.
    UpdateAvailable = "UPDATE_AVAILABLE", Information, Operator:
        "version VERSION can be had, and RUNNING is in use: CHANGES"
        => "sledctl update apply";
    /// What is to be told by `[notify]` of sled.toml could not be delivered, though it was tried several times: it is
    /// counted, and the next one that is delivered says how many were not. It is never told itself.
    NotifyFailed = "NOTIFY_FAILED", Warning, Operator:
        "notifications are not delivered: WAY to HOST: WHY"
        => "as the reason asks for; then: sledctl notify test";
    /// What the CONFIG partition or the machine's credentials brought has faults, and was not taken over.
    ConfigRefused = "CONFIG_REFUSED", Warning, Sled:
        "the configuration that was brought last has faults: FAULTS"
        => "mend it on the CONFIG partition, and boot again; the one before is in force";
    /// With the image: another network was taken over by a reload, and for 60 s no other machine reached the sled by it,
    /// or the machine was rebooted meanwhile. The one before is in force, until another is asked for, or the same is tried
    /// again: by a reload that has nothing else to take over.
    NetworkTakenBack = "NETWORK_TAKEN_BACK", Warning, Sled:
        "the network that sled.toml asks for was taken back at TIME: nobody had reached the sled by it; the one before is in force"
        => "mend [network] or [appliance] of sled.toml, or what was in the way outside, then: sledctl reload (the same is tried again when there is nothing else to take over); from the sled itself it is kept by: sledctl reload --confirm; or ask for what is in force: sledctl config history, sledctl config restore";
    /// With the image: another network was on trial, and what was kept of the one before cannot be read, nor its copy. So
    /// it cannot be taken back, and the network in force may be one by which nobody has reached the sled. It is over when
    /// somebody says that it is to be kept, or another is put on trial.
    NetworkUnproven = "NETWORK_UNPROVEN", Warning, Sled:
        "the record of a network on trial could not be read: the network in force may be one by which nobody has reached this sled"
        => "reach the sled by it, by ssh, and see that it is the one that is wanted (sledctl network); then, on the sled: sledctl reload --confirm; look at the disk (dmesg, sledctl hardware)";
    /// A file was changed on this sled, and at boot another took its place that the CONFIG partition or the machine's
    /// credentials had brought, as that was new. What it was is kept beside it.
    ConfigReplaced = "CONFIG_REPLACED", Warning, Operator:
        "FILE was changed on this sled, and another one that was brought has taken its place at boot; it is kept as FILE.replaced"
        => "see what it was: diff FILE.replaced FILE; what is to stay goes into FILE, and onto the CONFIG partition; then put FILE.replaced away";
    /// With the image: what this sled remembers, `/var`, could not be read when it booted. It was mended, or made anew;
    /// then the configuration and the keys are those of the CONFIG partition, and the journal is gone. The regions and
    /// whose they are lie on the data disk, and are as they were. A reset that was asked for then is told with it, and the
    /// time: one of what the sled remembers is done by that; a factory reset is not done, neither then nor later.
    VarRenewed = "VAR_RENEWED", Warning, Sled:
        "what this sled remembers (/var) could not be read at TIME: WHAT WAS DONE"
        => "look at the disk (dmesg, smartctl -x DISK); see that the configuration and the ssh keys are those that are wanted (sledctl config check); then put the note away: mv /var/etc/renewed /var/tmp";
    /// With the image: a reset was asked for, and comes with the next boot; or it failed there, and was given up, as regions
    /// may have been made since that nobody has agreed to lose. How far it went is said.
    ResetUnfinished = "RESET_UNFINISHED", Warning, Sled:
        "a reset was asked for, and was not done whole: WHAT: HOW FAR IT WENT, at TIME"
        => "where it waits for the next boot and is not wanted: rm /var/etc/forget; where it failed: look at the disk (dmesg, smartctl -x DISK), put the note away: mv /var/etc/not-forgotten /var/tmp; then, if it is wanted still: sledctl reset";
    /// With the image: the machine was started from a stick, from which the image is installed on a disk. It makes no data
    /// partition there and serves no region. Where the image is on a disk of the machine already, that is said: the
    /// firmware has started the stick all the same.
    StartedFromStick = "STARTED_FROM_STICK", Warning, Sled:
        "this machine was started from the stick STICK, from which the image is installed, and serves no region; the image is on DISK"
        => "sledctl install, which lists the disks; where the image is on one already: pull the stick, then: systemctl reboot";
    /// With the image: a stick with an image is in the machine, which was started from a disk of its own. A firmware
    /// that starts sticks first would start that at the next boot.
    StickLeftIn = "STICK_LEFT_IN", Information, Operator:
        "the stick STICK with an image is in this machine, which was started from a disk of its own"
        => "pull it: a firmware that starts sticks first would start it at the next boot";
    /// With the image: little is free at `/var`. When it is full, what is in force, which disk is this sled's and how jobs
    /// went cannot be written down any more.
    VarLow = "VAR_LOW", Warning, Sled:
        "N of N is free at /var, where this sled keeps what it remembers; or N of N inodes are"
        => "see what takes it: du -xh /var | sort -h | tail -n 20; the journal is cut with journalctl --vacuum-size=64M";
    /// An upgrade of the downstairs program was begun and not finished: regions may run different programs.
    UpgradeUnfinished = "UPGRADE_UNFINISHED", Warning, Sled:
        "an upgrade of the downstairs program was begun and not finished: regions may run different programs"
        => "sledctl downstairs shows which; begin it again: sledctl downstairs upgrade PATH";
    /// A region is to be restarted, as the port map has it elsewhere or an upgrade goes on that was cut short, and the
    /// volume's regions on other sleds keep it back: one does not serve, has not its hosts, or cannot be asked. It goes
    /// on by itself when that is over, and can be cancelled (`jobs cancel`).
    TurnAwaited = "TURN_AWAITED", Warning, Region:
        "job N is to restart it, and waits: WHY"
        => "what helps the other sled; it goes on by itself then; to give it up: sledctl jobs cancel N; to have it all the same: that, and then sledctl region restart REGION --force";
    /// A region exists here that the port map does not put on this sled. It is stopped unless a host uses it, and its
    /// data stays.
    RegionUnmapped = "REGION_UNMAPPED", Warning, Sled:
        "it is on record, and the port map does not put REGION on this sled: it is stopped unless a host uses it, and its data stays"
        => "put it back into port-map.toml, then: sledctl reload; if it is to go for good, sledctl checks says how";
    /// Regions of a volume have one UUID, as those that were made by hand: a lost one cannot be cloned.
    RegionUuidShared = "REGION_UUID_SHARED", Warning, Volume:
        "REGIONS have the same UUID: they work, but a lost one cannot be cloned from another, and directories that were swapped are not told apart"
        => "nothing has to be done as long as they serve; one that is lost is made anew with a UUID of its own, and the host repairs it";
    /// Somebody whom a volume does not let in is connected to it, or tried to be: its packets were dropped, or it asked
    /// for a ticket.
    ClientForeign = "CLIENT_FOREIGN", Warning, Volume:
        "ADDRESS is connected to REGIONS, asked for a ticket, or had its packets dropped, and may not be there"
        => "if it may: add it to hosts of [volumes.VOLUME] in port-map.toml, or: sledctl volume allow VOLUME ADDRESS; otherwise find out what it is";
    /// A host is connected to some of a volume's regions and has not been to another for a minute or longer, although
    /// that serves: what it writes lacks a replica. Which host, which region, and for how long is said.
    VolumeDegraded = "VOLUME_DEGRADED", Warning, Volume:
        "HOST is connected to REGIONS and has not been to REGION for more than TIME, although that serves: what it writes is on N of N regions here"
        => "see on HOST why its upstairs does not come back to REGION (its log; ss -tn dst ADDRESS); a restart of what it lacks cuts nobody off: sledctl region restart REGION";
    /// The port map names no hosts for the volume: anyone may attach it.
    VolumeOpen = "VOLUME_OPEN", Warning, Volume:
        "the port map names no hosts for it: any machine on the network may attach it"
        => "write hosts = [\"ADDRESS\"] under [volumes.VOLUME] of port-map.toml";
    /// Two or three of the volume's regions are on this sled, as the port map has it, and are lost together with it. On one
    /// disk it is SINGLE_DISK that says so.
    SingleSled = "SINGLE_SLED", Information, Operator:
        "N of its N regions are on this sled: with it WHAT is lost"
        => "nothing, if that is accepted; else put regions of it on other sleds ([volumes.VOLUME] of port-map.toml), and keep a backup of what must not be lost";
    /// Two or three of the volume's regions lie on one disk of this sled, and are lost together with it. Not told of disks
    /// that mirror each other.
    SingleDisk = "SINGLE_DISK", Information, Operator:
        "N of its N regions lie on DISK of this sled: with the disk, or the sled, WHAT is lost"
        => "nothing, if that is accepted; else put regions of it on other sleds ([volumes.VOLUME] of port-map.toml), or have two disks mirror each other (RAID 1) below ROOT; and keep a backup of what must not be lost";
} }
