//! A name that one slotd alone can resolve, by a name server of its own.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// It has the address 127.0.0.1.
pub(crate) const DB_NAME: &str = "db.slotd.test";

/// Puts its own `/etc/resolv.conf` in front of whatever command follows.
const SCRIPT: &str = r#"
mount --bind "$0" /etc/resolv.conf || {
    echo 'this test needs the privilege to mount (CAP_SYS_ADMIN): run it as root' >&2
    exit 1
}
exec "$@"
"#;

/// Starts a name server that knows [`DB_NAME`], and gives the words that have to stand before a command so that it asks
/// that one; they keep a file in `folder`.
pub(crate) fn by_name(folder: &Path) -> Vec<String> {
    let address = Ipv4Addr::new(127, fastrand::u8(1..), fastrand::u8(..), 53);
    let socket = UdpSocket::bind((address, 53)).unwrap_or_else(|error| {
        panic!("this test needs the right to listen on port 53 (CAP_NET_BIND_SERVICE): run it as root. {error}")
    });
    std::thread::spawn(move || serve(&socket));
    let conf = folder.join("resolv.conf");
    fs::write(&conf, format!("nameserver {address}\n")).unwrap();
    fs::set_permissions(&conf, Permissions::from_mode(0o644)).unwrap();
    ["unshare", "--mount", "sh", "-c", SCRIPT, conf.to_str().unwrap()].map(str::to_owned).to_vec()
}

/// Answers questions for an IPv4 address, and those for another record with nothing, for as long as the tests run.
///
/// Source: RFC 1035, section 4.
fn serve(socket: &UdpSocket) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        // Behind the name, which ends with an empty label, stand type and class.
        let name = question[12..length].iter().position(|byte| *byte == 0).unwrap();
        let end = 12 + name + 5;
        let is_ipv4 = question[end - 4..end] == [0, 1, 0, 1];
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
        answer.extend(&question[12..end]);
        if is_ipv4 {
            answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&answer, from).unwrap();
    }
}
