//! A pod's resolver settings and its hosts file.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use skep_cri::v1;

use crate::Options;

/// The resolver settings of the node itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostDns {
    pub(crate) servers: Vec<String>,
    pub(crate) searches: Vec<String>,
    pub(crate) options: Vec<String>,
}

impl HostDns {
    /// Reads the text of a `resolv.conf`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut dns = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (key, rest) = (words.next().unwrap_or_default(), words.map(str::to_owned).collect::<Vec<_>>());
            match key {
                "nameserver" => dns.servers.extend(rest.into_iter().take(1)),
                "search" => dns.searches = rest,
                "options" => dns.options = rest,
                _ => {}
            }
        }
        dns
    }
}

/// The resolver settings for a pod by its `dnsPolicy` and `dnsConfig`.
pub(crate) fn dns_config(pod: &Pod, options: &Options, host: &HostDns) -> v1::DnsConfig {
    let Some(spec) = &pod.spec else { return v1::DnsConfig::default() };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    let cluster = match spec.dns_policy.as_deref() {
        Some("None") => return with_own(spec.dns_config.as_ref(), v1::DnsConfig::default()),
        Some("Default") => false,
        Some("ClusterFirstWithHostNet") => true,
        _ => !host_network,
    };
    let mut dns =
        v1::DnsConfig { servers: host.servers.clone(), searches: host.searches.clone(), options: host.options.clone() };
    if cluster && !options.cluster_dns.is_empty() {
        let domain = &options.cluster_domain;
        let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        searches.append(&mut dns.searches);
        dns = v1::DnsConfig {
            servers: options.cluster_dns.iter().map(ToString::to_string).collect(),
            searches,
            options: vec!["ndots:5".to_owned()],
        };
    }
    with_own(spec.dns_config.as_ref(), dns)
}

fn with_own(own: Option<&k8s_openapi::api::core::v1::PodDNSConfig>, mut dns: v1::DnsConfig) -> v1::DnsConfig {
    let Some(own) = own else { return dns };
    dns.servers.extend(own.nameservers.iter().flatten().cloned());
    dns.searches.extend(own.searches.iter().flatten().cloned());
    for option in own.options.iter().flatten() {
        let name = option.name.as_deref().unwrap_or_default();
        let same = |held: &String| held == name || held.split_once(':').is_some_and(|(key, _)| key == name);
        dns.options.retain(|held| !same(held));
        dns.options.push(match option.value.as_deref() {
            Some(value) if !value.is_empty() => format!("{name}:{value}"),
            _ => name.to_owned(),
        });
    }
    for list in [&mut dns.servers, &mut dns.searches] {
        let mut seen = std::collections::BTreeSet::new();
        list.retain(|entry| seen.insert(entry.clone()));
    }
    dns
}

/// The text of the managed `/etc/hosts`. `base` is the node's own file, for host-network pods.
pub(crate) fn hosts_file(pod: &Pod, ips: &[IpAddr], host: &str, full: Option<&str>, base: Option<&str>) -> String {
    let mut text = match base {
        Some(base) => format!("# Kubernetes-managed hosts file (host network).\n{base}"),
        None => "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                 fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
            .to_owned(),
    };
    if base.is_none() {
        for ip in ips {
            match full.filter(|full| *full != host) {
                Some(full) => text.push_str(&format!("{ip}\t{full}\t{host}\n")),
                None => text.push_str(&format!("{ip}\t{host}\n")),
            }
        }
    }
    let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default();
        text.push_str(&format!("{}\t{}\n", alias.ip, names.join("\t")));
    }
    text
}
