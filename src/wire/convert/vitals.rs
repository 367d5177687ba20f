//! How a member does by its own account.

use warren_core::vitals::{Reading, Vitals};

use super::{ConvertError, read_verdict, verdict};
use crate::v1;

/// Writes `vitals` into a report.
pub fn tell_vitals(report: &mut v1::SelfReport, vitals: &Vitals) {
    let told = |one: &Reading| Some(reading(one));
    (report.cpu, report.memory) = (told(&vitals.cpu), told(&vitals.memory));
    (report.files, report.disk) = (told(&vitals.files), told(&vitals.disk));
}

pub fn reading(reading: &Reading) -> v1::Reading {
    let Reading { used, limit, verdict: judged, since_ms } = *reading;
    v1::Reading { used, limit, verdict: verdict(judged).into(), since_ms }
}

/// What is not told is well.
pub fn read_vitals(report: &v1::SelfReport) -> Result<Vitals, ConvertError> {
    let read = |one: &Option<v1::Reading>| -> Result<Reading, ConvertError> {
        let Some(v1::Reading { used, limit, verdict, since_ms }) = *one else {
            return Ok(Reading::default());
        };
        Ok(Reading { used, limit, verdict: read_verdict(verdict)?, since_ms })
    };
    Ok(Vitals {
        cpu: read(&report.cpu)?,
        memory: read(&report.memory)?,
        files: read(&report.files)?,
        disk: read(&report.disk)?,
    })
}
