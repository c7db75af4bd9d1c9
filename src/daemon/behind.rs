//! Behind another agent: two with one state directory are a pair of which one works.
//!
//! The kernel gives the lock of the state directory back when its holder's process is gone, however that ended, and not
//! a moment before: one that is frozen would write on waking. Until then each active database is `waiting`, health is
//! told, and nothing is asked of a server.

use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::state::StateDir;
use super::{Signals, StartError, Wish, reload_on};
use crate::config::{self, Config, Reloaded, Status, Style};
use crate::status::{
    Command, Condition, DatabaseStatus, Holder, Reason, Refusal, Registry, Reporter, State, Trouble, databases,
};
use crate::systemd::Service;

/// Between two tries to take the lock.
const PACE: Duration = Duration::from_millis(250);

/// The state directory, taken at last, and the configuration as it stands by then.
pub(super) struct Taken {
    pub(super) config: Config,
    pub(super) state: StateDir,
    /// What health has shown meanwhile, to be kept until there is something in its place.
    pub(super) shown: Vec<Reporter>,
}

/// What goes on around the wait.
pub(super) struct Surrounding<'a> {
    pub(super) file: &'a Path,
    pub(super) registry: &'a Registry,
    pub(super) signals: &'a mut Signals,
    pub(super) service: &'a mut Service,
    pub(super) commands: &'a mpsc::Sender<Command>,
    pub(super) to_carry_out: &'a mut mpsc::Receiver<Command>,
}

/// Takes the state directory of `config`, once whoever holds it is gone. `None` if a signal ends the wait.
///
/// # Errors
/// It can't be used.
pub(super) async fn take(mut config: Config, around: Surrounding<'_>) -> Result<Option<Taken>, StartError> {
    let Surrounding { file, registry, signals, service, commands, to_carry_out } = around;
    let mut tries = interval(PACE);
    tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = Vec::new();
    // Behind whom it is known to be.
    let mut behind = None;
    loop {
        tokio::select! {
            biased;
            wish = signals.next() => match wish {
                Wish::End => return Ok(None),
                Wish::Reload => reload_on(commands),
            },
            Some(command) = to_carry_out.recv() => if let Command::Reload { reply } = command {
                match config::reload(file, &config) {
                    Ok(Reloaded { config: new, .. }) => {
                        registry.config_rejected(None);
                        config = new;
                        behind = None;
                        let summary = format!("{} wait", databases(config.databases.len()));
                        drop(reply.send(Ok(summary)));
                    }
                    Err(mistakes) => {
                        registry.config_rejected(Some(mistakes.to_string()));
                        drop(reply.send(Err(Refusal::File(mistakes.render(Style::Plain)))));
                    }
                }
            },
            _ = tries.tick() => {}
        }
        registry.beat();
        match StateDir::take(&config.agent.state_dir) {
            Err(StartError::Locked { by, .. }) => {
                if behind.as_ref() == Some(&by) {
                    continue;
                }
                warn!("waiting: {}", sentence(&config, by.as_ref()));
                shown = show(registry, &config, by.as_ref());
                behind = Some(by);
                service.ready().await;
            }
            taken => {
                let state = taken?;
                if behind.is_some() {
                    info!("the state directory {} is free: this agent takes over", config.agent.state_dir.display());
                }
                return Ok(Some(Taken { config, state, shown }));
            }
        }
    }
}

/// Shows each active database as waiting for `by`, and the others as what they are.
fn show(registry: &Registry, config: &Config, by: Option<&Holder>) -> Vec<Reporter> {
    registry.declare(config.databases.iter().map(|database| database.name.clone()));
    let told = config.databases.iter().map(|database| {
        let (name, slot, publication) = (&database.name, &database.slot, &database.publication);
        let status = DatabaseStatus::new(
            name.clone(),
            slot.clone(),
            publication.clone(),
            database.status,
            jiff::Timestamp::now(),
        );
        let reporter = registry.add(status);
        if database.status == Status::Active {
            let hint =
                "nothing to do: it takes over as soon as that process is gone; a frozen one has to be killed, or woken";
            let trouble = Trouble::new(Reason::StateHeld, sentence(config, by), hint);
            let trouble = by.cloned().into_iter().fold(trouble, Trouble::held_by);
            reporter.condition(Condition::Other(State::Waiting, trouble));
        }
        reporter.round_done();
        reporter
    });
    told.collect()
}

fn sentence(config: &Config, by: Option<&Holder>) -> String {
    let who = by.map_or_else(
        || "another process".to_owned(),
        |Holder { pid, application_name, .. }| format!("process {pid} ({application_name})"),
    );
    format!("{who} holds the state directory {}", config.agent.state_dir.display())
}
