//! Logs to standard error: coloured text on a terminal, plain text or JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How a process logs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// Directives as `tracing-subscriber` takes them, e.g. `info,skep_scheduler=debug`. Empty is `info`.
    pub filter: String,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter cannot be parsed.
    #[error("log filter {filter:?} is not valid")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// A subscriber is installed already.
    #[error("logging is already set up")]
    Installed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Installs the process's subscriber.
///
/// # Errors
/// A filter that does not parse; a second call.
pub fn init(settings: &Settings) -> Result<(), InitError> {
    let filter = parse_filter(&settings.filter)?;
    let stderr = std::io::stderr;
    // A line that cannot be written is lost: on a full disk the complaint about it could not be written either, and would panic.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).log_internal_errors(false);
    if settings.json {
        builder.json().flatten_event(true).try_init().map_err(InitError::Installed)
    } else {
        builder.with_ansi(stderr().is_terminal()).try_init().map_err(InitError::Installed)
    }
}

fn parse_filter(filter: &str) -> Result<EnvFilter, InitError> {
    let directives = if filter.trim().is_empty() { "info" } else { filter };
    EnvFilter::try_new(directives).map_err(|source| InitError::Filter { filter: filter.to_owned(), source })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_filter_is_info() {
        assert_eq!(parse_filter(" ").unwrap().to_string(), "info");
    }

    #[test]
    fn a_bad_filter_is_named() {
        let error = parse_filter("skep=loud").unwrap_err();
        assert_eq!(error.to_string(), "log filter \"skep=loud\" is not valid");
    }
}
