//! The addresses that are yet to be tried.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// Families take turns; within each, the order is that of the answer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ipv6: VecDeque<SocketAddr>,
    ipv4: VecDeque<SocketAddr>,
    turn: Turn,
}

/// Whose turn it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// No address has come yet.
    #[default]
    Nobody,
    /// None has been tried yet.
    First {
        is_ipv6: bool,
    },
    Next {
        is_ipv6: bool,
    },
}

impl Queue {
    /// Before the first try, IPv6 that leads an answer comes first; else the first answer decides.
    pub(super) fn add(&mut self, addresses: Vec<SocketAddr>) {
        let Some(leads) = addresses.first().map(SocketAddr::is_ipv6) else { return };
        match self.turn {
            Turn::Nobody => self.turn = Turn::First { is_ipv6: leads },
            Turn::First { .. } if leads => self.turn = Turn::First { is_ipv6: true },
            Turn::First { .. } | Turn::Next { .. } => {}
        }
        for address in addresses {
            if address.is_ipv6() { self.ipv6.push_back(address) } else { self.ipv4.push_back(address) }
        }
    }

    /// The next one to try.
    pub(super) fn pop(&mut self) -> Option<SocketAddr> {
        let (Turn::First { is_ipv6 } | Turn::Next { is_ipv6 }) = self.turn else { return None };
        let (leading, other) =
            if is_ipv6 { (&mut self.ipv6, &mut self.ipv4) } else { (&mut self.ipv4, &mut self.ipv6) };
        let address = leading.pop_front().or_else(|| other.pop_front())?;
        self.turn = Turn::Next { is_ipv6: !address.is_ipv6() };
        Some(address)
    }

    /// Whether no address has come yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.turn == Turn::Nobody
    }

    /// Whether one has been tried.
    pub(super) const fn is_begun(&self) -> bool {
        matches!(self.turn, Turn::Next { .. })
    }

    /// Whether an IPv6 address is the first to be tried.
    pub(super) fn prefers_ipv6(&self) -> bool {
        self.turn == Turn::First { is_ipv6: true }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }

    /// What was never tried, in its order.
    pub(super) fn rest(mut self) -> Vec<SocketAddr> {
        std::iter::from_fn(|| self.pop()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(answers: &[&[&str]]) -> Vec<String> {
        let mut queue = Queue::default();
        for answer in answers {
            queue.add(answer.iter().map(|text| text.parse().unwrap()).collect());
        }
        queue.rest().iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn families_take_turns() {
        let given: &[&str] = &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"];
        assert_eq!(order(&[given]), ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(order(&[&["1.1.1.1:1", "[::1]:1"]]), ["1.1.1.1:1", "[::1]:1"], "the system's order holds");
    }

    #[test]
    fn ipv6_goes_first_whichever_answer_came_first() {
        let (v4, v6): (&[&str], &[&str]) = (&["1.1.1.1:1", "2.2.2.2:1"], &["[::1]:1"]);
        let expected = ["[::1]:1", "1.1.1.1:1", "2.2.2.2:1"];
        assert_eq!(order(&[v4, v6]), expected);
        assert_eq!(order(&[v6, v4]), expected);
    }

    #[test]
    fn an_answer_that_comes_later_takes_the_next_turn() {
        let mut queue = Queue::default();
        queue.add(["1.1.1.1:1", "2.2.2.2:1"].map(|text| text.parse().unwrap()).to_vec());
        assert_eq!(queue.pop().unwrap().to_string(), "1.1.1.1:1");
        queue.add(vec!["[::1]:1".parse().unwrap()]);
        assert_eq!(queue.pop().unwrap().to_string(), "[::1]:1");
    }
}
