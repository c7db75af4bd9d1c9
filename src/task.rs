//! Tasks that others wait for.

use tokio::task::JoinError;

/// What a task returned; its panic goes on in ours.
pub fn joined<T>(outcome: Result<T, JoinError>) -> T {
    outcome.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => std::panic::panic_any(error.to_string()),
    })
}
