//! Tests against real servers; one binary, a module for each theme.

#[cfg(test)]
mod altered;
#[cfg(test)]
mod bad_day;
#[cfg(test)]
mod breaks;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod cuts;
#[cfg(test)]
mod drop;
#[cfg(test)]
mod encoding;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod few_connections;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod half_open;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod idle;
#[cfg(test)]
mod init;
#[cfg(test)]
mod install;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod login;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod lost;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod mute;
#[cfg(test)]
mod names;
#[cfg(test)]
mod orphans;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod preflight;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod provision;
#[cfg(test)]
mod relief;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod replica;
#[cfg(test)]
mod retry;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod sinks;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod support;
#[cfg(test)]
mod sync_standby;
#[cfg(test)]
mod systemd;
#[cfg(test)]
mod takeover;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod types;
#[cfg(test)]
mod unit;
#[cfg(test)]
mod warnings;
