//! A folder for throw-away processes that goes, and they with it, when its owner ends in whatever way.
//!
//! The owner may be killed with SIGKILL, so nothing that it does at its end can be relied on. A shell beside it reads
//! from a pipe that only the owner writes to: once that pipe closes, the shell ends every process whose working folder
//! lies in the guarded one, unmounts what is mounted in there, and removes the folder. A normal drop takes the same way.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Who servers run as: Postgres refuses to run as root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// `postgres`, or `nobody` where there is no such user, if we are root; else ourselves.
    pub(crate) fn of_servers() -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            return Ok(Self { uid, gid });
        }
        let passwd = fs::read_to_string("/etc/passwd")?;
        let find = |name: &str| {
            let mut fields =
                passwd.lines().map(|line| line.split(':')).find(|line| line.clone().next() == Some(name))?;
            let uid = fields.nth(2)?.parse().ok()?;
            Some(Self { uid, gid: fields.next()?.parse().ok()? })
        };
        find("postgres")
            .or_else(|| find("nobody"))
            .ok_or_else(|| io::Error::other("no user `postgres` and no `nobody`"))
    }

    /// A command that runs as this user.
    pub(crate) fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C");
        if rustix::process::geteuid().is_root() {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// The same in the network of the process `pid`.
    pub(crate) fn command_in(self, pid: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.env("LC_ALL", "C").args(["--target", &pid.to_string(), "--net", "--"]);
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (self.uid.to_string(), self.gid.to_string());
            command.args(["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups", "--"]);
        }
        command.arg(program);
        command
    }

    /// Makes `path` this user's.
    pub(crate) fn own(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }
}

/// A folder under the system's temporary one, with a guard beside it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    guard: Child,
}

/// Postgres gets SIGQUIT first (an immediate shutdown), since only it removes its shared memory; the segment of one that
/// was killed is removed by the id in its `postmaster.pid`. The rest gets SIGKILL.
const GUARD: &str = r#"
trap '' HUP INT TERM
read -r _
inside() { find /proc/[0-9]*/cwd -maxdepth 0 '(' -lname "$1" -o -lname "$1/*" ')' 2>/dev/null | cut -d / -f 3; }
segments=$(sed -n '7s/.* //p' "$1"/*/postmaster.pid)
for file in "$1"/*/postmaster.pid; do
    pid=$(head -n 1 "$file") && inside "$1" | grep -qx "$pid" && kill -QUIT "$pid" && served=yes
done
tries=0
while [ -n "$(inside "$1")" ] && [ "$tries" -lt 200 ]; do
    [ "${served:-}" = yes ] && [ "$tries" -lt 100 ] || kill -KILL $(inside "$1")
    tries=$((tries + 1))
    sleep 0.05
done
for file in "$1"/*/postmaster.pid; do
    [ -e "$file" ] && for segment in $segments; do ipcrm -m "$segment"; done
done
while read -r _ place _; do
    case "$place" in "$1"/*) umount "$place" ;; esac
done </proc/self/mounts
rm -rf -- "$1"
"#;

impl Folder {
    /// A new folder that `user` owns and all may look into.
    pub(crate) fn new(kind: &str, user: User) -> io::Result<Self> {
        let path = tempfile::Builder::new().prefix(&format!("slotd-{kind}-")).tempdir()?.keep();
        let guard = Command::new("sh")
            .args(["-c", GUARD, "slotd-guard"])
            .arg(&path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C goes to the group of the terminal, and the guard has to outlive it.
            .process_group(0)
            .spawn()?;
        let folder = Self { path, guard };
        fs::set_permissions(&folder.path, Permissions::from_mode(0o755))?;
        user.own(&folder.path)?;
        Ok(folder)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Nothing is left to be done about a guard that can't be waited for.
        let _ = self.guard.wait();
    }
}
