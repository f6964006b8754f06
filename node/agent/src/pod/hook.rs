//! Life-cycle hooks.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use skep_cri::v1;

use crate::context::Context;
use crate::probe;

/// Runs a hook to its end. The caller bounds its time.
pub(crate) async fn run(
    context: &Context,
    pod: &Pod,
    container: &Container,
    container_id: &str,
    pod_ip: Option<std::net::IpAddr>,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let cmd = exec.command.clone().unwrap_or_default();
        let shown = cmd.join(" ");
        let request = v1::ExecSyncRequest { container_id: container_id.to_owned(), cmd, timeout: 0 };
        let answer = context.cri.exec_sync(request).await.map_err(|error| error.to_string())?;
        return match answer.exit_code {
            0 => Ok(()),
            code => {
                let output = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
                Err(format!("command '{shown}' exited with {code}: {output}"))
            }
        };
    }
    if let Some(get) = &hook.http_get {
        let ip = if super::host_network(pod) { Some(context.options.node_ip) } else { pod_ip };
        let target = probe::HttpTarget::of(get, container, ip)?;
        return target.get(Duration::from_secs(30)).await.map(drop);
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
    }
    Ok(())
}
