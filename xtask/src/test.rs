//! `./x test`: every test there is.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::build::{self, Profile};
use crate::conformance::Claims;
use crate::shell::{cargo, say};
use crate::{cluster, paths, tools};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this package, e.g. `skep-store`.
    #[arg(long, short)]
    package: Option<String>,
    /// Run the tests that hold us to one of Kubernetes' conformance tests, and write docs/conformance.md from the results.
    #[arg(long, conflicts_with_all = ["package", "name"])]
    conformance: bool,
    /// Run nothing: write docs/conformance.md from what test programs printed before.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["package", "name", "conformance"])]
    conformance_from: Option<PathBuf>,
    /// Only tests whose name holds this word.
    name: Option<String>,
    /// What the test runner gets, after `--`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// How many tests ran.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// By the names of test functions: whether all that are called so passed.
    results: BTreeMap<String, bool>,
}

/// Builds what the tests run, runs them, and closes with a line that counts them.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(log) = &args.conformance_from {
        let text = std::fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.count(line));
        Claims::read()?.write(&tally.results)?;
        return Ok(ExitCode::SUCCESS);
    }
    let claims = args.conformance.then(Claims::read).transpose()?;
    build::run(Profile::Dev)?;
    let parts = cluster::parts(Profile::Dev)?;
    let mut command = cargo();
    command.args(["test", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"]);
    match (&claims, &args.package) {
        (Some(claims), _) => {
            claims.packages().fold(&mut command, |command, package| command.args(["--package", package]))
        }
        (None, Some(package)) => command.args(["--package", package]),
        (None, None) => command.arg("--workspace"),
    };
    command.args(&args.name).arg("--").args(claims.iter().flat_map(Claims::functions)).args(&args.rest);
    command.env("SKEP_BIN", &parts.skep).env("SKEP_KUBECTL", &parts.kubectl).env("SKEP_IMAGES", paths::images());
    if args.package.as_deref().is_none_or(|package| package == "skep-e2e") {
        command.envs(tools::variables());
    }
    say("running the tests");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        tally.count(&line);
        println!("{line}");
    }
    let status = child.wait()?;
    if let Some(claims) = claims {
        claims.write(&tally.results)?;
    }
    // A program that was killed counts nothing of what it ran.
    let unfinished = if status.success() || tally.failed > 0 { "" } else { "; a test program did not end (see above)" };
    println!("\n{} passed, {} failed, {} skipped{unfinished}", tally.passed, tally.failed, tally.ignored);
    Ok(if status.success() && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Tally {
    /// Adds what a line such as `test result: ok. 3 passed; 0 failed; 0 ignored; …` counts.
    fn count(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            let ended = line.strip_prefix("test ").and_then(|line| line.split_once(" ... "));
            if let Some((path, outcome @ ("ok" | "FAILED"))) = ended {
                let function = path.rsplit("::").next().unwrap_or(path);
                *self.results.entry(function.to_owned()).or_insert(true) &= outcome == "ok";
            }
            return;
        };
        for part in result.split(['.', ';']) {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, Tally};

    #[test]
    fn tally_adds_up_result_lines() {
        let mut tally = Tally::default();
        tally.count("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        tally.count("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.count("test tally ... ok");
        tally.count("test other::tally ... FAILED");
        tally.count("test whole ... ok");
        assert_eq!((tally.passed, tally.failed, tally.ignored), (5, 4, 1));
        assert_eq!(tally.results, BTreeMap::from([("tally".to_owned(), false), ("whole".to_owned(), true)]));
    }
}
