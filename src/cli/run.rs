//! `slotd run`.

use std::path::PathBuf;

use super::context;
use super::failure::{Exit, Failure};
use crate::daemon;
use crate::logging::{self, LogFormat};

pub(super) async fn run(given: Option<PathBuf>, format: Option<LogFormat>) -> Result<Exit, Failure> {
    let variable = std::env::var("SLOTD_LOG_FORMAT").ok();
    let format = LogFormat::choose(format, variable.as_deref()).map_err(|wrong| Failure::new(Exit::Usage, wrong))?;
    let socket = context::socket()?;
    let path = context::file(given.as_deref())?;
    let Some(config) = context::load(&path) else { return Ok(Exit::WrongFile) };
    let log = logging::init(format, config.agent.log).map_err(|error| Failure::because(Exit::Failed, &error))?;
    match daemon::run(path, config, socket, log).await {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(Failure::because(Exit::Failed, &error)),
    }
}
