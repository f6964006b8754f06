//! Many requests over many connections, one at a time on each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use http::Method;

use crate::connection::Connection;
use crate::report::Took;
use crate::server::Server;

/// Sends the requests numbered `from..to`.
pub(crate) async fn run(
    server: &Server,
    connections: &[Connection],
    (from, to): (usize, usize),
    request: impl Fn(usize) -> (Method, String, Bytes) + Send + Sync + 'static,
) -> Result<Took> {
    let (next, request) = (Arc::new(AtomicUsize::new(from)), Arc::new(request));
    let (began, cpu) = (Instant::now(), server.cpu()?);
    let tasks = connections.iter().cloned().map(|mut connection| {
        let (next, request) = (Arc::clone(&next), Arc::clone(&request));
        tokio::spawn(async move {
            let mut each = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= to {
                    return anyhow::Ok(each);
                }
                let (method, path, body) = request(number);
                let sent = Instant::now();
                connection.send(method, &path, body).await?;
                each.push(sent.elapsed());
            }
        })
    });
    let mut each = Vec::with_capacity(to - from);
    for task in tasks.collect::<Vec<_>>() {
        each.extend(task.await??);
    }
    Ok(Took { each, all: began.elapsed(), cpu: server.cpu()? - cpu })
}
