//! Tests against real servers; one binary, a module for each theme.

#[cfg(test)]
mod types;
