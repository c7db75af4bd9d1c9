//! What the tests stand on: real servers, the real binary, a workload that knows its own history.
//!
//! Everything started here ends with the test process, killed or not ([`guard`]). Nothing sleeps for a state that can be
//! asked for: [`Slotd::await_state`] and its like ask.

mod by_name;
mod cluster;
mod disk;
mod flow;
pub(crate) mod guard;
mod history;
mod http;
mod line;
mod manager;
mod middle;
mod name_server;
mod namespace;
mod page;
mod pair;
mod pooler;
mod server;
mod session;

mod slotd;
mod tls;

mod tests;

pub(crate) use by_name::{DB_NAME, by_name};
pub(crate) use cluster::{Cluster, VERSIONS, version_at};
pub(crate) use disk::SmallDisk;
pub(crate) use flow::{Flow, lines_have_their_place, ordinals};
pub(crate) use history::{History, compare, is_committed, seed};
pub(crate) use line::Line;
pub(crate) use manager::{Manager, told_of};
pub(crate) use middle::{Manner, Middle};
pub(crate) use name_server::{NameServer, Said};
pub(crate) use namespace::{FAR, HERE_V4, HERE_V6, HOLE_V4, HOLE_V6, LINK_LOCAL, Network, on_a_host};
pub(crate) use page::stands_in_the_page;
pub(crate) use pair::{Pair, await_copy, set};
pub(crate) use pooler::Pooler;
pub(crate) use server::{Options, children_of};

pub(crate) use slotd::{Slotd, await_file, lines_of, lsn_of};
pub(crate) use tls::Authority;
