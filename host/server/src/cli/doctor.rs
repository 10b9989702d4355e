//! `bugle doctor`: asks the host, or looks at the directory if none serves it.
//!
//! Invariant: the exit code is 0 if nothing was found, 1 for warnings only, 2 if there is an error or nothing could be told.

use std::process::ExitCode;

use super::{Context, print};
use crate::data_dir::DataDirError;
use crate::doctor::{self, Diagnosis, Level};

/// There are warnings, and nothing worse.
const WARNINGS: u8 = 1;
/// There is an error, or the doctor could not look.
const ERRORS: u8 = 2;

/// A failure of its own is told like any other command's, with the doctor's exit code.
pub(super) fn run(context: &Context) -> ExitCode {
    match look(context).and_then(|found| show(context, &found).map(|()| found)) {
        Ok(found) => match found.findings.iter().map(|finding| finding.level).max() {
            None => ExitCode::SUCCESS,
            Some(Level::Warning) => ExitCode::from(WARNINGS),
            Some(Level::Error) => ExitCode::from(ERRORS),
        },
        Err(error) if print::is_reader_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bugle: {}", print::causes(&error));
            ExitCode::from(ERRORS)
        }
    }
}

fn look(context: &Context) -> anyhow::Result<Diagnosis> {
    match doctor::look(&context.data) {
        // Somebody has the directory: a host, which is asked.
        Err(error) if matches!(error.downcast_ref(), Some(DataDirError::InUse { .. })) => {
            context.admin()?.get("/v1/doctor")
        }
        other => other,
    }
}

fn show(context: &Context, found: &Diagnosis) -> anyhow::Result<()> {
    if context.json {
        return print::json(found);
    }
    let who = match found.is_running {
        true => "a host serves it",
        false => "no host serves it, so only what is on disk is told",
    };
    print::line(&format!("{} ({who})", found.data_dir))?;
    for line in &found.healthy {
        print::line(&format!("ok       {line}"))?;
    }
    for finding in &found.findings {
        print::line(&format!("{:8} {}: {} [{}]", finding.level.word(), finding.place, finding.what, finding.code))?;
        print::line(&format!("         -> {}", finding.advice))?;
    }
    Ok(())
}
