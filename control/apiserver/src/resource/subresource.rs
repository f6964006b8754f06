//! What is served below an object.

use http::{Response, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1 as autoscaling;
use k8s_openapi::api::core::v1::Binding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status};
use serde_json::{Value, json};
use skep_registry::{FieldError, FieldErrorKind, Object, Subresource, typed_ref};

use super::apply::{self, Application};
use super::patch::Patch;
use super::{Context, eviction, log, patch, proxy, replace, stream, token};
use crate::call::Call;
use crate::form::{self, Shape};
use crate::input;
use crate::object::{self, Cached};
use crate::path::{ResourcePath, Verb};
use crate::query::FieldValidation;
use crate::read;
use crate::response::{self, Body};
use crate::status::ApiError;
use crate::write::{self, Asked, Owner, Part, Target, Writer, refuse_fields};

/// As in paths.
pub(crate) fn name(subresource: Subresource) -> &'static str {
    match subresource {
        Subresource::Status => "status",
        Subresource::Scale => "scale",
        Subresource::Binding => "binding",
        Subresource::Log => "log",
        Subresource::Exec => "exec",
        Subresource::Attach => "attach",
        Subresource::PortForward => "portforward",
        Subresource::Proxy => "proxy",
        Subresource::Finalize => "finalize",
        Subresource::Approval => "approval",
        Subresource::Token => "token",
        Subresource::EphemeralContainers => "ephemeralcontainers",
        Subresource::Resize => "resize",
        Subresource::Eviction => "eviction",
    }
}

pub(super) async fn handle(
    context: &Context<'_>,
    shape: &Shape,
    target: &Target,
    path: &ResourcePath,
    subresource: Subresource,
    verb: Verb,
    call: Call,
) -> Result<Response<Body>, ApiError> {
    let writer = context.writer;
    match (subresource, verb) {
        (Subresource::Status, Verb::Get) => read::get(writer, shape, target, None).await,
        (Subresource::Status, Verb::Update) => replace(writer, shape, target, Part::Status, call).await,
        (Subresource::Status, Verb::Patch) => patch::patch(context, shape, target, Part::Status, call).await,
        (Subresource::Approval | Subresource::EphemeralContainers | Subresource::Resize, verb) => match verb {
            Verb::Get => read::get(writer, shape, target, None).await,
            Verb::Update => replace(writer, shape, target, Part::Other(subresource), call).await,
            Verb::Patch => patch::patch(context, shape, target, Part::Other(subresource), call).await,
            _ => Err(ApiError::method_not_allowed()),
        },
        (Subresource::Eviction, Verb::Create) => eviction::evict(writer, target, call).await,
        (Subresource::Scale, Verb::Get) => {
            let current = writer.current(target).await?;
            scale_response(target, &current, &call)
        }
        (Subresource::Scale, Verb::Update | Verb::Patch) => scale(writer, target, verb, call).await,
        (Subresource::Binding, Verb::Create) => bind_pod(context, target, call).await,
        (Subresource::Finalize, Verb::Update) => finalize(writer, shape, target, call).await,
        (Subresource::Token, Verb::Create) => token::create(context, target, call).await,
        (Subresource::Log, Verb::Get) => log::stream(context, target, call).await,
        (Subresource::Exec | Subresource::Attach | Subresource::PortForward, _) => {
            stream::connect(context, target, subresource, call).await
        }
        (Subresource::Proxy, _) => proxy::pass(context, target, &path.tail, call).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn scale_response(target: &Target, object: &Cached, call: &Call) -> Result<Response<Body>, ApiError> {
    let decoded = object.decode(&target.served).ok_or_else(|| target.not_found())?;
    let scale = scale_of(target, &*decoded, object.revision)?;
    let value = serde_json::to_value(scale).map_err(|error| ApiError::internal(&error))?;
    Ok(form::render(StatusCode::OK, &value, call.output))
}

fn scale_of(target: &Target, object: &dyn Object, revision: u64) -> Result<autoscaling::Scale, ApiError> {
    let scale = target.served.strategy.scale(object).ok_or_else(ApiError::no_such_path)?;
    let meta = object.meta();
    Ok(autoscaling::Scale {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            resource_version: Some(revision.to_string()),
            creation_timestamp: meta.creation_timestamp.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(autoscaling::ScaleSpec { replicas: Some(scale.replicas) }),
        status: Some(autoscaling::ScaleStatus { replicas: scale.status_replicas, selector: Some(scale.selector) }),
    })
}

/// PUT and PATCH of a scale: only `spec.replicas` counts.
async fn scale(writer: &Writer, target: &Target, verb: Verb, mut call: Call) -> Result<Response<Body>, ApiError> {
    if verb == Verb::Patch && apply::is_apply(&call.headers) {
        let application =
            Application::read("scale", &mut call).await?.map(|scale| scaled_configuration(target, scale))?;
        let updated = application.update(writer, target, Part::Main).await?;
        return scale_response(target, &updated, &call);
    }
    let asked = call.asks("scale", call.query.dry_run()?);
    let body = std::mem::replace(&mut call.body, response::full(""));
    let wanted = if verb == Verb::Update {
        Wanted::Whole(input::parse(&call.headers, &input::read(body).await?)?.value)
    } else {
        Wanted::Patch(Patch::read(&call.headers, body).await?)
    };
    let mut change = |current: &Cached, old: &dyn Object| {
        let value = match &wanted {
            Wanted::Whole(value) => value.clone(),
            Wanted::Patch(patch) => {
                let now = serde_json::to_value(scale_of(target, old, current.revision)?)
                    .map_err(|error| ApiError::internal(&error))?;
                // A scale has no lists, so that a strategic merge is a merge.
                match patch {
                    Patch::Strategic(value) => Patch::Merge(value.clone()).apply(now, None)?,
                    other => other.apply(now, None)?,
                }
            }
        };
        scaled(target, &value, old)
    };
    let updated = write::update(writer, &asked, target, Part::Main, &mut change).await?;
    scale_response(target, &updated, &call)
}

enum Wanted {
    Whole(Value),
    Patch(Patch),
}

/// The configuration of what is scaled that an applied scale stands for.
fn scaled_configuration(target: &Target, scale: &Value) -> Result<Value, ApiError> {
    let text = |key| scale.get(key).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if (version, kind) != ("autoscaling/v1", "Scale") {
        let what = apply::group_version_kind(version, kind);
        return Err(ApiError::bad_request(format!("invalid object type: {what}")));
    }
    let mut config = json!({"apiVersion": object::api_version(&target.served), "kind": target.served.kind});
    for (pointer, parent, key) in [
        ("/metadata/name", "metadata", "name"),
        ("/metadata/namespace", "metadata", "namespace"),
        ("/metadata/uid", "metadata", "uid"),
        ("/metadata/resourceVersion", "metadata", "resourceVersion"),
        ("/spec/replicas", "spec", "replicas"),
    ] {
        if let Some(value) = scale.pointer(pointer) {
            config[parent][key] = value.clone();
        }
    }
    Ok(config)
}

/// The object with the replicas of a scale, and its resource version and UID as preconditions.
fn scaled(target: &Target, scale: &Value, old: &dyn Object) -> Result<Box<dyn Object>, ApiError> {
    let scale: autoscaling::Scale = serde_json::from_value(scale.clone()).map_err(|error| {
        ApiError::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {error}"))
    })?;
    let name = scale.metadata.name.as_deref().unwrap_or_default();
    if !name.is_empty() && name != target.name {
        let wanted = &target.name;
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        )));
    }
    let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
    if replicas < 0 {
        let error = FieldError {
            kind: FieldErrorKind::Invalid,
            field: "spec.replicas".to_owned(),
            message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
        };
        return Err(ApiError::invalid("Scale", "autoscaling", &target.name, &[error]));
    }
    let mut new = old.clone_object();
    target.served.strategy.set_replicas(&mut *new, replicas);
    new.meta_mut().resource_version = scale.metadata.resource_version;
    new.meta_mut().uid = scale.metadata.uid;
    Ok(new)
}

/// `pods/binding`: what `bindings` is, by the pod's own path.
async fn bind_pod(context: &Context<'_>, target: &Target, call: Call) -> Result<Response<Body>, ApiError> {
    let asked = call.asks("binding", call.query.dry_run()?);
    let parsed = input::parse(&call.headers, &input::read(call.body).await?)?;
    let served = context.bindings.ok_or_else(ApiError::no_such_path)?;
    let (object, _) = input::decode(served, parsed, FieldValidation::Ignore)?;
    let binding = typed_ref::<Binding>(&*object).ok_or_else(ApiError::no_such_path)?;
    if binding.metadata.name.as_deref().unwrap_or_default() != target.name {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
    }
    refuse_fields(served, &target.name, &served.strategy.validate(&*object))?;
    let status = bind(context.writer, &asked, target, binding).await?;
    Ok(form::render(StatusCode::CREATED, &status, call.output))
}

/// Binds a pod to the node that a valid binding names.
pub(crate) async fn bind(
    writer: &Writer,
    asked: &Asked,
    target: &Target,
    binding: &Binding,
) -> Result<Value, ApiError> {
    // Nobody owns the node's name: it is decided once.
    let asked = Asked { owner: Owner::Nobody, subresource: "binding", ..asked.clone() };
    let node = binding.target.name.as_deref().unwrap_or_default();
    let mut change = |_: &Cached, old: &dyn Object| {
        let mut new = old.clone_object();
        new.meta_mut().uid.clone_from(&binding.metadata.uid);
        new.meta_mut().resource_version.clone_from(&binding.metadata.resource_version);
        target
            .served
            .strategy
            .bind(&mut *new, node, Timestamp::now())
            .map_err(|why| ApiError::conflict(&target.served, &target.name, &why))?;
        if let Some(annotations) = &binding.metadata.annotations {
            new.meta_mut().annotations.get_or_insert_default().extend(annotations.clone());
        }
        Ok(new)
    };
    write::update(writer, &asked, target, Part::Server, &mut change).await?;
    let status = Status { status: Some("Success".to_owned()), code: Some(201), ..Status::default() };
    serde_json::to_value(&status).map_err(|error| ApiError::internal(&error))
}

async fn finalize(writer: &Writer, shape: &Shape, target: &Target, call: Call) -> Result<Response<Body>, ApiError> {
    let asked = call.asks("finalize", call.query.dry_run()?);
    let validation = call.query.field_validation()?;
    let parsed = input::parse(&call.headers, &input::read(call.body).await?)?;
    let (object, _) = input::decode(&target.served, parsed, validation)?;
    let mut change = |_: &Cached, old: &dyn Object| {
        let mut new = old.clone_object();
        target.served.strategy.set_spec_finalizers(&mut *new, &*object);
        new.meta_mut().uid.clone_from(&object.meta().uid);
        new.meta_mut().resource_version.clone_from(&object.meta().resource_version);
        Ok(new)
    };
    let updated = write::update(writer, &asked, target, Part::Server, &mut change).await?;
    Ok(shape.one(StatusCode::OK, &updated))
}
