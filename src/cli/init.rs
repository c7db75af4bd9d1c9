//! `slotd init`: a URL, a look at the server, a few questions, and a file that works.

mod ask;
mod source;

use std::fmt::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use secrecy::{ExposeSecret as _, SecretString};

use super::failure::{Exit, Failure};
use super::{context, out};
use crate::config::{self, Config, Database, Publication, Publish, Scope, Style};
use crate::daemon;
use crate::ident::{DatabaseName, TableName};
use crate::postgres::identity::{self, Unpublishable};
use crate::postgres::tables::{Table, tables};
use crate::postgres::trouble::{self, Step};
use crate::postgres::{ConnectError, SqlError};
use crate::provision::{Preflight, observe, plan, preflight};
use crate::status::{Trouble, size};
use crate::stream::Holes;
use ask::Answers;
use source::{Source, quoted};

/// Where the password stands while the file is being made.
const PASSWORD: &str = "SLOTD_INIT_PASSWORD";
/// So many tables are shown.
const SHOWN: usize = 20;

/// The command line.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) url: String,
    pub(super) config: Option<PathBuf>,
    pub(super) print: bool,
    pub(super) yes: bool,
}

/// What the server has, as far as the questions need it.
struct Seen {
    version: u32,
    wal_level: String,
    tables: Vec<Table>,
    unpublishable: Vec<Unpublishable>,
    /// Whether the publication of the default name is there.
    publication: bool,
    superuser: bool,
}

/// Where the file has the password from.
enum Password {
    None,
    /// A file beside it.
    File(String),
    /// A variable in the URL.
    Variable(String),
}

/// The entry as it will stand in the file.
struct Draft<'a> {
    name: DatabaseName,
    source: &'a Source,
    password: Password,
    /// Further lines.
    lines: Vec<String>,
}

pub(super) async fn init(asked: Asked) -> Result<Exit, Failure> {
    let Asked { url, config, print, yes } = asked;
    let answers = Answers::new(yes || print);
    let path = context::new_file(config.as_deref())?;
    if !print && path.exists() {
        return Err(Failure::new(
            Exit::Failed,
            format!("{} is there already, and nothing was changed", path.display()),
        )
        .hint("--print shows the entry to append to it; -c names another file"));
    }
    let source = Source::read(&url)?;
    let failed = |error: &io::Error| Failure::because(Exit::Failed, error);

    let typed = read(&source, None)?;
    let given = typed.connection.password.reveal().map_err(|error| Failure::because(Exit::Failed, &error))?;
    let given = given.or_else(|| std::env::var("PGPASSWORD").ok().map(SecretString::from));
    let given = match given {
        Some(password) => Some(password),
        None => answers.password("password").map_err(|error| failed(&error))?.map(SecretString::from),
    };
    let password = given.as_ref().map_or(Password::None, |_| Password::Variable(PASSWORD.to_owned()));
    let mut draft = Draft { name: typed.name.clone(), source: &source, password, lines: Vec::new() };
    let config = parse(&draft.text(), given.as_ref())?;
    let Some(database) = config.databases.first() else { return Ok(Exit::Failed) };
    let seen = look(&config, database)
        .await
        .map_err(|trouble| Failure::new(Exit::NotReached, trouble.sentence).hint(trouble.hint))?;
    out::say(&seen.summary(database));

    let name = answers.ask("name of the entry", database.name.as_str()).map_err(|error| failed(&error))?;
    draft.name = DatabaseName::new(name).map_err(|error| Failure::because(Exit::Usage, &error))?;
    if !seen.publication {
        let what = answers
            .ask("tables, with commas between, or all", &seen.default_tables())
            .map_err(|error| failed(&error))?;
        draft.lines.extend(tables_line(&what));
    }
    let budget = answers.ask("how much WAL its slot may retain", "10GB").map_err(|error| failed(&error))?;
    draft.lines.push(format!("max_retained_wal = {}", quoted(&budget)));

    let config = parse(&draft.text(), given.as_ref())?;
    let obstacles = foresee(&config).await;
    if !obstacles.is_empty() {
        out::say(&obstacles);
    }
    let password_file = path.with_file_name(format!("{}.password", draft.name));
    if given.is_some() && !print {
        let name = password_file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        draft.password = Password::File(name);
    } else if given.is_some() {
        draft.password = Password::Variable(format!("{}_PASSWORD", shouted(&draft.name)));
    }
    if print {
        out::say(&draft.text());
        return Ok(Exit::Done);
    }
    if let Some(password) = given.as_ref() {
        write(&password_file, &format!("{}\n", password.expose_secret()), 0o600)?;
    }
    write(&path, &draft.text(), 0o640)?;
    let file = path.display();
    let password = if given.is_some() { format!(" and {}", password_file.display()) } else { String::new() };
    out::say(&format!(
        "wrote {file}{password}\nnext: slotd check --connect -c {file}, then slotd run -c {file}\nChanges flow from the slot's \
         start on; rows that are there already are not copied."
    ));
    Ok(Exit::Done)
}

/// The one database of the file `text`.
fn parse(text: &str, password: Option<&SecretString>) -> Result<Config, Failure> {
    let env = |name: &str| match name {
        PASSWORD => password.map(|password| password.expose_secret().to_owned()),
        _ => std::env::var(name).ok(),
    };
    config::parse(Path::new("slotd.toml"), text, &env).map_err(|mistakes| {
        let all = mistakes.render(Style::Plain);
        let first = mistakes.as_slice().first();
        let failure = Failure::new(Exit::Usage, first.map_or(all, |first| first.sentence().to_owned()));
        match first.and_then(|first| first.hint().map(str::to_owned)) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

/// The database that the URL names, with the password that stands there, under a name made of its own.
fn read(source: &Source, password: Option<&SecretString>) -> Result<Arc<Database>, Failure> {
    let text = |name: &str| {
        let url = serde_json::Value::from(source.whole.as_str());
        format!("[[postgres_databases]]\nname = \"{name}\"\nurl = {url}\n{}\n", source.keys.join("\n"))
    };
    let first = parse(&text("database"), password)?;
    let dbname = first.databases.first().map(|database| database.connection.database.clone()).unwrap_or_default();
    let plain: String = dbname.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let plain = plain.trim_matches(['-', '_']).to_owned();
    let config = parse(&text(if plain.is_empty() { "database" } else { &plain }), password)?;
    config.databases.into_iter().next().ok_or_else(|| Failure::new(Exit::Failed, "the URL names no database"))
}

async fn look(config: &Config, database: &Database) -> Result<Seen, Trouble> {
    let to = &database.connection;
    let connect = |error: ConnectError| trouble::of_connect(&error, to).trouble;
    let refused = |error: SqlError| trouble::of_sql(Step::Observe, &error, to).trouble;
    let connector = daemon::connector(config, "slotd/init".to_owned());
    let sql = connector.sql(to).await.map_err(connect)?;
    let observed = observe(&sql, None, database, None, None).await;
    let observed = observed.map_err(|error| error.diagnosis(database).trouble)?;
    let all = Publication {
        scope: Scope::AllTables,
        publish: Publish::ALL,
        via_partition_root: true,
        generated_columns: None,
    };
    Ok(Seen {
        version: observed.server.version,
        wal_level: observed.server.wal_level.clone(),
        tables: tables(&sql).await.map_err(refused)?,
        unpublishable: identity::of_declared(&sql, &all).await.map_err(refused)?,
        publication: observed.publication.is_some(),
        superuser: observed.allowed.is_some_and(|allowed| allowed.superuser),
    })
}

/// What will fail, in words; nothing if nothing will.
async fn foresee(config: &Config) -> String {
    let mut text = String::new();
    for database in &config.databases {
        let to = &database.connection;
        let connector = daemon::connector(config, "slotd/init".to_owned());
        let mut tell = |sentence: &str, hint: &str| {
            // Writing into a String can't fail.
            let _ = writeln!(text, "  ! {sentence}\n      hint: {hint}");
        };
        // The right to replicate is known by trying.
        let looked = match connector.replication(to).await {
            Err(error) => Err(trouble::of_connect(&error, to).trouble),
            Ok(_) => match connector.sql(to).await {
                Err(error) => Err(trouble::of_connect(&error, to).trouble),
                Ok(sql) => {
                    observe(&sql, None, database, None, None).await.map_err(|error| error.diagnosis(database).trouble)
                }
            },
        };
        match looked {
            Err(trouble) => tell(&trouble.sentence, &trouble.hint),
            Ok(observed) => {
                let plan = plan(database, &observed, false, Holes::Refuse, connector.application_name());
                let allowed = observed.allowed.clone().unwrap_or_default();
                let blocks = match observed.allowed {
                    Some(_) => preflight(database, &observed, &plan, &allowed),
                    None => Preflight::default(),
                };
                for refusal in plan.refusals {
                    let finding = crate::status::Finding::from(refusal);
                    tell(&finding.sentence, &finding.hint);
                }
                for finding in blocks.blocks {
                    tell(&finding.sentence, &finding.hint);
                }
            }
        }
    }
    if text.is_empty() { text } else { format!("what stands in the way until it is mended:\n{text}") }
}

impl Seen {
    fn summary(&self, database: &Database) -> String {
        let to = &database.connection;
        let mut text = format!(
            "{} is PostgreSQL {}, with wal_level = {}; {} is {}\n",
            trouble::address(to),
            self.version / 10_000,
            self.wal_level,
            to.username,
            if self.superuser { "a superuser" } else { "no superuser" }
        );
        if self.publication {
            let _ = writeln!(text, "the publication {} is there and is used as it is", database.publication);
            return text;
        }
        let _ = writeln!(text, "{} tables in {}:", self.tables.len(), to.database);
        for table in self.tables.iter().take(SHOWN) {
            let why = if self.is_unpublishable(&table.name) {
                ", without a usable replica identity: its UPDATE and DELETE would fail once it is published"
            } else if !self.superuser && !table.owned {
                ", of another owner"
            } else {
                ""
            };
            let _ = writeln!(text, "  {} ({}{why})", table.name, size(table.bytes));
        }
        if let Some(more) = self.tables.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            let _ = writeln!(text, "  and {more} more");
        }
        text
    }

    fn is_unpublishable(&self, table: &TableName) -> bool {
        self.unpublishable.iter().any(|found| found.table == *table)
    }

    /// All, where that can be; else those that can.
    fn default_tables(&self) -> String {
        if self.superuser && self.unpublishable.is_empty() {
            return "all".to_owned();
        }
        let fit =
            self.tables.iter().filter(|table| (self.superuser || table.owned) && !self.is_unpublishable(&table.name));
        let fit: Vec<_> = fit.map(|table| table.name.to_string()).collect();
        if fit.is_empty() { "all".to_owned() } else { fit.join(", ") }
    }
}

impl Draft<'_> {
    fn text(&self) -> String {
        let Self { name, source, password, lines } = self;
        let variable = if let Password::Variable(variable) = password { Some(variable.as_str()) } else { None };
        let mut text = format!(
            "# Made by slotd init. Every key: config/slotd.toml; what a change of this file means is told by slotd plan.\n\
             [[postgres_databases]]\nname = \"{name}\"\nurl = {}\n",
            source.with(variable)
        );
        if let Password::File(file) = password {
            text.push_str(&format!("password_file = {}\n", quoted(file)));
        }
        for line in source.keys.iter().chain(lines) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// The line for a list of tables; none for all.
fn tables_line(what: &str) -> Option<String> {
    if what.trim() == "all" {
        return None;
    }
    let tables: Vec<_> = what.split(',').map(|table| quoted(table.trim())).collect();
    Some(format!("tables = [{}]", tables.join(", ")))
}

fn shouted(name: &DatabaseName) -> String {
    name.as_str().to_ascii_uppercase().replace(['.', '-'], "_")
}

/// By write, fsync and rename; what is there is never replaced.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let refused = |error: io::Error| {
        Failure::because(
            Exit::Failed,
            &io::Error::new(error.kind(), format!("can't write {}: {error}", path.display())),
        )
        .hint("-c names another file")
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(refused)?;
    }
    let beside = crate::storage::beside(path);
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside).map_err(refused)?;
    io::Write::write_all(&mut file, text.as_bytes()).map_err(refused)?;
    file.sync_all().map_err(refused)?;
    // A hard link, unlike a rename, does not take the place of a file that came meanwhile.
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside).map_err(refused)?;
    linked.map_err(refused)
}
