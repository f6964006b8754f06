//! Levels, versions, and what a namespace's labels ask for.

use std::collections::BTreeMap;
use std::fmt;

use skep_registry::{Errors, FieldError, Path};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict, the strictest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Anything goes.
    Privileged,
    /// Known ways to more privileges are closed.
    Baseline,
    /// As hardened as pods can be.
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// Which version of the standards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `v1.x`.
    Minor(u32),
    /// The newest.
    Latest,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let minor = text.strip_prefix("v1.")?;
        let digits = minor.bytes().all(|byte| byte.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
        digits.then(|| minor.parse().ok()).flatten().map(Self::Minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minor(minor) => write!(f, "v1.{minor}"),
            Self::Latest => f.write_str("latest"),
        }
    }
}

/// One version of one level: `restricted:latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelVersion {
    /// How strict.
    pub level: Level,
    /// Of which version.
    pub version: Version,
}

impl LevelVersion {
    const ANYTHING: Self = Self { level: Level::Privileged, version: Version::Latest };
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}

/// What a namespace asks for, by mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Pods that violate it are refused.
    pub enforce: LevelVersion,
    /// Violations are written to the audit log.
    pub audit: LevelVersion,
    /// Clients are warned of violations.
    pub warn: LevelVersion,
}

impl Policy {
    /// Reads a namespace's labels. A policy comes out in any case: where a label cannot be read, the strictest one is enforced, and
    /// nobody is warned.
    #[must_use]
    pub fn of_labels(labels: &BTreeMap<String, String>) -> (Self, Vec<FieldError>) {
        let mut errors = Errors::new();
        let mut policy =
            Self { enforce: LevelVersion::ANYTHING, audit: LevelVersion::ANYTHING, warn: LevelVersion::ANYTHING };
        let enforced = read(labels, "enforce", Level::Restricted, &mut policy.enforce, &mut errors);
        read(labels, "audit", Level::Privileged, &mut policy.audit, &mut errors);
        read(labels, "warn", Level::Privileged, &mut policy.warn, &mut errors);
        let label = |name: &str| labels.contains_key(&format!("{PREFIX}{name}"));
        if !label("warn") && enforced && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !label("warn-version") {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors.into_vec())
    }

    /// Whether no mode asks for anything.
    #[must_use]
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|mode| mode.level == Level::Privileged)
    }
}

/// Reads the two labels of a mode. Returns whether its level is given and known.
fn read(
    labels: &BTreeMap<String, String>,
    mode: &str,
    otherwise: Level,
    into: &mut LevelVersion,
    errors: &mut Errors,
) -> bool {
    let path = Path::root("metadata.labels");
    let mut known = false;
    let key = format!("{PREFIX}{mode}");
    if let Some(text) = labels.get(&key) {
        let level = Level::parse(text);
        if level.is_none() {
            errors.invalid(&path.key(&key), text.as_str(), "must be one of privileged, baseline, restricted");
        }
        known = level.is_some();
        into.level = level.unwrap_or(otherwise);
    }
    let key = format!("{PREFIX}{mode}-version");
    if let Some(text) = labels.get(&key) {
        let version = Version::parse(text);
        if version.is_none() {
            errors.invalid(&path.key(&key), text.as_str(), "must be \"latest\" or \"v1.x\"");
        }
        into.version = version.unwrap_or(Version::Latest);
    }
    known
}
