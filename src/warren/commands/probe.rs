//! `warren probe`

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    exit::{Exit, Failure},
    output,
};

/// Shorter than the time that runners of health checks give by themselves.
const ANSWER: Duration = Duration::from_secs(3);
/// More than probes have to say.
const ANSWER_MAX: u64 = 16 * 1024;

/// The health check of an image in which there is no other program.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  warren probe --metrics 127.0.0.1:9100

Exit codes: 0 it is ready, 1 it is not and says why, 4 it does not answer.")]
pub(crate) struct ProbeArgs {
    /// Where it serves metrics and probes, HOST:PORT
    #[arg(long, env = "WARREN_METRICS", value_name = "ADDR")]
    metrics: String,
    /// Ask only whether it lives, not whether it is ready
    #[arg(long)]
    live: bool,
}

pub(crate) async fn run(args: ProbeArgs) -> anyhow::Result<()> {
    let (place, path) = (&args.metrics, if args.live { "/livez" } else { "/readyz" });
    let silent = || Failure::unreachable(format!("no answer at {place} (check that it runs with --metrics)"));
    let answer = match timeout(ANSWER, ask(place, path)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(silent().because(error).into()),
        Err(_) => return Err(silent().into()),
    };
    let (status, said) =
        read(&answer).with_context(|| format!("{place} is no gateway's or agent's --metrics"))?;
    match status {
        200 => output::print(said),
        503 => Err(Failure::new(Exit::Failed, said.trim_end()).into()),
        other => {
            Err(Failure::new(Exit::Failed, format!("{path} at {place} answers with status {other}")).into())
        }
    }
}

/// Asks once. An address that stands for all of them leads to this machine.
async fn ask(place: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(place).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {place}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Status and body.
fn read(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    Some((status, body))
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, sync::watch};

    use super::*;
    use crate::{
        exit,
        observe::{Observer, Readiness},
        telemetry::Telemetry,
    };

    async fn probe(metrics: String, live: bool) -> Result<(), (Exit, String)> {
        let probed = run(ProbeArgs { metrics, live }).await;
        probed.map_err(|error| (exit::of(&error), format!("{error:#}")))
    }

    #[tokio::test]
    async fn what_stands_against_it_is_told() {
        let observer = Observer::bind("0.0.0.0:0".parse().unwrap()).await.unwrap();
        let place = observer.address.to_string();
        let (sender, readiness) = watch::channel(Readiness { against: vec!["draining".into()] });
        let _serving = observer.serve(Telemetry::detached(), readiness);
        let refused = probe(place.clone(), false).await.unwrap_err();
        assert_eq!(refused, (Exit::Failed, "not ready: draining".to_owned()));
        probe(place.clone(), true).await.unwrap();
        sender.send_replace(Readiness::default());
        probe(place, false).await.unwrap();
    }

    #[tokio::test]
    async fn nobody_and_somebody_else_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let stranger = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // What is left unread when it closes would reset the connection.
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        };
        let (told, ()) = tokio::join!(probe(place.clone(), false), stranger);
        let (exit, told) = told.unwrap_err();
        assert!(exit == Exit::Failed && told.contains("is no gateway's or agent's"), "{told}");
        drop(listener);
        let (exit, told) = probe(place, false).await.unwrap_err();
        assert!(exit == Exit::Unreachable && told.contains("no answer at 127.0.0.1"), "{told}");
    }
}
