use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use skep_cri::v1;
use tokio::net::TcpStream;

use super::http::{HttpTarget, port_of};
use crate::context::Context;

const OUTPUT_BYTES_MAX: usize = 10 * 1024;

/// Runs a probe once. The error is what its event says.
pub(super) async fn run(
    context: &Context,
    container: &Container,
    container_id: &str,
    ip: Option<IpAddr>,
    probe: &Probe,
    timeout: Duration,
) -> Result<(), String> {
    if let Some(exec) = &probe.exec {
        let cmd = exec.command.clone().unwrap_or_default();
        return run_exec(context, container_id, cmd, timeout).await;
    }
    if let Some(get) = &probe.http_get {
        let target = HttpTarget::of(get, container, ip)?;
        return match target.get(timeout).await? {
            200..400 => Ok(()),
            code => Err(format!("HTTP probe failed with statuscode: {code}")),
        };
    }
    if let Some(tcp) = &probe.tcp_socket {
        let port = port_of(&tcp.port, container)?;
        let host = tcp.host.clone().filter(|host| !host.is_empty()).or_else(|| ip.map(|ip| ip.to_string()));
        let host = host.ok_or("the pod has no address")?;
        let connect = TcpStream::connect((host.as_str(), port));
        return match tokio::time::timeout(timeout, connect).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("dial tcp {host}:{port}: {error}")),
            Err(_) => Err(format!("dial tcp {host}:{port}: i/o timeout")),
        };
    }
    if let Some(grpc) = &probe.grpc {
        let port = u16::try_from(grpc.port).map_err(|_| format!("invalid port number: {}", grpc.port))?;
        let ip = ip.ok_or("the pod has no address")?;
        return super::grpc::check(ip, port, grpc.service.as_deref().unwrap_or_default(), timeout).await;
    }
    Err("missing probe handler".to_owned())
}

async fn run_exec(context: &Context, id: &str, cmd: Vec<String>, timeout: Duration) -> Result<(), String> {
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    let request = v1::ExecSyncRequest { container_id: id.to_owned(), cmd: cmd.clone(), timeout: seconds };
    match context.cri.exec_sync(request).await {
        Ok(answer) if answer.exit_code == 0 => Ok(()),
        Ok(answer) => {
            let mut output = [answer.stdout, answer.stderr].concat();
            output.truncate(OUTPUT_BYTES_MAX);
            Err(String::from_utf8_lossy(&output).into_owned())
        }
        Err(error) if error.is_timeout() => Err(format!("command timed out: {cmd:?} timed out after {seconds}s")),
        Err(error) => Err(error.to_string()),
    }
}
