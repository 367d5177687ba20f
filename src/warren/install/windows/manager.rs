//! Windows' service manager, asked for one service.

use std::{ffi::OsString, io, time::Duration};

use anyhow::Context;
use tokio::time::{Instant, sleep};
use windows_service::{
    Error,
    service::{
        Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceExitCode,
        ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState,
        ServiceStatus, ServiceType,
    },
    service_manager::{ServiceManager, ServiceManagerAccess},
};

use super::place::{PROGRAM, Place};
use crate::exit::{Exit, Failure};

const LOOK: Duration = Duration::from_millis(200);
/// The drain, and a little.
const STOP_WITHIN: Duration = Duration::from_secs(150);
const AGAIN_AFTER: Duration = Duration::from_secs(5);
const NOT_THERE: i32 = 1060;
const NOT_ACTIVE: i32 = 1062;
const DENIED: i32 = 5;

/// The service, `None` if there is none.
pub(super) fn find(place: &Place) -> anyhow::Result<Option<Service>> {
    let access = ServiceAccess::QUERY_STATUS
        | ServiceAccess::CHANGE_CONFIG
        | ServiceAccess::START
        | ServiceAccess::STOP
        | ServiceAccess::DELETE;
    match manager()?.open_service(place.service(), access) {
        Ok(service) => Ok(Some(service)),
        Err(error) if code(&error) == Some(NOT_THERE) => Ok(None),
        Err(error) => Err(denied(error)),
    }
}

pub(super) fn register(place: &Place) -> anyhow::Result<()> {
    let info = info(place);
    let service = match find(place)? {
        Some(service) => {
            service.change_config(&info).map_err(denied)?;
            service
        }
        None => {
            let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
            manager()?.create_service(&info, access).map_err(denied)?
        }
    };
    service.set_description("Makes applications of this site reachable through a Warren gateway")?;
    let again = ServiceAction { action_type: ServiceActionType::Restart, delay: AGAIN_AFTER };
    let actions = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(60)),
        reboot_msg: None,
        command: None,
        actions: Some(vec![again]),
    };
    service.update_failure_actions(actions).context("cannot have it started again when it fails")
}

/// Returns when it has drained and is gone; no service and one that does not run are stopped already.
pub(super) async fn stop(place: &Place) -> anyhow::Result<()> {
    let Some(service) = find(place)? else { return Ok(()) };
    match service.stop() {
        Ok(_) => {}
        Err(error) if code(&error) == Some(NOT_ACTIVE) => return Ok(()),
        Err(error) => return Err(denied(error)),
    }
    let deadline = Instant::now() + STOP_WITHIN;
    while service.query_status()?.current_state != ServiceState::Stopped {
        anyhow::ensure!(Instant::now() < deadline, "it did not stop within {STOP_WITHIN:?}");
        sleep(LOOK).await;
    }
    Ok(())
}

pub(super) fn start(place: &Place) -> anyhow::Result<()> {
    let service = find(place)?.context("there is no such service")?;
    service.start::<OsString>(&[]).map_err(denied)
}

pub(super) fn status(place: &Place) -> anyhow::Result<ServiceStatus> {
    Ok(find(place)?.context("there is no such service")?.query_status()?)
}

/// The exit code with which the agent gave up for good.
pub(super) fn gave_up(status: &ServiceStatus) -> Option<Exit> {
    match status.exit_code {
        _ if status.current_state != ServiceState::Stopped => None,
        // After any other end the manager starts it again.
        ServiceExitCode::ServiceSpecific(2) => Some(Exit::Usage),
        ServiceExitCode::ServiceSpecific(3) => Some(Exit::Refused),
        _ => None,
    }
}

pub(super) fn unregister(place: &Place) -> anyhow::Result<()> {
    find(place)?.map_or(Ok(()), |service| service.delete().map_err(denied))
}

fn info(place: &Place) -> ServiceInfo {
    let arguments = [
        ("--config", place.config()),
        ("--ready-file", place.ready_file()),
        ("--log-file", place.log()),
        ("--service", place.service().into()),
    ];
    let launch = arguments.into_iter().flat_map(|(flag, value)| [flag.into(), value.into_os_string()]);
    ServiceInfo {
        name: place.service().into(),
        display_name: format!("Warren {}", place.service()).into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: PROGRAM.into(),
        launch_arguments: std::iter::once(OsString::from("agent")).chain(launch).collect(),
        dependencies: Vec::new(),
        account_name: Some(place.account().into()),
        account_password: None,
    }
}

fn manager() -> anyhow::Result<ServiceManager> {
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    ServiceManager::local_computer(None::<&str>, access).map_err(denied)
}

fn denied(error: Error) -> anyhow::Error {
    if code(&error) == Some(DENIED) {
        return Failure::new(Exit::Refused, "this needs an administrator's console").into();
    }
    error.into()
}

fn code(error: &Error) -> Option<i32> {
    match error {
        Error::Winapi(error) => io::Error::raw_os_error(error),
        _ => None,
    }
}
