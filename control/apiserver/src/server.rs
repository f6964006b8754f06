//! The server: what a request passes, in order.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use skep_raft::Store;
use skep_registry::Registry;
use skep_upgrade::WebSocketOffer;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::authn::{Accounts, Identity, Impersonation, Named, Tokens};
use crate::authz::{Action, Authorizer, Authorizers, Decision, refusal};
use crate::cache::{Cache, follow};
use crate::call::Call;
use crate::negotiate::Output;
use crate::openapi::Documents;
use crate::options::{Error, Options};
use crate::other;
use crate::path::{self, Path, ResourcePath, Verb};
use crate::pools::Ranges;
use crate::query::Query;
use crate::resource::{self, KubeletClient, Streams};
use crate::response::{self, Body};
use crate::served::Served;
use crate::status::ApiError;
use crate::warning::Warnings;
use crate::websocket::Client;
use crate::write::Writer;
use crate::{bootstrap, definitions, expiry, listen, metrics, websocket};

/// How long a request may take that is neither a watch nor a stream, unless the client says that it waits no longer than that.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the store may take to say that it is there.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// An answer on its way.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// The Kubernetes API. Clones share one server.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

struct Inner {
    documents: Arc<Documents>,
    writer: Arc<Writer>,
    authorizers: Arc<Authorizers>,
    kubelet: Option<KubeletClient>,
    nodes: Option<Served>,
    pods: Option<Served>,
    endpoints: Option<Served>,
    bindings: Option<Served>,
    tokens: Tokens,
    advertise: Option<std::net::SocketAddr>,
    mutating: Semaphore,
    reading: Semaphore,
    streams: Streams,
    stop: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl ApiServer {
    /// Fills the watch cache and makes what every cluster has: its namespaces and the Service `kubernetes`.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn start(options: Options, registry: Arc<Registry>, store: Store) -> Result<Self, Error> {
        let stop = CancellationToken::new();
        let registry = Arc::new(Registry::clone(&registry).with(vec![skep_custom::definitions()]));
        let authorizers = Arc::new(Authorizers::default());
        let cache = Arc::new(Cache::new(Arc::clone(&registry), authorizers.followers(&registry)));
        follow::start(Arc::clone(&cache), store.clone(), stop.clone()).await.map_err(Error::Load)?;
        let key = options.service_account_key.as_deref();
        let accounts = Accounts::new(&registry, key, &options.service_account_issuer)?;
        let ranges = Ranges { service_cidrs: options.service_cidrs.clone(), node_ports: options.node_ports.clone() };
        let admission = Admission::new(&registry, &options.disabled_admission);
        let writer = Arc::new(Writer { store, cache, ranges, admission, authorizers: Arc::clone(&authorizers) });
        bootstrap::ensure(&writer, &registry, &options).await?;
        bootstrap::ensure_policy(&writer, &registry).await?;
        let keep = bootstrap::keep(Arc::clone(&writer), Arc::clone(&registry), options.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(keep));
        expiry::start(&writer, Served::all(&registry), &stop);
        definitions::start(&writer, &registry, &stop);
        let server = Self {
            inner: Arc::new(Inner {
                nodes: Served::find(&registry, "", "v1", "nodes"),
                pods: Served::find(&registry, "", "v1", "pods"),
                endpoints: Served::find(&registry, "", "v1", "endpoints"),
                bindings: Served::find(&registry, "", "v1", "bindings"),
                tokens: Tokens::new(&registry, accounts),
                writer,
                authorizers,
                kubelet: options.kubelet_client.clone().map(KubeletClient::new),
                advertise: options.advertise,
                mutating: Semaphore::new(options.mutating_requests_max.max(1)),
                reading: Semaphore::new(options.reading_requests_max.max(1)),
                streams: Streams::default(),
                stop,
                documents: Arc::default(),
            }),
        };
        Ok(server)
    }

    /// A client in this process: its requests go through the same path as those from outside, without a socket.
    #[must_use]
    pub fn client(&self, user: &str, groups: &[&str]) -> kube::Client {
        let identity = Arc::new(Identity::authenticated(user, groups));
        kube::Client::new(InProcess { server: self.clone(), identity }, "default")
    }

    /// A token of the service account of this name and UID, to be kept in a Secret of its namespace; it is good while the Secret
    /// holds it.
    ///
    /// # Errors
    /// Signing failed.
    pub fn secret_token(&self, namespace: &str, (name, uid): (&str, &str), secret: &str) -> Result<String, String> {
        let account = Named { name: name.to_owned(), uid: uid.to_owned() };
        let token = self.inner.tokens.accounts.issue_legacy(namespace, &account, secret);
        token.map_err(|error| error.to_string())
    }

    /// Serves a listener until `stop`; what is running then may end, and watches are ended. It may be called several
    /// times, with several listeners. Client certificates that `tls` verified say who asks.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub async fn serve(
        &self,
        listener: std::net::TcpListener,
        tls: Arc<rustls::ServerConfig>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        listen::serve(self, listener, &tls, stop).await
    }

    /// Ends all watches and the task that follows the store; clients get no more answers from the cache.
    pub fn shutdown(&self) {
        self.inner.stop.cancel();
    }

    /// Answers one request. `stop` ends streams.
    pub(crate) fn answer(&self, request: Request<Body>, identity: Arc<Identity>, stop: CancellationToken) -> Answer {
        let inner = Arc::clone(&self.inner);
        let warnings = Warnings::default();
        Box::pin(async move {
            let answer = inner.answer(request, identity, warnings.clone(), stop).await;
            let mut response = answer.unwrap_or_else(ApiError::into_response);
            warnings.write(&mut response);
            response
        })
    }

    /// Who asks: whom the certificate names, or else whom a bearer token stands for.
    pub(crate) async fn authenticate(
        &self,
        headers: &http::HeaderMap,
        connection: Arc<Identity>,
    ) -> Result<Arc<Identity>, ApiError> {
        if !connection.is_anonymous() {
            return Ok(connection);
        }
        let identity = self.inner.tokens.authenticate(&self.inner.writer, headers).await?;
        Ok(identity.map_or(connection, Arc::new))
    }

    /// Ends with the server, and may be ended alone.
    pub(crate) fn stopped(&self) -> CancellationToken {
        self.inner.stop.child_token()
    }
}

impl Inner {
    async fn answer(
        &self,
        mut request: Request<Body>,
        identity: Arc<Identity>,
        warnings: Warnings,
        stop: CancellationToken,
    ) -> Result<Response<Body>, ApiError> {
        let upgrade = skep_upgrade::take(&mut request);
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query());
        let path = path::parse(parts.uri.path()).ok_or_else(|| ApiError::bad_request("the path is not UTF-8"))?;
        // Those documents come in types of their own.
        let openapi = matches!(&path, Path::Other(segments) if segments.first().is_some_and(|s| s == "openapi"));
        let output = match Output::of(&parts.headers, &query) {
            Err(_) if openapi => Output::JSON,
            output => output?,
        };
        let identity = self.impersonate(identity, &parts.headers).await?;
        let call = Call {
            output,
            path: parts.uri.path().to_owned(),
            method: parts.method,
            headers: parts.headers,
            query,
            raw_query: parts.uri.query().map(str::to_owned),
            body,
            identity,
            warnings,
            upgrade,
            create_refusal: None,
            stop,
        };
        match path {
            Path::Other(segments) => {
                let verb = call.method.as_str().to_lowercase();
                self.authorize(&call.identity, &Action::Path { verb: &verb, path: &call.path }).await?;
                if openapi && matches!(call.method, Method::GET | Method::HEAD) {
                    return self.openapi(segments, call).await;
                }
                let address = self.advertise.map(|a| a.to_string()).unwrap_or_default();
                let checks = self.checks(&segments).await;
                if let Some(document) = self.tokens.accounts.document(&segments, &address) {
                    return other::identity_document(document, &call);
                }
                other::handle(&self.registry(), &address, &checks, &segments, &call)
            }
            Path::Resource(path) => self.resource(path, call).await,
        }
    }

    /// On a thread of its own: a document that is not there yet takes a while to make.
    async fn openapi(&self, segments: Vec<String>, call: Call) -> Result<Response<Body>, ApiError> {
        let (documents, registry) = (Arc::clone(&self.documents), self.registry());
        let Call { headers, query, .. } = call;
        let made = tokio::task::spawn_blocking(move || documents.answer(&registry, &segments, &headers, &query));
        made.await.map_err(|error| ApiError::internal(&error))?
    }

    /// How the parts do, where that is asked for.
    async fn checks(&self, segments: &[String]) -> other::Checks {
        let ready = match segments.first().map(String::as_str) {
            Some("readyz" | "healthz") => tokio::time::timeout(STORE_TIMEOUT, self.writer.store.read_index()).await,
            _ => return vec![("ping", true)],
        };
        let caught_up = self.writer.cache.revision() > 0;
        vec![("ping", true), ("store", matches!(ready, Ok(Ok(_)))), ("watch-cache", caught_up)]
    }

    /// What is served at this moment.
    fn registry(&self) -> Arc<Registry> {
        self.writer.cache.registry()
    }

    async fn resource(&self, path: ResourcePath, mut call: Call) -> Result<Response<Body>, ApiError> {
        let watch = call.query.flag("watch") && path.subresource.is_none();
        let verb = Verb::of(&call.method, path.name.is_some(), watch).ok_or_else(ApiError::method_not_allowed)?;
        // A namespace's own path is in that namespace, as far as rules are concerned.
        let namespace = match (path.resource.as_str(), &path.name) {
            ("namespaces", Some(name)) if path.group.is_empty() => Some(name.as_str()),
            _ => path.namespace.as_deref(),
        };
        // A list of one object by its name is about that object.
        let selected = verb.is_read().then(|| call.query.selected_name()).flatten();
        let action = Action::Resource {
            verb: if watch && verb == Verb::Get { "watch" } else { verb.name() },
            group: &path.group,
            resource: &path.resource,
            subresource: path.subresource.as_deref().unwrap_or_default(),
            namespace,
            name: path.name.as_deref().or(selected.as_deref()),
        };
        self.authorize(&call.identity, &action).await?;
        // A WebSocket begins with a GET, and nobody who may only read should run commands by it.
        if let Action::Resource { resource: "pods", subresource: "exec" | "attach" | "portforward", .. } = action {
            self.authorize(&call.identity, &action.with_verb("create")).await?;
        }
        // What a configuration is applied to is created if it is not there.
        if resource::is_apply(&call.headers) && path.subresource.is_none() {
            call.create_refusal = self.authorize(&call.identity, &action.with_verb("create")).await.err();
        }
        let served = Served::find(&self.registry(), &path.group, &path.version, &path.resource)
            .ok_or_else(ApiError::no_such_path)?;
        let dry_run = call.query.get("dryRun").is_some();
        let (began, asked) =
            (Instant::now(), metrics::Asked::new(verb, &path, resource::is_apply(&call.headers), dry_run));
        let streams = ["log", "exec", "attach", "portforward", "proxy"];
        let long = watch || path.subresource.as_deref().is_some_and(|name| streams.contains(&name));
        let readable = watch || path.subresource.as_deref() == Some("log");
        let socket = WebSocketOffer::of(&call.headers).filter(|_| readable).zip(call.upgrade.take_if(|_| readable));
        let stop = call.stop.clone();
        if let Some(warning) = served.strategy.deprecation() {
            call.warnings.add(warning);
        }
        let answer = self.handle(served, path, verb, call, long).await;
        let answer = match socket {
            Some((offer, connection)) => {
                let slot = self.streams.slot()?;
                answer.and_then(|answer| websocket::serve(answer, Client { offer, connection }, watch, stop, slot))
            }
            None => answer,
        };
        let code = answer.as_ref().map_or_else(ApiError::code, Response::status);
        asked.answered(code, (!long).then(|| began.elapsed()));
        answer
    }

    async fn handle(
        &self,
        served: Served,
        path: ResourcePath,
        verb: Verb,
        call: Call,
        long: bool,
    ) -> Result<Response<Body>, ApiError> {
        let context = resource::Context {
            writer: &self.writer,
            kubelet: self.kubelet.as_ref(),
            nodes: self.nodes.as_ref(),
            pods: self.pods.as_ref(),
            endpoints: self.endpoints.as_ref(),
            bindings: self.bindings.as_ref(),
            streams: &self.streams,
            authorizers: &self.authorizers,
            tokens: &self.tokens,
        };
        let asked = if long { None } else { call.query.timeout()? };
        let handled = Box::pin(resource::handle(&context, served, path, verb, call));
        if long {
            return handled.await;
        }
        let _turn = self.turn(verb).await?;
        tokio::time::timeout(asked.unwrap_or(REQUEST_TIMEOUT).min(REQUEST_TIMEOUT), handled)
            .await
            .map_err(|_| ApiError::timeout("request did not complete within the allotted timeout"))?
    }

    /// The identity that a request is made as: the one that was shown, or another that it may take.
    async fn impersonate(&self, who: Arc<Identity>, headers: &http::HeaderMap) -> Result<Arc<Identity>, ApiError> {
        let Some(other) = Impersonation::of(headers).map_err(|error| ApiError::internal(&error))? else {
            return Ok(who);
        };
        for action in other.actions() {
            self.authorize(&who, &action).await?;
        }
        tracing::debug!(user = who.user, headers = ?other, "impersonated");
        Ok(Arc::new(other.identity()))
    }

    async fn authorize(&self, who: &Identity, action: &Action<'_>) -> Result<(), ApiError> {
        if self.authorizers.allows(who, action) {
            return Ok(());
        }
        // A grant that was acknowledged before this request counts, and the cache may not have it yet.
        self.writer.catch_up().await?;
        let Decision::NoOpinion(why) = self.authorizers.decide(who, action) else { return Ok(()) };
        let why = refusal(who, action, &why);
        Err(match action {
            Action::Resource { group, resource, name, .. } => {
                ApiError::forbidden(resource, group, name.unwrap_or_default(), &why)
            }
            Action::Path { .. } => ApiError::forbidden_path(&why),
        })
    }

    async fn turn(&self, verb: Verb) -> Result<(SemaphorePermit<'_>, metrics::Running), ApiError> {
        let turns = if verb.is_read() { &self.reading } else { &self.mutating };
        match tokio::time::timeout(TURN_TIMEOUT, turns.acquire()).await {
            Ok(Ok(permit)) => Ok((permit, metrics::Running::turn(verb))),
            _ => Err(ApiError::too_many_requests()),
        }
    }
}

/// The router as a tower service, for a client in this process.
#[derive(Clone)]
struct InProcess {
    server: ApiServer,
    identity: Arc<Identity>,
}

impl tower::Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<kube::client::Body>) -> Self::Future {
        // A component's program is called as its user is: managed fields name it.
        let program = self.identity.user.rsplit(':').next().and_then(|name| http::HeaderValue::from_str(name).ok());
        if let (http::header::Entry::Vacant(agent), Some(program)) =
            (request.headers_mut().entry(http::header::USER_AGENT), program)
        {
            agent.insert(program);
        }
        let answer =
            self.server.answer(request.map(response::boxed), Arc::clone(&self.identity), self.server.stopped());
        Box::pin(async move { Ok(answer.await) })
    }
}
