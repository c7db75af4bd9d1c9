//! `slotd init`: what it writes is right, and streams.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Cluster, Slotd};

fn url(cluster: &Cluster, user: &str, dbname: &str) -> String {
    format!("postgresql://{user}@127.0.0.1:{}/{dbname}?sslmode=disable", cluster.port())
}

/// A slotd without a file.
fn bare() -> Slotd {
    let slotd = Slotd::new("");
    fs::remove_file(slotd.config_path()).unwrap();
    slotd
}

async fn says(slotd: &Slotd, args: &[&str], exit: i32) -> String {
    let (status, said) = slotd.command_output(args).await;
    assert_eq!(status.code(), Some(exit), "{args:?}\n{said}");
    said
}

#[tokio::test]
async fn the_file_that_is_written_is_right_and_streams() {
    for major in [15, 18] {
        let cluster = Cluster::shared(major);
        let dbname = cluster.create_database().await;
        let tables = "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE \"Odd one\" (id int PRIMARY KEY); \
                      CREATE TABLE log (line text)";
        cluster.execute(&dbname, tables).await;
        let mut slotd = bare();
        let said = says(&slotd, &["init", &url(cluster, "postgres:it's$ecret%40", &dbname), "--yes"], 0).await;
        assert!(said.contains("public.log (8 kB, without a usable replica identity"), "{said}");
        assert!(!said.contains("ecret"), "{said}");
        let text = fs::read_to_string(slotd.config_path()).unwrap();
        assert!(
            !text.contains("ecret") && text.contains(r#"tables = ["public.\"Odd one\"", "public.orders"]"#),
            "{text}"
        );
        let name = dbname.as_str();
        let password = slotd.path(&format!("{name}.password"));
        assert_eq!(fs::read_to_string(&password).unwrap(), "it's$ecret@\n");
        assert_eq!(fs::metadata(&password).unwrap().permissions().mode() & 0o777, 0o600);
        says(&slotd, &["check", "--connect"], 0).await;
        // Other tests have the port that it would listen on.
        slotd.configure(&text);
        slotd.start();
        slotd.await_state(name, "streaming").await;
        cluster.execute(&dbname, "INSERT INTO \"Odd one\" VALUES (1)").await;
        slotd.await_lines(name, 1).await;
        // What is there is not replaced.
        let said = says(&slotd, &["init", &url(cluster, "postgres", &dbname), "--yes"], 1).await;
        assert!(said.contains("is there already") && said.contains("--print"), "{said}");
        assert!(fs::read_to_string(slotd.config_path()).unwrap().ends_with(&text));
        let said = says(&slotd, &["init", &url(cluster, "postgres:secret", &dbname), "--print"], 0).await;
        let shouted = name.to_ascii_uppercase();
        assert!(
            said.contains(&format!("//postgres:${{{shouted}_PASSWORD}}@127.0.0.1")) && !said.contains("secret"),
            "{said}"
        );
        assert!(said.contains(&format!("the publication slotd_{name} is there and is used as it is")), "{said}");
    }
}

#[tokio::test]
async fn what_will_fail_is_said_with_what_mends_it() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE orders (id int PRIMARY KEY)").await;
    let role = format!("plain_{dbname}");
    cluster.execute(&dbname, &format!("CREATE ROLE {role} LOGIN")).await;
    let slotd = bare();
    let said = says(&slotd, &["init", &url(cluster, &role, &dbname), "--yes"], 0).await;
    assert!(
        said.contains("what stands in the way") && said.contains(&format!("ALTER ROLE {role} REPLICATION;")),
        "{said}"
    );
    assert!(said.contains("public.orders (8 kB, of another owner)"), "{said}");
}

#[tokio::test]
async fn nothing_is_written_where_nothing_could_be_looked_at() {
    let cluster = Cluster::shared(18);
    let slotd = bare();
    for (url, exit, words) in [
        ("postgresql://slotd@127.0.0.1:1/shop?sslmode=disable".to_owned(), 69, "connection refused"),
        (url(cluster, "postgres", "nosuch"), 69, "does not exist"),
        (format!("postgresql://postgres@127.0.0.1:{}/postgres", cluster.port()), 69, "does not offer TLS"),
        ("mysql://slotd@127.0.0.1/shop".to_owned(), 64, "begins with `postgresql://`"),
        ("postgresql://slotd@127.0.0.1/shop?sslmode=prefer".to_owned(), 64, "never falls back"),
    ] {
        let said = says(&slotd, &["init", &url, "--yes"], exit).await;
        assert!(said.contains(words) && said.contains("hint: "), "{url}: {said}");
        assert!(!slotd.config_path().exists());
    }
}

/// On a terminal of its own, where a password is typed unseen.
#[tokio::test]
async fn questions_are_asked_on_a_terminal_and_each_has_a_default() {
    let cluster = Cluster::shared(15);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE items (id int PRIMARY KEY)").await;
    let mut slotd = bare();
    // Each answer is given once it is asked for.
    let answers = "{ sleep_until 'password: ' && printf 'hunter2\\n'; sleep_until 'name of the entry' && printf 'shop\\n'; \
                   sleep_until 'or all' && printf 'orders\\n'; sleep_until 'may retain' && printf '\\n'; cat; }";
    let program = env!("CARGO_BIN_EXE_slotd");
    let init = format!("{program} init '{}'", url(cluster, "postgres", &dbname));
    let script = format!(
        "sleep_until() {{ until grep -q \"$1\" typescript 2>/dev/null; do sleep 0.05; done; }}; \
         {answers} | timeout 60 script -qefc \"{init}\" typescript > /dev/null; cat typescript"
    );
    let wrapper = ["sh", "-c", &script].map(str::to_owned);
    let (_, said) = slotd.command_by(&wrapper, &[]).await;
    assert!(said.contains("wrote ") && !said.contains("hunter2"), "{said}");
    let text = fs::read_to_string(slotd.config_path()).unwrap();
    assert!(text.contains("name = \"shop\"") && text.contains("tables = [\"orders\"]"), "{text}");
    assert!(text.contains("max_retained_wal = \"10GB\""), "{text}");
    assert_eq!(fs::read_to_string(slotd.path("shop.password")).unwrap(), "hunter2\n");
    slotd.configure(&text);
    slotd.start();
    slotd.await_state("shop", "streaming").await;
}
