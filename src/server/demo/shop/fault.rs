//! A small TCP proxy that stands before Redis and stalls: the shop's bad network line, and a test's.
//!
//! While the fault is on, some of what a client sends is held back. A client that gives up in the meantime finds that its command was
//! never delivered, as when a middlebox has dropped the flow.

use super::dice::Dice;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Semaphore,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections at a time; more wait.
const MAX_CONNECTIONS: usize = 64;
/// Bytes held back per connection while it stalls; past it the client's own sending blocks.
const MAX_HELD: usize = 64 * 1024;

/// How the line fails.
pub trait Fault: Send + Sync + 'static {
    /// Asked for everything a client sends: how long to hold it back. `None` passes it on at once.
    fn stall(&self) -> Option<Duration>;
}

/// Stalls with a probability while `is_on` says so.
pub struct Stalls<F> {
    pub is_on: F,
    pub probability: f64,
    pub length: Duration,
    pub dice: Arc<Dice>,
}

impl<F: Fn() -> bool + Send + Sync + 'static> Fault for Stalls<F> {
    fn stall(&self) -> Option<Duration> {
        ((self.is_on)() && self.dice.chance(self.probability)).then_some(self.length)
    }
}

/// Listens on a free port of the loopback, passes on to `upstream` until `stop`; says where it listens.
pub async fn start(upstream: SocketAddr, fault: Arc<dyn Fault>, tasks: &TaskTracker, stop: CancellationToken) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = tasks.clone();
    tasks.spawn(async move {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let client = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((client, _)) = client else {
                // Out of descriptors, most likely: give others time to close some.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (fault, stop) = (Arc::clone(&fault), stop.clone());
            connections.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = pass(client, upstream, fault.as_ref()) => {}
                }
                drop(place);
            });
        }
    });
    Ok(address)
}

async fn pass(client: TcpStream, upstream: SocketAddr, fault: &dyn Fault) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    // Whichever direction ends first ends the connection: Redis clients do not half-close.
    tokio::select! {
        there = forward(from_client, to_server, fault) => there,
        back = tokio::io::copy(&mut from_server, &mut to_client) => back.map(drop),
    }
}

/// Passes on what the client sends; a stall holds it, and what follows, back.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: &dyn Fault) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let Some(length) = fault.stall() else {
            to.write_all(&buffer[..read]).await?;
            continue;
        };
        let mut held = buffer[..read].to_vec();
        let until = Instant::now() + length;
        loop {
            let room = held.len() < MAX_HELD;
            tokio::select! {
                () = tokio::time::sleep_until(until) => break,
                more = from.read(&mut buffer), if room => match more? {
                    // The client has given up: what it sent is never delivered.
                    0 => return Ok(()),
                    read => held.extend_from_slice(&buffer[..read]),
                },
            }
        }
        to.write_all(&held).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A server that sends back what it gets, and counts it.
    async fn echo() -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&got);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut buffer = [0; 1024];
                    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                        count.fetch_add(read, Ordering::Relaxed);
                        stream.write_all(&buffer[..read]).await.unwrap();
                    }
                });
            }
        });
        (address, got)
    }

    async fn proxied(on: &Arc<AtomicBool>, length: Duration) -> (TcpStream, Arc<std::sync::atomic::AtomicUsize>, CancellationToken) {
        let (upstream, got) = echo().await;
        let on = Arc::clone(on);
        let fault = Stalls { is_on: move || on.load(Ordering::Relaxed), probability: 1.0, length, dice: Arc::new(Dice::new(1)) };
        let stop = CancellationToken::new();
        let address = start(upstream, Arc::new(fault), &TaskTracker::new(), stop.clone()).await.unwrap();
        (TcpStream::connect(address).await.unwrap(), got, stop)
    }

    #[tokio::test]
    async fn a_stall_delays_and_then_delivers_everything_in_order() {
        let on = Arc::new(AtomicBool::new(false));
        let (mut client, _, _stop) = proxied(&on, Duration::from_millis(400)).await;
        let mut answer = [0; 6];
        let begun = Instant::now();
        client.write_all(b"ab").await.unwrap();
        client.read_exact(&mut answer[..2]).await.unwrap();
        assert!(begun.elapsed() < Duration::from_millis(300), "without the fault it passes at once");
        on.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        client.write_all(b"cd").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(b"efgh").await.unwrap();
        client.read_exact(&mut answer).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(400), "the fault really delays");
        assert_eq!(&answer, b"cdefgh");
    }

    #[tokio::test]
    async fn what_a_client_sent_before_it_gave_up_is_never_delivered() {
        let on = Arc::new(AtomicBool::new(true));
        let (mut client, got, _stop) = proxied(&on, Duration::from_millis(300)).await;
        client.write_all(b"DEL").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(client);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(got.load(Ordering::Relaxed), 0);
    }
}
