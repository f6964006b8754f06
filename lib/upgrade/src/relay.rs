//! A connection passed on.

use std::io;
use std::time::Duration;

use http::{HeaderMap, Response, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// How long the last bytes may take to get out once one end has closed.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// Joins the client's connection with the one on which another server answered 101, until one of them ends or `stop`. Returns
/// the head of the answer for the client; once that is sent, bytes flow. `guard` is held as long as they do.
pub fn relay<G: Send + 'static>(
    client: OnUpgrade,
    mut answer: Response<Incoming>,
    stop: CancellationToken,
    guard: G,
) -> Response<()> {
    let server = hyper::upgrade::on(&mut answer);
    let mut head = Response::new(());
    *head.status_mut() = answer.status();
    *head.headers_mut() = passed(answer.headers());
    tokio::spawn(async move {
        let _guard = guard;
        let joined = async {
            let (client, server) = tokio::try_join!(client, server)?;
            pipe(TokioIo::new(client), TokioIo::new(server)).await.map_err(Error::Io)
        };
        let ended: Result<(), Error> = tokio::select! {
            ended = joined => ended,
            () = stop.cancelled() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a stream that was passed on broke");
        }
    });
    head
}

/// All that belongs to the answer itself, and nothing of its framing.
fn passed(from: &HeaderMap) -> HeaderMap {
    let mut to = from.clone();
    to.remove(header::CONTENT_LENGTH);
    to.remove(header::TRANSFER_ENCODING);
    to
}

enum Error {
    Http(hyper::Error),
    Io(io::Error),
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// Copies both ways until one end has no more, and then closes both: neither SPDY nor WebSocket has a use for half a connection.
///
/// # Errors
/// That of the end that broke.
pub async fn pipe<A, B>(a: A, b: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (mut a_read, mut a_write) = tokio::io::split(a);
    let (mut b_read, mut b_write) = tokio::io::split(b);
    let forth = async {
        let copied = tokio::io::copy(&mut a_read, &mut b_write).await;
        // Whoever is already gone cannot be told.
        let _told = b_write.shutdown().await;
        copied.map(drop)
    };
    let back = async {
        let copied = tokio::io::copy(&mut b_read, &mut a_write).await;
        let _told = a_write.shutdown().await;
        copied.map(drop)
    };
    both(forth, back).await
}

/// Runs the two directions of a connection. Once one has ended, the other has a few seconds for what was on its way: a process that
/// does not read its input to the end has still said something. Gives what ended first.
pub async fn both<T>(forth: impl Future<Output = T>, back: impl Future<Output = T>) -> T {
    let (mut forth, mut back) = (std::pin::pin!(forth), std::pin::pin!(back));
    tokio::select! {
        ended = &mut forth => {
            let _rest = tokio::time::timeout(LAST_BYTES, back).await;
            ended
        }
        ended = &mut back => {
            let _rest = tokio::time::timeout(LAST_BYTES, forth).await;
            ended
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_was_sent_before_the_end_arrives() {
        let (mut client, near) = tokio::io::duplex(1024);
        let (mut server, far) = tokio::io::duplex(1024);
        let piped = tokio::spawn(pipe(near, far));
        client.write_all(b"question").await.unwrap();
        let mut question = [0; 8];
        server.read_exact(&mut question).await.unwrap();
        assert_eq!(&question, b"question");
        let long = vec![7; 100_000];
        let answer = tokio::spawn(async move {
            server.write_all(&long).await.unwrap();
            drop(server);
        });
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), 100_000);
        answer.await.unwrap();
        drop(client);
        // The other way fails, since nobody reads what would come.
        let _ended = piped.await.unwrap();
    }
}
