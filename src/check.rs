//! Conditions with a name: every check has a stable code, a severity, the thing it is about,
//! a sentence of cause and a sentence of remedy. All faces show the same ones. Pure.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How much a condition matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// No host may attach what it concerns.
    Blocking,
    /// It works, and somebody should look at it.
    Warning,
    /// It is well, and worth knowing.
    Information,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Blocking => "blocking",
            Self::Warning => "warning",
            Self::Information => "information",
        })
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $severity:ident;)*) => {
        /// The stable name of a condition.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code there is, the ones an operator should look at first in front.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code as it is written everywhere.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How much the condition matters; the same wherever it occurs.
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    /// The configuration's files have faults, and the sled is run by what was in force before; without
    /// that nothing is supervised until they are mended.
    ConfigInvalid = "CONFIG_INVALID", Warning;
    /// What is in force could not be kept: with faults in the files there is nothing to start with.
    ConfigNotKept = "CONFIG_NOT_KEPT", Warning;
    /// The configuration's files are not what is in force.
    ConfigPending = "CONFIG_PENDING", Information;
    /// systemd cannot be reached over D-Bus: what is known of the units is old.
    SystemdUnreachable = "SYSTEMD_UNREACHABLE", Warning;
    /// Which downstairs program each region runs cannot be read: the units stay as they were.
    ProgramsUnreadable = "PROGRAMS_UNREADABLE", Warning;
    /// systemd does not have the units as they are configured: they stay as they were.
    UnitsOutdated = "UNITS_OUTDATED", Warning;
    /// systemd does not enforce which ports and hosts a region's unit is given, or it is not known.
    PortMapNotEnforced = "PORT_MAP_NOT_ENFORCED", Warning;
    /// The storage root is not a mount point of its own.
    DataNotMounted = "DATA_NOT_MOUNTED", Blocking;
    /// The disk at the storage root is not marked as this sled's.
    DataForeign = "DATA_FOREIGN", Blocking;
    /// The machine is being switched off.
    SledStopping = "SLED_STOPPING", Blocking;
    /// Somebody is at work on the sled: hosts are asked to wait.
    Maintenance = "MAINTENANCE", Blocking;
    /// The volume is to be free: who has it is asked to detach it, and nobody else gets a ticket.
    VolumeDraining = "VOLUME_DRAINING", Blocking;
    /// Something has not been looked at for too long: what is known of it may be old.
    NotSeen = "NOT_SEEN", Blocking;
    /// The data disk cannot be written to.
    DataReadOnly = "DATA_READ_ONLY", Blocking;
    /// The data disk is full, and regions take their blocks as they are written.
    DiskFull = "DISK_FULL", Blocking;
    /// Less of the data disk is free than a repair needs: what differs between a volume's regions cannot be
    /// mended, and a host that attaches anew waits for that.
    RepairImpossible = "REPAIR_IMPOSSIBLE", Blocking;
    /// Less of the data disk is free than is to be kept in reserve.
    DiskLow = "DISK_LOW", Warning;
    /// The ledger on the data disk cannot be read.
    LedgerUnreadable = "LEDGER_UNREADABLE", Blocking;
    /// One of the ledger's two copies cannot be read; the other is used.
    LedgerDamaged = "LEDGER_DAMAGED", Warning;
    /// Whom a volume may let in, or of any volume, cannot be read from the data disk.
    TicketsUnreadable = "TICKETS_UNREADABLE", Blocking;
    /// The record of whom a volume lets in is not as it was written; it is written anew.
    TicketsDamaged = "TICKETS_DAMAGED", Warning;
    /// What an earlier supervisor left undone on the data disk cannot be finished.
    NotSettled = "NOT_SETTLED", Blocking;
    /// More was promised to regions than the data disk has.
    DiskOvercommitted = "DISK_OVERCOMMITTED", Warning;
    /// The configured network interface is not there.
    NicMissing = "NIC_MISSING", Blocking;
    /// The network interface has no link.
    NicNoCarrier = "NIC_NO_CARRIER", Blocking;
    /// The link was negotiated at less than the configured speed.
    NicSlow = "NIC_SLOW", Warning;
    /// The network interface hangs on a USB port slower than configured.
    NicUsb2 = "NIC_USB2", Warning;
    /// The bridge is not there, or is down.
    BridgeMissing = "BRIDGE_MISSING", Blocking;
    /// The network interface is no port of the bridge.
    BridgePortMissing = "BRIDGE_PORT_MISSING", Blocking;
    /// The bridge lets nothing through the network interface.
    BridgePortBlocked = "BRIDGE_PORT_BLOCKED", Blocking;
    /// The bridge does not carry the sled's address.
    BridgeAddress = "BRIDGE_ADDRESS", Blocking;
    /// Another machine has the sled's address: the kernel does not use it.
    AddressDuplicate = "ADDRESS_DUPLICATE", Blocking;
    /// The bridge has the sled's address in a network of another size, or of one address.
    AddressPrefix = "ADDRESS_PREFIX", Warning;
    /// The bridge and the network interface take packets of different lengths.
    MtuMismatch = "MTU_MISMATCH", Warning;
    /// There is no default route, although a gateway is configured.
    NoDefaultRoute = "NO_DEFAULT_ROUTE", Warning;
    /// The files of `[tls]` cannot be used: hosts and regions cannot talk to each other by them.
    TlsUnusable = "TLS_UNUSABLE", Blocking;
    /// A certificate ends soon.
    CertExpires = "CERT_EXPIRES", Warning;
    /// Another process listens on a port that the map gives to a region.
    PortTaken = "PORT_TAKEN", Blocking;
    /// The region is not there.
    RegionMissing = "REGION_MISSING", Blocking;
    /// The region is being created.
    RegionCreating = "REGION_CREATING", Blocking;
    /// The region is being adopted from what served it before.
    RegionAdopting = "REGION_ADOPTING", Blocking;
    /// The region is being deleted or restored.
    RegionDeleting = "REGION_DELETING", Blocking;
    /// A region of the old layout is there, and waits to be adopted.
    RegionUnadopted = "REGION_UNADOPTED", Blocking;
    /// What lies in the region's directory, or what serves it, is not the region on record.
    RegionIdentity = "REGION_IDENTITY", Blocking;
    /// The region's files are not as its downstairs needs them: one is missing, has a wrong
    /// length, or belongs to somebody else.
    RegionDamaged = "REGION_DAMAGED", Blocking;
    /// A directory with the region's name exists that the ledger does not know.
    RegionUnrecorded = "REGION_UNRECORDED", Blocking;
    /// Another process than the region's own has its files open for writing.
    RegionForeignProcess = "REGION_FOREIGN_PROCESS", Blocking;
    /// The region's downstairs fails the same way every time: it is held until that is mended.
    RegionBroken = "REGION_BROKEN", Blocking;
    /// The region's downstairs ended again and again: it is held until somebody has looked.
    RegionCrashLoop = "REGION_CRASH_LOOP", Blocking;
    /// The region is held, as somebody asked for.
    RegionHeld = "REGION_HELD", Blocking;
    /// The region's unit does not run, or could not be started.
    RegionDown = "REGION_DOWN", Blocking;
    /// The region's downstairs runs and does not serve yet.
    RegionStarting = "REGION_STARTING", Blocking;
    /// The region's downstairs listens and does not answer.
    RegionHung = "REGION_HUNG", Blocking;
    /// The image has a stand-in in the place of the downstairs program.
    Demonstration = "DEMONSTRATION", Warning;
    /// A newer version of the image was tried, and the one before it runs again.
    UpdateGivenUp = "UPDATE_GIVEN_UP", Warning;
    /// The configuration that was brought on the CONFIG partition has faults.
    ConfigRefused = "CONFIG_REFUSED", Warning;
    /// An upgrade of the downstairs program was begun and not finished.
    UpgradeUnfinished = "UPGRADE_UNFINISHED", Warning;
    /// A region is to be restarted, and the volume's regions on other sleds keep it back.
    TurnAwaited = "TURN_AWAITED", Warning;
    /// A region is on record that the port map does not put on this sled.
    RegionUnmapped = "REGION_UNMAPPED", Warning;
    /// Regions of one volume have the same UUID.
    RegionUuidShared = "REGION_UUID_SHARED", Warning;
    /// Somebody whom a volume does not let in is at its ports, or tried to be.
    ClientForeign = "CLIENT_FOREIGN", Warning;
    /// A host that uses the volume has lacked one of its regions for long, although that serves.
    VolumeDegraded = "VOLUME_DEGRADED", Warning;
    /// The volume names no hosts: anyone may attach it.
    VolumeOpen = "VOLUME_OPEN", Warning;
}

impl Code {
    /// Whether the condition is a step on the way to being well, and nobody need be alarmed.
    pub fn passes(self) -> bool {
        matches!(self, Self::RegionCreating | Self::RegionStarting | Self::RegionAdopting | Self::RegionDeleting)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_in_json_as_everywhere_else() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!(code.as_str().chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        }
    }
}
