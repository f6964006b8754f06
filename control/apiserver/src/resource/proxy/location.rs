//! Where a proxied request goes: what `[scheme:]name[:port]` means for each sort of object.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::resource::Context;
use crate::resource::kubelet::Kubelet;
use crate::response::{Body, BoxError};
use crate::status::ApiError;
use crate::write::Target;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a request goes, and how.
pub(super) enum Location<'a> {
    /// To an address, by HTTP or, without a look at the certificate, HTTPS.
    Plain { address: IpAddr, port: Option<String>, tls: bool },
    /// To a node's own server.
    Kubelet(Kubelet<'a>),
}

impl<'a> Location<'a> {
    pub(super) async fn of(context: &Context<'a>, target: &Target) -> Result<Location<'a>, ApiError> {
        let singular = &*target.served.singular;
        let invalid = || ApiError::bad_request(format!("invalid {singular} request {:?}", target.name));
        let asked = Asked::parse(&target.name).ok_or_else(invalid)?;
        let named = Target { name: asked.name.to_owned(), ..target.clone() };
        match singular {
            "pod" => pod(context, &named, &asked).await,
            "service" => service(context, &named, &asked, &target.name).await,
            _ => node(context, &asked).await,
        }
    }

    /// As in a `Host` header.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Kubelet(node) => node.address().to_string(),
            Self::Plain { address, port, .. } => {
                let host = match address {
                    IpAddr::V4(v4) => v4.to_string(),
                    IpAddr::V6(v6) => format!("[{v6}]"),
                };
                match port {
                    Some(port) => format!("{host}:{port}"),
                    None => host,
                }
            }
        }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let (address, port, tls) = match self {
            Self::Kubelet(node) => return node.send(request).await,
            Self::Plain { address, port, tls } => (*address, port.as_deref(), *tls),
        };
        let default = if tls { "443" } else { "80" };
        let text = port.unwrap_or(default);
        let port = text.parse().map_err(|_| format!("dial tcp: lookup tcp/{text}: unknown port"))?;
        let address = SocketAddr::new(address, port);
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let stream = connected
            .map_err(|_| format!("dial tcp {address}: i/o timeout"))?
            .map_err(|error| format!("dial tcp {address}: connect: {}", reason(&error)))?;
        skep_upgrade::prepare(&stream);
        if !tls {
            return Ok(skep_upgrade::send(stream, request).await?);
        }
        let stream = trusting().connect(ServerName::from(address.ip()), stream).await?;
        Ok(skep_upgrade::send(stream, request).await?)
    }
}

/// The kernel's words, as other clients of Kubernetes print them.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// `name`, `name:port` or `scheme:name:port`.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a> {
    name: &'a str,
    /// Empty where none is given.
    port: &'a str,
    tls: bool,
}

impl<'a> Asked<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        let known = matches!(scheme, "" | "http" | "https");
        (known && !name.is_empty()).then_some(Self { name, port, tls: scheme == "https" })
    }
}

async fn pod<'a>(context: &Context<'a>, target: &Target, asked: &Asked<'_>) -> Result<Location<'a>, ApiError> {
    let pod = context.writer.current(target).await?.value();
    let port = match asked.port {
        "" => first_port(&pod),
        port => Some(port.to_owned()),
    };
    let address = ips(&pod).next().filter(is_global_unicast);
    let address = address.ok_or_else(|| ApiError::bad_request("address not allowed"))?;
    Ok(Location::Plain { address, port, tls: asked.tls })
}

fn first_port(pod: &Value) -> Option<String> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array)?;
    let port = containers.iter().find_map(|c| c.pointer("/ports/0/containerPort"))?;
    port.as_u64().map(|port| port.to_string())
}

fn ips(pod: &Value) -> impl Iterator<Item = IpAddr> + '_ {
    let ips = pod.pointer("/status/podIPs").and_then(Value::as_array).into_iter().flatten();
    ips.filter_map(|ip| ip.get("ip")?.as_str()?.parse().ok())
}

/// Go's notion: any but multicast, loopback, link-local and the unspecified one.
fn is_global_unicast(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !link_local && !address.is_multicast() && !address.is_loopback() && !address.is_unspecified()
}

async fn service<'a>(
    context: &Context<'a>,
    target: &Target,
    asked: &Asked<'_>,
    id: &str,
) -> Result<Location<'a>, ApiError> {
    let none = |name: &str| ApiError::unavailable(format!("no endpoints available for service {name:?}"));
    let (Some(endpoints), Some(pods)) = (context.endpoints, context.pods) else { return Err(none(id)) };
    // A number is one of the Service's ports; endpoints go by the port's name.
    let port = match asked.port.parse::<i64>() {
        Err(_) => asked.port.to_owned(),
        Ok(number) => {
            let service = context.writer.current(target).await?.value();
            let ports = service.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
            let port = ports.iter().find(|port| port.get("port").and_then(Value::as_i64) == Some(number));
            let port = port.ok_or_else(|| {
                let name = asked.name;
                ApiError::unavailable(format!("no service port {number} found for service {name:?}"))
            })?;
            port.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
    };
    let target = Target { served: endpoints.clone(), ..target.clone() };
    let endpoints = context.writer.current(&target).await?.value();
    let subsets = endpoints.get("subsets").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if subsets.is_empty() {
        return Err(none(asked.name));
    }
    let mut candidates = Vec::new();
    for subset in subsets {
        let list = |field: &str| subset.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let named = |held: &&Value| held.get("name").and_then(Value::as_str).unwrap_or_default() == port;
        let Some(number) = list("ports").iter().find(named).and_then(|port| port.get("port")?.as_u64()) else {
            continue;
        };
        candidates.extend(list("addresses").iter().map(|address| (address.clone(), number)));
    }
    // From anywhere on, so that requests spread.
    let start = rand::random::<u32>() as usize % candidates.len().max(1);
    candidates.rotate_left(start);
    for (address, number) in candidates {
        if let Some(address) = verified(context, pods, &address).await {
            return Ok(Location::Plain { address, port: Some(number.to_string()), tls: asked.tls });
        }
    }
    Err(none(id))
}

/// An endpoint's address, if it is one that its pod really has: endpoints can be written by hand, and must not lead anywhere else.
async fn verified(context: &Context<'_>, pods: &crate::served::Served, endpoint: &Value) -> Option<IpAddr> {
    let address = endpoint.get("ip")?.as_str()?.parse().ok()?;
    let text = |field: &str| endpoint.pointer(field).and_then(Value::as_str);
    if text("/targetRef/kind") != Some("Pod") {
        return None;
    }
    let namespace = text("/targetRef/namespace").map(str::to_owned);
    let target = Target { served: pods.clone(), namespace, name: text("/targetRef/name")?.to_owned() };
    let pod = context.writer.current(&target).await.ok()?.value();
    ips(&pod).any(|ip| ip == address).then_some(address)
}

async fn node<'a>(context: &Context<'a>, asked: &Asked<'_>) -> Result<Location<'a>, ApiError> {
    let node = Kubelet::of_node(context, asked.name).await?;
    let address = node.address();
    if asked.port.is_empty() || asked.port == address.port().to_string() {
        return Ok(Location::Kubelet(node));
    }
    if !is_global_unicast(&address.ip()) {
        return Err(ApiError::bad_request("address not allowed"));
    }
    Ok(Location::Plain { address: address.ip(), port: Some(asked.port.to_owned()), tls: asked.tls })
}

/// TLS to servers that nobody here knows the authority of, as upstream speaks it with pods.
fn trusting() -> &'static TlsConnector {
    static TRUSTING: OnceLock<TlsConnector> = OnceLock::new();
    TRUSTING.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions' cipher suites")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    })
}

#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_ports_and_schemes() {
        assert_eq!(Asked::parse("a"), Some(Asked { name: "a", port: "", tls: false }));
        assert_eq!(Asked::parse("a:http"), Some(Asked { name: "a", port: "http", tls: false }));
        assert_eq!(Asked::parse("https:a:"), Some(Asked { name: "a", port: "", tls: true }));
        for bad in ["", ":80", "ftp:a:1", "a:b:c:d"] {
            assert_eq!(Asked::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_of_this_machine_are_none_of_a_pods() {
        for (text, allowed) in [
            ("10.0.0.1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("::1", false),
            ("fe80::1", false),
            ("fd00::1", true),
        ] {
            assert_eq!(text.parse().ok().as_ref().map(is_global_unicast), Some(allowed), "{text}");
        }
    }
}
