//! The commands that speak to an agent: the binary itself, against the real socket with a registry behind it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use slotd::config::Status;
use slotd::http::{self, ControlSocket, Listeners};
use slotd::ident::{DatabaseName, PublicationName, SlotName};
use slotd::status::{Bounds, Command, Condition, DatabaseStatus, Reason, Refusal, Registry, Reporter, State, Trouble};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Agent {
    registry: Registry,
    commands: mpsc::Receiver<Command>,
    cancel: CancellationToken,
    serving: JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl Agent {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { grace: Duration::from_secs(60), silence: Duration::from_secs(30) };
        let registry = Registry::new("slotd.toml", bounds);
        let (send, commands) = mpsc::channel(1);
        let cancel = CancellationToken::new();
        let socket = ControlSocket::bind(folder.path().join("slotd.sock")).unwrap();
        let listeners = Listeners { port: None, socket: Some(socket) };
        let serving = tokio::spawn(http::serve(listeners, registry.clone(), send, cancel.clone()));
        Self { registry, commands, cancel, serving, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("slotd.sock")
    }

    fn add_shop(&self) -> Reporter {
        let shop = DatabaseStatus::new(
            DatabaseName::new("shop").unwrap(),
            SlotName::new("slotd_shop").unwrap(),
            PublicationName::new("slotd_shop").unwrap(),
            Status::Active,
            Timestamp::now(),
        );
        self.registry.add(shop)
    }

    async fn slotd(&self, args: &str) -> (i32, String, String) {
        slotd(&format!("{args} --socket {}", self.socket().display())).await
    }
}

/// Exit status, standard output, standard error.
async fn slotd(args: &str) -> (i32, String, String) {
    let Output { status, stdout, stderr } = tokio::process::Command::new(env!("CARGO_BIN_EXE_slotd"))
        .args(args.split(' '))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn lost() -> Condition {
    Condition::Other(
        State::Lost,
        Trouble::new(Reason::SlotMissing, "slot slotd_shop is gone", "slotd resume shop --accept-gap"),
    )
}

#[tokio::test]
async fn status_ends_with_the_verdict() {
    let agent = Agent::start();
    assert_eq!(agent.slotd("status").await.0, 0);
    let shop = agent.add_shop();
    shop.condition(Condition::Streaming);
    assert_eq!(agent.slotd("status").await.0, 0);

    shop.condition(Condition::Other(State::Retrying, Trouble::new(Reason::Sink, "the disk is full", "make room")));
    let (exit, table, _) = agent.slotd("status shop").await;
    assert_eq!(exit, 3);
    assert!(table.contains("retrying") && table.contains("the disk is full") && table.contains("make room"), "{table}");

    shop.condition(lost());
    let (exit, json, _) = agent.slotd("status --json").await;
    assert_eq!(exit, 4);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["databases"][0]["reason"], "slot_missing");

    let (exit, _, complaint) = agent.slotd("status crm").await;
    assert_eq!(exit, 1);
    assert!(complaint.starts_with("slotd: the agent has no database called crm\n"), "{complaint}");
}

#[tokio::test]
async fn no_agent_is_told_with_the_socket_that_was_tried() {
    let (exit, _, complaint) = slotd("status --socket /nonexistent/slotd.sock").await;
    assert_eq!(exit, 69);
    assert!(complaint.contains("/nonexistent/slotd.sock") && complaint.contains("slotd run"), "{complaint}");
}

#[tokio::test]
async fn check_ends_with_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slotd.toml");
    let check = async |text: &str| {
        std::fs::write(&path, text).unwrap();
        slotd(&format!("check -c {}", path.display())).await
    };
    let state = "[agent]\nstate_dir = \"state\"\n";
    let shop = "[[postgres_databases]]\nname = \"shop\"\nurl = \"postgres://slotd@127.0.0.1/shop\"\n";

    let right = check(&format!("{state}{shop}")).await;
    assert_eq!(right, (0, format!("{}: 1 database, no mistakes\n", path.display()), String::new()));
    let (exit, said, warned) = check(&format!("{state}[http]\nlisten = \"192.0.2.1:80\"\n{shop}")).await;
    assert_eq!(exit, 0);
    assert!(said.contains("no mistakes") && warned.contains("warning: `listen`"), "{said}{warned}");
    let (exit, said, wrong) = check(&format!("{state}{shop}prot = 1\n")).await;
    assert_eq!((exit, said.as_str()), (78, ""));
    assert!(wrong.contains("slotd.toml:6:1") && wrong.contains("did you mean `port`?"), "{wrong}");

    // What is named in the file is looked at too.
    let files = "password_file = \"password\"\nssl_root_cert = \"root.pem\"\n";
    let (exit, said, wrong) = check(&format!("{state}{shop}{files}")).await;
    assert_eq!((exit, said.as_str()), (78, ""));
    for (name, why) in [("password", "does not exist"), ("root.pem", "can't be read: No such file")] {
        let why = format!("{} {why}", folder.path().join(name).display());
        assert!(wrong.contains("slotd: shop: ") && wrong.contains(&why), "{wrong}");
    }
    let password = folder.path().join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    std::fs::set_permissions(&password, Permissions::from_mode(0o600)).unwrap();
    std::fs::write(folder.path().join("root.pem"), "no certificate\n").unwrap();
    let (exit, _, wrong) = check(&format!("{state}{shop}{files}")).await;
    assert_eq!(exit, 78);
    assert!(wrong.contains("root.pem") && !wrong.contains("password"), "{wrong}");
    let pem = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    std::fs::write(folder.path().join("root.pem"), pem).unwrap();
    assert_eq!(check(&format!("{state}{shop}{files}")).await, right);
    std::fs::set_permissions(&password, Permissions::from_mode(0o644)).unwrap();
    let (exit, said, warned) = check(&format!("{state}{shop}{files}")).await;
    assert_eq!((exit, &said), (0, &right.1));
    let hint = format!("hint: run: chmod o-rwx {}\n", password.display());
    assert!(warned.contains("warning: shop: password_file") && warned.contains(&hint), "{warned}");

    let (exit, _, gone) = slotd("check -c /nonexistent/slotd.toml").await;
    assert_eq!(exit, 78);
    assert!(gone.contains("/nonexistent/slotd.toml") && gone.contains("can't be read"), "{gone}");
}

#[tokio::test]
async fn config_show_prints_what_is_in_force_without_an_agent() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    write(
        "slotd.toml",
        "include = [\"conf.d/*.toml\"]\n[agent]\nstate_dir = \"/s\"\n[defaults]\nmax_retained_wal = \"5GB\"\n",
    );
    write("conf.d/shop.toml", "[[postgres_databases]]\nname = \"shop\"\nurl = \"postgresql://u:hunter2@db/shop\"\n");
    let args = format!("config show -c {}", folder.path().join("slotd.toml").display());
    let (exit, shown, said) = slotd(&args).await;
    assert_eq!((exit, said.as_str()), (0, ""));
    for line in
        ["max_retained_wal = \"5GB\"", "# slotd.toml:5", "password = \"********\"", "# conf.d/shop.toml:3", "# default"]
    {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");

    write("conf.d/shop.toml", "prot = 1\n");
    let (exit, shown, said) = slotd(&args).await;
    assert_eq!((exit, shown.as_str()), (78, ""));
    assert!(said.contains("conf.d/shop.toml:1:1") && said.contains("unknown key `prot`"), "{said}");
    assert_eq!(slotd("config show -c /nonexistent/slotd.toml").await.0, 78);
    assert_eq!(slotd("config").await.0, 64);
}

/// What the README has for many databases, in its words.
#[tokio::test]
async fn the_files_for_many_databases_of_the_readme_are_right() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let section = readme.split("\n## ").find(|section| section.starts_with("Many databases")).unwrap();
    let blocks: Vec<_> = section.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [main, shop] = blocks[..] else { panic!("{section}") };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    std::fs::write(folder.path().join("slotd.toml"), main).unwrap();
    std::fs::write(folder.path().join("conf.d/shop.toml"), shop).unwrap();
    let (exit, shown, said) = slotd(&format!("config show -c {}", folder.path().join("slotd.toml").display())).await;
    assert_eq!((exit, said.as_str()), (0, ""));
    let databases = shop.matches("[[postgres_databases]]").count();
    assert_eq!(shown.matches("[[postgres_databases]]").count(), databases);
    // The lines that it shows of the output are those of the output.
    let output = section.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    for line in output.lines().filter(|line| *line != "…") {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
}

#[tokio::test]
async fn usage_help_and_version_have_their_exit_status() {
    assert_eq!(slotd("nonsense").await.0, 64);
    assert_eq!(slotd("resume shop").await.0, 64);
    let (exit, help, _) = slotd("--help").await;
    assert_eq!(exit, 0);
    assert!(help.contains("Examples:"));
    assert_eq!(
        slotd("--version").await,
        (0, concat!("slotd ", env!("CARGO_PKG_VERSION"), "\n").to_owned(), String::new())
    );
}

#[tokio::test]
async fn resume_says_the_price_before_it_is_paid() {
    let mut agent = Agent::start();
    let shop = agent.add_shop();
    shop.condition(Condition::Streaming);
    let (exit, said, _) = agent.slotd("resume shop --accept-gap --yes").await;
    assert_eq!((exit, said.as_str()), (0, "shop is streaming, not lost: there is nothing to resume\n"));

    shop.condition(lost());
    let (exit, said, complaint) = agent.slotd("resume shop --accept-gap").await;
    assert_eq!(exit, 64);
    assert!(said.contains("slot slotd_shop is gone") && said.contains("never delivered"), "{said}");
    assert!(complaint.contains("slotd resume shop --accept-gap --yes"), "{complaint}");
    assert!(agent.commands.try_recv().is_err(), "nothing was asked of the supervisor");

    let paid = async {
        let Some(Command::Resume { database, reply }) = agent.commands.recv().await else { panic!() };
        reply.send(Ok(format!("{database} streams behind a gap record"))).unwrap();
    };
    let args = format!("resume shop --accept-gap --yes --socket {}", agent.folder.path().join("slotd.sock").display());
    let (ended, ()) = tokio::join!(slotd(&args), paid);
    assert_eq!(ended, (0, "shop streams behind a gap record\n".to_owned(), String::new()));
}

#[tokio::test]
async fn reload_shows_the_mistakes_of_a_wrong_file() {
    let mut agent = Agent::start();
    let args = format!("reload --socket {}", agent.socket().display());
    let supervisor = async {
        let Some(Command::Reload { reply }) = agent.commands.recv().await else { panic!() };
        reply.send(Err(Refusal::File("slotd.toml:3:1: unknown key\n".to_owned()))).unwrap();
        let Some(Command::Reload { reply }) = agent.commands.recv().await else { panic!() };
        reply.send(Ok("1 database changed".to_owned())).unwrap();
    };
    let caller = async { (slotd(&args).await, slotd(&args).await) };
    let ((wrong, right), ()) = tokio::join!(caller, supervisor);
    assert_eq!(wrong.0, 78);
    assert!(wrong.2.starts_with("slotd.toml:3:1: unknown key\nslotd: the file is wrong"), "{}", wrong.2);
    assert_eq!(right, (0, "1 database changed\n".to_owned(), String::new()));

    agent.cancel.cancel();
    agent.serving.await.unwrap();
}

/// The commands of the README's first slot that need no server, in its words.
#[tokio::test]
async fn the_first_slot_of_the_readme_is_a_right_file_and_its_check_passes() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let block = |kind: &str, holds: &str| {
        let fence = format!("```{kind}\n");
        let mut blocks = readme.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
        blocks.find(|block| block.contains(holds)).unwrap().replace("\n   ", "\n")
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("slotd.toml"), block("toml", "postgres_databases")).unwrap();
    let commands = block("sh", "slotd check").replace("target/release/slotd", env!("CARGO_BIN_EXE_slotd"));
    let tried = |line: &&str| line.contains("export ") || line.contains(" check ");
    let script: Vec<_> = commands.lines().filter(tried).collect();
    assert_eq!(script.len(), 2, "{commands}");
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-ec", &script.join("\n")]).current_dir(folder.path()).env_remove("SHOP_PASSWORD");
    let output = shell.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
