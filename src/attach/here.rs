//! View of a volume on this host: its service, its relay, the kernel's device, where that is mounted, and the storage
//! that Proxmox has on it. Looks at each for a short time only, and changes nothing.

use super::conf::Conf;
use super::state::{DeviceState, Found, MountState, ServiceState, State, StorageState};
use super::{disk, mounts};
use crate::clean;
use crate::names::VolumeName;
use crate::systemd::proxy::{ManagerProxy, properties};
use crate::wire::{Error, Refusal};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::timeout;
use zbus::OwnedVariant;

/// How long a relay may take to answer; it asks its server, for 3 s at most.
const RELAY_LIMIT: Duration = Duration::from_secs(5);
/// How long systemd may take to answer.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(2);
/// How long Proxmox may take to answer: its programs need a second to begin.
const PROXMOX_LIMIT: Duration = Duration::from_secs(8);
/// The most that is read of an answer, in bytes.
const ANSWER_LIMIT_BYTES: usize = 1 << 20;

/// The directories that are looked at.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Places {
    /// Where the relays' control sockets are.
    #[arg(long, hide = true, value_name = "DIR", default_value = "/run/crucible-attach")]
    pub(super) run: PathBuf,
    /// Where the volumes' configurations are.
    #[arg(long, hide = true, value_name = "DIR", default_value = super::conf::PLACE)]
    pub(super) config: PathBuf,
}

/// The volume as it is to be seen here. `None` is what could not be looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Here {
    pub(super) volume: VolumeName,
    /// The volume is to be served by this host.
    pub(super) configured: bool,
    #[serde(skip)]
    pub(super) conf: Option<Conf>,
    pub(super) service: Option<Found<ServiceState>>,
    pub(super) relay: Option<Found<State>>,
    /// The reason why the relay could not be asked.
    pub(super) trouble: Option<Error>,
    pub(super) device: Option<Found<DeviceState>>,
    pub(super) mount: Option<Found<MountState>>,
    /// The places where it is to be mounted whenever it is there.
    pub(super) mounts_at: Option<Vec<PathBuf>>,
    pub(super) storage: Option<Found<StorageState>>,
}

impl Here {
    /// Look at the volume; `proxmox` says whether at that as well, which takes a second.
    pub(super) async fn look(volume: &VolumeName, places: &Places, proxmox: bool) -> Self {
        let conf = Conf::of(&places.config, volume).ok().flatten();
        let (relay, service) = tokio::join!(relay(volume, &places.run), service(volume));
        let (relay, trouble) = match relay {
            Ok(relay) => (Some(relay.into()), None),
            Err(why) => (None, Some(why)),
        };
        let (device, mount) = disk::look(volume);
        let mounts_at = mounts::of(Path::new(mounts::UNITS), volume).ok();
        let mounts_at =
            mounts_at.map(|all| all.into_iter().filter(|unit| unit.enabled).map(|unit| unit.path).collect());
        let storage = match &mount {
            Some(Found::There(mount)) if proxmox => storage(&mount.path).await,
            // No mount, and so no storage on one.
            Some(Found::None) if proxmox => Some(Found::None),
            _ => None,
        };
        Self {
            volume: volume.clone(),
            configured: conf.is_some(),
            conf,
            service,
            relay,
            trouble,
            device,
            mount,
            mounts_at,
            storage,
        }
    }

    /// The relay's state, if there is one.
    pub(super) fn state(&self) -> Option<&State> {
        self.relay.as_ref()?.there()
    }

    /// Whether this host has anything to do with the volume.
    pub(super) fn concerns(&self) -> bool {
        let device = self.device.as_ref().is_some_and(|device| device.there().is_some());
        self.configured || self.state().is_some() || device
    }
}

/// Ask the relay for its state; `None` if there is none.
async fn relay(volume: &VolumeName, run: &Path) -> Result<Option<State>, Error> {
    let socket = run.join(format!("{volume}.control"));
    let stream = match UnixStream::connect(&socket).await {
        Ok(stream) => stream,
        Err(why) if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&why.kind()) => return Ok(None),
        Err(why) if why.kind() == ErrorKind::PermissionDenied => {
            let message = format!("{} may be asked by root alone", socket.display());
            return Err(Error::new(Refusal::NotRoot, message, "use sudo"));
        }
        Err(why) => return Err(silent(volume, &why.to_string())),
    };
    match timeout(RELAY_LIMIT, ask(stream)).await {
        Ok(Ok(state)) if state.volume == *volume => Ok(Some(state)),
        Ok(Ok(state)) => Err(silent(volume, &format!("it is that of {}", state.volume))),
        Ok(Err(why)) => Err(silent(volume, &why.to_string())),
        Err(_) => Err(silent(volume, &format!("it has answered nothing for {} s", RELAY_LIMIT.as_secs()))),
    }
}

fn silent(volume: &VolumeName, why: &str) -> Error {
    let message = format!("the relay does not say how it is: {}", clean::line(why));
    let remedy = format!("see journalctl -u crucible-attach@{volume}; its clients are served by another part of it");
    Error::new(Refusal::RelaySilent, message, remedy)
}

async fn ask(stream: UnixStream) -> io::Result<State> {
    let broken = |why: hyper::Error| io::Error::other(why);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = http::Request::get("/v1/relay").header(http::header::HOST, "relay").body(Empty::<Bytes>::new());
    let request = request.map_err(io::Error::other)?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT_BYTES).collect().await.map_err(io::Error::other)?;
        Ok(serde_json::from_slice(&body.to_bytes())?)
    };
    let (mut connection, mut asking) = (std::pin::pin!(connection), std::pin::pin!(asking));
    // Cancel-safe: the connection is driven only while the answer is awaited.
    tokio::select! {
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}

/// The service of a volume, as systemd has it.
async fn service(volume: &VolumeName) -> Option<Found<ServiceState>> {
    let name = format!("crucible-attach@{volume}.service");
    let asked = async {
        let bus = zbus::connection::Builder::system().method_timeout(SYSTEMD_LIMIT).build().await?;
        let object = ManagerProxy::new(&bus).await?.load_unit(&name).await?;
        let unit = properties(&bus, &object, "org.freedesktop.systemd1.Unit").await?;
        let service = properties(&bus, &object, "org.freedesktop.systemd1.Service").await?;
        zbus::Result::Ok((unit, service))
    };
    let (unit, service) = timeout(SYSTEMD_LIMIT, asked).await.ok()?.ok()?;
    let text = |from: &HashMap<String, OwnedVariant>, key: &str| {
        let value = from.get(key).and_then(|value| value.downcast_ref::<&str>().ok());
        value.map(|value| clean::line(value).into_owned()).unwrap_or_default()
    };
    if text(&unit, "LoadState") != "loaded" {
        return Some(Found::None);
    }
    Some(Found::There(ServiceState {
        state: text(&unit, "ActiveState"),
        enabled: text(&unit, "UnitFileState") == "enabled",
        exit_status: service
            .get("ExecMainStatus")
            .and_then(|value| value.downcast_ref::<i32>().ok())
            .unwrap_or_default(),
        says: text(&service, "StatusText"),
        name,
    }))
}

/// The storage that Proxmox has on what is mounted there; `None` if it cannot be asked, or is not here.
async fn storage(mounted: &str) -> Option<Found<StorageState>> {
    let all = pvesh("/storage").await?;
    let on = all.as_array()?.iter().find(|storage| storage["path"].as_str() == Some(mounted));
    let Some(on) = on else { return Some(Found::None) };
    let name = on["storage"].as_str()?.to_owned();
    let status = pvesh("/nodes/localhost/storage").await;
    let own = status.as_ref().and_then(Value::as_array).and_then(|all| all.iter().find(|own| own["storage"] == *name));
    let is = |value: &Value| value.as_bool().unwrap_or_else(|| value.as_u64() == Some(1) || value == "1");
    Some(Found::There(StorageState {
        kind: on["type"].as_str().map(|kind| clean::line(kind).into_owned()).unwrap_or_default(),
        active: own.map(|own| is(&own["active"])),
        guarded: !on["is_mountpoint"].is_null()
            && !["0", "no", "false", "off"].iter().any(|no| on["is_mountpoint"] == *no),
        nodes: on["nodes"].as_str().map(|nodes| clean::line(nodes).into_owned()),
        name: clean::line(&name).into_owned(),
    }))
}

/// Ask Proxmox for a path of its API.
async fn pvesh(path: &str) -> Option<Value> {
    let mut command = Command::new("pvesh");
    command
        .args(["get", path, "--output-format", "json"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(PROXMOX_LIMIT, command.output()).await.ok()?.ok()?;
    if output.status.success() && output.stdout.len() <= ANSWER_LIMIT_BYTES {
        serde_json::from_slice(&output.stdout).ok()
    } else {
        None
    }
}

#[cfg(test)]
impl Here {
    /// A host on which all is well.
    pub(super) fn example() -> Self {
        let state = State::example();
        let device = DeviceState {
            path: "/dev/nbd0".into(),
            size_bytes: 13_421_772_800,
            backend: "crucible/still-fawn@1".into(),
            max_sectors_kb: 64,
        };
        let mount = MountState {
            path: "/mnt/crucible/still-fawn".into(),
            file_system: "ext4".into(),
            read_only: false,
            also: Vec::new(),
        };
        let storage = StorageState {
            name: "crucible-still-fawn".into(),
            kind: "dir".into(),
            active: Some(true),
            guarded: true,
            nodes: Some("pve".into()),
        };
        let service = ServiceState {
            name: "crucible-attach@still-fawn.service".into(),
            state: "active".into(),
            enabled: true,
            exit_status: 0,
            says: "serves".into(),
        };
        Self {
            volume: state.volume.clone(),
            configured: true,
            conf: Some(Conf::read(&state.volume, "CRUCIBLE_SLEDS=192.168.4.189\nCRUCIBLE_OPTIONS=--device\n")),
            service: Some(Found::There(service)),
            relay: Some(Found::There(state)),
            trouble: None,
            device: Some(Found::There(device)),
            mount: Some(Found::There(mount)),
            mounts_at: Some(vec!["/mnt/crucible/still-fawn".into()]),
            storage: Some(Found::There(storage)),
        }
    }
}

#[cfg(test)]
impl State {
    /// A relay that serves, and has done so for some time.
    fn example() -> Self {
        let value = serde_json::json!({
            "volume": "still-fawn", "version": "0.1.0", "pid": 700, "running_seconds": 86_400.0,
            "ticket": {"generation": 1_769_300_000, "since": "2026-01-25T00:00:00.5Z", "since_seconds": 10_801.0,
                "holder": "192.168.4.17", "granted_by": ["proper-raptor"], "size_bytes": 13_421_772_800_u64, "block_size": 4096},
            "server": {"pid": 812, "program": "/usr/lib/crucible/crucible-nbd-server", "listens": "127.0.0.1:10809",
                "control": "127.0.0.1:4444", "since_seconds": 10_800.0, "serves": true, "activity": {"is": "active"}},
            "relay": {"serves": true, "requests": 3, "oldest_request_seconds": 0.002, "on_the_way": 3, "kept_writes": 12,
                "kept_bytes": 49_152, "most_kept_writes": 500, "most_kept_bytes": 33_554_432, "pauses": 2,
                "last_pause": {"seconds": 0.4, "why": "the server was lost: it closed the connection", "ago_seconds": 300.0},
                "paused_seconds": 1.3, "servers": 2, "replays": 1, "replayed_writes": 10, "answered": 1000,
                "latency": {"over_seconds": 60.0, "read": {"requests": 7, "median_seconds": 0.000_21, "worst_seconds": 0.003_4},
                    "write": null, "flush": {"requests": 7, "median_seconds": 0.000_8, "worst_seconds": 0.04}}},
        });
        serde_json::from_value(value).unwrap()
    }
}
