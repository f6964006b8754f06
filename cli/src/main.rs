//! The `skep` command. Under the names `skep-cni` and `loopback` it is the CNI plugin that the container runtime calls.

mod clean;
mod net;
mod node;
mod server;
mod settings;
mod token;
mod up;
mod uplink;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// A Kubernetes-compatible cluster whose network is eBPF.
///
/// Example: skep up --kubeconfig ~/.kube/skep
#[derive(Parser)]
#[command(name = "skep", version, propagate_version = true)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a whole cluster in this process: control plane and node.
    Up(up::Args),
    /// Run a control plane alone; nodes join it.
    Server(server::Args),
    /// Run a node alone, of a cluster whose control plane is elsewhere.
    Node(node::Args),
    /// Make, list and delete the tokens by which nodes join.
    Token(token::Args),
    /// Look at what the node's kernel holds: services, backends, endpoints, maps, programs.
    Net(net::NetArgs),
    /// Remove what a killed node left on this machine.
    Clean(clean::Args),
    /// Print a completion script, e.g. `skep completion bash`.
    Completion {
        /// The shell to complete for.
        shell: clap_complete::Shell,
    },
}

/// One arena for each core: the default of eight keeps memory apart that threads took at the start and gave back, half of the heap.
#[cfg(target_env = "gnu")]
fn share_arenas() {
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    // SAFETY: the call takes two numbers, and no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, i32::try_from(cores).unwrap_or(i32::MAX)) };
}

#[cfg(not(target_env = "gnu"))]
fn share_arenas() {}

fn main() -> ExitCode {
    share_arenas();
    let called_as = std::env::args_os().next().unwrap_or_default();
    if skep_network::is_plugin(&called_as) {
        return skep_network::plugin_main();
    }
    let outcome = match Args::parse().verb {
        Verb::Up(args) => up::run(&args),
        Verb::Server(args) => server::run(&args),
        Verb::Node(args) => node::run(&args),
        Verb::Token(args) => token::run(&args),
        Verb::Net(args) => net::run(args),
        Verb::Clean(args) => clean::run(&args),
        Verb::Completion { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "skep", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("skep: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn arguments_fit_together() {
        super::Args::command().debug_assert();
    }
}
