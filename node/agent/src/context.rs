use std::sync::{Arc, Mutex};

use skep_cri::Cgroups;

use crate::Options;
use crate::config::{Host, HostDns};
use crate::env::{Node, Services};
use crate::event::Recorder;
use crate::pod::Backoffs;

/// What every part of the agent works with.
pub(crate) struct Context {
    pub(crate) options: Options,
    pub(crate) client: kube::Client,
    pub(crate) cri: skep_cri::Client,
    pub(crate) recorder: Recorder,
    pub(crate) cgroups: Cgroups,
    pub(crate) host: Host,
    pub(crate) host_dns: HostDns,
    pub(crate) node: Node,
    pub(crate) services: Services,
    /// By pod uid and image: two containers of a pod with one image share a back-off.
    pub(crate) image_backoffs: Mutex<Backoffs>,
}

/// How the parts share it.
pub(crate) type Shared = Arc<Context>;
