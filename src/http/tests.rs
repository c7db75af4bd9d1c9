//! Over real listeners, with requests written by hand: what hyper, axum and our own layers answer together.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ident::DatabaseName;
use crate::lsn::Lsn;
use crate::status::tests::{at, database, shop, trouble};
use crate::status::{Bounds, Command, Condition, Reason, Refusal, Registry, Reporter, State, WalUse};

struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line.eq_ignore_ascii_case(header))
    }
}

/// Writes `request`, with `Connection: close`, and reads the whole answer.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str, body: &str) -> Answer {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let text = format!("{request}\r\nConnection: close\r\n{length}\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer { code: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

struct Agent {
    registry: Registry,
    port: std::net::SocketAddr,
    folder: tempfile::TempDir,
    commands: mpsc::Receiver<Command>,
    cancel: CancellationToken,
    serving: JoinHandle<()>,
}

impl Agent {
    async fn start() -> Self {
        let bounds = Bounds { grace: Duration::from_secs(60), silence: Duration::from_secs(30) };
        let registry = Registry::new("/etc/slotd/slotd.toml", bounds);
        let folder = tempfile::tempdir().unwrap();
        let port = HealthPort::bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let address = port.address();
        let socket = ControlSocket::bind(folder.path().join("run/slotd.sock")).unwrap();
        let listeners = Listeners { port: Some(port), socket: Some(socket) };
        let (send, commands) = mpsc::channel(1);
        let cancel = CancellationToken::new();
        let serving = tokio::spawn(serve(listeners, registry.clone(), send, cancel.clone()));
        Self { registry, port: address, folder, commands, cancel, serving }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("run/slotd.sock")
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask_port(&format!("GET {path} HTTP/1.1\r\nHost: localhost")).await
    }

    async fn ask_port(&self, request: &str) -> Answer {
        ask(TcpStream::connect(self.port).await.unwrap(), request, "").await
    }

    async fn ask_socket(&self, request: &str, body: &str) -> Answer {
        ask(UnixStream::connect(self.socket()).await.unwrap(), &format!("{request} HTTP/1.1\r\nHost: slotd"), body)
            .await
    }

    fn declare(&self, names: &[&str]) -> Vec<Reporter> {
        self.registry.declare(names.iter().map(|name| DatabaseName::new(*name).unwrap()));
        names.iter().map(|name| self.registry.add(database(name, jiff::Timestamp::now()))).collect()
    }
}

/// What changes from run to run, made the same.
fn fixed(body: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(body).unwrap();
    fn fix(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => *text = "TIME".to_owned(),
            serde_json::Value::Array(all) => all.iter_mut().for_each(fix),
            serde_json::Value::Object(all) => all.values_mut().for_each(fix),
            _ => {}
        }
    }
    fix(&mut value);
    serde_json::to_string_pretty(&value).unwrap()
}

#[tokio::test]
async fn the_probes_follow_the_registry() {
    let agent = Agent::start().await;
    assert_eq!(agent.get("/livez").await.body, "live\n");
    let early = agent.get("/readyz").await;
    assert_eq!((early.code, early.body.as_str()), (503, "starting\nthe supervisor has not started yet\n"));

    let reporters = agent.declare(&["shop"]);
    assert_eq!(agent.get("/readyz").await.code, 503);
    reporters[0].round_done();
    let ready = agent.get("/readyz").await;
    assert_eq!((ready.code, ready.body.as_str()), (200, "ready\n"));
}

#[tokio::test]
async fn healthz_is_the_verdict_and_a_line_for_each_trouble() {
    let agent = Agent::start().await;
    assert_eq!(agent.get("/healthz").await.body, "pass\n");
    let reporters = agent.declare(&["crm", "shop"]);
    reporters[0].condition(trouble(State::Retrying, Reason::Connection));
    reporters[1].condition(trouble(State::Lost, Reason::SlotMissing));
    agent.registry.config_rejected(Some("2 mistakes".to_owned()));

    let all = agent.get("/healthz").await;
    assert_eq!(all.code, 503);
    insta::assert_snapshot!(all.body);
    let crm = agent.get("/healthz/crm").await;
    assert_eq!(crm.code, 200);
    insta::assert_snapshot!(crm.body);
}

#[tokio::test]
async fn health_shows_all_that_is_known() {
    let agent = Agent::start().await;
    let reporters = agent.declare(&["crm", "shop"]);
    let shop = &reporters[1];
    shop.condition(Condition::Streaming);
    shop.last_message();
    shop.observed();
    shop.round_done();
    shop.positions(|positions| {
        positions.wal_end = Some(Lsn(0x16_0000_0100));
        positions.acknowledged = Some(Lsn(0x16_0000_0100));
        positions.restart_lsn = Some(Lsn(0x16_0000_0000));
    });
    shop.wal(Some(WalUse {
        retained_bytes: 60 << 20,
        ours_bytes: 1 << 20,
        budget_bytes: 100 << 20,
        wal_status: Some("reserved".to_owned()),
        safe_wal_size: None,
        ..WalUse::default()
    }));

    let all = agent.get("/health").await;
    assert_eq!(all.code, 200);
    assert!(all.has("content-type: application/health+json"), "{}", all.head);
    assert!(all.has("cache-control: no-store"));
    insta::assert_snapshot!(fixed(&all.body));
    let one: serde_json::Value = serde_json::from_str(&agent.get("/health/shop").await.body).unwrap();
    let all: serde_json::Value = serde_json::from_str(&all.body).unwrap();
    assert_eq!(one["status"], "active");
    assert_eq!(one["verdict"], "warn");
    assert_eq!(one["positions"], all["databases"][1]["positions"]);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json() {
    let agent = Agent::start().await;
    let _reporter = agent.registry.add(shop(at(0)));
    for path in ["/", "/nothing", "/health/other", "/healthz/other", "/health/%FF", "/control/reload"] {
        let answer = agent.get(path).await;
        assert_eq!(answer.code, 404, "{path}");
        assert!(serde_json::from_str::<serde_json::Value>(&answer.body).unwrap()["summary"].is_string());
    }
    let answer = agent.ask_port("POST /health HTTP/1.1\r\nHost: localhost").await;
    assert_eq!(answer.code, 405);
    assert!(answer.has("allow: GET,HEAD"), "{}", answer.head);
    assert!(answer.body.contains("summary"));
    let head = agent.ask_port("HEAD /health/shop HTTP/1.1\r\nHost: localhost").await;
    assert_eq!((head.code, head.body.as_str()), (503, ""));
}

#[tokio::test]
async fn a_loopback_port_answers_only_requests_that_name_loopback() {
    let agent = Agent::start().await;
    for (request, code) in [
        ("GET /livez HTTP/1.1\r\nHost: 127.0.0.1:7356", 200),
        ("GET /livez HTTP/1.1\r\nHost: [::1]", 200),
        ("GET /livez HTTP/1.1\r\nHost: rebound.example:7356", 421),
        ("GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example", 400),
        ("GET http://rebound.example/livez HTTP/1.1\r\nHost: localhost", 421),
        ("GET /livez HTTP/1.0", 400),
    ] {
        assert_eq!(agent.ask_port(request).await.code, code, "{request}");
    }
    assert_eq!(agent.ask_socket("GET /livez", "").await.code, 200);
}

#[tokio::test]
async fn off_loopback_only_the_probes_are_shown_unless_the_file_says_so() {
    for (public, code) in [(false, 401), (true, 200)] {
        let port = HealthPort::bind("127.0.0.1:0".parse().unwrap(), public).await.unwrap();
        // The guard goes by the address alone, so one that no test may listen on can be put in its place.
        let exposure = guard::Exposure::of("192.0.2.1:80".parse().unwrap(), public);
        let address = port.address();
        let listeners = Listeners { port: Some(HealthPort { exposure, ..port }), socket: None };
        let bounds = Bounds { grace: Duration::from_secs(60), silence: Duration::from_secs(30) };
        let (send, _commands) = mpsc::channel(1);
        let cancel = CancellationToken::new();
        let serving = tokio::spawn(serve(listeners, Registry::new("slotd.toml", bounds), send, cancel.clone()));
        for (path, code) in [("/livez", 200), ("/health", code), ("/healthz", code)] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: db.example.com");
            let answer = ask(TcpStream::connect(address).await.unwrap(), &request, "").await;
            assert_eq!(answer.code, code, "{path}");
            let refusal = "off loopback only /livez and /readyz are shown; set public_status = true under [http], and restart slotd, to show the rest";
            assert!(code == 200 || answer.body.contains(refusal), "{}", answer.body);
        }
        cancel.cancel();
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn commands_reach_the_supervisor_and_its_words_come_back() {
    let mut agent = Agent::start().await;
    let _reporter = agent.registry.add(shop(at(0)));
    let mut commands = std::mem::replace(&mut agent.commands, mpsc::channel(1).1);
    let supervisor = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(command) = commands.recv().await {
            match command {
                Command::LogLevel { level, reply } => {
                    seen.push(format!("log-level {level}"));
                    reply.send(Ok("it is debug now".to_owned())).unwrap();
                }
                Command::Reload { reply } => {
                    seen.push("reload".to_owned());
                    reply.send(Ok("nothing has changed".to_owned())).unwrap();
                }
                Command::Apply { database, recreate_publication, reply } => {
                    seen.push(format!("apply {database} {recreate_publication}"));
                    reply.send(Ok("as declared".to_owned())).unwrap();
                }
                Command::Disable { database, reply } => {
                    seen.push(format!("disable {database}"));
                    reply.send(Ok("disabled".to_owned())).unwrap();
                }
                Command::Drop { database, reply } => {
                    seen.push(format!("drop {database}"));
                    reply.send(Ok("dropped".to_owned())).unwrap();
                }
                Command::Enable { database, reply } => {
                    seen.push(format!("enable {database}"));
                    reply.send(Ok("enabled".to_owned())).unwrap();
                }
                Command::Resume { database, reply } => {
                    seen.push(format!("resume {database}"));
                    reply.send(Err(Refusal::Conflict("shop is not lost".to_owned()))).unwrap();
                }
            }
        }
        seen
    });

    let reloaded = agent.ask_socket("POST /control/reload", "").await;
    assert_eq!((reloaded.code, reloaded.body.as_str()), (200, r#"{"summary":"nothing has changed"}"#));
    for body in ["", r#"{"level": "loud"}"#, r#"{"level": "debug", "more": 1}"#] {
        assert_eq!(agent.ask_socket("POST /control/log-level", body).await.code, 422, "{body}");
    }
    let changed = agent.ask_socket("POST /control/log-level", r#"{"level": "debug"}"#).await;
    assert_eq!((changed.code, changed.body.as_str()), (200, r#"{"summary":"it is debug now"}"#));
    let path = "POST /control/databases/shop/apply";
    for body in ["", "{}", r#"{"recreate_publication": 1}"#, r#"{"recreate_publication": true, "more": 1}"#] {
        assert_eq!(agent.ask_socket(path, body).await.code, 422, "{body}");
    }
    assert_eq!(agent.ask_socket(path, r#"{"recreate_publication": true}"#).await.code, 200);
    for word in ["disable", "enable"] {
        assert_eq!(agent.ask_socket(&format!("POST /control/databases/shop/{word}"), "").await.code, 200);
    }
    let path = "POST /control/databases/shop/drop";
    for body in ["", "{}", r#"{"drop_slot": false}"#, r#"{"drop_slot": true, "more": 1}"#] {
        assert_eq!(agent.ask_socket(path, body).await.code, 422, "{body}");
    }
    assert_eq!(agent.ask_socket(path, r#"{"drop_slot": true}"#).await.code, 200);
    let path = "POST /control/databases/shop/resume";
    for body in ["", "{}", r#"{"accept_gap": false}"#, r#"{"accept_gap": true, "more": 1}"#] {
        assert_eq!(agent.ask_socket(path, body).await.code, 422, "{body}");
    }
    let refused = agent.ask_socket(path, r#"{"accept_gap": true}"#).await;
    assert_eq!((refused.code, refused.body.as_str()), (409, r#"{"summary":"shop is not lost"}"#));
    assert_eq!(agent.ask_socket("POST /control/databases/crm/resume", r#"{"accept_gap": true}"#).await.code, 404);
    assert_eq!(agent.ask_socket("GET /control/reload", "").await.code, 405);

    agent.cancel.cancel();
    (&mut agent.serving).await.unwrap();
    assert_eq!(
        supervisor.await.unwrap(),
        ["reload", "log-level debug", "apply shop true", "disable shop", "enable shop", "drop shop", "resume shop"]
    );
    assert!(!agent.socket().exists(), "the socket's file goes with the agent");
}

#[tokio::test]
async fn a_command_to_an_agent_that_stops_is_told_so() {
    let mut agent = Agent::start().await;
    let (_, gone) = mpsc::channel(1);
    agent.commands = gone;
    assert_eq!(agent.ask_socket("POST /control/reload", "").await.code, 503);
}

#[tokio::test]
async fn a_head_that_is_too_large_or_too_slow_is_ended() {
    let agent = Agent::start().await;
    let large = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(32 * 1024));
    let mut stream = TcpStream::connect(agent.port).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(large.as_bytes()).await;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 431");

    let mut slow = TcpStream::connect(agent.port).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    assert_eq!(agent.get("/livez").await.code, 200);
    tokio::time::pause();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(15), slow.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slotd.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead agent leaves its file");

    let socket = ControlSocket::bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(matches!(ControlSocket::bind(&path), Err(ServeError::Live(_))));
    drop(socket);
    assert!(!path.exists());

    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(ControlSocket::bind(&path), Err(ServeError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
