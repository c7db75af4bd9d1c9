//! Tests against real servers; one binary, a module for each theme.

#[cfg(test)]
mod cli;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod support;
#[cfg(test)]
mod types;
