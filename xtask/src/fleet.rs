//! `./x cluster`: many nodes on this machine, in the background.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use skep_testkit::cluster::{kubeconfig, state_dir};
use skep_testkit::fleet::{self, Family, Fleet, Options};

use crate::build::{self, Profile};
use crate::cluster;
use crate::shell::say;

const EXAMPLES: &str = "\
Examples:
  ./x cluster up --nodes 3
  export KUBECONFIG=$(./x cluster kubeconfig)
  ./x cluster cut 1 2
  ./x cluster exec 2 ip route
  ./x cluster down

Nodes are named NAME-1, NAME-2, …; their numbers do as well.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The cluster's name.
    #[arg(long, default_value = "cluster", global = true)]
    name: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Build, start, and return when all nodes are Ready.
    Up(Up),
    /// Take it down and remove all that it made, also after a crash.
    Down,
    /// Stop all traffic between two nodes.
    Cut { a: String, b: String },
    /// Undo every cut.
    Heal,
    /// Print the path of the admin's kubeconfig.
    Kubeconfig,
    /// Run a program in a node's namespace and cgroup.
    Exec {
        /// The node.
        node: String,
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
    /// Import an OCI archive on every node.
    LoadImage {
        /// The archive.
        file: PathBuf,
    },
}

#[derive(clap::Args)]
struct Up {
    /// How many nodes.
    #[arg(long, default_value_t = 2)]
    nodes: u8,
    /// The address families of nodes, pods and Services: ipv4, ipv6 or dual.
    #[arg(long, default_value = "ipv4", value_parser = family)]
    family: Family,
    /// How packets get to other nodes' pods, as `skep node --routing` has it; native is its default.
    #[arg(long, default_value = "native")]
    routing: String,
    /// Where this machine's kubectl reaches the API server; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// One more argument for `skep server`, e.g. --server-arg=--cluster-signing-duration=1h; may be repeated.
    #[arg(long = "server-arg", value_name = "ARG", allow_hyphen_values = true)]
    server_args: Vec<String>,
    /// One more argument for each `skep node`, e.g. --node-arg=--log=debug; may be repeated.
    #[arg(long = "node-arg", value_name = "ARG", allow_hyphen_values = true)]
    node_args: Vec<String>,
}

fn family(text: &str) -> Result<Family> {
    match text {
        "ipv4" => Ok(Family::Ipv4),
        "ipv6" => Ok(Family::Ipv6),
        "dual" => Ok(Family::Dual),
        other => bail!("{other:?} is not ipv4, ipv6 or dual"),
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let name = args.name.as_str();
    let open = || Fleet::open(name, &cluster::parts(Profile::Dev)?);
    match &args.verb {
        Verb::Up(up) => start(name, up)?,
        Verb::Down => fleet::remove(name, &build::skep(Profile::Dev))?,
        Verb::Kubeconfig => {
            open()?;
            println!("{}", kubeconfig(name).display());
        }
        Verb::Cut { a, b } => {
            let fleet = open()?;
            fleet.cut(&fleet.find(a)?, &fleet.find(b)?)?;
        }
        Verb::Heal => open()?.heal()?,
        Verb::LoadImage { file } => open()?.load_image(file)?,
        Verb::Exec { node, words } => return exec(&open()?, node, words),
    }
    Ok(ExitCode::SUCCESS)
}

fn start(name: &str, up: &Up) -> Result<()> {
    build::run(Profile::Dev)?;
    let mut node_args = up.node_args.clone();
    if up.routing != "native" {
        node_args.extend(["--routing".to_owned(), up.routing.clone()]);
    }
    let options = Options {
        nodes: up.nodes,
        family: up.family,
        listen: up.listen,
        server_args: up.server_args.clone(),
        node_args,
    };
    let fleet = Fleet::start(name, &cluster::parts(Profile::Dev)?, options)?;
    say(&format!(
        "{} nodes are Ready after {} ms; logs and state: {}",
        up.nodes,
        fleet.ready_after.as_millis(),
        state_dir(name).display()
    ));
    println!("export KUBECONFIG={}", kubeconfig(name).display());
    fleet.leave();
    Ok(())
}

fn exec(fleet: &Fleet, node: &str, words: &[String]) -> Result<ExitCode> {
    let (program, args) = words.split_first().context("no program is named")?;
    let status =
        fleet.on_node(&fleet.find(node)?, program)?.args(args).status().with_context(|| format!("start {program}"))?;
    Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from))
}
