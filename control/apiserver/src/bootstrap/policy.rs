//! The roles and bindings that every cluster has, put right at each start.

use std::sync::Arc;

use futures::StreamExt;
use http::StatusCode;
use skep_rbac::Repair;
use skep_registry::{ApiObject, Registry, TypedObject, typed_ref};

use crate::options::Error;
use crate::served::Served;
use crate::status::ApiError;
use crate::write::{self, Asked, DeleteOptions, Part, Target, Writer};

/// Writes at once: they share the store's syncs.
const WRITES_MAX: usize = 64;

/// How often a write is tried again that another server was quicker with.
const ATTEMPTS_MAX: usize = 5;

/// Makes what is missing and adds to what lacks something.
pub(crate) async fn ensure_policy(writer: &Writer, registry: &Arc<Registry>) -> Result<(), Error> {
    ensure_all(writer, registry, skep_rbac::cluster_roles(), skep_rbac::repair_cluster_role).await?;
    ensure_all(writer, registry, skep_rbac::cluster_role_bindings(), skep_rbac::repair_binding).await?;
    ensure_all(writer, registry, skep_rbac::roles(), skep_rbac::repair_role).await?;
    ensure_all(writer, registry, skep_rbac::role_bindings(), skep_rbac::repair_binding).await
}

async fn ensure_all<T: ApiObject>(
    writer: &Writer,
    registry: &Arc<Registry>,
    objects: Vec<T>,
    repair: fn(&T, &T) -> Repair<T>,
) -> Result<(), Error> {
    let Some(served) = Served::find(registry, T::GROUP, T::VERSION, T::URL_PATH_SEGMENT) else { return Ok(()) };
    let served = &served;
    let writes = objects.into_iter().map(|wanted| async move {
        let meta = wanted.metadata();
        let (namespace, name) = (meta.namespace.clone(), meta.name.clone().unwrap_or_default());
        let target = Target { served: served.clone(), namespace, name };
        let done = ensure(writer, &target, &wanted, repair).await;
        done.map_err(|error| Error::Bootstrap {
            kind: T::URL_PATH_SEGMENT,
            name: target.name,
            reason: error.to_string(),
        })
    });
    let done: Vec<Result<(), Error>> = futures::stream::iter(writes).buffer_unordered(WRITES_MAX).collect().await;
    done.into_iter().collect()
}

async fn ensure<T: ApiObject>(
    writer: &Writer,
    target: &Target,
    wanted: &T,
    repair: fn(&T, &T) -> Repair<T>,
) -> Result<(), ApiError> {
    let asked = Asked::by_server();
    for _ in 0..ATTEMPTS_MAX {
        let held = writer.cache.get(&target.served, &target.key());
        let held = held.and_then(|held| held.decode(&target.served));
        let repaired = held.as_deref().and_then(typed_ref::<T>).map(|held| repair(held, wanted));
        let done = match repaired {
            Some(Repair::Nothing) => return Ok(()),
            Some(Repair::Update(object)) => {
                let object = TypedObject(object);
                let mut change = |_: &_, _: &_| Ok(Box::new(object.clone()) as _);
                write::update(writer, &asked, target, Part::Main, &mut change).await.map(|_| true)
            }
            Some(Repair::Recreate(_)) => {
                write::delete(writer, &asked, target, &DeleteOptions::default()).await.map(|_| false)
            }
            None => {
                let object = Box::new(TypedObject(wanted.clone()));
                let namespace = target.namespace.as_deref();
                write::create(writer, &asked, &target.served, namespace, object).await.map(|_| true)
            }
        };
        match done {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if matches!(error.code(), StatusCode::CONFLICT | StatusCode::NOT_FOUND) => {}
            Err(error) => return Err(error),
        }
        writer.catch_up().await?;
    }
    Ok(())
}
