//! Racing the addresses of a server.
//!
//! Families alternate, a try that is slow gets company after 250 ms, the first TCP connection wins, and the error of
//! every attempt is kept. Nothing waits for an answer about the other family: IPv4 addresses alone are held back for
//! 50 ms, so that IPv6 can go first.
//!
//! Source: RFC 8305, sections 3 to 5.

mod error;
mod queue;

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::resolve::{Answers, Families};
pub use error::{DialError, ReachError};
use queue::Queue;

/// How long an attempt runs alone.
const STAGGER: Duration = Duration::from_millis(250);
/// How long IPv4 addresses wait for the answer about IPv6.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// A peer that answers nothing for this long is gone; an idle one is asked after half of it.
const DEAD_PEER: Duration = Duration::from_secs(30);

/// Connects to the first address that answers until `deadline`, of those that `answers` gives by then.
///
/// # Errors
/// There is no address, or none answers; what each said.
pub async fn race(mut answers: Answers, families: Families, deadline: Instant) -> Result<TcpStream, ReachError> {
    let mut failed = DialError::new(families);
    let mut queue = Queue::default();
    let mut silent = Vec::new();
    let mut running = FuturesUnordered::new();
    let mut is_asking = true;
    let mut next_start = Instant::now();
    loop {
        if next_start <= Instant::now()
            && let Some(address) = queue.pop()
        {
            silent.push(address);
            running.push(async move { (address, TcpStream::connect(address).await) });
            next_start = Instant::now() + STAGGER;
        }
        tokio::select! {
            biased;
            Some((address, outcome)) = running.next() => match outcome.and_then(tune) {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    silent.retain(|running| *running != address);
                    failed.attempts.push((address, error));
                    next_start = Instant::now();
                }
            },
            answer = answers.next(), if is_asking => match answer {
                Some(Ok(addresses)) => {
                    let are_first = queue.is_fresh();
                    queue.add(addresses);
                    if queue.prefers_ipv6() {
                        next_start = Instant::now();
                    } else if are_first {
                        next_start = Instant::now() + RESOLUTION_DELAY;
                    }
                }
                Some(Err(error)) => failed.unresolved.push(error),
                None => {
                    is_asking = false;
                    if !queue.is_begun() {
                        next_start = Instant::now();
                    }
                }
            },
            // The answers end by the deadline themselves, each with its reason.
            () = sleep_until(deadline), if !(is_asking || running.is_empty() && queue.is_empty()) => {
                let timed_out = |address| (address, io::ErrorKind::TimedOut.into());
                failed.attempts.extend(silent.into_iter().map(timed_out));
                failed.untried = queue.rest();
                return Err(failed.into());
            }
            () = sleep_until(next_start), if !queue.is_empty() => {}
            else => return Err(failed.into()),
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use futures_util::stream;
    use tokio::net::{TcpListener, TcpSocket};

    use super::super::resolve::{Missing, ResolveError, SaidBy};
    use super::*;

    /// An answer that comes so late.
    fn late(millis: u64, addresses: &[SocketAddr]) -> Answers {
        let addresses = addresses.to_vec();
        stream::once(async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(addresses)
        })
        .boxed()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    async fn listener(ip: &str) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn closed() -> SocketAddr {
        listener("127.0.0.1").await.1
    }

    /// Full as soon as one is waiting: the next connection hangs.
    async fn silent(ip: &str) -> (TcpListener, TcpStream, SocketAddr) {
        let ip: IpAddr = ip.parse().unwrap();
        let socket = if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        socket.bind(SocketAddr::new(ip, 0)).unwrap();
        let full = socket.listen(0).unwrap();
        let address = full.local_addr().unwrap();
        let waiting = TcpStream::connect(address).await.unwrap();
        (full, waiting, address)
    }

    #[tokio::test]
    async fn a_refused_address_does_not_hide_one_that_answers() {
        let (_listener, open) = listener("127.0.0.1").await;
        let closed = closed().await;
        let won = race(late(0, &[closed, open]), Families::Both, soon()).await.unwrap();
        assert_eq!(won.peer_addr().unwrap(), open);
        let error = race(late(0, &[closed]), Families::Both, soon()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("no address answers: {closed}: connection refused"));
    }

    #[tokio::test]
    async fn an_address_that_says_nothing_gets_company() {
        let (_full, _waiting, silent) = silent("::1").await;
        let (_listener, open) = listener("127.0.0.1").await;
        let begun = Instant::now();
        let won = race(late(0, &[silent, open]), Families::Both, soon()).await.unwrap();
        assert_eq!(won.peer_addr().unwrap(), open);
        assert!(begun.elapsed() >= STAGGER, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn what_each_address_said_is_kept_and_which_were_never_tried() {
        let closed = closed().await;
        let (_full, _waiting, silent) = silent("127.0.0.1").await;
        let many = [closed, silent, silent, silent];
        let error = race(late(0, &many), Families::Both, Instant::now() + STAGGER * 3 / 2).await.unwrap_err();
        let said = format!(
            "no address answers: {closed}: connection refused; {silent}: timed out; {silent}: not tried, for lack of time"
        );
        assert!(error.to_string().starts_with(&said[..said.len() - 40]), "{error}");
        assert!(error.to_string().ends_with("not tried, for lack of time"), "{error}");
    }

    /// The one that came first, of an IPv4 address at once and an IPv6 address so late.
    async fn first_of(late_by: u64) -> bool {
        let ((_four, v4), (_six, v6)) = (listener("127.0.0.1").await, listener("::1").await);
        let answers = stream::select(late(0, &[v4]), late(late_by, &[v6])).boxed();
        race(answers, Families::Both, soon()).await.unwrap().peer_addr().unwrap().is_ipv6()
    }

    #[tokio::test]
    async fn ipv4_waits_a_moment_for_ipv6_and_no_longer() {
        assert!(first_of(5).await);
        assert!(!first_of(3_600_000).await);
    }

    #[tokio::test]
    async fn ipv4_goes_at_once_where_ipv6_is_known_to_be_missing() {
        let (_listener, open) = listener("127.0.0.1").await;
        let begun = Instant::now();
        race(late(0, &[open]), Families::Both, soon()).await.unwrap();
        assert!(begun.elapsed() < RESOLUTION_DELAY, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn an_answer_that_comes_when_all_others_have_failed_is_used() {
        let (_listener, open) = listener("::1").await;
        let answers = stream::select(late(0, &[closed().await]), late(150, &[open])).boxed();
        assert_eq!(race(answers, Families::Both, soon()).await.unwrap().peer_addr().unwrap(), open);
    }

    #[tokio::test]
    async fn a_host_without_an_address_is_told_as_such() {
        let why = ResolveError::NoAddress { host: "db".to_owned(), missing: Missing::Any, by: SaidBy::HostsFile };
        let error = race(stream::iter([Err(why)]).boxed(), Families::Both, soon()).await.unwrap_err();
        assert_eq!(error.to_string(), "the name \"db\" has no address, says /etc/hosts");
    }
}
