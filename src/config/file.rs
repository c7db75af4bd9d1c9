//! From a file to a [`Config`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, io, path};

use secrecy::zeroize::Zeroizing;
use toml::de::DeTable;

use super::read::Reader;
use super::source::{Draft, Source};
use super::table::Table;
use super::wrong::Wrong;
use super::{
    Agent, Config, Http, LogLevel, Mistake, Mistakes, Resolver, Severity, Surroundings, across, database, keys, sinks,
};

/// Where health is answered unless the file says otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7356);

/// Reads the file `path`, with the variables of this process.
///
/// # Errors
/// All of its mistakes; that it can't be read is one too.
pub fn load(path: &Path) -> Result<Config, Mistakes> {
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| unreadable(path, &error))?;
    parse(path, &text, &|name| env::var(name).ok())
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
/// the user's id is asked of the system, and nothing panics, whatever the text.
///
/// # Errors
/// All of its mistakes.
pub fn parse(path: &Path, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Mistakes> {
    parse_in(path, text, Surroundings::new(env))
}

pub(super) fn parse_in(path: &Path, text: &str, here: Surroundings<'_>) -> Result<Config, Mistakes> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let broken: Vec<_> = errors.iter().map(|error| error.span().unwrap_or_default()).collect();
    let source = Source::new(path, text, root.get_ref(), &broken);
    let reader = Reader::new(&source, here.env(), !errors.is_empty());

    let top = Table::new(&reader, "", &root, &[keys::TOP]);
    let dir = folder_of(path);
    let agent = agent(&top.table("agent", &[keys::AGENT]), &dir, here);
    let http = http(&top.table("http", &[keys::HTTP]));
    let sinks = sinks::sinks(&top, &agent.state_dir);
    let entries = database::databases(&top, &dir, &sinks);
    across::check(&reader, &sinks, &entries);

    let (mistakes, warnings) = reader.finish(syntax(&source, errors));
    match Mistakes::new(mistakes) {
        Some(mistakes) => Err(mistakes),
        None => Ok(Config {
            agent,
            http,
            sinks: sinks.into_iter().map(|(name, sink)| (name, sink.config)).collect(),
            databases: entries.into_iter().filter_map(|entry| entry.database).map(Arc::new).collect(),
            warnings,
        }),
    }
}

/// What is not TOML, once for each line: what follows in the same line mostly follows from it.
fn syntax(source: &Source<'_>, errors: Vec<toml::de::Error>) -> Vec<Draft> {
    let mut lines = Vec::new();
    let mut drafts = Vec::new();
    for error in errors {
        let span = error.span();
        let line = span.as_ref().map(|span| source.line_of(span.start).start);
        if lines.contains(&line) {
            continue;
        }
        lines.push(line);
        let (sentence, hint) = match error.message() {
            "duplicate key" => ("this key stands here a second time".to_owned(), None),
            message if message.starts_with("string values must be quoted") => {
                let hint = "put double quotes around it".to_owned();
                ("this is not TOML: a text without its quotes".to_owned(), Some(hint))
            }
            message => (format!("this is not TOML: {message}"), None),
        };
        drafts.push(Draft { severity: Severity::Error, span, sentence, hint, also: None });
    }
    drafts
}

/// The folder that relative paths start at.
fn folder_of(path: &Path) -> PathBuf {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    path::absolute(dir).unwrap_or_else(|_| dir.to_owned())
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

fn agent(table: &Table<'_>, dir: &Path, here: Surroundings<'_>) -> Agent {
    const RESOLVERS: &[(&str, Resolver)] = &[("hickory", Resolver::Hickory), ("system", Resolver::System)];
    let given = table.parsed("state_dir", |text| path_in(dir, text)).map(|at| at.value);
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
