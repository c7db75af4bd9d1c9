//! Asking the system, by `getent`: hosts, DNS, mDNS, LDAP, whatever `/etc/nsswitch.conf` names.
//!
//! The modules that answer are loaded by the C library, which a static binary can't do; so a child asks, and ends with
//! the deadline.
//!
//! Source: the manual page getent(1).

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::process::Output;

use tokio::time::{Instant, timeout_at};

use super::error::{Missing, ResolveError};
use super::{Families, interface};
use crate::child;

/// The key is not in any database.
const NOT_FOUND: i32 = 2;

/// The addresses of `host` in the order in which the system wants them tried (gai.conf(5)); the port is yet to be set.
pub(super) async fn lookup(host: &str, families: Families, deadline: Instant) -> Result<Vec<SocketAddr>, ResolveError> {
    let (database, missing) = match families {
        Families::Both => ("ahosts", Missing::Any),
        Families::Ipv6 => ("ahostsv6", Missing::Ipv6),
    };
    let command = format!("getent {database} {host}");
    let host = host.to_owned();
    let child = child::command("getent").args([database, &host]).output();
    let output = match timeout_at(deadline, child).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Err(ResolveError::NoGetent { host }),
        Ok(Err(error)) => return Err(ResolveError::Getent { host, command, why: format!("can't be run: {error}") }),
        Err(_) => return Err(ResolveError::GetentLate { host, command }),
    };
    if !output.status.success() && output.status.code() != Some(NOT_FOUND) {
        return Err(ResolveError::Getent { host, command, why: failure(&output) });
    }
    let found = addresses(&String::from_utf8_lossy(&output.stdout), families);
    if found.is_empty() { Err(ResolveError::NotInSystem { host, missing, command }) } else { Ok(found) }
}

fn failure(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    format!("failed with {}: {}", output.status, said.lines().next().unwrap_or("it does not say why"))
}

/// An address begins each line, which is repeated for each type of socket.
fn addresses(said: &str, families: Families) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for address in said.lines().filter_map(|line| address(line.split_whitespace().next()?)) {
        // `ahostsv6` gives IPv4 addresses in the clothes of IPv6.
        let is_wanted = families == Families::Both || !address.ip().to_canonical().is_ipv4();
        if is_wanted && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

fn address(text: &str) -> Option<SocketAddr> {
    let Some((ip, zone)) = text.split_once('%') else {
        return text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0));
    };
    let ip: Ipv6Addr = ip.parse().ok()?;
    Some(SocketAddrV6::new(ip, 0, 0, interface(zone)?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_taken_once_in_the_order_of_the_system() {
        let said = "192.0.2.1       STREAM db.test\n192.0.2.1       DGRAM  \n192.0.2.1       RAW    \n\
                    2001:db8::1     STREAM \n2001:db8::1     DGRAM  \nfe80::1%7       STREAM \n";
        let all = ["192.0.2.1:0", "[2001:db8::1]:0", "[fe80::1%7]:0"].map(|text| text.parse().unwrap());
        assert_eq!(addresses(said, Families::Both), all);
        assert_eq!(addresses(said, Families::Ipv6), all[1..]);
    }

    #[test]
    fn an_ipv4_address_in_the_clothes_of_ipv6_is_no_ipv6_address() {
        assert_eq!(addresses("::ffff:192.0.2.1 STREAM db.test\n", Families::Ipv6), []);
    }
}
