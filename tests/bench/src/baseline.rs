//! A server that knows nothing and sends bytes: what a list costs at least.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Response;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::connection::Endpoint;

const CHUNK_BYTES: usize = 64 << 10;

/// Serves so many bytes for every request, on one connection, until that is closed.
pub(crate) async fn start(len: usize) -> Result<Endpoint> {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key.into())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone())?;
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let endpoint = Endpoint::new(listener.local_addr()?.to_string(), tls);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true)?;
        let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.context("TLS")?;
        let service = service_fn(move |_: http::Request<Incoming>| async move { Ok::<_, Infallible>(answer(len)) });
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await?;
        anyhow::Ok(())
    });
    Ok(endpoint)
}

type Chunks = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn answer(len: usize) -> Response<Chunks> {
    let chunk = Bytes::from(vec![b'x'; CHUNK_BYTES]);
    let sizes = (0..len).step_by(CHUNK_BYTES).map(|at| CHUNK_BYTES.min(len - at));
    let frames: Vec<_> = sizes.map(|size| Ok(Frame::data(chunk.slice(..size)))).collect();
    Response::new(StreamBody::new(futures::stream::iter(frames)))
}
