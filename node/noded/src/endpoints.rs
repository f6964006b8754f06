//! Pods' interfaces in the datapath.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use skep_bpf::{Datapath, EndpointSpec};
use skep_network::{Attachment, Endpoints};

/// Tells the datapath of each pod's interface before the pod hears of it.
pub(crate) struct PodLinks {
    datapath: Arc<Datapath>,
}

impl PodLinks {
    pub(crate) fn new(datapath: Arc<Datapath>) -> Self {
        PodLinks { datapath }
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
        let spec = EndpointSpec {
            addresses: attachment.addresses.clone(),
            ifindex: attachment.host_ifindex,
            host_mac: attachment.host_mac.0,
            pod_mac: attachment.pod_mac.0,
            pod: pod_name(attachment),
        };
        self.datapath.attach_pod_link(attachment.host_ifindex)?;
        self.datapath.upsert_endpoint(&spec)?;
        Ok(())
    }

    fn detached(&self, attachment: &Attachment) -> Result<()> {
        self.datapath.remove_endpoint(&attachment.addresses)?;
        self.datapath.detach_pod_link(attachment.host_ifindex)?;
        Ok(())
    }
}

/// `namespace/name`; a sandbox that some other tool made has only its id.
fn pod_name(attachment: &Attachment) -> String {
    if attachment.pod_name.is_empty() {
        return attachment.container_id.clone();
    }
    format!("{}/{}", attachment.pod_namespace, attachment.pod_name)
}
