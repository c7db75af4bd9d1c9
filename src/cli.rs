//! The command line.
//!
//! `run` is the agent. `check` and `config show` read the file and nothing else; `plan` looks at the servers. What changes something goes
//! through the agent that holds the state directory, if there is one. The others speak to a running agent over its Unix
//! socket, so they say what it knows and not what they would find out themselves. Exit status: 0 done or nothing to
//! do; `plan` 3 something to do; `status` 3 warn, 4 fail; 1 an error; 64 usage; 69 not reached; 78 the file is wrong.

mod apply;
mod check;
mod client;
mod command;
mod config_show;
mod context;
mod drop;
mod enable;
mod failure;
mod init;
mod log_level;
mod orphans;
mod out;
mod plan;
mod reload;
mod resume;
mod run;
mod seen;
mod show;
mod table;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{LogLevel, Status};
use crate::ident::{DatabaseName, NameError};
use crate::logging::LogFormat;
use failure::{Exit, Failure};

const INIT_EXAMPLES: &str = "\
Examples:
  slotd init postgresql://slotd@db.example.com/shop
  slotd init 'postgresql://slotd@db.example.com/shop?sslmode=verify-ca&sslrootcert=ca.pem' --print

The password is taken from the URL, from PGPASSWORD, or asked for; it goes into a file of its own, with mode 0600.
Exit status: 0 the file is written; 1 it is there already; 64 the URL is wrong; 69 the server was not reached.";

const CHECK_EXAMPLES: &str = "\
Examples:
  slotd check -c slotd.toml && slotd reload
  slotd check --connect shop     versions, rights, limits, tables: all at once, with what mends it

Exit status: 0 nothing is wrong; with --connect: 1 something stands in the way,
69 a server was not reached; 78 the file is wrong.";

const CONFIG_EXAMPLES: &str = "\
Examples:
  slotd config show -c slotd.toml          every value, and behind it the file and line that it comes from
  slotd config show | grep -v '# default'  what the files say, without what they leave out

Exit status: 0 it is shown; 78 the file is wrong.";

const PLAN_EXAMPLES: &str = "\
Examples:
  slotd plan                     what differs from the file, everywhere
  slotd plan shop --sql          the statements, for whoever may run them

Marks: + made, ~ altered, -/+ made anew, = left alone, ! in the way, ? to be mended besides.
Exit status: 0 nothing to do; 3 something to do; 1 something is in the way;
69 a server was not reached; 78 the file is wrong.";

const APPLY_EXAMPLES: &str = "\
Examples:
  slotd apply shop                                what slotd plan shop says
  slotd apply shop --recreate-publication --yes   another scope of a publication for all tables

A running agent does it; without one it is done here. A step that destroys takes a flag of its own and --yes.
Exit status: 0 all is as declared; 1 something was left or failed; 64 --yes is missing;
69 a server, or the agent, was not reached; 78 the file is wrong.";

const EXAMPLES: &str = "\
Examples:
  slotd init URL                 look at a server and write a file that works
  slotd check -c slotd.toml      see whether the file is right, without connecting
  slotd config show              what is in force, and the line that says so
  slotd plan                     what the servers have otherwise than the file says
  slotd apply shop               make it as the file says
  slotd run -c slotd.toml        run the agent in the foreground
  slotd status                   what each database is doing; exit status 0, 3 or 4
  slotd status shop --json       all that is known of one
  slotd reload                   apply a changed file
  slotd log-level debug          log more, until the next start
  slotd orphans                  slots on the servers that the file does not have
  slotd drop shop                say what is lost if its slot is dropped; with --yes, drop it
  slotd resume shop --accept-gap say what a lost slot has cost, and how to go on

Exit status: 0 done or nothing to do; plan: 3 something to do; status: 3 warn, 4 fail; 1 an error;
64 usage; 69 no agent, or no server, was reached; 78 the file is wrong.";

/// Keeps Postgres publications and replication slots as a file declares them, and streams each slot to a sink.
#[derive(Debug, Parser)]
#[command(name = "slotd", version, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent until SIGTERM or SIGINT; SIGHUP reads the file again
    #[command(after_help = "Example:\n  slotd run -c /etc/slotd/slotd.toml --log-format json")]
    Run {
        #[command(flatten)]
        file: FileArg,
        /// What log lines look like; SLOTD_LOG_FORMAT says it too
        #[arg(long, value_enum)]
        log_format: Option<LogFormat>,
    },
    /// Look at a server and write a file that works, after a few questions
    #[command(after_help = INIT_EXAMPLES)]
    Init {
        /// postgresql://username:password@hostname:port/database, with libpq's sslmode and its kin behind a `?`
        url: String,
        /// Write nothing: show the entry
        #[arg(long)]
        print: bool,
        /// Ask nothing: take the defaults
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        file: FileArg,
    },
    /// Read the file, with those it includes, and show every mistake; with --connect, all that will fail on the servers too
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// Connect as the agent does, and say what stands in the way (!) and what is to be mended (?)
        #[arg(long)]
        connect: bool,
        /// With --connect: the databases; all of the file, if none is named
        #[arg(value_parser = database_name, requires = "connect")]
        names: Vec<DatabaseName>,
        /// With --connect: what was found, for programs
        #[arg(long, requires = "connect")]
        json: bool,
        #[command(flatten)]
        file: FileArg,
    },
    /// Show the configuration as it is in force
    #[command(after_help = CONFIG_EXAMPLES)]
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Show what apply would do, and why, without touching anything; exit status 0 nothing to do, 3 something
    #[command(after_help = PLAN_EXAMPLES)]
    Plan {
        /// The databases; all of the file, if none is named
        #[arg(value_parser = database_name)]
        names: Vec<DatabaseName>,
        /// The plan for programs
        #[arg(long, conflicts_with = "sql")]
        json: bool,
        /// The statements alone, for one who runs them by hand
        #[arg(long)]
        sql: bool,
        #[command(flatten)]
        file: FileArg,
    },
    /// Make publications and slots as the file declares them
    #[command(after_help = APPLY_EXAMPLES)]
    Apply {
        /// The databases; all of the file, if none is named
        #[arg(value_parser = database_name)]
        names: Vec<DatabaseName>,
        /// Drop and make anew a publication for all tables, or one that is to be that: it can't be altered
        #[arg(long)]
        recreate_publication: bool,
        /// Go on behind a gap record where a slot was lost, as resume does
        #[arg(long)]
        recreate_slot: bool,
        /// Do what these two destroy; without it, what will be lost is said and nothing is done
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        file: FileArg,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Show what each database is doing; exit status 0 pass, 3 warn, 4 fail
    #[command(after_help = "Examples:\n  slotd status\n  slotd status shop --json | jq .lag")]
    Status {
        /// One database
        #[arg(value_parser = database_name)]
        name: Option<DatabaseName>,
        /// The health answer as it is, see docs/HEALTH.md
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Show the slots on the file's servers that nothing declares, and what each pins; exit status 0 none, 3 some
    #[command(after_help = "Example:\n  slotd orphans --json | jq '.[].orphans[] | select(.named_like_ours) | .sql'")]
    Orphans {
        /// For programs
        #[arg(long)]
        json: bool,
        /// Those of standbys that are connected, too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        file: FileArg,
    },
    /// Read a database again, whatever the file says; makes a dropped slot anew behind a gap record
    Enable {
        /// The database
        #[arg(value_parser = database_name)]
        name: DatabaseName,
        #[command(flatten)]
        file: FileArg,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Read a database no more, whatever the file says; its slot stays and pins WAL, unless on_disable says otherwise
    Disable {
        /// The database
        #[arg(value_parser = database_name)]
        name: DatabaseName,
        #[command(flatten)]
        file: FileArg,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// End a database's stream, drop its slot, and its publication if slotd made that; says what remains
    #[command(after_help = "Example:\n  slotd drop shop --yes")]
    Drop {
        /// The database
        #[arg(value_parser = database_name)]
        name: DatabaseName,
        /// Do it; without it, what will be lost is said and nothing is done
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        file: FileArg,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Let the running agent read its file again and apply the difference
    Reload {
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Change how much the running agent logs, until it is started again
    #[command(after_help = "Example:\n  slotd log-level debug")]
    LogLevel {
        /// error, warn, info, debug or trace; each has those before it too
        #[arg(value_parser = log_level_named)]
        level: LogLevel,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Go on after a slot was lost, at the price of a gap that a record in the sink names
    #[command(after_help = "Example:\n  slotd resume shop --accept-gap --yes")]
    Resume {
        /// The database
        #[arg(value_parser = database_name)]
        name: DatabaseName,
        /// Changes that are lost are lost
        #[arg(long, required = true)]
        accept_gap: bool,
        /// Do it; without it, what will be lost is said and nothing is done
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Print what a shell completes command lines by; `make install` puts it in place
    #[command(hide = true)]
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every value that counts, defaults too, as TOML with the file and line of each; passwords are masked
    #[command(after_help = CONFIG_EXAMPLES)]
    Show {
        #[command(flatten)]
        file: FileArg,
    },
}

#[derive(Debug, Args)]
struct FileArg {
    /// The file; else $SLOTD_CONFIG, $XDG_CONFIG_HOME/slotd/slotd.toml, /etc/slotd/slotd.toml
    #[arg(short, long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct SocketArg {
    /// The agent's socket; else slotd.sock in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/slotd (not root), or /run/slotd
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

fn database_name(text: &str) -> Result<DatabaseName, NameError> {
    DatabaseName::new(text)
}

fn log_level_named(text: &str) -> Result<LogLevel, String> {
    let found = LogLevel::ALL.iter().find(|(name, _)| *name == text);
    found.map(|(_, level)| *level).ok_or_else(|| "it is error, warn, info, debug or trace".to_owned())
}

/// Carries out the command that `args` give, the program's name first.
pub async fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let exit = match Cli::try_parse_from(args) {
        Ok(cli) => carry_out(cli.command).await.unwrap_or_else(|failure| {
            out::complain(&failure);
            failure.exit
        }),
        Err(usage) => {
            // Help and version come this way too. A reader that has closed its end has what it wanted.
            let _ = usage.print();
            if usage.use_stderr() { Exit::Usage } else { Exit::Done }
        }
    };
    exit.into()
}

async fn carry_out(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run { file, log_format } => Box::pin(run::run(file.config, log_format)).await,
        Command::Init { url, print, yes, file } => {
            Box::pin(init::init(init::Asked { url, config: file.config, print, yes })).await
        }
        Command::Check { connect, names, json, file } => {
            let connecting = connect.then_some(check::Connecting { names, json });
            Box::pin(check::check(file.config, connecting)).await
        }
        Command::Config { command: ConfigCommand::Show { file } } => config_show::show(file.config),
        Command::Plan { names, json, sql, file } => {
            let form = match (json, sql) {
                (true, _) => plan::Form::Json,
                (_, true) => plan::Form::Sql,
                _ => plan::Form::Text,
            };
            Box::pin(plan::plan(file.config, &names, form)).await
        }
        Command::Apply { names, recreate_publication, recreate_slot, yes, file, socket } => {
            let allowed = apply::Allowed { recreate_publication, recreate_slot, yes };
            Box::pin(apply::apply(file.config, socket.socket, &names, allowed)).await
        }
        Command::Status { name, json, socket } => {
            let socket = client::reach(context::sockets(socket.socket)).await?;
            show::show(&socket, name.as_ref(), json).await
        }
        Command::Enable { name, file, socket } => {
            Box::pin(enable::set(file.config, socket.socket, name, Status::Active)).await
        }
        Command::Disable { name, file, socket } => {
            Box::pin(enable::set(file.config, socket.socket, name, Status::Disabled)).await
        }
        Command::Drop { name, yes, file, socket } => {
            Box::pin(drop::drop_slot(file.config, socket.socket, name, yes)).await
        }
        Command::Orphans { json, all, file } => Box::pin(orphans::orphans(file.config, json, all)).await,
        Command::Reload { socket } => reload::reload(&client::reach(context::sockets(socket.socket)).await?).await,
        Command::LogLevel { level, socket } => {
            log_level::log_level(&client::reach(context::sockets(socket.socket)).await?, level).await
        }
        // `accept_gap` is true: clap demands it.
        Command::Resume { name, accept_gap: _, yes, socket } => {
            resume::resume(&client::reach(context::sockets(socket.socket)).await?, &name, yes).await
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "slotd", &mut script);
            out::say(&String::from_utf8_lossy(&script));
            Ok(Exit::Done)
        }
    }
}

#[cfg(test)]
mod tests;
