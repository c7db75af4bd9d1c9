//! A client for the health answer, over the Unix socket that every slotd serves or another connection.

use std::path::Path;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::server::Failure;

/// The status and the body of `GET path`, asked at `socket`.
pub(crate) async fn get(socket: &Path, path: &str) -> Result<(u16, String), Failure> {
    ask(UnixStream::connect(socket).await?, path).await
}

/// The same, over a connection that stands.
pub(crate) async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
) -> Result<(u16, String), Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, "localhost").body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, String::from_utf8(body.to_vec())?))
}
