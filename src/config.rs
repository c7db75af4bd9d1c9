//! What is wished: the file, typed and with its defaults in place.
//!
//! [`load`] reads a file into a [`Config`] or into all of its mistakes at once. A `Config` holds nothing that could
//! still be wrong without asking a server; other rooms never see TOML.
//!
//! A file goes through these hands: `source` knows what of its text may be shown, `read` gathers mistakes, `table`
//! looks keys up, and `file`, `sinks`, `database`, `connection`, `tls` and `across` say what the keys mean.

mod across;
mod connection;
mod database;
mod diagnostics;
mod expand;
mod file;
mod host;
mod keys;
mod locate;
mod model;
mod names;
mod policy;
mod publication;
mod read;
mod row_filter;
mod secret;
mod series;
mod sinks;
mod source;
mod table;
mod tls;
mod units;
mod url;
mod wrong;

#[cfg(test)]
mod tests;

pub use diagnostics::{Mistake, Mistakes, Severity, Style, render_all};
pub use file::{Reloaded, load, parse, reload};
pub use locate::{EXAMPLE, NoFile, Surroundings};
pub use model::{
    Agent, Budget, ChannelBinding, ClientCert, Config, Connection, Database, FileSinkConfig, Host, Http, Keep,
    LogLevel, MinFree, Resolver, Server, SinkConfig, SslMode, SslNegotiation, Status, Tls, Trust,
};
pub use policy::{OnDisable, OnSlotLost, OnWalLimit, Provision};
pub use publication::{DeclaredTable, GeneratedColumns, Publication, Publish, Scope};
pub use secret::{OpenToAll, Password, PasswordError};
