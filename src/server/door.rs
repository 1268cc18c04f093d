//! The listening socket: accepts, gives each connection its time-outs, and lets what is open finish when the server ends.
//!
//! `axum::serve` waits for headers as long as a client likes and drains without limit; this does neither.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

/// Connections at a time; one more waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 4_096;
/// From a request's first byte to the end of its headers; an idle connection that was kept open ends after it too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_HEADERS: usize = 64;
/// Longest request head.
const HEAD_BYTES: usize = 64 << 10;

/// Why the server does not listen, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{0} is in use by another program: stop that one, or choose another with --listen (port 0 picks a free one)")]
    InUse(String),
    #[error("{0} may not be used by this account: choose a port above 1023 with --listen")]
    NotPermitted(String),
    #[error("cannot listen on {0} ({1}): give an address of this machine as ADDRESS:PORT with --listen")]
    Other(String, std::io::Error),
}

/// Listens on `address` (`127.0.0.1:3000`, `[::1]:0`, `localhost:3000`).
pub async fn listen(address: &str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => ListenError::InUse(address.to_owned()),
        ErrorKind::PermissionDenied => ListenError::NotPermitted(address.to_owned()),
        _ => ListenError::Other(address.to_owned(), error),
    })
}

/// Serves until `ending` resolves, then accepts nothing more and gives what is open `patience` to finish.
pub async fn serve(listener: TcpListener, router: Router, ending: impl Future<Output = ()>, patience: Duration) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut ending = std::pin::pin!(ending);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = &mut ending => break,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let router = router.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_headers(MAX_HEADERS).max_buf_size(HEAD_BYTES);
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that went away is its own affair.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(patience, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections were still open and are cut");
    }
}

type Accepted = (tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<Accepted> {
    let place = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            let _ = stream.set_nodelay(true);
            Some((stream, peer, place))
        }
        Err(error) => {
            // Out of file descriptors, most likely: others will end soon.
            if !matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused) {
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_port_in_use_is_one_clear_sentence() {
        let first = listen("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap().to_string();
        let error = listen(&address).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{address} is in use by another program")), "{error}");
    }

    #[tokio::test]
    async fn what_is_under_way_finishes_and_what_hangs_is_cut() {
        let listener = listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let slow = get(|| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "finished"
        });
        let router = Router::new().route("/slow", slow).route("/hangs", get(std::future::pending::<&'static str>));
        let server = tokio::spawn(serve(listener, router, async move { ended.await.unwrap() }, Duration::from_secs(1)));
        let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut hangs = tokio::net::TcpStream::connect(address).await.unwrap();
        hangs.write_all(b"GET /hangs HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let _idle = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let started = tokio::time::Instant::now();
        end.send(()).unwrap();
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("finished"), "{answer}");
        server.await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(2));
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}
