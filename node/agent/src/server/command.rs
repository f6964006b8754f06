//! A command's streams: messages of `v5.channel.k8s.io` at the client's side, whose first byte names a channel, and streams of SPDY
//! with `v4.channel.k8s.io` at the runtime's. What is inside is the same in both.

use bytes::{BufMut, Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use skep_spdy::{Decoder, Encoder, Frame};
use skep_upgrade::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::stream::Streams;
use super::tunnel;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// A message on it closes the channel that its one byte names.
const CLOSE: u8 = 255;

/// Bytes read at once.
const CHUNK: usize = 32 * 1024;
/// Pings that wait to be answered. Who sends more gets no answer to them.
const PINGS_MAX: usize = 4;

/// The SPDY stream of each channel that is used: odd numbers, since this end opens them.
fn streams_of(wanted: Streams) -> Vec<(u8, &'static str, u32)> {
    let channels = [
        (ERROR, "error", true),
        (STDIN, "stdin", wanted.stdin),
        (STDOUT, "stdout", wanted.stdout),
        (STDERR, "stderr", wanted.stderr),
        (RESIZE, "resize", wanted.tty),
    ];
    let used = channels.into_iter().filter(|(_, _, used)| *used);
    used.zip((1..).step_by(2)).map(|((channel, name, _), id)| (channel, name, id)).collect()
}

/// Carries until the command has ended, or the client has gone.
pub(super) async fn carry<C, E>(client: C, runtime: impl AsyncRead + AsyncWrite, wanted: Streams) -> anyhow::Result<()>
where
    C: Stream<Item = Result<Message, E>> + Sink<Message>,
    E: std::error::Error + Send + Sync + 'static,
    <C as Sink<Message>>::Error: std::error::Error + Send + Sync + 'static,
{
    let streams = streams_of(wanted);
    let (mut sink, messages) = client.split();
    let (read, write) = tokio::io::split(runtime);
    let (pings, pinged) = mpsc::channel(PINGS_MAX);
    let outward = async {
        let ended = outward(&mut sink, read, &streams, &pings).await;
        tunnel::close(&mut sink).await;
        ended
    };
    skep_upgrade::both(inward(messages, write, &streams, pinged), outward).await
}

async fn inward<E: std::error::Error + Send + Sync + 'static>(
    mut messages: impl Stream<Item = Result<Message, E>> + Unpin,
    mut write: impl AsyncWrite + Unpin,
    streams: &[(u8, &'static str, u32)],
    mut pinged: mpsc::Receiver<u32>,
) -> anyhow::Result<()> {
    let mut encoder = Encoder::default();
    let mut out = BytesMut::new();
    for (_, name, stream) in streams {
        let headers = vec![("streamtype".to_owned(), (*name).to_owned())];
        encoder.encode(&Frame::SynStream { stream: *stream, headers, fin: false }, &mut out);
    }
    loop {
        write.write_all(&out).await?;
        write.flush().await?;
        out.clear();
        let frame = tokio::select! {
            message = messages.next() => match message.transpose()? {
                None | Some(Message::Close(_)) => break,
                // Some clients send what is text as such; it means the same.
                Some(message @ (Message::Binary(_) | Message::Text(_))) => frame(message.into_data(), streams),
                Some(_) => None,
            },
            Some(id) = pinged.recv() => Some(Frame::Ping { id }),
        };
        if let Some(frame) = frame {
            encoder.encode(&frame, &mut out);
        }
    }
    write.shutdown().await?;
    Ok(())
}

/// What a client's message is to the runtime; nothing, on channels that are not the client's to write.
fn frame(mut message: Bytes, streams: &[(u8, &'static str, u32)]) -> Option<Frame> {
    let channel = *message.first()?;
    let bytes = message.split_off(1);
    let id = |wanted: u8| streams.iter().find(|(channel, _, _)| *channel == wanted).map(|(_, _, id)| *id);
    match channel {
        STDIN | RESIZE => Some(Frame::Data { stream: id(channel)?, bytes, fin: false }),
        CLOSE if bytes[..] == [STDIN] => Some(Frame::Data { stream: id(STDIN)?, bytes: Bytes::new(), fin: true }),
        _ => None,
    }
}

async fn outward<S>(
    sink: &mut S,
    mut read: impl AsyncRead + Unpin,
    streams: &[(u8, &'static str, u32)],
    pings: &mpsc::Sender<u32>,
) -> anyhow::Result<()>
where
    S: Sink<Message> + Unpin,
    S::Error: std::error::Error + Send + Sync + 'static,
{
    let written = |channel: &u8| matches!(*channel, STDOUT | STDERR | ERROR);
    let mut open: Vec<(u8, u32)> =
        streams.iter().filter(|(channel, ..)| written(channel)).map(|(channel, _, id)| (*channel, *id)).collect();
    // An empty message on the first channel tells that all is set up.
    if let Some((channel, _)) = open.iter().min() {
        sink.send(message(*channel, &[])).await?;
    }
    let mut decoder = Decoder::default();
    let mut came = BytesMut::with_capacity(CHUNK);
    let mut status = Vec::new();
    loop {
        while let Some(frame) = decoder.decode(&mut came)? {
            let ended = match frame {
                Frame::Data { stream, bytes, fin } => {
                    let channel = open.iter().find(|(_, id)| *id == stream).map(|(channel, _)| *channel);
                    if let Some(channel) = channel.filter(|_| !bytes.is_empty()) {
                        sink.send(message(channel, &bytes)).await?;
                    }
                    // The status is the last word. What is open then is input that nobody reads.
                    if channel == Some(ERROR) {
                        status.extend_from_slice(&bytes);
                        if serde_json::from_slice::<serde_json::Value>(&status).is_ok() {
                            return Ok(());
                        }
                    }
                    fin.then_some(stream)
                }
                Frame::SynReply { stream, fin, .. } | Frame::Headers { stream, fin, .. } => fin.then_some(stream),
                Frame::Reset { stream, .. } => Some(stream),
                Frame::Ping { id } => {
                    // The runtime writes while it may not read: it must not be waited for here.
                    let _surplus = pings.try_send(id);
                    None
                }
                Frame::SynStream { .. } | Frame::GoAway { .. } | Frame::Other { .. } => None,
            };
            open.retain(|(_, id)| Some(*id) != ended);
            if open.is_empty() {
                return Ok(());
            }
        }
        came.reserve(CHUNK);
        if read.read_buf(&mut came).await? == 0 {
            return Ok(());
        }
    }
}

fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut message = BytesMut::with_capacity(1 + bytes.len());
    message.put_u8(channel);
    message.put_slice(bytes);
    Message::Binary(message.freeze())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::DuplexStream;

    use super::*;

    /// The client's side of a connection, without a connection.
    struct Client {
        incoming: mpsc::UnboundedReceiver<Message>,
        outgoing: mpsc::UnboundedSender<Message>,
    }

    impl Stream for Client {
        type Item = Result<Message, Infallible>;

        fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.incoming.poll_recv(context).map(|message| message.map(Ok))
        }
    }

    impl Sink<Message> for Client {
        type Error = Infallible;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Infallible> {
            self.outgoing.send(message).unwrap_or(());
            Ok(())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
    }

    struct Runtime {
        stream: DuplexStream,
        came: BytesMut,
        decoder: Decoder,
        encoder: Encoder,
    }

    impl Runtime {
        async fn next(&mut self) -> Option<Frame> {
            loop {
                if let Some(frame) = self.decoder.decode(&mut self.came).unwrap() {
                    return Some(frame);
                }
                if self.stream.read_buf(&mut self.came).await.unwrap() == 0 {
                    return None;
                }
            }
        }

        async fn send(&mut self, frame: Frame) {
            let mut out = BytesMut::new();
            self.encoder.encode(&frame, &mut out);
            self.stream.write_all(&out).await.unwrap();
        }
    }

    fn data(stream: u32, bytes: &'static [u8], fin: bool) -> Frame {
        Frame::Data { stream, bytes: Bytes::from_static(bytes), fin }
    }

    #[tokio::test]
    async fn a_command_from_its_first_key_to_its_status() {
        let (to, incoming) = mpsc::unbounded_channel();
        let (outgoing, mut from) = mpsc::unbounded_channel();
        let (near, stream) = tokio::io::duplex(64);
        let wanted = Streams { stdin: true, stdout: true, stderr: false, tty: true };
        let carried = tokio::spawn(carry(Client { incoming, outgoing }, near, wanted));
        let mut runtime =
            Runtime { stream, came: BytesMut::new(), decoder: Decoder::default(), encoder: Encoder::default() };

        for (name, id) in [("error", 1), ("stdin", 3), ("stdout", 5), ("resize", 7)] {
            let headers = vec![("streamtype".to_owned(), name.to_owned())];
            assert_eq!(runtime.next().await, Some(Frame::SynStream { stream: id, headers, fin: false }));
        }
        let send = |bytes: &'static [u8]| to.send(Message::Binary(Bytes::from_static(bytes))).unwrap();
        send(b"\x00keys");
        assert_eq!(runtime.next().await, Some(data(3, b"keys", false)));
        to.send(Message::Text("\0typed".into())).unwrap();
        assert_eq!(runtime.next().await, Some(data(3, b"typed", false)));
        send(b"\x04{}");
        assert_eq!(runtime.next().await, Some(data(7, b"{}", false)));
        // The server's channels, and those that nobody asked for.
        send(b"\x01no");
        send(b"\x02no");
        send(b"");
        send(b"\xff\x00");
        assert_eq!(runtime.next().await, Some(data(3, b"", true)));
        runtime.send(Frame::Ping { id: 2 }).await;
        assert_eq!(runtime.next().await, Some(Frame::Ping { id: 2 }));

        runtime.send(data(5, b"output", true)).await;
        runtime.send(data(1, b"{\"status\":", false)).await;
        runtime.send(data(1, b"\"Success\"}", false)).await;
        let mut got = Vec::new();
        while let Some(message) = from.recv().await {
            let Message::Binary(bytes) = message else { break };
            got.push(bytes);
        }
        assert_eq!(got, [&b"\x01"[..], b"\x01output", b"\x03{\"status\":", b"\x03\"Success\"}"]);
        drop(to);
        carried.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_connection() {
        let (to, incoming) = mpsc::unbounded_channel();
        let (outgoing, _from) = mpsc::unbounded_channel();
        let (near, stream) = tokio::io::duplex(1024);
        let wanted = Streams { stdin: false, stdout: true, stderr: true, tty: false };
        let carried = tokio::spawn(carry(Client { incoming, outgoing }, near, wanted));
        let mut runtime =
            Runtime { stream, came: BytesMut::new(), decoder: Decoder::default(), encoder: Encoder::default() };
        drop(to);
        for _ in 0..3 {
            assert!(matches!(runtime.next().await, Some(Frame::SynStream { .. })));
        }
        assert_eq!(runtime.next().await, None);
        drop(runtime);
        carried.await.unwrap().unwrap();
    }
}
