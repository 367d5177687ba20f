//! The runtime that a command runs on.

use std::{future::Future, thread};

use tokio::runtime::{Builder, Runtime};
use warren_core::threads::Threads;

/// Tasks that run before sockets are looked at again. Under bulk, tasks are always ready, and what comes in meanwhile waits
/// for so many turns: tokio's 61 let a keystroke wait for several milliseconds.
const EVENT_INTERVAL: u32 = 8;

/// A server: as many workers as were asked for, or as suits the machine.
pub(crate) fn serve<T>(
    threads: Option<Threads>,
    server: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let threads = threads.unwrap_or_else(|| {
        let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Threads::for_cpus(cpus)
    });
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads.count()).event_interval(EVENT_INTERVAL);
    run(&mut builder, server)
}

/// A command that mostly waits.
pub(crate) fn wait<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    run(&mut Builder::new_multi_thread(), command)
}

/// Likewise; calls that block and are left behind end with the process.
pub(crate) fn wait_and_leave<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(command);
    runtime.shutdown_background();
    done
}

fn run<T>(builder: &mut Builder, future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime: Runtime = builder.enable_all().build()?;
    runtime.block_on(future)
}
