//! Logins, for both kinds of session: what stands between slotd and its server is found out, and no password is given to
//! one who might not be the server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use slotd::config::{self, Database, Tls};
use slotd::net::resolve::Resolver;
use slotd::net::tls::TlsClient;
use slotd::postgres::Connector;
use slotd::postgres::trouble::{self, Class, Diagnosis};
use slotd::status::Reason;
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};

use crate::support::{Authority, Cluster, Manner, Middle, Options, Slotd, VERSIONS};

const PASSWORD: &str = "corr3ct-h0rse";

/// A cluster that takes `role` over TLS alone, in the way `method` of `pg_hba.conf`.
fn cluster(major: u32, authority: &Authority, method: &str) -> Cluster {
    let options = Options {
        certificate: Some(authority.leaf(&["127.0.0.1"])),
        hba: vec![format!("hostssl all all all {method}")],
        ..Options::default()
    };
    let options = options.set("log_connections", "on");
    Cluster::start(major, &options)
}

async fn make_role(cluster: &Cluster, encryption: &str) {
    let role = format!(
        "SET password_encryption = '{encryption}'; CREATE ROLE keeper SUPERUSER LOGIN REPLICATION PASSWORD '{PASSWORD}'"
    );
    cluster.execute("postgres", &role).await;
}

/// The text of a database `db` at `port`; `keys` are further keys.
fn entry(port: u16, keys: &str) -> String {
    format!(
        "[[postgres_databases]]\nname = \"db\"\nhostname = \"127.0.0.1\"\nport = {port}\ndatabase = \"postgres\"\n\
         username = \"keeper\"\npassword = \"{PASSWORD}\"\n{keys}\n"
    )
}

pub(crate) fn declared(text: &str) -> Arc<Database> {
    let config = config::parse(Path::new("/nowhere/slotd.toml"), text, &|_| None).unwrap();
    Arc::clone(&config.databases[0])
}

/// What both kinds of session say: replication first, SQL second; `None` where the login succeeds.
pub(crate) async fn logins(database: &Database) -> [Option<Diagnosis>; 2] {
    let patience = Duration::from_secs(60);
    let connector =
        Connector::new(Resolver::new(config::Resolver::Hickory), patience, patience, "slotd/test".to_owned());
    let to = &database.connection;
    let said = |error| trouble::of_connect(&error, to);
    [connector.replication(to).await.err().map(said), connector.sql(to).await.err().map(said)]
}

#[tokio::test]
async fn a_man_in_the_middle_is_found_out_by_channel_binding() {
    let authority = Authority::new();
    for major in [15, 18] {
        let cluster = cluster(major, &authority, "scram-sha-256");
        make_role(&cluster, "scram-sha-256").await;
        let his = Authority::new().leaf(&["127.0.0.1"]);
        let middle = Middle::before(cluster.port(), his, Manner::Impersonate).await;
        let text = entry(middle.port(), "ssl_mode = \"require\"");
        let database = declared(&text);
        for manner in [Manner::Impersonate, Manner::Strip] {
            middle.turns(manner);
            for said in logins(&database).await {
                let Diagnosis { class, trouble } = said.unwrap_or_else(|| panic!("{manner:?} was let through"));
                assert_eq!((class, trouble.reason), (Class::Operator, Reason::Tls), "{trouble:?}");
                assert!(trouble.sentence.contains("channel binding"), "{trouble:?}");
                assert!(trouble.hint.contains("stands between"), "{trouble:?}");
            }
        }
        // The same man takes in a client that binds nothing: it is the binding that found him out.
        middle.turns(Manner::Impersonate);
        let tcp = TcpStream::connect(("127.0.0.1", middle.port())).await.unwrap();
        let tls = TlsClient::new(&Tls::REQUIRE).unwrap().connect(tcp, "127.0.0.1").await.unwrap();
        let mut unbound = Config::new();
        unbound.user("keeper").password(PASSWORD).dbname("postgres").ssl_mode(SslMode::Disable);
        let (client, connection) = unbound.connect_raw(tls, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
        connection.abort();

        let mut slotd = Slotd::run(&text);
        let health = slotd.await_state("db", "failed").await;
        assert_eq!(health["reason"], "tls", "{health:#}");
        assert!(!slotd.log().contains(PASSWORD));
        // Once he only passes bytes on, all is well.
        middle.turns(Manner::Honest);
        slotd.await_state("db", "streaming").await;
    }
}

#[tokio::test]
async fn a_password_in_the_open_goes_to_a_verified_server_alone() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, authority.pem()).unwrap();
    for (method, encryption, words) in [("password", "scram-sha-256", "in clear text"), ("md5", "md5", "by md5")] {
        let cluster = cluster(15, &authority, method);
        make_role(&cluster, encryption).await;
        let authorized = "authorized: user=keeper";
        let with = |mode: &str| {
            declared(&entry(cluster.port(), &format!("ssl_root_cert = '{}'\nssl_mode = \"{mode}\"", root.display())))
        };
        for mode in ["require", "verify-ca"] {
            let text =
                if mode == "require" { declared(&entry(cluster.port(), "ssl_mode = \"require\"")) } else { with(mode) };
            for said in logins(&text).await {
                let Diagnosis { class, trouble } =
                    said.unwrap_or_else(|| panic!("{method} with {mode} was given away"));
                assert_eq!((class, trouble.reason), (Class::Operator, Reason::Authentication), "{trouble:?}");
                assert!(trouble.sentence.contains(words), "{trouble:?}");
                assert!(trouble.hint.contains("scram-sha-256"), "{trouble:?}");
            }
            assert!(!cluster.log().contains(authorized), "{}", cluster.log());
        }
        assert_eq!(logins(&with("verify-full")).await, [None, None], "{method}");
        assert!(cluster.log().contains(authorized), "{}", cluster.log());
    }
}

/// What looks alike is one password (SASLprep, RFC 4013), where the server keeps it for SCRAM; in clear text each byte
/// counts, unless the server keeps it for SCRAM all the same.
#[tokio::test]
async fn a_password_is_the_same_in_any_spelling_that_looks_alike() {
    for major in VERSIONS {
        let hba = ["host all clear all password", "host all all all scram-sha-256"].map(str::to_owned).to_vec();
        let cluster = Cluster::start(major, &Options { hba, ..Options::default() });
        for (number, (kept, given)) in [
            ("pässwörd", "pässwörd"),
            ("pässwörd", "pa\u{308}sswo\u{308}rd"),
            ("I\u{ad}X", "IX"),
            ("\u{2168}", "IX"),
            ("a\u{a0}b", "a b"),
            ("пароль 🐘", "пароль 🐘"),
            // Not what RFC 4013 allows: taken as it is, by both sides.
            ("tab\there", "tab\there"),
        ]
        .into_iter()
        .enumerate()
        {
            for role in [format!("keeper{number}"), "clear".to_owned()] {
                let sql = format!(
                    "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} SUPERUSER LOGIN REPLICATION PASSWORD '{kept}'"
                );
                cluster.execute("postgres", &sql).await;
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("password");
                std::fs::write(&file, format!("{given}\n")).unwrap();
                let text = entry(cluster.port(), &format!("password_file = '{}'\nssl = false", file.display()));
                let text = text.replace("\"keeper\"", &format!("\"{role}\""));
                let text = text.replace(&format!("password = \"{PASSWORD}\"\n"), "");
                assert_eq!(logins(&declared(&text)).await, [None, None], "PostgreSQL {major}, {role}, {given:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_handshake_that_breaks_off_is_tried_again() {
    let authority = Authority::new();
    let cluster = cluster(18, &authority, "scram-sha-256");
    make_role(&cluster, "scram-sha-256").await;
    let middle = Middle::before(cluster.port(), authority.leaf(&["127.0.0.1"]), Manner::HangUp).await;
    let mut slotd = Slotd::new(&entry(middle.port(), "ssl_root_cert = \"root.pem\""));
    std::fs::write(slotd.config_path().with_file_name("root.pem"), authority.pem()).unwrap();
    slotd.start();
    for manner in [Manner::HangUp, Manner::Reset] {
        middle.turns(manner);
        let health = slotd.await_state("db", "retrying").await;
        assert_eq!(health["reason"], "connection", "{health:#}");
        middle.turns(Manner::Honest);
        slotd.await_state("db", "streaming").await;
        assert!(slotd.sigterm().await.success());
        middle.turns(Manner::Reset);
        slotd.start();
    }
    assert!(!slotd.log().contains(": failed, "), "{}", slotd.log());
}
