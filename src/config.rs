//! What is wished: the file, typed and with its defaults in place.
//!
//! [`load`] reads a file, and those that it includes, into a [`Config`] or into all of their mistakes at once. A `Config`
//! holds nothing that could still be wrong without asking a server; other rooms never see TOML.
//!
//! A file goes through these hands: `include` finds the others, `source` gives all of them one space of offsets, `text`
//! knows what of each may be shown, `read` gathers mistakes, `table` looks keys up, there and in `defaults`, and `file`,
//! `sinks`, `database`, `connection`, `tls` and `across` say what the keys mean. `show` prints what comes of it, each value
//! with its origin.

mod across;
mod connection;
mod database;
mod defaults;
mod diagnostics;
mod expand;
mod file;
mod host;
mod include;
mod keys;
mod locate;
mod model;
mod names;
mod origins;
mod parts;
mod policy;
mod publication;
mod read;
mod row_filter;
mod secret;
mod series;
mod show;
mod sinks;
mod source;
mod table;
mod text;
mod tls;
mod units;
mod url;
mod wrong;

#[cfg(test)]
mod tests;

pub use diagnostics::{Mistake, Mistakes, Severity, Style, render_all};
pub use file::{Reloaded, in_force, load, parse, reload};
pub use locate::{EXAMPLE, NoFile, Surroundings};
pub use model::{
    Agent, Budget, ChannelBinding, ClientCert, Config, Connection, Database, FileSinkConfig, Host, Http, Keep,
    LogLevel, MinFree, Resolver, Server, SinkConfig, SslMode, SslNegotiation, Status, Tls, Trust,
};
pub use policy::{OnDisable, OnSlotLost, OnWalLimit, Provision};
pub use publication::{DeclaredTable, GeneratedColumns, Publication, Publish, Scope};
pub use secret::{OpenToAll, Password, PasswordError};
