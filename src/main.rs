//! The binary: a runtime around [`slotd::cli`].

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "without a runtime there is nothing else to say it with")]
fn main() -> ExitCode {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // A sink whose disk hangs keeps one thread; however many do, one is left for those whose disk works. Threads are
    // made when there is a call for them, and end when there is none.
    builder.worker_threads(2).max_blocking_threads(8192).enable_all();
    let runtime = match builder.build() {
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
