//! The binary: a runtime around [`slotd::cli`].

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "without a runtime there is nothing else to say it with")]
fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("slotd: no threads can be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(slotd::cli::main(std::env::args_os()));
    // A thread that hangs in a system call, on a disk that is gone for instance, must not keep a stop from ending.
    runtime.shutdown_background();
    code
}
