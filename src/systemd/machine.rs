//! The machine as systemd sees it.

use super::proxy::ManagerProxy;
use zbus::Connection;

/// Whether the machine is being switched off or rebooted; `false` as well if systemd does not say.
pub async fn machine_stops(bus: &Connection) -> bool {
    let state = async { ManagerProxy::new(bus).await?.system_state().await };
    state.await.is_ok_and(|state| state == "stopping")
}
