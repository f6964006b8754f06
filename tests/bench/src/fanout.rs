//! One change, many watchers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::connection::Connection;
use crate::report::{percentile_ms, row};
use crate::server::Server;

const WITHIN: Duration = Duration::from_secs(60);

/// Begins the watches over all connections, makes the changes one after the other, and waits each time until all know.
pub(crate) async fn run(
    server: &Server,
    connections: &mut [Connection],
    watchers: usize,
    events: usize,
    watch: &str,
    mut change: impl FnMut(usize) -> (Method, String, Bytes),
) -> Result<()> {
    let (told, mut hear) = mpsc::unbounded_channel();
    let count = connections.len().max(1);
    for number in 0..watchers {
        let answer = connections[number % count].open(Method::GET, watch, Bytes::new()).await?;
        ensure!(answer.status() == StatusCode::OK, "{watch}: {}", answer.status());
        let told = told.clone();
        tokio::spawn(async move {
            let mut body = answer.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                // A line for each event.
                let lines = frame.data_ref().map_or(0, |data| data.iter().filter(|byte| **byte == b'\n').count());
                for _ in 0..lines {
                    let _ = told.send(Instant::now());
                }
            }
        });
    }
    let mut writer = connections.first().context("there is no connection")?.clone();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let cpu = server.cpu()?;
    for number in 0..events {
        let (method, path, body) = change(number);
        let began = Instant::now();
        writer.send(method, &path, body).await?;
        for heard in 0..watchers {
            let at = tokio::time::timeout(WITHIN, hear.recv()).await.context("a watcher is not told")?;
            let at = at.context("all watches ended")?.saturating_duration_since(began);
            if heard == 0 {
                first.push(at);
            }
            if heard + 1 == watchers {
                last.push(at);
            }
        }
    }
    let spent = (server.cpu()? - cpu).as_secs_f64() * 1e6 / (events * watchers).max(1) as f64;
    for (name, times) in [("first", &mut first), ("last", &mut last)] {
        row("watchers", &format!("write_to_{name}_p50"), "ms", &[percentile_ms(times, 0.5)]);
        row("watchers", &format!("write_to_{name}_p99"), "ms", &[percentile_ms(times, 0.99)]);
    }
    row("watchers", "event_cpu", "us", &[spent]);
    Ok(())
}
