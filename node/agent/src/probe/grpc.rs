//! The gRPC health check (`grpc.health.v1.Health/Check`), over plain HTTP/2.

use std::net::IpAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// `HealthCheckResponse.ServingStatus.SERVING`
const SERVING: u8 = 1;

/// Asks for the health of a service; the empty name stands for the whole server.
pub(super) async fn check(ip: IpAddr, port: u16, service: &str, timeout: Duration) -> Result<(), String> {
    let fail = |error: String| format!("error: health rpc probe failed: {error}");
    match tokio::time::timeout(timeout, exchange(ip, port, service)).await {
        Ok(Ok(SERVING)) => Ok(()),
        Ok(Ok(status)) => Err(format!("service unhealthy (responded with status {status})")),
        Ok(Err(error)) => Err(fail(error)),
        Err(_) => Err(fail(format!("timeout: failed to answer within {timeout:?}"))),
    }
}

async fn exchange(ip: IpAddr, port: u16, service: &str) -> Result<u8, String> {
    let stream = TcpStream::connect((ip, port)).await.map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let ask = async {
        let uri = format!("http://{}/grpc.health.v1.Health/Check", std::net::SocketAddr::new(ip, port));
        let request = http::Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "kube-probe/1.37")
            .body(Full::new(encode(service)?))
            .map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let collected = answer.into_body().collect().await.map_err(|error| error.to_string())?;
        decode(&collected.to_bytes())
    };
    super::http::drive(connection, ask).await
}

/// One uncompressed gRPC message with field 1, a string.
fn encode(service: &str) -> Result<Bytes, String> {
    let len = u8::try_from(service.len()).ok().filter(|len| *len < 0x80).ok_or("grpc.service is too long")?;
    let mut message = BytesMut::new();
    message.put_u8(0);
    if len == 0 {
        message.put_u32(0);
        return Ok(message.freeze());
    }
    message.put_u32(u32::from(len) + 2);
    message.put_u8(0x0a);
    message.put_u8(len);
    message.put_slice(service.as_bytes());
    Ok(message.freeze())
}

/// Field 1 of the answer, an enum below 128; 0 where it is left out.
fn decode(bytes: &[u8]) -> Result<u8, String> {
    match bytes {
        [0, 0, 0, 0, 0] => Ok(0),
        [0, 0, 0, 0, 2, 0x08, status] => Ok(*status),
        _ => Err("the server does not implement the grpc health protocol".to_owned()),
    }
}
