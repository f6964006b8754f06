//! Tables for people, JSON and YAML for programs.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::Serialize;

#[derive(Clone, Copy)]
pub(super) enum Shape {
    Table,
    Json,
    Yaml,
}

/// Standard output in one shape.
pub(super) struct Out {
    shape: Shape,
}

impl Out {
    pub(super) fn new(shape: Shape) -> Self {
        Out { shape }
    }

    pub(super) fn rows<T: Serialize>(&self, rows: &[T], table: fn(&[T]) -> String) -> Result<ExitCode> {
        self.print(&rows, || table(rows))
    }

    pub(super) fn one<T: Serialize>(&self, value: &T, table: fn(&T) -> String) -> Result<ExitCode> {
        self.print(value, || table(value))
    }

    /// One element of a stream: a line, except for YAML's documents.
    pub(super) fn line<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> Result<bool> {
        let text = match self.shape {
            Shape::Table => text(),
            Shape::Json => serde_json::to_string(value).context("encode as JSON")?,
            Shape::Yaml => format!("---\n{}", serde_saphyr::to_string(value).context("encode as YAML")?.trim_end()),
        };
        write(&text)
    }

    fn print<T: Serialize>(&self, value: &T, table: impl FnOnce() -> String) -> Result<ExitCode> {
        let text = match self.shape {
            Shape::Table => table(),
            Shape::Json => serde_json::to_string_pretty(value).context("encode as JSON")?,
            Shape::Yaml => serde_saphyr::to_string(value).context("encode as YAML")?,
        };
        write(text.trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether anyone still reads: a pager that was closed is no error.
fn write(text: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("write to standard output"),
    }
}
