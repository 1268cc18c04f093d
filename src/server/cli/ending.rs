//! How a server is told to end or to read its configuration again.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// An ending takes no longer than this, whatever is open.
const AT_MOST: Duration = Duration::from_secs(24);

/// Cancels the token at the first SIGTERM or Ctrl-C (or SIGHUP, where `hangup_ends`); at the second, or when the ending has taken too long,
/// the process leaves at once, and the private servers' watchdogs do the rest.
pub(super) fn watch(hangup_ends: bool) -> std::io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = if hangup_ends { Some(signal(SignalKind::hangup())?) } else { None };
    let ending = CancellationToken::new();
    let told = ending.clone();
    tokio::spawn(async move {
        one_of(&mut terminate, &mut interrupt, hangup.as_mut()).await;
        tracing::info!("ending");
        told.cancel();
        // A thread, because a runtime that hangs would keep a task from running.
        std::thread::spawn(|| {
            std::thread::sleep(AT_MOST);
            std::process::exit(0);
        });
        one_of(&mut terminate, &mut interrupt, None).await;
        std::process::exit(0);
    });
    Ok(ending)
}

async fn one_of(terminate: &mut Signal, interrupt: &mut Signal, hangup: Option<&mut Signal>) {
    let hangup = async {
        match hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup => {}
    }
}
