//! Which of Kubernetes' conformance tests have one of that name here, and what came of it.
//!
//! A test names in its doc comment the behaviours that it holds us to, in full, with or without the area before them: `[sig-auth]
//! ServiceAccounts should mount an API token into pods`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::paths;
use crate::shell::read;

const NAMES: &str = include_str!("../../tests/conformance.txt");

/// What tests claim.
#[derive(Default)]
pub(crate) struct Claims {
    /// Conformance names, each with the test functions that claim it.
    functions: BTreeMap<String, BTreeSet<String>>,
    /// The packages that have those functions.
    packages: BTreeSet<String>,
}

impl Claims {
    /// Reads them from all sources.
    ///
    /// # Errors
    /// The sources cannot be listed.
    pub(crate) fn read() -> Result<Self> {
        let root = paths::root();
        let files = read(std::process::Command::new("git").arg("-C").arg(&root).args([
            "ls-files",
            "-co",
            "--exclude-standard",
            "*.rs",
        ]))?;
        let mut claims = Self::default();
        for file in files.lines() {
            let file = root.join(file);
            let text = fs::read_to_string(&file).unwrap_or_default();
            let found = claims_in(&text);
            if !found.is_empty() {
                claims.packages.extend(package(&file));
            }
            for (name, function) in found {
                claims.functions.entry(name.to_owned()).or_default().insert(function.to_owned());
            }
        }
        Ok(claims)
    }

    /// The packages with tests that claim a name.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &str> {
        self.packages.iter().map(String::as_str)
    }

    /// Those tests.
    pub(crate) fn functions(&self) -> BTreeSet<&str> {
        self.functions.values().flatten().map(String::as_str).collect()
    }

    /// Writes `docs/conformance.md` from the results of a run: names of test functions, and whether all tests of that name passed.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, results: &BTreeMap<String, bool>) -> Result<()> {
        let path = paths::root().join("docs/conformance.md");
        fs::write(&path, self.page(results)).with_context(|| format!("write {}", path.display()))
    }

    fn page(&self, results: &BTreeMap<String, bool>) -> String {
        let mut rows = String::new();
        let mut counts = BTreeMap::<&str, usize>::new();
        for name in names() {
            let (area, rest) = split(name);
            let functions = self.functions.get(name).into_iter().flatten();
            let known: Vec<bool> = functions.filter_map(|function| results.get(function).copied()).collect();
            let result = match known.as_slice() {
                [] => "absent",
                known if known.iter().all(|passed| *passed) => "pass",
                _ => "fail",
            };
            *counts.entry(result).or_default() += 1;
            let _ = writeln!(rows, "| {area} | {} | {result} |", rest.replace('|', "\\|"));
        }
        let count = |result| counts.get(result).copied().unwrap_or(0);
        format!(
            "# Conformance\n\nKubernetes' conformance tests by name, and what came of the test that holds Skep to the same behaviour. \
             Written by `./x test --conformance`; these are tests of our own, not Kubernetes' suite.\n\n\
             {} pass, {} fail, {} are absent.\n\n| area | name | result |\n| --- | --- | --- |\n{rows}",
            count("pass"),
            count("fail"),
            count("absent"),
        )
    }
}

/// The package that a source file is of.
fn package(file: &Path) -> Option<String> {
    let manifest = file.ancestors().skip(1).find_map(|folder| fs::read_to_string(folder.join("Cargo.toml")).ok())?;
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = "))?;
    Some(name.trim_matches('"').to_owned())
}

fn names() -> impl Iterator<Item = &'static str> {
    NAMES.lines().filter(|line| line.starts_with('['))
}

fn split(name: &str) -> (&str, &str) {
    name.strip_prefix('[').and_then(|name| name.split_once("] ")).unwrap_or(("", name))
}

/// The names in the comments of each function, with the function's.
fn claims_in(text: &str) -> Vec<(&'static str, &str)> {
    let (mut claims, mut comment) = (Vec::new(), String::new());
    for line in text.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("///") {
            comment.push_str(more);
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| !line.starts_with("//")) {
            let function = rest.split(['(', '<']).next().unwrap_or_default();
            let claimed = names().filter(|name| comment.contains(split(name).1.trim_end_matches('.')));
            claims.extend(claimed.map(|name| (name, function)));
            comment.clear();
        } else if !line.starts_with("#[") {
            comment.clear();
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "/// `ServiceAccounts should mount an API token\n/// into pods`. And more.\n#[tokio::test]\n\
                          async fn tokens() {}\n\n/// ServiceAccounts should update a ServiceAccount\nconst X: u8 = 0;\n\n\
                          fn other() {}\n";

    #[test]
    fn a_claim_belongs_to_the_function_below_it() {
        assert_eq!(claims_in(SOURCE), [("[sig-auth] ServiceAccounts should mount an API token into pods", "tokens")]);
    }

    #[test]
    fn a_file_is_of_the_package_above_it() {
        assert_eq!(
            package(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance.rs")).as_deref(),
            Some("xtask")
        );
    }

    #[test]
    fn the_page_has_every_name_once() {
        let name = "[sig-auth] ServiceAccounts should mount an API token into pods";
        let claims = Claims {
            functions: BTreeMap::from([(name.to_owned(), BTreeSet::from(["tokens".to_owned()]))]),
            ..Claims::default()
        };
        assert_eq!(claims.functions(), BTreeSet::from(["tokens"]));
        let page = claims.page(&BTreeMap::from([("tokens".to_owned(), true)]));
        assert_eq!(page.matches("| pass |").count(), 1);
        assert_eq!(page.lines().filter(|line| line.starts_with("| sig-")).count(), names().count());
        assert!(claims.page(&BTreeMap::from([("tokens".to_owned(), false)])).contains("into pods | fail |"));
    }
}
