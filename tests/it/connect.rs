//! Ways to a server, and what is said where there is none.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Authority, Cluster, Options, Slotd, VERSIONS};

/// An entry named `db` that leads to `cluster` as a role with a password; further keys may follow.
fn entry(cluster: &Cluster, hostname: &str, keys: &str) -> String {
    format!(
        "[[postgres_databases]]\nname = \"db\"\nhostname = \"{hostname}\"\nport = {}\ndatabase = \"postgres\"\n\
         username = \"keeper\"\n{keys}\n",
        cluster.port()
    )
}

const PASSWORD: &str = "corr3ct-h0rse";

/// A cluster that takes a password by SCRAM alone, over TLS alone, with a certificate for `names`.
async fn guarded(major: u32, authority: &Authority, names: &[&str]) -> Cluster {
    let options = Options {
        certificate: Some(authority.leaf(names)),
        hba: vec!["hostssl all all all scram-sha-256".to_owned()],
        ..Options::default()
    };
    let cluster = Cluster::start(major, &options);
    let role = format!("CREATE ROLE keeper SUPERUSER LOGIN REPLICATION PASSWORD '{PASSWORD}'");
    cluster.execute("postgres", &role).await;
    cluster
}

/// Runs slotd with the authority's certificate beside it.
fn slotd_with(authority: &Authority, text: &str) -> Slotd {
    let mut slotd = Slotd::new(text);
    fs::write(slotd.config_path().with_file_name("root.pem"), authority.pem()).unwrap();
    slotd.start();
    slotd
}

fn keys(more: &str) -> String {
    format!("password = \"{PASSWORD}\"\nssl_root_cert = \"root.pem\"\n{more}")
}

#[tokio::test]
async fn tls_is_verified_in_full_and_scram_is_bound_to_it() {
    let authority = Authority::new();
    for major in [15, 18] {
        let cluster = guarded(major, &authority, &["localhost", "127.0.0.1", "::1"]).await;
        for hostname in ["127.0.0.1", "::1", "[::1]", "localhost"] {
            let mut slotd = slotd_with(&authority, &entry(&cluster, hostname, &keys("")));
            slotd.await_state("db", "streaming").await;
            let encrypted =
                "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'keeper'";
            assert_eq!(cluster.value("postgres", encrypted).await.as_deref(), Some("t"), "{hostname}");
            assert!(slotd.sigterm().await.success());
            assert!(!slotd.log().contains(PASSWORD));
        }
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_refused_and_weaker_modes_are_weaker() {
    let (authority, other) = (Authority::new(), Authority::new());
    let cluster = guarded(18, &authority, &["db.internal"]).await;
    let mut wrong_name = slotd_with(&authority, &entry(&cluster, "127.0.0.1", &keys("")));
    let health = wrong_name.await_state("db", "failed").await;
    assert_eq!(health["reason"], "tls", "{health:#}");
    assert!(health["hint"].as_str().unwrap().contains("give `hostname` as the certificate has it"), "{health:#}");

    let mut wrong_authority = slotd_with(&other, &entry(&cluster, "127.0.0.1", &keys("ssl_mode = \"verify-ca\"")));
    assert_eq!(wrong_authority.await_state("db", "failed").await["reason"], "tls");

    let mut chain = slotd_with(&authority, &entry(&cluster, "127.0.0.1", &keys("ssl_mode = \"verify-ca\"")));
    chain.await_state("db", "streaming").await;
    assert!(chain.sigterm().await.success());

    let require = format!("password = \"{PASSWORD}\"\nssl_mode = \"require\"");
    let mut unverified = Slotd::run(&entry(&cluster, "127.0.0.1", &require));
    unverified.await_state("db", "streaming").await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_plain_text_was_asked_for() {
    let cluster = Cluster::shared(18);
    cluster.execute("postgres", "CREATE ROLE plain_keeper SUPERUSER LOGIN REPLICATION").await;
    let text = entry(cluster, "127.0.0.1", "").replace("keeper", "plain_keeper");
    let mut slotd = Slotd::run(&text);
    let health = slotd.await_state("db", "failed").await;
    assert_eq!(health["reason"], "tls");
    assert!(health["sentence"].as_str().unwrap().contains("does not offer TLS"), "{health:#}");
    assert!(health["hint"].as_str().unwrap().contains("ssl = false"), "{health:#}");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it_and_a_corrected_file_is_read_again() {
    let authority = Authority::new();
    let cluster = guarded(18, &authority, &["127.0.0.1"]).await;
    let text = entry(&cluster, "127.0.0.1", "password_file = \"password\"\nssl_root_cert = \"root.pem\"");
    let mut slotd = Slotd::new(&text);
    let file = slotd.config_path().with_file_name("password");
    fs::write(&file, "wr0ng-secret\n").unwrap();
    fs::write(slotd.config_path().with_file_name("root.pem"), authority.pem()).unwrap();
    slotd.start();
    let health = slotd.await_state("db", "failed").await;
    assert_eq!(health["reason"], "authentication");
    assert!(health["hint"].as_str().unwrap().contains("password_file"), "{health:#}");
    assert!(!health.to_string().contains("wr0ng") && !slotd.log().contains("wr0ng"), "{}", slotd.log());
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    slotd.await_state("db", "streaming").await;
}

/// The order in which the role and the file get the new password makes no difference, nor does a cut in between.
#[tokio::test]
async fn a_rotated_password_needs_no_restart_and_costs_no_change() {
    let authority = Authority::new();
    for major in [15, 18] {
        let cluster = guarded(major, &authority, &["127.0.0.1"]).await;
        cluster.execute("postgres", "CREATE TABLE t (id int PRIMARY KEY)").await;
        let text = entry(&cluster, "127.0.0.1", "password_file = \"password\"\nssl_root_cert = \"root.pem\"");
        let mut slotd = Slotd::new(&text);
        let file = slotd.config_path().with_file_name("password");
        fs::write(&file, PASSWORD).unwrap();
        fs::write(slotd.config_path().with_file_name("root.pem"), authority.pem()).unwrap();
        slotd.start();
        slotd.await_state("db", "streaming").await;
        let rotate = "ALTER ROLE keeper PASSWORD";
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'keeper'";

        cluster.execute("postgres", &format!("{rotate} 'the second'; INSERT INTO t VALUES (1)")).await;
        slotd.await_acknowledged(&cluster, "db").await;
        cluster.execute("postgres", cut).await;
        let health = slotd.await_state("db", "failed").await;
        assert_eq!(health["reason"], "authentication", "{health:#}");
        cluster.execute("postgres", "INSERT INTO t VALUES (2)").await;
        fs::write(&file, "the second\r\n").unwrap();
        slotd.await_state("db", "streaming").await;
        slotd.await_acknowledged(&cluster, "db").await;

        fs::write(&file, "the third\n").unwrap();
        cluster.execute("postgres", &format!("{rotate} 'the third'; INSERT INTO t VALUES (3)")).await;
        cluster.execute("postgres", cut).await;
        cluster.execute("postgres", "INSERT INTO t VALUES (4)").await;
        slotd.await_acknowledged(&cluster, "db").await;
        let ids = slotd.lines("db").iter().map(|line| line["record"]["id"].as_i64().unwrap()).collect::<Vec<_>>();
        assert_eq!(ids, [1, 2, 3, 4], "PostgreSQL {major}");
        assert_eq!(slotd.log().matches(": failed, authentication").count(), 1, "{}", slotd.log());
        assert!(!slotd.log().contains("the second") && !slotd.log().contains("the third"), "{}", slotd.log());
    }
}

#[tokio::test]
async fn a_password_file_that_can_not_be_used_says_why_and_is_read_again() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    let text = cluster.entry(&dbname).replace("password = \"none is asked for\"", "password_file = \"password\"");
    let mut slotd = Slotd::new(&text);
    let file = slotd.config_path().with_file_name("password");
    fs::create_dir(&file).unwrap();
    slotd.start();
    let said = async |slotd: &mut Slotd, words: &'static str| {
        let says = |health: &serde_json::Value| health["sentence"].as_str().is_some_and(|said| said.ends_with(words));
        slotd.await_until(&dbname, says).await
    };
    let health = said(&mut slotd, "/password is a folder").await;
    assert_eq!((&health["state"], &health["reason"]), (&"failed".into(), &"authentication".into()), "{health:#}");
    fs::remove_dir(&file).unwrap();
    slotd.sighup();
    let health = said(&mut slotd, "/password does not exist").await;
    assert!(health["hint"].as_str().unwrap().contains("mode 0600"), "{health:#}");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    slotd.sighup();
    slotd.await_state(&dbname, "streaming").await;

    assert!(slotd.sigterm().await.success());
    slotd.start();
    slotd.await_log(|log| log.contains("can be read by everyone on this host: its mode is 0644")).await;
}

#[tokio::test]
async fn a_unix_socket_is_a_folder() {
    let cluster = Cluster::shared(15);
    let dbname = cluster.create_database().await;
    let text = cluster.entry(&dbname).replace("ssl = false\n", "");
    let folder = cluster.socket().parent().unwrap().display().to_string();
    let mut slotd = Slotd::run(&text.replace("127.0.0.1", &folder));
    slotd.await_state(&dbname, "streaming").await;
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    let good = cluster.entry(&dbname);
    for (from, to, state, reason, words) in [
        ("database = \"it_", "database = \"nosuch_", "failed", "server", "does not exist"),
        ("username = \"postgres\"", "username = \"nobody_here\"", "failed", "authentication", "nobody_here"),
        ("hostname = \"127.0.0.1\"", "hostname = \"nosuch.invalid\"", "retrying", "connection", "nosuch.invalid"),
    ] {
        let mut slotd = Slotd::run(&good.replacen(from, to, 1));
        let health = slotd.await_state(&dbname, state).await;
        assert_eq!(health["reason"], reason, "{health:#}");
        assert!(health["sentence"].as_str().unwrap().contains(words), "{health:#}");
    }
}

#[tokio::test]
async fn settings_of_the_role_change_nothing() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let dbname = cluster.create_database().await;
        cluster
            .execute(
                &dbname,
                "CREATE ROLE powerless; CREATE ROLE odd SUPERUSER LOGIN REPLICATION;
                 ALTER ROLE odd SET role = 'powerless'; ALTER ROLE odd SET client_encoding = 'LATIN1';
                 ALTER ROLE odd SET datestyle = 'German'; ALTER ROLE odd SET timezone = 'Asia/Tokyo';
                 ALTER ROLE odd SET bytea_output = 'escape'; ALTER ROLE odd SET intervalstyle = 'iso_8601';
                 ALTER ROLE odd SET extra_float_digits = 0; ALTER ROLE odd SET statement_timeout = '1ms';
                 ALTER ROLE odd SET lock_timeout = '1ms'; ALTER ROLE odd SET idle_in_transaction_session_timeout = '1ms';
                 ALTER ROLE odd SET default_transaction_read_only = on; ALTER ROLE odd SET client_min_messages = error;
                 ALTER ROLE odd SET default_transaction_isolation = 'serializable';
                 ALTER ROLE odd SET default_transaction_deferrable = on; ALTER ROLE odd SET quote_all_identifiers = on;
                 ALTER ROLE odd SET search_path = 'nowhere'; ALTER ROLE odd SET idle_session_timeout = '1ms';
                 ALTER ROLE odd SET wal_sender_timeout = '1ms';
                 CREATE TABLE t (id int PRIMARY KEY, at timestamptz, b bytea, i interval, d date, f float8, m money,
                                 r regclass, s text)",
            )
            .await;
        let mut slotd = Slotd::run(&cluster.entry(&dbname).replace("\"postgres\"", "\"odd\""));
        slotd.await_state(&dbname, "streaming").await;
        cluster
            .execute(
                &dbname,
                "INSERT INTO t VALUES (1, '2026-01-02 03:04:05+00', '\\x00ff', '1 day 2 hours', '2026-12-31', 0.1, 1.5,
                                       'public.t', 'é€')",
            )
            .await;
        slotd.await_acknowledged(cluster, &dbname).await;
        let expected = serde_json::json!({
            "id": 1, "at": "2026-01-02T03:04:05Z", "b": "\\x00ff", "i": "1 day 02:00:00", "d": "2026-12-31", "f": 0.1,
            "m": "$1.50", "r": "public.t", "s": "é€"
        });
        assert_eq!(slotd.lines(&dbname)[0]["record"], expected, "PostgreSQL {major}");
        slotd.await_until(&dbname, |health| health["observed"].is_string()).await;
        assert!(!slotd.log().contains("WARN") && !slotd.log().contains("ERROR"), "{}", slotd.log());
    }
}

#[tokio::test]
async fn no_transaction_is_too_long_for_its_stream() {
    for major in [17, 18] {
        let cluster = Cluster::start(major, &Options::default());
        let role = "CREATE ROLE hasty SUPERUSER LOGIN REPLICATION; ALTER ROLE hasty SET transaction_timeout = '500ms';
                    CREATE TABLE t (id int PRIMARY KEY)";
        cluster.execute("postgres", role).await;
        let mut slotd = Slotd::run(&cluster.entry("postgres").replace("\"postgres\"\npass", "\"hasty\"\npass"));
        slotd.await_state("postgres", "streaming").await;
        cluster.execute("postgres", "INSERT INTO t SELECT generate_series(1, 700000)").await;
        slotd.await_acknowledged(&cluster, "postgres").await;
        assert!(!cluster.log().contains("transaction timeout"), "{}", cluster.log());
    }
}
