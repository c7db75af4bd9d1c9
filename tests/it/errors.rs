//! What a server's refusal means: each row of the catalogue is provoked on every version, through the sessions that slotd
//! itself uses, and what a hint says to run is run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use slotd::config::{Connection, Resolver};
use slotd::ident::{PublicationName, SlotName};
use slotd::lsn::Lsn;
use slotd::postgres::catalogue::{self, Proof, ROWS, Row, Step};
use slotd::postgres::trouble::{self, Class, Diagnosis};
use slotd::postgres::{ConnectError, Connector, ReplicationError, SqlError, catalog, publication};
use slotd::status::Trouble;
use slotd::wire::ServerError;
use slotd::wire::login::LoginError;

use crate::login::declared;
use crate::support::{Cluster, Options, Pooler, VERSIONS, version_at};

const PASSWORD: &str = "corr3ct-h0rse";

/// Which rows were provoked on which versions, by this run.
static PROVOKED: Mutex<BTreeSet<(&str, u32)>> = Mutex::new(BTreeSet::new());

/// The rows that name `test` were provoked by it on just the versions that they name.
fn all_were_provoked(test: &str) {
    let provoked = PROVOKED.lock().unwrap();
    for row in ROWS {
        if let Proof::Test(name, versions) = row.proof
            && name == test
        {
            let on = provoked.iter().filter(|(case, _)| *case == row.case).map(|(_, version)| version);
            assert!(on.eq(versions), "{}: {provoked:?}", row.case);
        }
    }
}

/// What happened, as the row `case` of the catalogue has it.
fn refused(case: &str, step: Step, error: &ServerError, to: &Connection, said: Diagnosis) -> Trouble {
    let row = catalogue::row(step, error, to);
    assert_eq!(row.case, case, "{step:?}, {error:?}");
    assert!(error.sqlstate.starts_with(row.sqlstate), "{error:?}");
    PROVOKED.lock().unwrap().insert((row.case, version_at(to.port)));
    let Diagnosis { class, trouble } = said;
    assert_eq!((class, trouble.reason), (row.class, row.reason), "{trouble:?}");
    assert!(trouble.sentence.contains(&error.message), "{trouble:?}");
    trouble
}

/// A way to a server, as a role.
struct Way {
    to: Connection,
    connector: Connector,
}

/// The SQL that a hint says to run.
fn to_run(hint: &str) -> String {
    let sql = hint.split_once("run: ").and_then(|(_, rest)| rest.split_once(';'));
    sql.unwrap_or_else(|| panic!("nothing is to be run: {hint}")).0.to_owned()
}

impl Way {
    /// To `dbname` of the server at `port` as `role`, with the password that all roles here have.
    fn at(port: u16, dbname: &str, role: &str) -> Self {
        Self::by("127.0.0.1", port, dbname, role, PASSWORD)
    }

    fn by(hostname: &str, port: u16, dbname: &str, role: &str, password: &str) -> Self {
        let ssl = if hostname.starts_with('/') { "" } else { "ssl = false\n" };
        let text = format!(
            "[[postgres_databases]]\nname = \"db\"\nhostname = '{hostname}'\nport = {port}\ndatabase = \"{dbname}\"\n\
             username = \"{role}\"\npassword = '''{password}'''\n{ssl}"
        );
        let patience = Duration::from_secs(60);
        let resolver = slotd::net::resolve::Resolver::new(Resolver::Hickory);
        let connector = Connector::new(resolver, patience, patience, "slotd/test".to_owned());
        Self { to: declared(&text).connection.clone(), connector }
    }

    /// A replication session is refused as `case` has it.
    async fn replication_is(&self, case: &str) -> Trouble {
        let error = self.connector.replication(&self.to).await.err().unwrap_or_else(|| panic!("let in: {case}"));
        let said = trouble::of_connect(&error, &self.to);
        let ConnectError::Login(LoginError::Refused(error)) = error else { panic!("{case}: {error:?}") };
        refused(case, Step::ConnectReplication, &error, &self.to, said)
    }

    /// A SQL session is refused as `case` has it.
    async fn sql_is(&self, case: &str) -> Trouble {
        let error = self.connector.sql(&self.to).await.err().unwrap_or_else(|| panic!("let in: {case}"));
        let said = trouble::of_connect(&error, &self.to);
        let ConnectError::Sql(source) = &error else { panic!("{case}: {error:?}") };
        let error = ServerError::from_sql(source.as_db_error().unwrap());
        refused(case, Step::Connect, &error, &self.to, said)
    }

    /// Both kinds of session are.
    async fn logins_are(&self, case: &str) -> Trouble {
        self.replication_is(case).await;
        self.sql_is(case).await
    }

    /// Both kinds of session are let in.
    async fn lets_in(&self) {
        self.connector.replication(&self.to).await.unwrap();
        self.connector.sql(&self.to).await.unwrap();
    }

    /// What a SQL session was told at `step` is what `case` has.
    fn of_sql(&self, case: &str, step: Step, outcome: Result<(), SqlError>) -> Trouble {
        let error = outcome.err().unwrap_or_else(|| panic!("it was taken: {case}"));
        let said = trouble::of_sql(step, &error, &self.to);
        let SqlError::Server(error) = error else { panic!("{case}: {error:?}") };
        refused(case, step, &error, &self.to, said)
    }

    /// What a replication session was told at `step` is what `case` has.
    fn of_replication<T>(&self, case: &str, step: Step, outcome: Result<T, ReplicationError>) -> Trouble {
        let error = outcome.err().unwrap_or_else(|| panic!("it was taken: {case}"));
        let said = trouble::of_replication(step, &error, &self.to);
        let ReplicationError::Server(error) = error else { panic!("{case}: {error:?}") };
        refused(case, step, &error, &self.to, said)
    }

    /// The statement `sql` is refused at `step` as `case` has it.
    async fn statement_is(&self, case: &str, step: Step, sql: &str) -> Trouble {
        let session = self.connector.sql(&self.to).await.unwrap();
        self.of_sql(case, step, session.run("a statement", sql).await)
    }

    /// The making of `slot` is refused as `case` has it.
    async fn making_is(&self, case: &str, slot: &SlotName) -> Trouble {
        let mut session = self.connector.replication(&self.to).await.unwrap();
        self.of_replication(case, Step::CreateSlot, session.create_slot(slot).await)
    }

    /// The start of `slot` is refused as `case` has it.
    async fn starting_is(&self, case: &str, slot: &SlotName) -> Trouble {
        let session = self.connector.replication(&self.to).await.unwrap();
        let publication = PublicationName::new("p").unwrap();
        self.of_replication(case, Step::Start, session.start(slot, &publication, Lsn::default()).await)
    }
}

fn slot(name: &str) -> SlotName {
    SlotName::new(name).unwrap()
}

#[tokio::test]
async fn a_pooler_is_told_as_one() {
    let cluster = Cluster::start(18, &Options::default());
    let pooler = Pooler::before(&cluster);
    let way = Way::at(pooler.port(), "postgres", "postgres");
    for trouble in [way.replication_is("pooler without replication").await, way.sql_is("pooler without options").await]
    {
        assert!(trouble.sentence.contains("a pooler answers"), "{trouble:?}");
    }
    all_were_provoked("a_pooler_is_told_as_one");
}

#[tokio::test]
async fn what_is_said_of_logins() {
    for major in VERSIONS {
        let hba = [
            "host all scram all scram-sha-256",
            "host all md5 all md5",
            "host all clear all password",
            "host all expired all scram-sha-256",
            "host all ident all ident",
            "host all rejected all reject",
            "hostssl all encrypted all scram-sha-256",
            "host all nobody all scram-sha-256",
        ];
        let options = Options { hba: hba.map(str::to_owned).to_vec(), ..Options::default() };
        let mut cluster = Cluster::start(major, &options);
        for role in ["scram", "clear", "ident", "rejected", "encrypted", "stranger", "somebody"] {
            let sql = format!("CREATE ROLE {role} LOGIN REPLICATION PASSWORD '{PASSWORD}'");
            cluster.execute("postgres", &sql).await;
        }
        cluster
            .execute(
                "postgres",
                &format!(
                    "CREATE ROLE expired LOGIN REPLICATION PASSWORD '{PASSWORD}' VALID UNTIL '2001-01-01';
                     CREATE ROLE empty LOGIN REPLICATION PASSWORD '';
                     SET password_encryption = 'md5'; CREATE ROLE md5 LOGIN REPLICATION PASSWORD '{PASSWORD}'"
                ),
            )
            .await;
        let port = cluster.port();
        let way = |role: &str| Way::at(port, "postgres", role);
        for role in ["scram", "md5", "clear"] {
            way(role).lets_in().await;
            let wrong = Way::by("127.0.0.1", port, "postgres", role, "wr0ng").logins_are("password refused").await;
            assert!(wrong.hint.starts_with("correct `password` and reload"), "{wrong:?}");
            assert!(!format!("{wrong:?}").contains("wr0ng"), "{wrong:?}");
        }
        let expired = way("expired").logins_are("password refused").await;
        let sql = expired.hint.split_once("expired (").and_then(|(_, rest)| rest.split_once(';')).unwrap().0;
        cluster.execute("postgres", sql).await;
        way("expired").lets_in().await;
        // It says no more of a role that does not exist.
        way("nobody").logins_are("password refused").await;

        // The hint's own line lets us in, where it says to write it.
        for (role, case) in [
            ("ident", "another method"),
            ("rejected", "pg_hba.conf"),
            ("encrypted", "pg_hba.conf"),
            ("stranger", "pg_hba.conf"),
        ] {
            let said = way(role).logins_are(case).await;
            assert_eq!(said.hint.contains("`ssl = true`"), case == "pg_hba.conf", "{said:?}");
            let line = said.hint.split_once("pg_hba.conf, above what ").unwrap().1.split_once(": ").unwrap().1;
            let line = line.split_once(';').unwrap().0;
            let from = if case == "pg_hba.conf" { "127.0.0.1/32" } else { "all" };
            assert_eq!(line, format!("host postgres {role} {from} scram-sha-256"));
            let text = fs::read_to_string(cluster.data().join("pg_hba.conf")).unwrap();
            cluster.put("data/pg_hba.conf", &format!("{line}\n{text}")).unwrap();
            cluster.restart();
            way(role).lets_in().await;
        }

        // Of these tests no user of the system is called so.
        let text = "local all somebody peer\nlocal all somebodyelse md5\nlocal all all trust\n";
        cluster.put("data/pg_hba.conf", text).unwrap();
        cluster.restart();
        let folder = cluster.folder().display().to_string();
        let by_socket = |role: &str| Way::by(&folder, port, "postgres", role, PASSWORD);
        let said = by_socket("somebody").logins_are("peer").await;
        assert!(said.hint.contains("local postgres somebody peer map=slotd"), "{said:?}");
        cluster.put("data/pg_hba.conf", "local all postgres trust\n").unwrap();
        cluster.restart();
        let said = by_socket("somebody").logins_are("pg_hba.conf").await;
        assert!(said.hint.contains("refuses: local postgres somebody scram-sha-256;"), "{said:?}");
    }
    all_were_provoked("what_is_said_of_logins");
}

#[tokio::test]
async fn what_is_said_of_roles_and_databases() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let dbname = cluster.create_database().await;
        let role = format!("{dbname}_Modest");
        let way = Way::at(cluster.port(), &dbname, &role);
        let run = async |hint: &str| cluster.execute("postgres", &to_run(hint)).await;

        let said = way.logins_are("no such role").await;
        let create = said.hint.split_once("not exist: ").unwrap().1;
        cluster.execute("postgres", create).await;
        cluster.execute("postgres", &format!("ALTER ROLE \"{role}\" NOLOGIN")).await;
        run(&way.logins_are("no such role").await.hint).await;
        way.lets_in().await;

        cluster.execute("postgres", &format!("ALTER ROLE \"{role}\" NOREPLICATION")).await;
        run(&way.replication_is("no right to replicate").await.hint).await;
        cluster.execute("postgres", &format!("REVOKE CONNECT ON DATABASE {dbname} FROM public")).await;
        run(&way.logins_are("no right to connect").await.hint).await;
        way.lets_in().await;

        cluster.execute("postgres", &format!("ALTER ROLE \"{role}\" CONNECTION LIMIT 0")).await;
        run(&way.sql_is("role's connections").await.hint).await;
        cluster.execute("postgres", &format!("ALTER DATABASE {dbname} CONNECTION LIMIT 0")).await;
        run(&way.sql_is("database's connections").await.hint).await;
        cluster.execute("postgres", &format!("ALTER DATABASE {dbname} ALLOW_CONNECTIONS false")).await;
        run(&way.logins_are("database closed").await.hint).await;
        way.lets_in().await;

        let elsewhere = Way::at(cluster.port(), "nosuchdb", &role);
        elsewhere.logins_are("no such database").await;
    }
    all_were_provoked("what_is_said_of_roles_and_databases");
}

#[tokio::test]
async fn what_is_said_without_room() {
    for major in VERSIONS {
        let options = Options::default()
            .set("max_connections", "6")
            .set("superuser_reserved_connections", "3")
            .set("max_wal_senders", "1")
            .set("max_replication_slots", "2");
        let mut cluster = Cluster::start(major, &options);
        cluster.execute("postgres", "CREATE ROLE modest LOGIN REPLICATION").await;
        let way = Way::at(cluster.port(), "postgres", "modest");

        let holder = way.connector.replication(&way.to).await.unwrap();
        assert!(way.replication_is("walsenders").await.hint.contains("max_wal_senders"));
        drop(holder);
        cluster.await_value("postgres", "SELECT count(*) FROM pg_stat_replication", "0").await;
        let mut holders = Vec::new();
        // A session that has just ended counts for a moment more.
        let mut refused = 0;
        while refused < 20 {
            match way.connector.sql(&way.to).await {
                Ok(session) => {
                    holders.push(session);
                    refused = 0;
                }
                Err(_) => refused += 1,
            }
        }
        let full = way.sql_is("connections").await;
        assert!(full.hint.contains("max_connections"), "{full:?}");
        drop(holders);
        cluster.await_value("postgres", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'modest'", "0").await;

        let slots = "SELECT pg_create_logical_replication_slot('one', 'pgoutput');
                     SELECT pg_create_physical_replication_slot('two')";
        cluster.execute("postgres", slots).await;
        way.making_is("no slot left", &slot("three")).await;
        let session = way.connector.sql(&way.to).await.unwrap();
        let known = catalog::slots_in_use(&session).await.unwrap();
        let wanted = "one (nobody uses it, holds back ";
        assert!(known.starts_with(wanted) && known.ends_with(", two (nobody uses it, holds back nothing)"), "{known}");
        drop(session);

        cluster.execute("postgres", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots").await;
        cluster.execute("postgres", "ALTER SYSTEM SET wal_level = 'replica'").await;
        cluster.restart();
        let said = way.making_is("wal_level", &slot("three")).await;
        cluster.execute("postgres", &to_run(&said.hint)).await;
        cluster.restart();
        way.connector.replication(&way.to).await.unwrap().create_slot(&slot("three")).await.unwrap();

        // A server that is being stopped waits for the sessions that there are.
        let session = cluster.connect("postgres").await;
        cluster.ask_to_stop();
        cluster.await_log("received smart shutdown request").await;
        way.logins_are("not yet").await;
        drop(session);
    }
    all_were_provoked("what_is_said_without_room");
}

#[tokio::test]
async fn what_is_said_of_publications() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let dbname = cluster.create_database().await;
        let role = format!("{dbname}_modest");
        let tables = format!(
            "CREATE ROLE {role} LOGIN REPLICATION; CREATE TABLE t (id int PRIMARY KEY);
             CREATE UNLOGGED TABLE u (id int PRIMARY KEY)"
        );
        cluster.execute(&dbname, &tables).await;
        let modest = Way::at(cluster.port(), &dbname, &role);
        let making = Step::CreatePublication;
        for scope in ["FOR ALL TABLES", "FOR TABLE public.t"] {
            let sql = format!("CREATE PUBLICATION p {scope}");
            modest.statement_is("publication not allowed", making, &sql).await;
        }
        cluster.execute(&dbname, &format!("GRANT CREATE ON DATABASE {dbname} TO {role}")).await;
        for scope in ["FOR ALL TABLES", "FOR TABLE public.t", "FOR TABLES IN SCHEMA public"] {
            let sql = format!("CREATE PUBLICATION p {scope}");
            modest.statement_is("publication not allowed", making, &sql).await;
        }

        let way = Way::at(cluster.port(), &dbname, "postgres");
        for (case, scope) in [
            ("publication of what is not there", "FOR TABLE public.nosuch"),
            ("publication of no schema", "FOR TABLES IN SCHEMA nosuch"),
            ("publication of what can't be published", "FOR TABLE public.u"),
            ("publication of what can't be published", "FOR TABLE pg_catalog.pg_class"),
        ] {
            way.statement_is(case, making, &format!("CREATE PUBLICATION p {scope}")).await;
        }
        let locker = cluster.connect(&dbname).await;
        locker.batch_execute("BEGIN; LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
        let sql = "SET lock_timeout = '10ms'; CREATE PUBLICATION p FOR TABLE public.t";
        way.statement_is("publication waits for a lock", making, sql).await;
        let sql = "SET transaction_read_only = on; CREATE PUBLICATION p FOR TABLE public.t";
        way.statement_is("read only", making, sql).await;
    }
    all_were_provoked("what_is_said_of_publications");
}

#[tokio::test]
async fn what_is_said_of_slots() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let (dbname, other) = (cluster.create_database().await, cluster.create_database().await);
        let way = Way::at(cluster.port(), &dbname, "postgres");
        let (ours, theirs) = (slot(&dbname), slot(&other));

        // While it waits for a transaction that writes.
        let writer = cluster.connect(&dbname).await;
        writer.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
        let cancel = format!(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity JOIN pg_locks USING (pid)
              WHERE backend_type = 'walsender' AND datname = '{dbname}' AND locktype = 'transactionid' AND NOT granted"
        );
        let (said, ()) =
            tokio::join!(way.making_is("slot waits", &ours), cluster.await_value("postgres", &cancel, "t"));
        assert!(said.hint.contains("pg_prepared_xacts"), "{said:?}");
        writer.batch_execute("COMMIT").await.unwrap();

        cluster
            .execute(
                &dbname,
                &format!(
                    "CREATE ROLE {dbname}_bare SUPERUSER LOGIN REPLICATION; CREATE ROLE {dbname}_modest LOGIN;
                     ALTER ROLE {dbname}_bare SET dynamic_library_path = '/nowhere'"
                ),
            )
            .await;
        let bare = Way::at(cluster.port(), &dbname, &format!("{dbname}_bare"));
        bare.making_is("no pgoutput", &ours).await;

        let mut session = way.connector.replication(&way.to).await.unwrap();
        way.starting_is("slot gone", &ours).await;
        way.of_replication("slot gone", Step::DropSlot, session.drop_slot(&ours).await);
        session.create_slot(&ours).await.unwrap();
        bare.starting_is("no pgoutput", &ours).await;
        let free = format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{ours}'");
        cluster.await_value("postgres", &free, "f").await;

        // It is in use from now on.
        let publication = PublicationName::new("p").unwrap();
        let _stream = session.start(&ours, &publication, Lsn::default()).await.unwrap();
        let said = way.starting_is("slot held", &ours).await;
        let mut session = way.connector.replication(&way.to).await.unwrap();
        way.of_replication("slot held", Step::DropSlot, session.drop_slot(&ours).await);
        let advance = format!("SELECT pg_replication_slot_advance('{ours}', pg_current_wal_lsn())");
        way.statement_is("slot held", Step::AdvanceSlot, &advance).await;
        // Who holds it is asked for.
        let sql = way.connector.sql(&way.to).await.unwrap();
        let said = Diagnosis { class: Class::Held, trouble: said };
        let said = slotd::postgres::slot_trouble::with_holder(said, &ours, &sql, &way.connector).await.trouble;
        assert!(said.sentence.ends_with("(slotd/test) from 127.0.0.1") && said.holder.is_some(), "{said:?}");

        let modest = Way::at(cluster.port(), &dbname, &format!("{dbname}_modest"));
        let said = modest.statement_is("no right to advance", Step::AdvanceSlot, &advance).await;
        assert_eq!(to_run(&said.hint), format!("ALTER ROLE {dbname}_modest REPLICATION"));

        let elsewhere = Way::at(cluster.port(), &other, "postgres");
        elsewhere.connector.replication(&elsewhere.to).await.unwrap().create_slot(&theirs).await.unwrap();
        way.starting_is("slot not usable", &theirs).await;
        let drop = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{theirs}' AND NOT \
             active; SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{theirs}'"
        );
        cluster.await_value("postgres", &drop, "0").await;
    }
    all_were_provoked("what_is_said_of_slots");
}

#[tokio::test]
async fn what_is_said_of_streams() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let dbname = cluster.create_database().await;
        cluster.execute(&dbname, "CREATE TABLE t (id int PRIMARY KEY)").await;
        let way = Way::at(cluster.port(), &dbname, "postgres");
        let (ours, publication) = (slot(&dbname), PublicationName::new("nosuch").unwrap());
        let mut session = way.connector.replication(&way.to).await.unwrap();
        session.create_slot(&ours).await.unwrap();
        let (mut reader, _writer) = session.start(&ours, &publication, Lsn::default()).await.unwrap();
        let end =
            format!("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{ours}'");
        cluster.await_value("postgres", &end, "t").await;
        way.of_replication("ended by an administrator", Step::Stream, reader.drain().await);

        // From 18 on it warns and leaves the rows out: tests/it/lost.rs has what is made of that.
        if major < 18 {
            let free = format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{ours}'");
            cluster.await_value("postgres", &free, "f").await;
            let session = way.connector.replication(&way.to).await.unwrap();
            let (mut reader, _writer) = session.start(&ours, &publication, Lsn::default()).await.unwrap();
            cluster.execute(&dbname, "INSERT INTO t VALUES (1)").await;
            way.of_replication("publication gone", Step::Stream, reader.drain().await);
        }
    }
    all_were_provoked("what_is_said_of_streams");
}

#[tokio::test]
async fn what_is_said_of_the_rest() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let dbname = cluster.create_database().await;
        let role = format!("{dbname}_modest");
        let sql = format!("CREATE ROLE {role} LOGIN REPLICATION; REVOKE SELECT ON pg_publication FROM public");
        cluster.execute(&dbname, &sql).await;
        let (way, modest) = (Way::at(cluster.port(), &dbname, "postgres"), Way::at(cluster.port(), &dbname, &role));
        let publication = PublicationName::new("p").unwrap();
        let session = modest.connector.sql(&modest.to).await.unwrap();
        let looked = publication::publication(&session, &publication).await.map(drop);
        modest.of_sql("another privilege", Step::Observe, looked);

        let locker = cluster.connect(&dbname).await;
        locker.batch_execute("BEGIN; LOCK TABLE pg_publication IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let session = way.connector.sql(&way.to).await.unwrap();
        session.run("lock_timeout", "SET lock_timeout = '10ms'").await.unwrap();
        let looked = publication::publication(&session, &publication).await.map(drop);
        way.of_sql("locked", Step::Observe, looked);
        session.run("timeouts", "SET lock_timeout = 0; SET statement_timeout = '10ms'").await.unwrap();
        let looked = publication::publication(&session, &publication).await.map(drop);
        way.of_sql("cancelled", Step::Observe, looked);
        locker.batch_execute("COMMIT").await.unwrap();

        let making = Step::CreatePublication;
        let sql = "CREATE PUBLICATION p FOR NOTHING";
        way.statement_is("a statement that the server does not take", making, sql).await;
        let guarded = "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                           RAISE EXCEPTION 'not on a Friday' USING HINT = 'ask the owners';
                       END $$;
                       CREATE EVENT TRIGGER no ON ddl_command_start EXECUTE FUNCTION no()";
        cluster.execute(&dbname, guarded).await;
        let said = way.statement_is("unknown", making, "CREATE PUBLICATION p FOR ALL TABLES").await;
        assert!(said.hint.starts_with("the server says: ask the owners; else "), "{said:?}");
    }
    all_were_provoked("what_is_said_of_the_rest");
}

/// The row of docs/ERRORS.md.
fn shown(row: &Row) -> String {
    let class = match row.class {
        Class::Retry => "`retrying`",
        Class::Operator if row.case == "publication gone" => "`lost`",
        Class::Operator => "`failed`",
        Class::Held => "`waiting`",
    };
    let at = row.at.iter().map(|step| step.as_str()).collect::<Vec<_>>().join(", ");
    let at = if at.is_empty() { "anywhere" } else { &at };
    let code = match row.sqlstate {
        "" => "any other".to_owned(),
        class if class.len() == 2 => format!("other {class}…"),
        code => code.to_owned(),
    };
    let words = |text: &str| {
        text.replace("{user}", "keeper")
            .replace("{database}", "shop")
            .replace("{hba_line}", "hostssl shop keeper 10.0.0.7/32 scram-sha-256")
            .replace("{credentials}", "correct the password where it stands")
            .replace("{encryption}", "")
            .replace("{known}", "…")
            .replace('|', "\\|")
    };
    format!("| {code} | {at} | {class} | {} | {} |\n", words(row.means), words(row.hint))
}

#[test]
fn the_page_shows_the_table_and_each_row_has_a_test_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = fs::read_to_string(root.join("tests/it/errors.rs")).unwrap();
    let page = fs::read_to_string(root.join("docs/ERRORS.md")).unwrap();
    let mut wanted = String::from("| SQLSTATE | where | state | what it means | what to do |\n|---|---|---|---|---|\n");
    for row in ROWS {
        wanted += &shown(row);
        match row.proof {
            Proof::Test(name, _) => {
                let (_, test) = tests.split_once(&format!("async fn {name}()")).expect(name);
                let body = test.split_once("\n}\n").unwrap().0;
                assert!(body.contains(&format!("\"{}\"", row.case)), "{name} does not provoke {}", row.case);
            }
            Proof::Not(reason) => assert!(!reason.is_empty(), "{}", row.case),
        }
    }
    let renewed = [wanted, provoked()].iter().fold(page.clone(), |page, table| {
        let head = table.lines().next().unwrap();
        let at = page.find(head).unwrap_or_else(|| panic!("docs/ERRORS.md has no table {head}"));
        let end = page[at..].find("\n\n").map_or(page.len(), |end| at + end + 1);
        format!("{}{table}{}", &page[..at], &page[end..])
    });
    if std::env::var_os("SLOTD_WRITE_DOCS").is_some() {
        fs::write(root.join("docs/ERRORS.md"), renewed).unwrap();
    } else {
        assert!(
            page == renewed,
            "docs/ERRORS.md is old: SLOTD_WRITE_DOCS=1 cargo test --test it the_page writes\n{renewed}"
        );
    }
}

/// Where each row was provoked, or why it was not.
fn provoked() -> String {
    let mut text = String::from("| SQLSTATE | case | 15 | 16 | 17 | 18 |\n|---|---|---|---|---|---|\n");
    for row in ROWS {
        let code = match row.sqlstate {
            "" => "any other".to_owned(),
            class if class.len() == 2 => format!("other {class}…"),
            code => code.to_owned(),
        };
        let cells = match row.proof {
            Proof::Test(_, versions) => {
                VERSIONS.map(|version| if versions.contains(&version) { "yes" } else { "no" }).join(" | ")
            }
            Proof::Not(reason) => format!("{} | | | ", reason.replace('|', "\\|")),
        };
        text += &format!("| {code} | {} | {cells} |\n", row.case);
    }
    text
}
