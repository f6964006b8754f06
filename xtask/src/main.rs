//! Everything that `./x` offers.

mod bench;
mod build;
mod clean;
mod cluster;
mod conformance;
mod demo;
mod ebpf;
mod fleet;
mod fuzz;
mod image;
mod kubectl;
mod lint;
mod paths;
mod shell;
mod test;
mod tools;
mod up;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Skep's build, tests, linters, benchmarks and demo.
///
/// Example: ./x demo
#[derive(Parser)]
#[command(name = "./x", bin_name = "./x", version, propagate_version = true)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build everything, start a cluster, send connections through its Services, report, and take it all down.
    Demo(demo::Args),
    /// Build everything and keep a cluster in the foreground until Ctrl-C.
    Up(up::Args),
    /// Start, use and take down a cluster of many nodes on this machine, in the background.
    Cluster(fleet::Args),
    /// Remove what a killed `up` or `demo` left on this machine.
    Clean,
    /// Run kubectl against the cluster of `./x up`.
    #[command(disable_help_flag = true)]
    Kubectl(kubectl::Args),
    /// Run every test, or those of one package or with a word in their names.
    Test(test::Args),
    /// Run made packets through the programs in the kernel, and compare with what the same code says outside of it.
    Fuzz(fuzz::Args),
    /// Formatting, clippy, layering, file sizes, licences.
    Lint(lint::Args),
    /// Measure, print a table, and write JSON if asked.
    Bench(bench::Args),
    /// Build the eBPF programs to target/bpf.
    Ebpf,
    /// Build the skep binary and the eBPF programs.
    Build(build::Args),
    /// Make the container images of the demo as OCI archives.
    Images,
}

fn main() -> ExitCode {
    match run(Args::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("x: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match verb {
        Verb::Demo(args) => demo::run(&args).map(done),
        Verb::Up(args) => up::run(&args).map(done),
        Verb::Cluster(args) => fleet::run(&args),
        Verb::Clean => clean::run().map(done),
        Verb::Kubectl(args) => kubectl::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Lint(args) => lint::run(&args),
        Verb::Bench(args) => bench::run(&args).map(done),
        Verb::Ebpf => ebpf::build().map(done),
        Verb::Build(args) => build::run(args.profile()).map(done),
        Verb::Images => image::build_all().map(done),
    }
}
