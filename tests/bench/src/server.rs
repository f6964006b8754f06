//! A control plane in a process of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::client::ConfigExt;
use kube::config::{AuthInfo, Config, KubeConfigOptions, Kubeconfig};
use skep_testkit::{Netns, Process, wait_until};
use tempfile::TempDir;

use crate::connection::Endpoint;

/// Where nodes would reach it.
const ADVERTISE: &str = "192.0.2.1";
const WITHIN: Duration = Duration::from_secs(60);
/// Clock ticks in which the kernel counts time (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
const GRACE: Duration = Duration::from_secs(20);

/// `skep server` over an empty store.
pub(crate) struct Server {
    process: Process,
    config: Config,
    _netns: Netns,
    _dir: TempDir,
}

impl Server {
    pub(crate) async fn start(skep: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("log");
        // Nodes would be there; the clients here come by loopback.
        let netns = Netns::create(&format!("skep-bench-{}", std::process::id()))?;
        netns.ip(&["address", "add", ADVERTISE, "dev", "lo"])?;
        let mut command = Command::new(skep);
        command.args(["server", "--name", "bench", "--listen", "127.0.0.1:0", "--log", "warn"]);
        command.args(["--advertise", &format!("{ADVERTISE}:6443")]).arg("--netns").arg(netns.path());
        command.arg("--state-dir").arg(dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log)?);
        let mut process = Process::spawn(&mut command, GRACE)?;
        let kubeconfig = dir.path().join("admin.kubeconfig");
        wait_until("the server's kubeconfig", WITHIN, || Ok(process.try_wait()?.is_some() || kubeconfig.exists()))?;
        let ended = || fs::read_to_string(&log).unwrap_or_default();
        let kubeconfig = Kubeconfig::read_from(&kubeconfig).with_context(ended)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self { process, config, _netns: netns, _dir: dir })
    }

    /// With the administrator's certificate.
    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        Self::endpoint_of(&self.config)
    }

    /// With a bearer token alone.
    pub(crate) fn endpoint_with(&self, token: &str) -> Result<Endpoint> {
        let mut config = self.config.clone();
        config.auth_info = AuthInfo::default();
        Ok(Endpoint { token: Some(token.to_owned()), ..Self::endpoint_of(&config)? })
    }

    fn endpoint_of(config: &Config) -> Result<Endpoint> {
        let address = config.cluster_url.authority().context("the server has no address")?.to_string();
        Ok(Endpoint::new(address, config.rustls_client_config()?))
    }

    /// Memory in use, in bytes.
    pub(crate) fn rss(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<f64>()? * 1024.0)
    }

    /// Processor time since its start.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name in parentheses may hold anything; user and system time are the 14th and 15th of all fields.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields.iter().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
    }
}
