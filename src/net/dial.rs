//! Racing the addresses of a server.
//!
//! Families alternate, a try that is slow gets company after 250 ms, the first TCP connection wins, and the error of
//! every attempt is kept.
//!
//! Source: RFC 8305, section 5.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

/// How long an attempt runs alone.
const STAGGER: Duration = Duration::from_millis(250);
/// A peer that answers nothing for this long is gone; an idle one is asked after half of it.
const DEAD_PEER: Duration = Duration::from_secs(30);

/// Every attempt failed.
#[derive(Debug)]
pub struct DialError {
    /// At least one.
    pub attempts: Vec<(SocketAddr, io::Error)>,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (address, error)) in self.attempts.iter().enumerate() {
            let between = if at == 0 { "" } else { "; " };
            write!(f, "{between}{address}: {}", plain(error))?;
        }
        Ok(())
    }
}

impl std::error::Error for DialError {}

/// An error of the operating system without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Connects to the first of `addresses` that answers until `deadline`.
///
/// # Errors
/// None does; what each said.
pub async fn race(addresses: Vec<SocketAddr>, deadline: Instant) -> Result<TcpStream, DialError> {
    let mut waiting = VecDeque::from(alternate(addresses));
    let mut silent = Vec::new();
    let mut running = FuturesUnordered::new();
    let mut attempts = Vec::new();
    loop {
        if let Some(address) = waiting.pop_front() {
            silent.push(address);
            running.push(async move { (address, TcpStream::connect(address).await) });
        }
        tokio::select! {
            biased;
            Some((address, outcome)) = running.next() => match outcome.and_then(tune) {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    silent.retain(|running| *running != address);
                    attempts.push((address, error));
                }
            },
            () = sleep_until(deadline), if !silent.is_empty() => {
                attempts.extend(silent.into_iter().map(|address| (address, io::ErrorKind::TimedOut.into())));
                return Err(DialError { attempts });
            }
            () = sleep(STAGGER), if !waiting.is_empty() => {}
            else => return Err(DialError { attempts }),
        }
    }
}

/// Sets what a long-lived connection needs.
fn tune(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, DEAD_PEER / 2)?;
    sockopt::set_tcp_keepintvl(&stream, DEAD_PEER / 6)?;
    sockopt::set_tcp_user_timeout(&stream, u32::try_from(DEAD_PEER.as_millis()).unwrap_or(u32::MAX))?;
    Ok(stream)
}

/// The addresses with their families in turn, beginning with the first one's.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let (mut leading, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let mut order = Vec::with_capacity(leading.len() + other.len());
    while !leading.is_empty() || !other.is_empty() {
        order.extend(leading.pop_front());
        order.extend(other.pop_front());
    }
    order
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn families_take_turns() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let given = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(address).to_vec();
        let order = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(address).to_vec();
        assert_eq!(alternate(given), order);
    }

    #[tokio::test]
    async fn a_refused_address_does_not_hide_one_that_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let open = listener.local_addr().unwrap();
        assert_eq!(race(vec![closed, open], soon()).await.unwrap().peer_addr().unwrap(), open);
        let error = race(vec![closed], soon()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{closed}: connection refused"));
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn what_one_address_said_is_kept_when_another_says_nothing() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        // Full as soon as one is waiting: the next connection hangs.
        let full = tokio::net::TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(0).unwrap();
        let silent = full.local_addr().unwrap();
        let _waiting = TcpStream::connect(silent).await.unwrap();
        let error = race(vec![closed, silent], Instant::now() + Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{closed}: connection refused; {silent}: timed out"));
    }
}
