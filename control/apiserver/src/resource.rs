//! Requests to resources: from path and verb to reads and writes. Knows no kind.

use std::sync::Arc;

use http::{Response, StatusCode};
use skep_registry::{Object, Requester, Scope, Subresource};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::authn::Tokens;
use crate::authz::Authorizers;
use crate::call::Call;
use crate::form::{Include, Shape};
use crate::input;
use crate::object::Cached;
use crate::path::{ResourcePath, Verb};
use crate::query;
use crate::read;
use crate::response::Body;
use crate::review;
use crate::selection::Selection;
use crate::served::Served;
use crate::status::ApiError;
use crate::write::{self, Asked, Part, Target, Writer};

mod apply;
mod delete;
mod eviction;
mod kubelet;
mod log;
mod patch;
mod proxy;
mod stream;
mod subresource;
mod token;

pub(crate) use apply::is_apply;
pub(crate) use kubelet::KubeletClient;
pub(crate) use subresource::{bind, name as subresource_name};

/// What a request to a resource needs of the server.
pub(crate) struct Context<'a> {
    pub writer: &'a Writer,
    pub kubelet: Option<&'a KubeletClient>,
    pub nodes: Option<&'a Served>,
    pub pods: Option<&'a Served>,
    pub endpoints: Option<&'a Served>,
    pub bindings: Option<&'a Served>,
    pub streams: &'a Streams,
    pub authorizers: &'a Authorizers,
    pub tokens: &'a Tokens,
}

/// Connections that left HTTP: those that a server lets live at once.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Semaphore>);

const STREAMS_MAX: usize = 5_000;

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

impl Streams {
    /// The right to one more, for as long as it is held.
    pub(crate) fn slot(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| ApiError::too_many_requests())
    }
}

pub(crate) async fn handle(
    context: &Context<'_>,
    served: Served,
    path: ResourcePath,
    verb: Verb,
    call: Call,
) -> Result<Response<Body>, ApiError> {
    check_scope(&served, &path, verb)?;
    if !served.stored {
        return review::handle(context, &served, &path, verb, call).await;
    }
    // What is passed on has parameters of its own.
    if !matches!(path.subresource.as_deref(), Some("exec" | "attach" | "portforward" | "proxy")) {
        call.check_manager(verb)?;
    }
    let shape = Shape { served: served.clone(), output: call.output, include: Include::of(&call.query)? };
    let Some(name) = path.name.clone() else {
        return collection(context, &shape, path.namespace.as_deref(), verb, call).await;
    };
    let target = Target { served, namespace: path.namespace.clone(), name };
    if let Some(subresource) = path.subresource.as_deref() {
        let subresource = named(&target.served, subresource).ok_or_else(ApiError::no_such_path)?;
        return subresource::handle(context, &shape, &target, &path, subresource, verb, call).await;
    }
    let writer = context.writer;
    match verb {
        Verb::Get if call.query.flag("watch") => watch(context, shape, &target, call).await,
        Verb::Get => {
            let version = call.query.get("resourceVersion").map(query::resource_version).transpose()?;
            read::get(writer, &shape, &target, version).await
        }
        Verb::Update => replace(writer, &shape, &target, Part::Main, call).await,
        Verb::Patch => patch::patch(context, &shape, &target, Part::Main, call).await,
        Verb::Delete => delete::one(writer, &shape, &target, call).await,
        Verb::Create | Verb::List | Verb::Watch | Verb::DeleteCollection | Verb::Options => {
            Err(ApiError::method_not_allowed())
        }
    }
}

async fn collection(
    context: &Context<'_>,
    shape: &Shape,
    namespace: Option<&str>,
    verb: Verb,
    call: Call,
) -> Result<Response<Body>, ApiError> {
    let writer = context.writer;
    match verb {
        Verb::List => {
            let options = call.query.list_options()?;
            let selection = Selection::new(&shape.served, namespace, None, &options)?;
            read::list(writer, shape, &selection, &options).await
        }
        Verb::Watch => {
            let options = call.query.list_options()?;
            let selection = Selection::new(&shape.served, namespace, None, &options)?;
            read::watch(writer, shape.clone(), selection, options, call.stop).await
        }
        Verb::Create => create(writer, shape, namespace, call).await,
        Verb::DeleteCollection => delete::collection(writer, shape, namespace, call).await,
        Verb::Get | Verb::Update | Verb::Patch | Verb::Delete | Verb::Options => Err(ApiError::method_not_allowed()),
    }
}

/// A watch of one object by its path.
async fn watch(context: &Context<'_>, shape: Shape, target: &Target, call: Call) -> Result<Response<Body>, ApiError> {
    let options = call.query.list_options()?;
    let selection = Selection::new(&shape.served, target.namespace.as_deref(), Some(&target.name), &options)?;
    read::watch(context.writer, shape, selection, options, call.stop).await
}

/// Namespaced objects are reached through their namespace, and only lists and watches go across namespaces.
fn check_scope(served: &Served, path: &ResourcePath, verb: Verb) -> Result<(), ApiError> {
    match (served.scope, &path.namespace) {
        (Scope::Cluster, Some(_)) => Err(ApiError::no_such_path()),
        (Scope::Namespaced, None) if path.name.is_some() => Err(ApiError::no_such_path()),
        (Scope::Namespaced, None) if !verb.is_read() => Err(ApiError::method_not_allowed()),
        _ => Ok(()),
    }
}

fn named(served: &Served, name: &str) -> Option<Subresource> {
    served.subresources.iter().copied().find(|s| subresource::name(*s) == name)
}

async fn create(
    writer: &Writer,
    shape: &Shape,
    namespace: Option<&str>,
    call: Call,
) -> Result<Response<Body>, ApiError> {
    let dry_run = call.query.dry_run()?;
    let validation = call.query.field_validation()?;
    let asked = call.asks("", dry_run);
    let parsed = input::parse(&call.headers, &input::read(call.body).await?)?;
    let (mut object, warnings) = input::decode(&shape.served, parsed, validation)?;
    asked.warnings.extend(warnings);
    let who = &call.identity;
    let requester = Requester { user: &who.user, groups: &who.groups, uid: &who.uid, extra: &who.extra };
    shape.served.strategy.set_requester(&mut *object, &requester);
    let created = write::create(writer, &asked, &shape.served, namespace, object).await?;
    Ok(shape.one(StatusCode::CREATED, &created))
}

/// PUT of an object or of its status.
async fn replace(
    writer: &Writer,
    shape: &Shape,
    target: &Target,
    part: Part,
    call: Call,
) -> Result<Response<Body>, ApiError> {
    let dry_run = call.query.dry_run()?;
    let validation = call.query.field_validation()?;
    let asked = call.asks(part.subresource(), dry_run);
    let parsed = input::parse(&call.headers, &input::read(call.body).await?)?;
    let (object, warnings) = input::decode(&shape.served, parsed, validation)?;
    asked.warnings.extend(warnings);
    let mut change = |_: &_, _: &_| Ok(object.clone_object());
    let (code, written) = match write::update(writer, &asked, target, part, &mut change).await {
        Err(error) if error.code() == StatusCode::NOT_FOUND && creates(target, part) => {
            (StatusCode::CREATED, create_at(writer, &asked, target, object).await?)
        }
        updated => (StatusCode::OK, updated?),
    };
    Ok(shape.one(code, &written))
}

/// Whether an update of what is not there creates it.
fn creates(target: &Target, part: Part) -> bool {
    part == Part::Main && target.served.strategy.creates_on_update()
}

/// Creates what an update did not find. The version that the client knew is one of a past that is gone.
async fn create_at(
    writer: &Writer,
    asked: &Asked,
    target: &Target,
    mut object: Box<dyn Object>,
) -> Result<Arc<Cached>, ApiError> {
    let meta = object.meta_mut();
    meta.name = Some(target.name.clone());
    meta.resource_version = None;
    write::create(writer, asked, &target.served, target.namespace.as_deref(), object).await
}
