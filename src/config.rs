//! What is wished: the file, typed and with its defaults in place.
//!
//! [`load`] reads a file into a [`Config`] or into all of its mistakes at once. A `Config` holds nothing that could
//! still be wrong without asking a server; other rooms never see TOML.

mod diagnostics;
mod file;
mod locate;
mod model;
mod read;
mod secret;
mod units;
mod url;

pub use diagnostics::{Mistake, Mistakes};
pub use file::{load, parse};
pub use locate::{Locations, locate};
pub use model::{
    Agent, Budget, Config, Connection, Database, FileSinkConfig, Host, Http, Keep, LogLevel, MinFree, Publish, Scope,
    SinkConfig, Status, Tls, TlsMode,
};
pub use secret::{Password, PasswordError};
