//! `skep net`: what the node's kernel holds.

mod find;
mod output;
mod policy;
mod source;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Subcommand, ValueEnum};
use skep_observe::v1;

use self::output::{Out, Shape};
use self::source::Source;

const EXAMPLES: &str = "\
Examples:
  skep net service list
  skep net service get default/web            every port of a Service
  skep net service get 10.96.0.10:53/UDP      what answers there
  skep net backend list -o yaml
  skep net endpoint get 10.42.0.7
  skep net ipcache get 10.42.1.7              which node has an address
  skep net route list
  skep net policy get default/web             rules of a policy, or about a pod's address
  skep net ct get 10.42.0.7
  skep net verify
  skep net prog list
  skep net debug                              follow the programs' own lines

Exit codes: 0 done, 1 failed, not found or different, 2 wrong usage.";

/// Arguments of `skep net`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct NetArgs {
    /// The node's socket [default: that of the node on this machine, /var/lib/skep/NAME/run/skep.sock].
    #[arg(long, global = true, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// The node's name, where several run on this machine.
    #[arg(long, global = true)]
    name: Option<String>,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs.
    Yaml,
}

#[derive(Subcommand)]
enum Noun {
    /// The node at a glance: counters, and how fast endpoint changes reach the kernel.
    Status,
    /// Services: addresses that the programs translate.
    #[command(subcommand, visible_alias = "svc")]
    Service(Lookup),
    /// Backends: the rows that services point to.
    #[command(subcommand)]
    Backend(List),
    /// Endpoints: the pods of this node.
    #[command(subcommand, visible_alias = "ep")]
    Endpoint(Lookup),
    /// Prefixes of the cluster: whose they are, and how the programs send packets there.
    #[command(subcommand)]
    Ipcache(Prefix),
    /// Routes to pods, as the node's stack has them.
    #[command(subcommand)]
    Route(List),
    /// Maps: the programs' tables.
    #[command(subcommand)]
    Map(List),
    /// Programs: what is loaded, and where it is attached.
    #[command(subcommand)]
    Prog(List),
    /// Policy: who may exchange what with the pods of this node, and the rule that says so.
    #[command(subcommand)]
    Policy(Lookup),
    /// Identities: what policies know pods and address blocks by.
    #[command(subcommand, visible_alias = "id")]
    Identity(Lookup),
    /// Connections of policed pods.
    #[command(subcommand)]
    Ct(Lookup),
    /// Drops: how many packets and connections, and why.
    Drops,
    /// Hold what the kernel should hold against what it holds; exits with 1 where they differ.
    Verify,
    /// Follow the programs' own debug lines until interrupted. They cost time while this runs.
    Debug,
}

#[derive(Subcommand)]
enum Lookup {
    /// All of them.
    List,
    /// Those that match: NAMESPACE/NAME, NAMESPACE/NAME:PORT, ADDRESS, ADDRESS:PORT, ADDRESS:PORT/PROTOCOL,
    /// or the id of an identity.
    Get {
        /// What to look for.
        target: String,
    },
}

#[derive(Subcommand)]
enum Prefix {
    /// All of them.
    List,
    /// Those that match: ADDRESS (the one that packets to it find), PREFIX or NODE.
    Get {
        /// What to look for.
        target: String,
    },
}

#[derive(Subcommand)]
enum List {
    /// All of them.
    List,
}

/// Prints what is asked for.
///
/// # Errors
/// No node answers, or it refuses.
pub(crate) fn run(args: NetArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(answer(args))
}

async fn answer(args: NetArgs) -> Result<ExitCode> {
    let mut source = Source::open(args.socket.as_deref(), args.name.as_deref()).await?;
    let shape = match args.output {
        Output::Table => Shape::Table,
        Output::Json => Shape::Json,
        Output::Yaml => Shape::Yaml,
    };
    let out = Out::new(shape);
    match args.noun {
        Noun::Status => out.one(&source.status().await?, table::status),
        Noun::Service(Lookup::List) => out.rows(&source.services().await?, table::services),
        Noun::Service(Lookup::Get { target }) => {
            let found = find::services(source.services().await?, &target)?;
            found_or_not(&out, "service", &target, &found, table::service_details)
        }
        Noun::Backend(List::List) => {
            let mut rows: Vec<v1::Backend> =
                source.services().await?.into_iter().flat_map(|one| one.backends).collect();
            rows.sort_by_key(|row| row.row);
            // A node port and a cluster address of one Service share their rows.
            rows.dedup_by_key(|row| row.row);
            out.rows(&rows, table::backends)
        }
        Noun::Endpoint(Lookup::List) => out.rows(&source.endpoints().await?, table::endpoints),
        Noun::Endpoint(Lookup::Get { target }) => {
            let found = find::endpoints(source.endpoints().await?, &target);
            found_or_not(&out, "endpoint", &target, &found, table::endpoints)
        }
        Noun::Ipcache(Prefix::List) => out.rows(&source.remotes().await?, table::remotes),
        Noun::Ipcache(Prefix::Get { target }) => {
            let found = find::remotes(source.remotes().await?, &target);
            found_or_not(&out, "ipcache", &target, &found, table::remotes)
        }
        Noun::Route(List::List) => out.rows(&source.routes().await?, table::routes),
        Noun::Map(List::List) => out.rows(&source.maps().await?, table::maps),
        Noun::Prog(List::List) => out.rows(&source.programs().await?, table::programs),
        Noun::Policy(Lookup::List) => out.rows(&source.policy().await?, policy::rows),
        Noun::Policy(Lookup::Get { target }) => {
            let identities = source.identities().await?;
            let found = policy::find_rows(source.policy().await?, &identities, &target);
            found_or_not(&out, "policy", &target, &found, policy::rows)
        }
        Noun::Identity(Lookup::List) => out.rows(&source.identities().await?, policy::identities),
        Noun::Identity(Lookup::Get { target }) => {
            let found = policy::find_identities(source.identities().await?, &target);
            found_or_not(&out, "identity", &target, &found, policy::identities)
        }
        Noun::Ct(Lookup::List) => out.rows(&source.flows().await?, policy::flows),
        Noun::Ct(Lookup::Get { target }) => {
            let found = policy::find_flows(source.flows().await?, &target);
            found_or_not(&out, "ct", &target, &found, policy::flows)
        }
        Noun::Drops => {
            let counters = source.status().await?.counters;
            let drops: Vec<v1::Counter> = counters.into_iter().filter(|one| one.drop).collect();
            out.rows(&drops, policy::drops)
        }
        Noun::Verify => {
            let differences = source.verify().await?;
            out.rows(&differences, policy::differences)?;
            Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Noun::Debug => source.debug(&out).await,
    }
}

fn found_or_not<T: serde::Serialize>(
    out: &Out,
    noun: &str,
    target: &str,
    found: &[T],
    table: fn(&[T]) -> String,
) -> Result<ExitCode> {
    if found.is_empty() {
        eprintln!("skep: no {noun} {target} in the kernel's tables: see skep net {noun} list");
        return Ok(ExitCode::FAILURE);
    }
    out.rows(found, table)
}
