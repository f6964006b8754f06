//! The informers of one process, by type.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::informer::{Informer, Watched};

/// Hands out one informer per type. Clones share them.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    stop: CancellationToken,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    by_type: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    waits: Vec<Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>>,
}

impl Informers {
    /// None yet. Their watches end with `stop`.
    pub fn new(client: Client, stop: CancellationToken) -> Self {
        Self { client, stop, known: Arc::default() }
    }

    /// The client that the watches use.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The informer for all objects of a type. The first call starts its watch.
    pub fn get<K>(&self) -> Informer<K>
    where
        K: Watched,
        K::DynamicType: Default,
    {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(informer) = known.by_type.get(&TypeId::of::<K>()).and_then(|any| any.downcast_ref::<Informer<K>>())
        {
            return informer.clone();
        }
        let informer = Informer::<K>::new();
        known.by_type.insert(TypeId::of::<K>(), Box::new(informer.clone()));
        let waits = informer.clone();
        known.waits.push(Arc::new(move || {
            let informer = waits.clone();
            Box::pin(async move { informer.synced().await })
        }));
        let (runs, api, stop) = (informer.clone(), Api::all(self.client.clone()), self.stop.clone());
        tokio::spawn(async move { runs.run(api, watcher::Config::default(), stop).await });
        informer
    }

    /// Waits until every informer handed out so far has its first list. False if the process stops before.
    pub async fn synced(&self) -> bool {
        let waits = self.known.lock().unwrap_or_else(PoisonError::into_inner).waits.clone();
        let all = futures::future::join_all(waits.iter().map(|wait| wait()));
        tokio::select! {
            () = self.stop.cancelled() => false,
            _ = all => true,
        }
    }
}
