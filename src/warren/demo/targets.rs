//! What stands behind the demo's firewall: an echo and a small web page, known to the agents only.

use std::net::SocketAddr;

use anyhow::Context;
use axum::{Router, routing::get};
use tokio::{
    io,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What the page says.
pub(super) const PAGE: &str = "hello from behind the firewall\n";

/// Both end when this is dropped.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) echo: SocketAddr,
    pub(super) web: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Targets {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let (echo, web) = (bind().await?, bind().await?);
        let addresses = (echo.local_addr()?, web.local_addr()?);
        let tasks = [tokio::spawn(serve_echo(echo)), tokio::spawn(serve_web(web))];
        Ok(Self { echo: addresses.0, web: addresses.1, tasks })
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn bind() -> anyhow::Result<TcpListener> {
    TcpListener::bind("127.0.0.1:0").await.context("cannot listen on loopback")
}

async fn serve_echo(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(echo(stream));
    }
}

async fn echo(mut stream: TcpStream) {
    // Callers wait for each answer, so each must leave at once.
    let _ = stream.set_nodelay(true);
    let (mut from, mut to) = stream.split();
    // A caller that is cut off is part of the show.
    let _ = io::copy(&mut from, &mut to).await;
}

async fn serve_web(listener: TcpListener) {
    let page = Router::new().route("/", get(async || PAGE));
    if let Err(error) = axum::serve(listener, page).await {
        tracing::error!(%error, "the demo's web page ended");
    }
}
