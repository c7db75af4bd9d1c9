//! From a file to a [`Config`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io};

use secrecy::zeroize::Zeroizing;

use super::include::{Disk, Files, Included, NoFiles, included};
use super::origins::Origins;
use super::parts::Parts;
use super::read::Reader;
use super::source::Source;
use super::table::Table;
use super::wrong::Wrong;
use super::{
    Agent, Config, Http, LogLevel, Mistake, Mistakes, Resolver, Severity, Surroundings, across, database, defaults,
    keys, show, sinks,
};

/// Where health is answered unless the file says otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7356);

/// Reads the file `path` and those that it includes, with the variables of this process.
///
/// # Errors
/// All of its mistakes; that it can't be read is one too.
pub fn load(path: &Path) -> Result<Config, Mistakes> {
    let text = read(path)?;
    parse_in(path, &text, Surroundings::new(&|name| env::var(name).ok()), &Disk)
}

/// What is in force once the file `path` is read, as TOML that reads back to the same, with the line that each value
/// comes from and without passwords; and the warnings.
///
/// # Errors
/// All of its mistakes.
pub fn in_force(path: &Path) -> Result<(String, Vec<Mistake>), Mistakes> {
    let text = read(path)?;
    show_in(path, &text, Surroundings::new(&|name| env::var(name).ok()), &Disk)
}

fn read(path: &Path) -> Result<Zeroizing<String>, Mistakes> {
    fs::read_to_string(path).map(Zeroizing::new).map_err(|error| unreadable(path, &error))
}

/// Reads the file `path` anew for an agent that runs on `old`; what counts from the next start on stays as it was.
///
/// # Errors
/// All of its mistakes. Another state directory is one: the positions of what is streamed would stay in the old one.
pub fn reload(path: &Path, old: &Config) -> Result<Reloaded, Mistakes> {
    let new = load(path)?;
    if new.agent.state_dir != old.agent.state_dir {
        let sentence = "`state_dir` can't change while slotd runs; restart it".to_owned();
        let hint = format!("or write `state_dir = \"{}\"` under [agent]", old.agent.state_dir.display());
        return Err(of_the_whole(path, sentence, Some(hint)));
    }
    let agent = Agent { log: new.agent.log, ..old.agent.clone() };
    let waits = new.agent != agent || new.http != old.http;
    Ok(Reloaded { config: Config { agent, http: old.http.clone(), ..new }, waits })
}

/// What was read anew.
#[derive(Debug)]
pub struct Reloaded {
    pub config: Config,
    /// Whether there is something that counts from the next start on.
    pub waits: bool,
}

fn unreadable(path: &Path, error: &io::Error) -> Mistakes {
    let (sentence, hint) = match error.kind() {
        io::ErrorKind::InvalidData => ("the file is not UTF-8 text".to_owned(), None),
        _ => (format!("the file can't be read: {error}"), Some("name another with -c FILE".to_owned())),
    };
    of_the_whole(path, sentence, hint)
}

/// A mistake that no line is to blame for.
fn of_the_whole(path: &Path, sentence: String, hint: Option<String>) -> Mistakes {
    Mistakes::one(Mistake { severity: Severity::Error, path: path.to_owned(), sentence, hint, at: None, also: None })
}

/// Reads `text`, which stands in the file `path`; `env` looks a variable up. Nothing but the current directory and
/// the user's id is asked of the system, so it can't include another file, and nothing panics, whatever the text.
///
/// # Errors
/// All of its mistakes.
pub fn parse(path: &Path, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Mistakes> {
    parse_in(path, text, Surroundings::new(env), &NoFiles)
}

pub(super) fn parse_in(path: &Path, text: &str, here: Surroundings<'_>, files: &dyn Files) -> Result<Config, Mistakes> {
    read_in(path, text, here, files, |_, parts, warnings| parts.into_config(warnings))
}

pub(super) fn show_in(
    path: &Path,
    text: &str,
    here: Surroundings<'_>,
    files: &dyn Files,
) -> Result<(String, Vec<Mistake>), Mistakes> {
    read_in(path, text, here, files, |source, parts, warnings| (show::show(source, &parts), warnings))
}

/// What `of` makes of the parts of a file that is right, and of the warnings.
fn read_in<T>(
    path: &Path,
    text: &str,
    here: Surroundings<'_>,
    files: &dyn Files,
    of: impl FnOnce(&Source<'_>, Parts, Vec<Mistake>) -> T,
) -> Result<T, Mistakes> {
    let mut source = Source::new();
    let mut main = source.read(path, text);
    let Included { files, drafts } = included(&source, &main, here.env(), files);
    let mut others: Vec<_> = files.iter().map(|(path, text)| source.read(path, text)).collect();
    let documents = std::iter::once(&mut main).chain(&mut others);
    let syntax = documents.flat_map(|document| std::mem::take(&mut document.syntax)).collect();
    let unsure = !drafts.is_empty() || source.any_is_partial();
    let reader = Reader::new(&source, here.env(), drafts, unsure);

    let table = |document| Table::new(&reader, "", document, &[keys::TOP]);
    let top = table(&main.root);
    let further: Vec<_> = others.iter().map(|document| table(&document.root)).collect();
    further.iter().for_each(holds_no_more_than_it_may);
    let tops: Vec<_> = std::iter::once(&top).chain(&further).collect();
    let agent_table = top.table("agent", &[keys::AGENT]);
    let agent = agent(&agent_table, here);
    let http_table = top.table("http", &[keys::HTTP]);
    let http = http(&http_table);
    let sinks = sinks::sinks(&tops, &agent.state_dir);
    let entries = database::databases(&tops, &defaults::defaults(&top), &sinks);
    across::check(&reader, &sinks, &entries);

    let agent_origins = Origins::of(&agent_table, &[keys::AGENT]);
    let http_origins = Origins::of(&http_table, &[keys::HTTP]);
    let parts = Parts { agent, agent_origins, http, http_origins, sinks, entries };
    let (mistakes, warnings) = reader.finish(syntax);
    match Mistakes::new(mistakes) {
        Some(mistakes) => Err(mistakes),
        None => Ok(of(&source, parts, warnings)),
    }
}

/// Records what of an included file belongs in the main file.
fn holds_no_more_than_it_may(top: &Table<'_>) {
    for (key, written) in keys::MAIN {
        if let Some(span) = top.key(key) {
            let wrong = Wrong::new(format!("`{written}` can't stand in an included file"));
            let hint = format!("move it to the main file, {}", top.reader().main().display());
            top.reader().error(&span, wrong.hint(hint));
        }
    }
}

/// `text` as a path; a relative one starts at `dir`.
pub(super) fn path_in(dir: &Path, text: &str) -> Result<PathBuf, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("a path can't be empty"));
    }
    if text == "~" || text.starts_with("~/") {
        return Err(Wrong::new("`~` means nothing here").hint("write `${HOME}`"));
    }
    Ok(dir.join(text))
}

fn agent(table: &Table<'_>, here: Surroundings<'_>) -> Agent {
    const RESOLVERS: &[(&str, Resolver)] = &[("hickory", Resolver::Hickory), ("system", Resolver::System)];
    let dir = table.reader().folder(0);
    let given = table.path("state_dir").map(|at| at.value);
    let state_dir = given.or_else(|| here.state_dir().map(|path| dir.join(path))).unwrap_or_else(|| {
        if table.key("state_dir").is_none() {
            let wrong = Wrong::new("there is no place for the state: neither `state_dir` nor a home is known");
            table.reader().error_anywhere(wrong.hint("write `state_dir = \"/var/lib/slotd\"` under [agent]"));
        }
        dir.to_owned()
    });
    // Zero would switch the server's own watch off, and a dead connection would hold its slot for ever; of the others,
    // less would end what is merely slow.
    let least = Duration::from_secs(1);
    Agent {
        state_dir,
        log: table.choice("log", LogLevel::ALL).map_or(LogLevel::Info, |at| at.value),
        grace: table.time("grace", Duration::ZERO, Duration::from_mins(1)),
        connect_timeout: table.time("connect_timeout", least, Duration::from_secs(10)),
        resolver: table.choice("resolver", RESOLVERS).map_or(Resolver::Hickory, |at| at.value),
        stop_timeout: table.time("stop_timeout", least, Duration::from_secs(20)),
        sink_stall_timeout: table.time("sink_stall_timeout", least, Duration::from_secs(30)),
        wal_sender_timeout: table.time("wal_sender_timeout", least, Duration::from_secs(10)),
    }
}

fn http(table: &Table<'_>) -> Http {
    let listen = table.parsed("listen", |text| match text {
        "off" => Ok(None),
        text => text.parse::<SocketAddr>().map(Some).map_err(|_| {
            Wrong::new("this is neither an address with a port nor \"off\"").hint(format!("write \"{DEFAULT_LISTEN}\""))
        }),
    });
    let public_status = table.flag("public_status").is_some_and(|at| at.value);
    if let Some(at) = &listen
        && let Some(address) = at.value
        && !address.ip().to_canonical().is_loopback()
        && !public_status
    {
        let wrong = Wrong::new("`listen` is not a loopback address: only /livez and /readyz are shown there");
        let hint = "say `public_status = true`, and health is open to all who reach it";
        table.reader().warn(&at.span, wrong.hint(hint));
    }
    Http { listen: listen.map_or(Some(DEFAULT_LISTEN), |at| at.value), public_status }
}
