//! `./x fuzz`: made packets through the programs in the kernel, and through the same parsing outside of it.

use std::process::ExitCode;

use anyhow::Result;

use crate::build::{self, Profile};
use crate::shell::{cargo, say};

/// Programs that packets are run through.
const PROGRAMS: u64 = 5;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many packets, over all programs.
    #[arg(long, default_value_t = 1_000_000)]
    packets: u64,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    build::run(Profile::Dev)?;
    say(&format!("{} packets", args.packets));
    let mut command = cargo();
    command.args(["test", "--locked", "--package", "skep-netns", "--test", "netns", "fuzz::", "--", "--nocapture"]);
    command.env("SKEP_FUZZ_PACKETS", args.packets.div_ceil(PROGRAMS).to_string());
    Ok(if command.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
