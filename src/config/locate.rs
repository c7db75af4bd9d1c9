//! Where the file, the state and the socket are.

use std::fmt;
use std::path::{Path, PathBuf};

use super::expand::Env;

/// What decides where things are, apart from the command line and the file.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    env: Env<'a>,
    root: bool,
}

/// There is no file at any of the usual places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no configuration file at {}; give one with -c FILE, or begin with these three lines:\n\n{EXAMPLE}",
    tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
)]
pub struct NoFile {
    /// The places, in the order they were tried in.
    pub tried: Vec<PathBuf>,
}

/// Where the agent of the system listens.
const SYSTEM_RUN: &str = "/run/slotd";
const SOCKET: &str = "slotd.sock";

/// A whole file, in three lines.
pub const EXAMPLE: &str = "\
[[postgres_databases]]
name = \"shop\"
url = \"postgresql://slotd:${SHOP_PASSWORD}@db.example.com/shop\"
";

impl<'a> Surroundings<'a> {
    /// Those of this process, with `env` to look variables up.
    #[must_use]
    pub fn new(env: Env<'a>) -> Self {
        Self::of(env, rustix::process::geteuid().is_root())
    }

    /// Those of a process that runs as root, or not.
    #[must_use]
    pub const fn of(env: Env<'a>, root: bool) -> Self {
        Self { env, root }
    }

    pub(super) const fn env(&self) -> Env<'a> {
        self.env
    }

    /// The configuration file: `flag` (`-c`), `$SLOTD_CONFIG`, and then the first that exists of
    /// `$XDG_CONFIG_HOME/slotd/slotd.toml` (not for root) and `/etc/slotd/slotd.toml`. The first two are not looked
    /// for: a file that was named and is not there is a mistake of its own.
    ///
    /// # Errors
    /// None was named and none exists.
    pub fn config_file(&self, flag: Option<&Path>) -> Result<PathBuf, NoFile> {
        self.config_file_if(flag, Path::exists)
    }

    fn config_file_if(&self, flag: Option<&Path>, exists: impl Fn(&Path) -> bool) -> Result<PathBuf, NoFile> {
        if let Some(named) = flag.map(Path::to_owned).or_else(|| self.path("SLOTD_CONFIG")) {
            return Ok(named);
        }
        let home = if self.root { None } else { self.home("XDG_CONFIG_HOME", ".config") };
        let mut tried: Vec<_> = home.into_iter().map(|home| home.join("slotd/slotd.toml")).collect();
        tried.push(PathBuf::from("/etc/slotd/slotd.toml"));
        match tried.iter().find(|path| exists(path)) {
            Some(found) => Ok(found.clone()),
            None => Err(NoFile { tried }),
        }
    }

    /// The state directory where the file names none: `$STATE_DIRECTORY` (systemd), `/var/lib/slotd` for root,
    /// `$XDG_STATE_HOME/slotd`. `None` without a home.
    #[must_use]
    pub fn state_dir(&self) -> Option<PathBuf> {
        if let Some(given) = self.systemd("STATE_DIRECTORY") {
            return Some(given);
        }
        if self.root {
            return Some(PathBuf::from("/var/lib/slotd"));
        }
        self.home("XDG_STATE_HOME", ".local/state").map(|home| home.join("slotd"))
    }

    /// The control socket: `slotd.sock` in `$RUNTIME_DIRECTORY` (systemd), `/run/slotd` for root,
    /// `$XDG_RUNTIME_DIR/slotd`. `None` without any of them.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        let dir = match self.systemd("RUNTIME_DIRECTORY") {
            Some(given) => Some(given),
            None if self.root => Some(PathBuf::from(SYSTEM_RUN)),
            None => self.path("XDG_RUNTIME_DIR").filter(|dir| dir.is_absolute()).map(|dir| dir.join("slotd")),
        };
        dir.map(|dir| dir.join(SOCKET))
    }

    /// Where an agent may be reached: the socket of one of this user, then that of the system's.
    #[must_use]
    pub fn sockets(&self) -> Vec<PathBuf> {
        let system = Path::new(SYSTEM_RUN).join(SOCKET);
        let own = self.socket().filter(|own| *own != system);
        own.into_iter().chain([system]).collect()
    }

    /// systemd parts several folders with colons; ours is the first.
    ///
    /// Source: <https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#RuntimeDirectory=>.
    fn systemd(&self, name: &str) -> Option<PathBuf> {
        let value = (self.env)(name)?;
        value.split(':').find(|dir| !dir.is_empty()).map(PathBuf::from)
    }

    /// A folder of the XDG base directories, which have to be absolute, or its default below `$HOME`.
    ///
    /// Source: <https://specifications.freedesktop.org/basedir-spec/latest/>.
    fn home(&self, name: &str, default: &str) -> Option<PathBuf> {
        let below_home = || self.path("HOME").map(|home| home.join(default));
        self.path(name).filter(|dir| dir.is_absolute()).or_else(below_home)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.env)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("root", &self.root).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    fn found(set: &[(&str, &str)], root: bool, flag: Option<&str>, exists: &[&str]) -> Result<PathBuf, NoFile> {
        let env = env(set);
        let there = |path: &Path| exists.iter().any(|known| Path::new(known) == path);
        Surroundings::of(&env, root).config_file_if(flag.map(Path::new), there)
    }

    #[test]
    fn the_file_is_looked_for_in_order() {
        let set = &[("SLOTD_CONFIG", "/e.toml"), ("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
        let (xdg, etc) = ("/x/slotd/slotd.toml", "/etc/slotd/slotd.toml");
        let all = &[xdg, etc];
        assert_eq!(found(set, false, Some("/f.toml"), all), Ok("/f.toml".into()));
        assert_eq!(found(set, false, None, all), Ok("/e.toml".into()));
        assert_eq!(found(&set[1..], false, None, all), Ok(xdg.into()));
        assert_eq!(found(&set[1..], false, None, &[etc]), Ok(etc.into()));
        assert_eq!(found(&set[1..], true, None, all), Ok(etc.into()));
        let home = "/h/.config/slotd/slotd.toml";
        assert_eq!(found(&set[2..], false, None, &[home, etc]), Ok(home.into()));
        assert_eq!(found(&[("XDG_CONFIG_HOME", "relative")], false, None, all), Ok(etc.into()));
    }

    #[test]
    fn where_no_file_is_the_places_and_an_example_are_shown() {
        let error = found(&[("HOME", "/h")], false, None, &[]).unwrap_err();
        insta::assert_snapshot!(error, @r#"
        no configuration file at /h/.config/slotd/slotd.toml or /etc/slotd/slotd.toml; give one with -c FILE, or begin with these three lines:

        [[postgres_databases]]
        name = "shop"
        url = "postgresql://slotd:${SHOP_PASSWORD}@db.example.com/shop"
        "#);
    }

    #[test]
    fn the_example_is_a_working_file() {
        let env = env(&[("SHOP_PASSWORD", "x"), ("HOME", "/h")]);
        assert!(crate::config::parse(Path::new("slotd.toml"), EXAMPLE, &env).is_ok());
    }

    #[test]
    fn state_and_socket_are_where_systemd_says_first() {
        let set =
            &[("STATE_DIRECTORY", "/s:/t"), ("RUNTIME_DIRECTORY", "/r"), ("HOME", "/h"), ("XDG_RUNTIME_DIR", "/u")];
        let at = |set: &[(&str, &str)], root| {
            let env = env(set);
            let here = Surroundings::of(&env, root);
            (here.state_dir(), here.socket())
        };
        assert_eq!(at(set, true), (Some("/s".into()), Some("/r/slotd.sock".into())));
        assert_eq!(at(&set[2..], true), (Some("/var/lib/slotd".into()), Some("/run/slotd/slotd.sock".into())));
        assert_eq!(at(&set[2..], false), (Some("/h/.local/state/slotd".into()), Some("/u/slotd/slotd.sock".into())));
        assert_eq!(at(&[("XDG_STATE_HOME", "/x")], false), (Some("/x/slotd".into()), None));
        assert_eq!(at(&[], false), (None, None));
    }

    #[test]
    fn an_agent_is_looked_for_where_this_user_and_where_the_system_has_it() {
        let at = |set: &[(&str, &str)], root| {
            let env = env(set);
            Surroundings::of(&env, root).sockets()
        };
        let system = PathBuf::from("/run/slotd/slotd.sock");
        assert_eq!(at(&[("RUNTIME_DIRECTORY", "/r")], true), [PathBuf::from("/r/slotd.sock"), system.clone()]);
        assert_eq!(at(&[("XDG_RUNTIME_DIR", "/u")], false), [PathBuf::from("/u/slotd/slotd.sock"), system.clone()]);
        for root in [false, true] {
            assert_eq!(at(&[], root), std::slice::from_ref(&system));
        }
    }
}
