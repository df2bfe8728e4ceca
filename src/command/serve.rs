//! `serve`: HTTP on a loopback address until the process is told to stop.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context;
use triage::http;
use triage::jobs::Follower;
use triage::telemetry;
use triage::worker::Worker;

use super::Session;

/// Takes the address that is to be served on; port 0 becomes a free one.
pub(super) fn listen(bind: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(bind).with_context(|| format!("cannot listen on {bind}"))?;
    let address = listener.local_addr().context("cannot read the address listened on")?;
    Ok((listener, address))
}

/// Serves until the process is told to stop.
pub(super) async fn serve(session: Session, listener: TcpListener, address: SocketAddr) -> anyhow::Result<()> {
    let metrics = telemetry::install_metrics()?;
    let encoder = session.pipeline.encoder();
    tracing::info!(
        model = encoder.name(),
        fingerprint = encoder.fingerprint(),
        kernel = encoder.kernel().name(),
        precision = encoder.precision().name(),
        threads = encoder.threads(),
        "encoder"
    );
    let follower = Follower::start(session.store.clone(), Arc::clone(&session.pipeline)).await?;
    let worker = Worker::start(Arc::clone(&session.pipeline))?;
    let app = http::App::new(session.store, session.pipeline, worker, follower, metrics);
    let app = Arc::new(app.with_gate(session.settings.train.gate));
    if let Some(schedule) = session.settings.train.schedule {
        http::follow_schedule(&app, schedule);
    }
    // Scripts read the address from the first line.
    println!("http://{address}");
    std::io::stdout().flush().context("cannot write to standard output")?;
    tracing::info!(%address, "listening");
    http::serve(listener, app, stop_signal()).await.context("the server stopped")?;
    tracing::info!("stopped");
    Ok(())
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be caught, only an interrupt stops the service");
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
