//! The service proxy alone, in a cluster whose nodes are others': an API server, plain processes in namespaces for pods, a bridge for their
//! network. And the end of a kube-proxy.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::MutexGuard;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use skep_e2e::{WITHIN, kubectl, skep, turn};
use skep_netns::Server;
use skep_testkit::{Cgroup, Netns, Process, wait_until};

const MANIFEST: &str = include_str!("../../../../deploy/service-proxy.yaml");
/// The node's name and address, a client outside, and a host that serves elsewhere.
const NODE: &str = "stock-1";
const NODE_IP: &str = "198.18.40.1";
const CLIENT_IP: &str = "198.18.40.2";
const OTHER_IP: &str = "198.18.40.3";
const PODS: [&str; 2] = ["10.244.0.2", "10.244.0.3"];
const VIP: &str = "10.96.0.80";
const GRACE: Duration = Duration::from_secs(20);
const PORT: u16 = 8080;

/// A cluster of which only the API server is ours. In the order in which its parts go.
struct Stock {
    proxy: Option<Process>,
    _server: Process,
    _servers: Vec<Server>,
    pods: Vec<Netns>,
    client: Netns,
    _other: Netns,
    node: Netns,
    _switch: Netns,
    cgroup: Cgroup,
    dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Stock {
    fn start() -> Result<Self> {
        let turn = turn();
        let tag = format!("skx{}", std::process::id());
        let dir = tempfile::Builder::new().prefix(&tag).tempdir()?;
        let make = |name: &str| Netns::create(&format!("{tag}-{name}"));
        let (switch, node, client, other) = (make("sw")?, make("node")?, make("client")?, make("other")?);
        switch.ip(&["link", "add", "br0", "type", "bridge"])?;
        switch.ip(&["link", "set", "br0", "up"])?;
        for (netns, address) in [(&node, NODE_IP), (&client, CLIENT_IP), (&other, OTHER_IP)] {
            plug(&switch, "br0", netns, &format!("{address}/24"))?;
        }
        // The pods' network as a bridge plugin makes it, which others know the way to.
        other.ip(&["route", "add", "10.244.0.0/24", "via", NODE_IP])?;
        node.ip(&["link", "add", "cni0", "type", "bridge"])?;
        node.ip(&["addr", "add", "10.244.0.1/24", "dev", "cni0"])?;
        node.ip(&["link", "set", "cni0", "up"])?;
        node.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
        let pods = [make("pod0")?, make("pod1")?];
        fs::create_dir(dir.path().join("netns"))?;
        for (pod, address) in pods.iter().zip(PODS) {
            plug(&node, "cni0", pod, &format!("{address}/24"))?;
            pod.ip(&["route", "add", "default", "via", "10.244.0.1"])?;
            symlink(pod.path(), dir.path().join("netns").join(pod.name()))?;
        }
        let mut servers: Vec<Server> =
            pods.iter().enumerate().map(|(number, pod)| Server::start(pod, &format!("pod{number}"), PORT)).collect();
        servers.push(Server::start(&other, "other", PORT));

        let mut command = Command::new(skep()?);
        command.args(["server", "--name", &tag, "--listen", "127.0.0.1:0"]);
        command.args(["--advertise", &format!("{NODE_IP}:6443"), "--cluster-cidr", "10.244.0.0/16"]);
        command.arg("--netns").arg(node.path()).arg("--state-dir").arg(dir.path().join("server"));
        command.arg("--kubeconfig").arg(dir.path().join("admin"));
        let server = spawn(&mut command, dir.path().join("server.log"))?;
        let stock = Stock {
            proxy: None,
            _server: server,
            _servers: servers,
            pods: pods.into(),
            client,
            _other: other,
            node,
            _switch: switch,
            cgroup: Cgroup::create(&tag)?,
            dir,
            _turn: turn,
        };
        let ready = || Ok(stock.path("admin").exists() && stock.kubectl(&["get", "--raw", "/readyz"]).is_ok());
        wait_until("the API server", WITHIN, ready).with_context(|| stock.log("server.log"))?;
        stock.apply(MANIFEST)?;
        stock.apply(&format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {NODE}}}\n"))?;
        // As the pod of the DaemonSet, with what its role allows.
        fs::copy(stock.path("admin"), stock.path("proxy"))?;
        let token = stock.kubectl(&["-n", "kube-system", "create", "token", "skep-service-proxy"])?;
        let config = |args: &[&str]| {
            let file = stock.path("proxy");
            read(Command::new(kubectl()?).arg("--kubeconfig").arg(file).arg("config").args(args))
        };
        config(&["set-credentials", "proxy", &format!("--token={token}")])?;
        config(&["set-context", "--current", "--user=proxy"])?;
        Ok(stock)
    }

    fn start_proxy(&mut self) -> Result<()> {
        let mut command = Command::new(skep()?);
        command.args(["node", "--only", "service-proxy", "--name", NODE, "--link", "eth0", "--node-ip", NODE_IP]);
        command.args(["--server", &format!("https://{NODE_IP}:6443"), "--keep"]);
        command.arg("--kubeconfig").arg(self.path("proxy")).arg("--netns").arg(self.node.path());
        command.arg("--cgroup-root").arg(self.cgroup.path()).arg("--netns-dir").arg(self.path("netns"));
        command.arg("--state-dir").arg(self.path("state"));
        let mut proxy = spawn(&mut command, self.path("proxy.log"))?;
        wait_until("the proxy", WITHIN, || {
            ensure!(proxy.try_wait()?.is_none(), "the proxy has ended");
            Ok(self.probe("/healthz")?.contains(" 200 OK"))
        })
        .with_context(|| self.log("proxy.log"))?;
        self.proxy = Some(proxy);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn kubectl(&self, args: &[&str]) -> Result<String> {
        read(Command::new(kubectl()?).arg("--kubeconfig").arg(self.path("admin")).args(args))
    }

    fn apply(&self, manifest: &str) -> Result<()> {
        let file = self.path("manifest.yaml");
        fs::write(&file, manifest)?;
        self.kubectl(&["apply", "-f", &file.to_string_lossy()]).map(drop)
    }

    fn net(&self, args: &[&str]) -> Result<String> {
        let socket = self.path("state/run/skep.sock");
        read(Command::new(skep()?).arg("net").arg("--socket").arg(socket).args(args))
    }

    /// A shell's script in a namespace, as a process that the proxy serves.
    fn served(&self, netns: &Netns, script: &str) -> Result<Command> {
        let mut command = netns.command("bash")?;
        let join = format!("echo 0 > {} && {script}", self.cgroup.procs().display());
        command.args(["-c", &join]).stdin(Stdio::null());
        Ok(command)
    }

    /// Who answers at an address over TCP, and whom it sees.
    fn call(&self, netns: &Netns, address: &str, port: u16) -> Result<(String, String)> {
        let ask = format!("exec 3<>/dev/tcp/{address}/{port} && timeout 3 head -n 1 <&3");
        split(&read(&mut self.served(netns, &ask)?)?)
    }

    /// The same from outside, where no program of the proxy is at the socket.
    fn call_from_outside(&self, port: u16) -> Result<(String, String)> {
        let ask = format!("exec 3<>/dev/tcp/{NODE_IP}/{port} && timeout 3 head -n 1 <&3");
        split(&read(self.client.command("bash")?.args(["-c", &ask]))?)
    }

    fn probe(&self, path: &str) -> Result<String> {
        let ask = format!(
            "exec 3<>/dev/tcp/127.0.0.1/10256 && printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3 && timeout 3 cat <&3"
        );
        let output = self.node.command("bash")?.args(["-c", &ask]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn wait_for_answer_of(&self, name: &str) -> Result<()> {
        wait_until(&format!("an answer of {name}"), WITHIN, || {
            Ok(self.call(&self.node, VIP, 80).is_ok_and(|(answer, _)| answer == name))
        })
        .with_context(|| self.log("proxy.log"))
    }

    /// These are the endpoints of the Service: addresses, and whether each is on the node.
    fn set_endpoints(&self, endpoints: &[(&str, bool)]) -> Result<()> {
        let endpoint = |(address, here): &(&str, bool)| {
            let node = if *here { NODE } else { "stock-2" };
            format!("{{addresses: [{address}], nodeName: {node}, conditions: {{ready: true}}}}")
        };
        let all: Vec<String> = endpoints.iter().map(endpoint).collect();
        self.apply(&format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: {PORT}, protocol: TCP}}, {{name: dns, port: {PORT}, protocol: UDP}}]\n\
             endpoints: [{}]\n",
            all.join(", ")
        ))
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        drop(self.proxy.take());
        let mut command = Command::new(skep().expect("it was there at the start"));
        command.args(["clean", "--name", NODE]).arg("--state-dir").arg(self.path("state"));
        if let Err(error) = read(&mut command) {
            eprintln!("left behind: {error:#}");
        }
    }
}

/// A cable from a bridge to `eth0` in a namespace.
fn plug(at: &Netns, bridge: &str, netns: &Netns, address: &str) -> Result<()> {
    let port = netns.name().rsplit('-').next().unwrap_or_default();
    at.ip(&["link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", netns.name()])?;
    at.ip(&["link", "set", port, "master", bridge, "up"])?;
    netns.ip(&["addr", "add", address, "dev", "eth0"])?;
    netns.ip(&["link", "set", "eth0", "up"])
}

fn spawn(command: &mut Command, log: PathBuf) -> Result<Process> {
    let log = File::options().create(true).append(true).open(log)?;
    Process::spawn(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log), GRACE)
}

fn read(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.output()?;
    ensure!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    Ok(String::from_utf8(stdout)?.trim().to_owned())
}

fn split(line: &str) -> Result<(String, String)> {
    let (name, peer) = line.split_once(' ').with_context(|| format!("unexpected answer {line:?}"))?;
    Ok((name.to_owned(), peer.rsplit_once(':').map_or(peer, |(address, _)| address).to_owned()))
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  type: NodePort\n  clusterIP: 10.96.0.80\n  ports:\n  \
                       - {name: http, port: 80, targetPort: 8080, nodePort: 30080}\n  \
                       - {name: dns, port: 53, targetPort: 8080, protocol: UDP, nodePort: 30053}\n";

/// Services and slices that are made by hand reach plain processes in a network of others, from the host, from pods and from outside;
/// a killed proxy and its successor are not noticed; Services of another proxy (`service.kubernetes.io/service-proxy-name`) and those of none
/// (`service.kubernetes.io/headless`) are left alone.
#[test]
fn the_service_proxy_serves_a_cluster_of_others() -> Result<()> {
    let mut stock = Stock::start()?;
    stock.start_proxy()?;
    stock.apply(SERVICE)?;
    stock.set_endpoints(&[(PODS[0], true)])?;
    stock.wait_for_answer_of("pod0")?;
    let answer = |name: &str, peer: &str| (name.to_owned(), peer.to_owned());
    assert_eq!(stock.call(&stock.pods[1], VIP, 80)?, answer("pod0", PODS[1]));
    assert_eq!(stock.call(&stock.node, "127.0.0.1", 30_080)?.0, "pod0");
    assert_eq!(stock.call(&stock.pods[1], NODE_IP, 30_080)?, answer("pod0", PODS[1]));
    // The pod is here: it sees the client, and the stack brings the packets to it.
    assert_eq!(stock.call_from_outside(30_080)?, answer("pod0", CLIENT_IP));
    // The backend is elsewhere: it sees the node, by which its answers have to come back.
    stock.set_endpoints(&[(OTHER_IP, false)])?;
    stock.wait_for_answer_of("other")?;
    assert_eq!(stock.call_from_outside(30_080)?, answer("other", NODE_IP));

    stock.proxy.as_mut().context("no proxy")?.child().kill()?;
    drop(stock.proxy.take());
    assert_eq!(stock.call(&stock.pods[1], VIP, 80)?.0, "other", "without its daemon");
    assert_eq!(stock.call_from_outside(30_080)?.0, "other", "without its daemon");
    stock.set_endpoints(&[(PODS[0], true)])?;
    stock.start_proxy()?;
    stock.wait_for_answer_of("pod0")?;
    assert_eq!(stock.call_from_outside(30_080)?, answer("pod0", CLIENT_IP));
    assert_eq!(stock.net(&["verify", "-o", "json"])?, "[]");

    let listed = |stock: &Stock| Ok::<_, anyhow::Error>(stock.net(&["service", "list"])?.contains("default/web"));
    for label in ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"] {
        stock.kubectl(&["label", "service", "web", &format!("{label}=other")])?;
        wait_until("the Service to be another's", WITHIN, || Ok(!listed(&stock)?))?;
        assert!(stock.call_from_outside(30_080).is_err(), "nobody is at the node's port");
        stock.kubectl(&["label", "service", "web", &format!("{label}-")])?;
        stock.wait_for_answer_of("pod0")?;
    }

    a_stale_socket_is_destroyed(&stock)?;
    assert!(stock.probe("/livez")?.contains("\"nodeEligible\": true"));
    stock.kubectl(&["taint", "node", NODE, "ToBeDeletedByClusterAutoscaler=now:NoSchedule"])?;
    wait_until("the node to be on its way out", WITHIN, || Ok(stock.probe("/healthz")?.contains(" 503 ")))?;
    assert!(stock.probe("/livez")?.contains(" 200 OK"));
    Ok(())
}

/// A UDP socket that was sent to a backend hears that it is gone, instead of speaking to it for ever.
fn a_stale_socket_is_destroyed(stock: &Stock) -> Result<()> {
    let talks = format!(
        "exec 3<>/dev/udp/{VIP}/53; echo -n who >&3; timeout 3 dd bs=99 count=1 <&3 2>/dev/null; \
         while echo -n more >&3; do sleep 0.05; done 2>/dev/null; echo destroyed"
    );
    let log = stock.path("udp.log");
    let mut talker = spawn_piped(stock.served(&stock.pods[1], &talks)?, &log)?;
    wait_until("an answer over UDP", WITHIN, || Ok(fs::read_to_string(&log)?.contains("pod0")))?;
    stock.set_endpoints(&[(OTHER_IP, false)])?;
    wait_until("the end of the socket", WITHIN, || Ok(fs::read_to_string(&log)?.contains("destroyed")))
        .with_context(|| stock.log("proxy.log"))?;
    ensure!(talker.child().wait()?.success(), "the talker failed");
    Ok(())
}

fn spawn_piped(mut command: Command, log: &PathBuf) -> Result<Process> {
    Process::spawn(command.stdout(File::create(log)?).stderr(Stdio::null()), GRACE)
}

/// What a kube-proxy of any mode leaves goes; what the kubelet and network plugins made stays.
#[test]
fn a_former_kube_proxy_is_cleaned_up() -> Result<()> {
    let netns = Netns::create(&format!("skx{}-old", std::process::id()))?;
    let run = |program: &str, line: &str| -> Result<String> {
        read(netns.command(program)?.args(line.split(' '))).with_context(|| line.to_owned())
    };
    let chains = [
        "-t nat -N KUBE-SERVICES",
        "-t nat -N KUBE-SVC-TCOU7JCQXEZGVUNU",
        "-t nat -N KUBE-SEP-AAAAAAAAAAAAAAAA",
        "-t nat -N CNI-HOSTPORT-DNAT",
        "-t nat -A PREROUTING -m comment --comment kubernetes_service_portals -j KUBE-SERVICES",
        "-t nat -A PREROUTING -j CNI-HOSTPORT-DNAT",
        "-t nat -A KUBE-SERVICES -p udp -j KUBE-SVC-TCOU7JCQXEZGVUNU",
        "-t nat -A KUBE-SVC-TCOU7JCQXEZGVUNU -j KUBE-SEP-AAAAAAAAAAAAAAAA",
        "-t filter -N KUBE-FORWARD",
        "-t filter -N KUBE-FIREWALL",
        "-t filter -A FORWARD -j KUBE-FORWARD",
        "-t filter -A INPUT -j KUBE-FIREWALL",
    ];
    let programs = ["iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"];
    for program in programs {
        chains.iter().try_for_each(|line| run(program, line).map(drop))?;
    }
    for family in ["ip", "ip6"] {
        run("nft", &format!("add table {family} kube-proxy"))?;
        run("nft", &format!("add chain {family} kube-proxy services"))?;
    }
    run("nft", "add table ip somebody-elses")?;
    run("ip", "link add kube-ipvs0 type veth peer name other-end")?;

    let clean = || -> Result<String> {
        let mut command = Command::new(skep()?);
        read(command.args(["node", "--cleanup-kube-proxy", "--netns"]).arg(netns.path()))
    };
    let told = clean()?;
    for program in programs {
        assert!(
            told.contains(&format!("removed {program}: 3 chains and 1 rules that lead to them, table nat")),
            "{told}"
        );
        assert!(
            told.contains(&format!("removed {program}: 1 chains and 1 rules that lead to them, table filter")),
            "{told}"
        );
        let left = run(&format!("{program}-save"), "-t nat")? + &run(&format!("{program}-save"), "-t filter")?;
        assert!(!left.contains("KUBE-S") && !left.contains("KUBE-FORWARD"), "{left}");
        assert!(left.contains("-A PREROUTING -j CNI-HOSTPORT-DNAT"), "{left}");
        assert!(left.contains("-A INPUT -j KUBE-FIREWALL"), "{left}");
    }
    for line in ["nftables: table ip kube-proxy", "nftables: table ip6 kube-proxy", "IPVS: interface kube-ipvs0"] {
        assert!(told.contains(&format!("removed {line}")), "{told}");
    }
    let tables = run("nft", "list tables")?;
    assert!(!tables.contains("kube-proxy") && tables.contains("table ip somebody-elses"), "{tables}");
    assert!(run("ip", "link show dev kube-ipvs0").is_err());
    assert_eq!(clean()?, "nothing of a kube-proxy is here");
    Ok(())
}
