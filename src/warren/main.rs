//! The one program: gateway, agent, command line and demo.
//!
//! | module | what it is |
//! |---|---|
//! | `cli` | what can be typed |
//! | `commands` | the admin API's nouns and verbs, through `client`, shown as `views` by `output` |
//! | `serve` | gateway and agent as processes: `telemetry`, `otlp`, `observe`, `signals`, `ready`, `limits` around their crates |
//! | `install`, `service` | an agent as a service of a machine; run by Windows' service manager |
//! | `demo` | everything at once on loopback |
//! | `runtime` | what they run on |
//! | `exit` | exit codes, and the errors that know theirs |
//!
//! Errors travel up to here and are printed once.

use std::{env, ffi::OsString, process::ExitCode};

use clap::{Parser, error::ErrorKind};

use crate::{cli::Cli, exit::Exit};

mod cli;
mod client;
mod commands;
mod context;
#[cfg(test)]
mod dashboards;
mod demo;
mod exit;
#[cfg_attr(windows, path = "install/windows.rs")]
mod install;
mod limits;
mod metrics;
mod observe;
mod otlp;
mod output;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod readme;
mod ready;
mod runtime;
mod serve;
#[cfg(windows)]
mod service;
#[cfg(test)]
mod settings;
mod signals;
mod telemetry;
mod views;

// With glibc's, buffers of tunnels are trimmed and faulted in again: a tenth of the CPU under load.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match parse(env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let Err(error) = commands::run(cli) else { return Exit::Done.into() };
    let exit = exit::of(&error);
    if exit != Exit::Done {
        output::talk(format_args!("error: {error:#}"));
    }
    exit.into()
}

/// Help and version are results, not errors; everything else that clap says is wrong usage.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, ExitCode> {
    Cli::try_parse_from(arguments).map_err(|told| {
        // Nobody left to tell is no reason for another code.
        let _ = told.print();
        match told.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done.into(),
            _ => Exit::Usage.into(),
        }
    })
}
