//! `warren agent` when Windows' service manager runs it: the manager is told how it stands, and its stop drains.

use std::{env, ffi::OsString, process, sync::OnceLock, time::Duration};

use anyhow::Context;
use clap::Parser;
use windows_service::{
    define_windows_service,
    service::{
        ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
    },
    service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle},
    service_dispatcher,
};

use crate::{
    cli::{Cli, Command},
    exit::{self, Exit},
    serve, signals,
    telemetry::output,
};

/// The drain, and a little: until then the manager waits for the end.
const STOP_WITHIN: Duration = Duration::from_secs(150);

/// Where the manager hears how the service stands; the handler of its controls needs it too.
static STATUS: OnceLock<ServiceStatusHandle> = OnceLock::new();

define_windows_service!(main_of_manager, run_as_service);

/// Returns when the service has ended.
pub(crate) fn run(name: &str) -> anyhow::Result<()> {
    service_dispatcher::start(name, main_of_manager)
        .context("--service is for Windows' service manager alone, which did not start this program")
}

/// On a thread of the manager's; the command line is the process's own.
fn run_as_service(_arguments: Vec<OsString>) {
    let Ok(Cli { command: Command::Agent(agent), .. }) = Cli::try_parse_from(env::args_os()) else { return };
    let name = agent.run.service.clone().unwrap_or_default();
    if let Err(error) = service_control_handler::register(&name, control).map(|handle| STATUS.set(handle)) {
        output::last_words(&format!("the service manager does not answer: {error}"));
        process::exit(Exit::Failed as i32);
    }
    tell(ServiceState::Running, ServiceExitCode::NO_ERROR);
    let ended = serve::agent_here(&agent.run);
    let exit = ended.as_ref().err().map_or(Exit::Done, exit::of);
    if let Err(error) = ended {
        output::last_words(&format!("error: {error:#}"));
    }
    match exit {
        Exit::Done => tell(ServiceState::Stopped, ServiceExitCode::NO_ERROR),
        // It would fail again: it stays down until somebody changes something.
        Exit::Usage | Exit::Refused => {
            tell(ServiceState::Stopped, ServiceExitCode::ServiceSpecific(exit as u32));
        }
        // An end that the manager was not told of: it starts the service again.
        exit => process::exit(exit as i32),
    }
}

fn control(control: ServiceControl) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Interrogate => {}
        ServiceControl::Stop => {
            tell(ServiceState::StopPending, ServiceExitCode::NO_ERROR);
            signals::told_by_service(signals::End::Drained);
        }
        // Windows ends services some seconds later, which no drain outlasts.
        ServiceControl::Shutdown => {
            tell(ServiceState::StopPending, ServiceExitCode::NO_ERROR);
            signals::told_by_service(signals::End::AtOnce);
        }
        _ => return ServiceControlHandlerResult::NotImplemented,
    }
    ServiceControlHandlerResult::NoError
}

fn tell(state: ServiceState, exit_code: ServiceExitCode) {
    let running = state == ServiceState::Running;
    let accepted = ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN;
    let status = ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: if running { accepted } else { ServiceControlAccept::empty() },
        exit_code,
        checkpoint: 0,
        wait_hint: if state == ServiceState::StopPending { STOP_WITHIN } else { Duration::ZERO },
        process_id: None,
    };
    if let Some(Err(error)) = STATUS.get().map(|handle| handle.set_service_status(status)) {
        tracing::error!(%error, ?state, "cannot tell the service manager");
    }
}
