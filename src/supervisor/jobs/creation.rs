//! Creation of a region, from its turn to its end: what is asked of [`act`](crate::act), in which order, and how a
//! failure reads.

use crate::act::create::{self, CreateError};
use crate::act::thick::ReserveError;
use crate::check::Code;
use crate::config::Provisioning;
use crate::kernel::ports::{self, Taken};
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::progress::{Cancelled, Progress};
use crate::supervisor::jobs::context::{Context, cancelled};
use crate::supervisor::jobs::holds::anew;
use crate::supervisor::jobs::work::Work;
use crate::wire::{self, ErrorCode, JobKind, Refusal};
use tokio::sync::SemaphorePermit;

impl Work {
    /// Create a region.
    pub(in crate::supervisor) fn create(local: LocalRegion) -> Self {
        let name = local.name.clone();
        Self::new(JobKind::Create, &local.name.clone(), async move |job| {
            job.context.create(local, &job.bus, &job.progress).await.map_err(|why| not_created(&name, why))
        })
    }
}

impl Context {
    /// Wait for the turn to make a region. Thick ones are made one after the other: each counts what the one before it took.
    ///
    /// # Errors
    /// The work was cancelled.
    pub(super) async fn turn_to_create(&self, progress: &Progress) -> Result<Option<SemaphorePermit<'_>>, Cancelled> {
        let thick = self.config.sled.storage.provisioning == Provisioning::Thick;
        let turns = if thick { self.turns } else { 1 };
        tokio::select! {
            // Nobody closes it.
            turn = self.cores.acquire_many(turns) => Ok(turn.ok()),
            () = progress.cancelled() => Err(Cancelled),
        }
    }

    async fn create(&self, local: LocalRegion, bus: &zbus::Connection, p: &Progress) -> Result<String, CreateError> {
        let _turn = self.turn_to_create(p).await?;
        let (address, wanted) = (self.config.address, local.clone());
        match tokio::task::spawn_blocking(move || ports::free(address, &wanted)).await {
            // Without the address, which a cable may bring, it can be made all the same.
            Ok(Err(taken)) if !matches!(taken, Taken::NoAddress(_)) => return Err(CreateError::PortTaken(taken)),
            _ => {}
        }
        let by = concat!("sledd ", env!("CARGO_PKG_VERSION")).to_owned();
        let made = create::create(bus, &self.config, &local, (self.disk.unwrap_or_default(), by), p).await?;
        p.step("putting it in place", 0, 0);
        let (config, progress, name) = (self.config.clone(), p.clone(), local.name.clone());
        // What is not put in place is removed there, too, and not on the loop's thread.
        let finish = move || {
            progress.no_way_back()?;
            made.finish(&config, &local.name)
        };
        let record = anew(self, &name, finish).await.map_err(|why| CreateError::NotMounted(why.message))??;
        Ok(format!("created as {}", record.uuid))
    }
}

/// Say why a region was not created.
pub(super) fn not_created(name: &RegionName, why: CreateError) -> wire::Error {
    let (code, remedy): (ErrorCode, _) = match &why {
        CreateError::Cancelled(_) => return cancelled(),
        CreateError::PortTaken(_) => {
            (Code::PortTaken.into(), "free it, or write another port into port-map.toml".to_owned())
        }
        CreateError::NotMounted(_) => (Code::DataNotMounted.into(), "sledctl status shows the disk".to_owned()),
        CreateError::Reserve(ReserveError::NoRoom(_)) => {
            (Refusal::NoRoom.into(), "free some (sledctl storage), or set storage.provisioning = \"thin\"".to_owned())
        }
        CreateError::NoUser(user) => {
            (Refusal::NoUser.into(), format!("systemd-sysusers makes {user}; see downstairs.user of sled.toml"))
        }
        CreateError::Program(_) => (
            Refusal::CreateFailed.into(),
            format!("mend that and ask again; systemd's side of it: journalctl -u crucible-create-{name}"),
        ),
        CreateError::Wrong(_) => (
            Refusal::CreateFailed.into(),
            "is downstairs.program of sled.toml the real crucible-downstairs?".to_owned(),
        ),
        CreateError::Reserve(ReserveError::Io(_)) | CreateError::Io(..) => {
            (Refusal::CreateFailed.into(), "see whether the data disk is full or read-only".to_owned())
        }
    };
    wire::Error::new(code, format!("{name} was not created: {why}"), remedy)
}
