//! A host of a test's own: its network, its `/etc`, its port 53.
//!
//! The test runs itself once more in a network and a mount namespace, so that all that it starts lives in there: real
//! servers at addresses of its choice, a name server, slotd. What it breaks is broken for nobody else.
//!
//! Addresses are those that documentation may use (RFC 5737 and RFC 3849). Those of [`HERE_V4`] and [`HERE_V6`] are this
//! host's; packets to any other of their networks vanish.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::guard::{Folder, User};

/// Set in the process that runs in the namespaces.
const INSIDE: &str = "SLOTD_TEST_IS_INSIDE";

/// The living IPv4 address.
pub(crate) const HERE_V4: &str = "192.0.2.1";
/// Where packets vanish.
pub(crate) const HOLE_V4: &str = "192.0.2.66";
/// The living IPv6 address.
pub(crate) const HERE_V6: &str = "2001:db8::1";
/// Where packets vanish.
pub(crate) const HOLE_V6: &str = "2001:db8::66";
/// The address of whoever is beyond a link.
pub(crate) const FAR: &str = "198.51.100.2";
/// The living link-local address, on the interface `out`.
pub(crate) const LINK_LOCAL: &str = "fe80::1";

/// What the host's network is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// IPv4 and IPv6.
    Both,
    /// IPv6 on loopback and on the link only: no route leads to any other IPv6 address.
    NoIpv6Route,
}

/// The host that the test is on.
#[derive(Debug)]
pub(crate) struct Host {
    folder: Folder,
}

/// One side of a pair is never read: without ARP what is sent to the other goes nowhere, and nobody says so.
const NETWORK: &str = "
    ip link set lo up
    ip link add out type veth peer name nowhere
    ip link set out arp off
    ip link set nowhere up
    ip link set out up
    ip addr add 192.0.2.1/24 dev out
    ip -6 addr add fe80::1/64 dev out nodad
";

/// Runs `test` on a host of its own, in a process of its own; its name is read off its type.
pub(crate) fn on_a_host(network: Network, test: impl AsyncFnOnce(&Host)) {
    let full = std::any::type_name_of_val(&test);
    let name = full.split("::{{").next().unwrap().split_once("::").unwrap().1;
    if std::env::var_os(INSIDE).is_some_and(|inside| *inside == *name) {
        let host = Host::set_up(network);
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(test(&host));
    } else {
        run_inside(name);
    }
}

/// The test `name` once more, in namespaces; those of a user that is not root need one of users too.
fn run_inside(name: &str) {
    let mut command = Command::new("setpriv");
    // It ends with us, however we end.
    command.args(["--pdeathsig", "KILL", "unshare", "--fork", "--kill-child", "--net", "--mount"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    command.arg("--").arg(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(INSIDE, name);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    print!("{said}");
    assert!(
        said.contains("running 1 test"),
        "this test needs the privilege to make namespaces: run it as root, or allow users to make them \
         (user.max_user_namespaces)"
    );
    assert!(output.status.success() && said.contains("1 passed"), "it failed on its host, with what stands above");
}

impl Host {
    fn set_up(network: Network) -> Self {
        let me = User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        let host = Self { folder: Folder::new("host", me).unwrap() };
        let etc = host.etc();
        fs::create_dir(&etc).unwrap();
        for name in ["group", "ld.so.cache", "localtime", "passwd"] {
            // A host may lack any of them.
            let _ = fs::copy(Path::new("/etc").join(name), etc.join(name));
        }
        host.write("hosts", "");
        host.write("nsswitch.conf", "hosts: files dns\n");
        host.write("resolv.conf", "nameserver 127.0.0.53\n");
        host.sh(&format!("mount --bind {} /etc", etc.display()));
        host.sh(NETWORK);
        if network == Network::Both {
            host.sh("ip -6 addr add 2001:db8::1/64 dev out nodad");
        }
        host
    }

    fn etc(&self) -> std::path::PathBuf {
        self.folder.path().join("etc")
    }

    /// Puts a file into `/etc` as tools do: written beside, then renamed.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let beside = self.etc().join(format!("{name}.new"));
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.etc().join(name)).unwrap();
    }

    /// Another host, at [`FAR`], behind a link of its own.
    pub(crate) fn beyond_a_link(&self) -> Beyond {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        // Its first word comes from inside.
        holder.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let beyond = Beyond { holder };
        self.sh(&format!(
            "ip link add near type veth peer name far netns {}
             ip addr add 198.51.100.1/24 dev near
             ip link set near up",
            beyond.pid()
        ));
        beyond.sh(self, &format!("ip link set lo up; ip addr add {FAR}/24 dev far; ip link set far up"));
        beyond
    }

    /// Runs commands on the host.
    pub(crate) fn sh(&self, commands: &str) {
        let output = Command::new("sh").args(["-euc", commands]).output().unwrap();
        assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A host behind a link, as long as this lives; its files are this host's.
#[derive(Debug)]
pub(crate) struct Beyond {
    holder: Child,
}

impl Beyond {
    /// The process whose network is that host's.
    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// The link is broken from now on: packets are gone, and neither end is told.
    pub(crate) fn goes_dark(&self, host: &Host) {
        self.sh(host, "ip link set far down");
    }

    /// The link is there again.
    pub(crate) fn comes_back(&self, host: &Host) {
        self.sh(host, "ip link set far up");
    }

    fn sh(&self, host: &Host, commands: &str) {
        host.sh(&format!("nsenter --target {} --net -- sh -euc '{commands}'", self.pid()));
    }
}

impl Drop for Beyond {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
