//! Services in the datapath.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use skep_bpf::Datapath;
use skep_netmodel::{Change, PortName, ServiceSpec};
use skep_observe::{Difference, Inspector, Verify};
use tokio::sync::Notify;

use crate::services::{Step, Tables};

/// The kernel's service tables.
pub(crate) struct KernelTables {
    datapath: Arc<Datapath>,
    /// What they were last told to hold, once all of it is known.
    desired: Mutex<Option<BTreeMap<PortName, Arc<ServiceSpec>>>>,
    gone: Arc<Notify>,
    /// Whether pods' network is somebody else's: the datapath then learns from slices which backends are here.
    foreign_pods: bool,
}

impl KernelTables {
    pub(crate) fn new(datapath: Arc<Datapath>) -> Self {
        KernelTables { datapath, desired: Mutex::default(), gone: Arc::default(), foreign_pods: false }
    }

    /// Beside a pod network of others.
    pub(crate) fn beside(datapath: Arc<Datapath>) -> Self {
        KernelTables { foreign_pods: true, ..KernelTables::new(datapath) }
    }
}

impl KernelTables {
    /// Notified after writes, which may have taken backends away.
    pub(crate) fn gone(&self) -> Arc<Notify> {
        Arc::clone(&self.gone)
    }
}

impl Tables for KernelTables {
    fn carry_out(&self, step: &Step) -> Result<usize> {
        let mut desired = self.desired.lock().unwrap_or_else(PoisonError::into_inner);
        let applied = match step {
            Step::Full { specs, local } => {
                if self.foreign_pods {
                    self.datapath.sync_foreign_pods(local)?;
                }
                *desired = Some(specs.iter().map(|spec| (spec.name.clone(), Arc::clone(spec))).collect());
                self.datapath.sync_services(specs.iter().map(AsRef::as_ref))?
            }
            Step::Changes { changes, local } => {
                if self.foreign_pods {
                    self.datapath.change_foreign_pods(local)?;
                }
                for change in changes {
                    let held = desired.get_or_insert_default();
                    match change {
                        Change::Set(spec) => held.insert(spec.name.clone(), Arc::clone(spec)),
                        Change::Remove(name) => held.remove(name),
                    };
                }
                self.datapath.apply_services(changes)?
            }
        };
        self.gone.notify_one();
        Ok(applied.ops)
    }
}

impl Verify for KernelTables {
    fn verify(&self, kernel: &Inspector) -> Result<Vec<Difference>, skep_bpf::Error> {
        let desired = self.desired.lock().unwrap_or_else(PoisonError::into_inner);
        match &*desired {
            Some(desired) => kernel.verify_services(desired.values().map(AsRef::as_ref)),
            None => Ok(vec![Difference::unknown("SVC")]),
        }
    }
}
