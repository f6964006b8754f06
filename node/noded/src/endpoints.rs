//! Pods' interfaces in the datapath.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use skep_bpf::{Datapath, EndpointSpec};
use skep_network::{Attachment, Endpoints};
use skep_observe::{Difference, Inspector, Verify};

use crate::policy::Policing;

/// Tells the datapath of each pod's interface before the pod hears of it, and policy of each pod.
pub(crate) struct PodLinks {
    datapath: Arc<Datapath>,
    policing: Arc<Policing>,
    desired: Mutex<BTreeMap<IpAddr, EndpointSpec>>,
}

impl PodLinks {
    pub(crate) fn new(datapath: Arc<Datapath>, policing: Arc<Policing>) -> Self {
        PodLinks { datapath, policing, desired: Mutex::default() }
    }

    fn desired(&self) -> MutexGuard<'_, BTreeMap<IpAddr, EndpointSpec>> {
        self.desired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the kernel has this very pod already, as a daemon before this one has left it.
    fn is_known(&self, spec: &EndpointSpec) -> Result<bool> {
        let rows = self.datapath.inspect().endpoints().context("read endpoints")?;
        Ok(rows.iter().any(|row| {
            spec.addresses.contains(&row.address)
                && row.pod == spec.pod
                && row.ifindex == spec.ifindex
                && row.pod_mac == spec.pod_mac
        }))
    }

    /// Forgets endpoints whose pod went while no daemon was there.
    ///
    /// # Errors
    /// The tables cannot be read or written.
    pub(crate) fn retain(&self, attachments: &[Attachment]) -> Result<()> {
        for row in self.datapath.inspect().endpoints().context("read endpoints")? {
            if !attachments.iter().any(|one| one.addresses.contains(&row.address)) {
                self.datapath.remove_endpoint(&[row.address])?;
                self.datapath.detach_pod_link(row.ifindex)?;
            }
        }
        Ok(())
    }
}

impl Endpoints for PodLinks {
    fn attached(&self, attachment: &Attachment) -> Result<()> {
        let spec = spec(attachment);
        // A sandbox that belongs to no pod is selected by no policy.
        if !attachment.pod_name.is_empty() {
            let known = self.is_known(&spec)?;
            let (namespace, name) = (&attachment.pod_namespace, &attachment.pod_name);
            for address in &attachment.addresses {
                self.policing.attach(*address, namespace, name, known)?;
            }
        }
        self.datapath.attach_pod_link(attachment.host_ifindex)?;
        self.datapath.upsert_endpoint(&spec)?;
        let mut desired = self.desired();
        desired.extend(attachment.addresses.iter().map(|address| (*address, spec.clone())));
        Ok(())
    }

    fn detached(&self, attachment: &Attachment) -> Result<()> {
        self.datapath.remove_endpoint(&attachment.addresses)?;
        self.datapath.detach_pod_link(attachment.host_ifindex)?;
        for address in &attachment.addresses {
            self.policing.detach(*address)?;
            self.desired().remove(address);
        }
        Ok(())
    }
}

impl Verify for PodLinks {
    fn verify(&self, kernel: &Inspector) -> Result<Vec<Difference>, skep_bpf::Error> {
        let desired = self.desired().clone();
        let text = |pod: &str, ifindex: u32, mac: [u8; 6]| format!("{pod} by link {ifindex} at {mac:02x?}");
        let held = kernel.endpoints()?.into_iter();
        let mut held: BTreeMap<IpAddr, String> =
            held.map(|row| (row.address, text(&row.pod, row.ifindex, row.pod_mac))).collect();
        let mut differences = Vec::new();
        for (address, spec) in &desired {
            let (wanted, holds) =
                (text(&spec.pod, spec.ifindex, spec.pod_mac), held.remove(address).unwrap_or_default());
            if wanted != holds {
                let key = address.to_string();
                differences.push(Difference { table: "ENDPOINTS", key, desired: wanted, held: holds });
            }
        }
        let stale = held.into_iter().map(|(address, holds)| Difference {
            table: "ENDPOINTS",
            key: address.to_string(),
            desired: String::new(),
            held: holds,
        });
        differences.extend(stale);
        Ok(differences)
    }
}

fn spec(attachment: &Attachment) -> EndpointSpec {
    EndpointSpec {
        addresses: attachment.addresses.clone(),
        ifindex: attachment.host_ifindex,
        host_mac: attachment.host_mac.0,
        pod_mac: attachment.pod_mac.0,
        pod: pod_name(attachment),
    }
}

/// `namespace/name`; a sandbox that some other tool made has only its id.
fn pod_name(attachment: &Attachment) -> String {
    if attachment.pod_name.is_empty() {
        return attachment.container_id.clone();
    }
    format!("{}/{}", attachment.pod_namespace, attachment.pod_name)
}
