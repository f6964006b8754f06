//! HTTP requests of probes and hooks: no redirects followed, no certificates checked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct HttpTarget {
    https: bool,
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
}

impl HttpTarget {
    /// The request that an action stands for; `ip` is the pod's.
    pub(crate) fn of(get: &HTTPGetAction, container: &Container, ip: Option<IpAddr>) -> Result<Self, String> {
        let own = get.host.clone().filter(|host| !host.is_empty());
        let host = own.or_else(|| ip.map(|ip| ip.to_string())).ok_or("the pod has no address")?;
        let path = get.path.as_deref().unwrap_or_default();
        let headers = get.http_headers.iter().flatten().map(|header| (header.name.clone(), header.value.clone()));
        Ok(Self {
            https: get.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            host,
            port: port_of(&get.port, container)?,
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            headers: headers.collect(),
        })
    }

    /// Sends the request, and returns the answer's status code.
    pub(crate) async fn get(&self, timeout: Duration) -> Result<u16, String> {
        let scheme = if self.https { "https" } else { "http" };
        let fail = |error: &dyn std::fmt::Display| {
            format!("Get \"{scheme}://{}:{}{}\": {error}", self.host, self.port, self.path)
        };
        match tokio::time::timeout(timeout, self.exchange()).await {
            Ok(Ok(code)) => Ok(code),
            Ok(Err(error)) => Err(fail(&error)),
            Err(_) => Err(fail(&"context deadline exceeded (Client.Timeout exceeded while awaiting headers)")),
        }
    }

    async fn exchange(&self) -> Result<u16, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| format!("dial tcp {}:{}: {error}", self.host, self.port))?;
        if !self.https {
            return self.send(stream).await;
        }
        let connector = tokio_rustls::TlsConnector::from(unchecked_tls()?);
        let name = ServerName::try_from(self.host.clone()).map_err(|error| text(&error))?;
        self.send(connector.connect(name, stream).await.map_err(|error| text(&error))?).await
    }

    async fn send(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<u16, String> {
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let answer = sender.send_request(self.request()?);
        let answer = drive(connection, answer).await.map_err(|error| error.to_string())?;
        Ok(answer.status().as_u16())
    }

    fn request(&self) -> Result<http::Request<Empty<Bytes>>, String> {
        let named = |name: &str| self.headers.iter().any(|(held, _)| held.eq_ignore_ascii_case(name));
        let mut request = http::Request::get(&self.path);
        if !named("host") {
            request = request.header("Host", format!("{}:{}", self.host, self.port));
        }
        if !named("user-agent") {
            request = request.header("User-Agent", "kube-probe/1.37");
        }
        if !named("accept") {
            request = request.header("Accept", "*/*");
        }
        request = request.header("Connection", "close");
        for (name, value) in
            self.headers.iter().filter(|(name, value)| !(name.eq_ignore_ascii_case("accept") && value.is_empty()))
        {
            request = request.header(name, value);
        }
        request.body(Empty::new()).map_err(|error| error.to_string())
    }
}

/// Polls a connection for as long as an answer is awaited on it, and no longer.
pub(super) async fn drive<T>(connection: impl Future, answer: impl Future<Output = T>) -> T {
    let (mut connection, mut answer) = (std::pin::pin!(connection), std::pin::pin!(answer));
    tokio::select! {
        answer = &mut answer => return answer,
        _ = &mut connection => {}
    }
    // A connection that has ended may have brought the answer before.
    answer.await
}

/// A port by number, or by its name among the container's.
pub(super) fn port_of(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|held| held.name.as_deref() == Some(name))
            .map(|held| held.container_port)
            .or_else(|| name.parse().ok()),
    };
    let number = number.ok_or_else(|| format!("couldn't find port: {port:?}"))?;
    u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

fn unchecked_tls() -> Result<Arc<rustls::ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Probes take any certificate, as Kubernetes specifies.
#[derive(Debug)]
struct Unchecked(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
