//! TLS: what works, and what is said where it does not. The words stand in one table, and docs/TLS.md shows the same.

mod table;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, SerialNumber, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use slotd::postgres::trouble::Diagnosis;
use slotd::status::Reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};
use tokio_util::task::AbortOnDropHandle;

use self::table::TABLE;
use crate::login::{declared, logins};
use crate::support::{Authority, Cluster, Options, Slotd};

const PASSWORD: &str = "corr3ct-h0rse";

/// What slotd is given: its files, in a folder of their own.
struct Files(tempfile::TempDir);

impl Files {
    fn new(authority: &Authority) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.put("root.pem", &authority.pem());
        files
    }

    fn put(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The entry of a database that uses them; file names in `keys` are theirs.
    fn entry(&self, port: u16, keys: &str) -> String {
        let keys = keys.replace("= '", &format!("= '{}/", self.0.path().display()));
        let password = if keys.contains("ssl_cert") { String::new() } else { format!("password = \"{PASSWORD}\"\n") };
        format!(
            "[[postgres_databases]]\nname = \"db\"\nhostname = \"127.0.0.1\"\nport = {port}\ndatabase = \"postgres\"\n\
             username = \"keeper\"\n{password}{keys}\n"
        )
    }

    /// Both kinds of session are refused, in the words of the table.
    async fn refused(&self, case: &str, port: u16, keys: &str) {
        for said in logins(&declared(&self.entry(port, keys))).await {
            let said = said.unwrap_or_else(|| panic!("{case}: let in"));
            self.told(case, &said, port);
        }
    }

    fn told(&self, case: &str, said: &Diagnosis, port: u16) {
        let row = TABLE.iter().find(|(name, ..)| *name == case).unwrap_or_else(|| panic!("{case} is not in the table"));
        let shown = |text: &str| {
            let text = text
                .replace(&format!("127.0.0.1:{port}"), "db.example.com:5432")
                .replace(&self.0.path().display().to_string(), "/etc/slotd");
            // How long ago it is depends on the day.
            let mut words: Vec<_> = text.split(' ').map(str::to_owned).collect();
            for at in 1..words.len() {
                if words[at].starts_with("days") && words[at - 1].parse::<u64>().is_ok() {
                    words[at - 1] = "5".to_owned();
                }
            }
            words.join(" ")
        };
        let (sentence, hint) = (shown(&said.trouble.sentence), shown(&said.trouble.hint));
        assert_eq!((sentence.as_str(), hint.as_str()), (row.1, row.2), "{case}");
    }

    async fn let_in(&self, port: u16, keys: &str) {
        for said in logins(&declared(&self.entry(port, keys))).await {
            assert!(said.is_none(), "{said:?}");
        }
    }
}

const ROOT: &str = "ssl_root_cert = 'root.pem'";

/// A cluster that takes `keeper` over TLS alone, as `hba` says.
async fn cluster(major: u32, certificate: (String, String), hba: &str, settings: &[(&str, &str)]) -> Cluster {
    let options = Options {
        certificate: Some(certificate),
        hba: vec![format!("hostssl all all all {hba}")],
        ..Options::default()
    };
    let options = settings.iter().fold(options, |options, (name, value)| options.set(name, value));
    let cluster = Cluster::start(major, &options);
    let role = format!("CREATE ROLE keeper SUPERUSER LOGIN REPLICATION PASSWORD '{PASSWORD}'");
    cluster.execute("postgres", &role).await;
    cluster
}

/// A certificate for a server, and its key, that openssl makes: rcgen signs by no RSA-PSS.
fn rsa_pss(hash: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let args =
        "req -x509 -newkey rsa:2048 -nodes -sigopt rsa_padding_mode:pss -subj /CN=db -keyout key.pem -out crt.pem";
    let mut openssl = Command::new("openssl");
    openssl.args(args.split(' ')).arg(format!("-{hash}")).current_dir(folder.path());
    let made = openssl.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
    (read("crt.pem"), read("key.pem"))
}

/// The server shows another certificate from now on.
async fn show(cluster: &Cluster, (chain, key): (String, String)) {
    let session = cluster.connect("postgres").await;
    let loaded =
        async || -> String { session.query_one("SELECT pg_conf_load_time()::text", &[]).await.unwrap().get(0) };
    let before = loaded().await;
    cluster.put("server.crt", &chain).unwrap();
    cluster.put("server.key", &key).unwrap();
    session.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    while loaded().await == before {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_servers_certificate_that_is_refused_is_named() {
    let authority = Authority::named("the authority");
    let files = Files::new(&authority);
    let good = || authority.leaf_with("db", &["127.0.0.1", "db.example.com"], |_| {});
    let cluster = cluster(18, good(), "scram-sha-256", &[]).await;
    let port = cluster.port();
    files.let_in(port, ROOT).await;

    let until = |year, params: &mut CertificateParams| params.not_after = date_time_ymd(year, 1, 1);
    show(&cluster, authority.leaf_with("db", &["127.0.0.1"], |params| until(2025, params))).await;
    files.refused("expired", port, ROOT).await;
    let from = |params: &mut CertificateParams| params.not_before = date_time_ymd(2099, 1, 1);
    show(&cluster, authority.leaf_with("db", &["127.0.0.1"], from)).await;
    files.refused("not valid yet", port, ROOT).await;
    show(&cluster, authority.leaf_with("db", &["db.internal", "10.0.0.1"], |_| {})).await;
    files.refused("for another name or address", port, ROOT).await;
    files.let_in(port, &format!("{ROOT}\nssl_mode = \"verify-ca\"")).await;
    show(&cluster, authority.leaf_with("db", &[], |_| {})).await;
    files.refused("for no name", port, ROOT).await;
    show(&cluster, Authority::named("a stranger").leaf_with("db", &["127.0.0.1"], |_| {})).await;
    files.refused("of an unknown authority", port, ROOT).await;
    show(&cluster, Authority::named("the authority").leaf_with("db", &["127.0.0.1"], |_| {})).await;
    files.refused("of an authority with another key", port, ROOT).await;
    show(&cluster, authority.itself()).await;
    files.refused("an authority's own", port, ROOT).await;
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "db");
    let lone = params.self_signed(&key).unwrap().pem();
    show(&cluster, (lone.clone(), key.serialize_pem())).await;
    files.refused("self-signed", port, ROOT).await;
    files.put("lone.pem", &lone);
    files.let_in(port, "ssl_root_cert = 'lone.pem'").await;
    show(&cluster, good()).await;
    files.let_in(port, ROOT).await;
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_so_is_a_list_that_does_not_tell() {
    let authority = Authority::named("the authority");
    let files = Files::new(&authority);
    let leaf = authority.leaf_with("db", &["127.0.0.1"], |params| params.serial_number = Some(SerialNumber::from(7)));
    let cluster = cluster(15, leaf, "scram-sha-256", &[]).await;
    let port = cluster.port();
    let keys = format!("{ROOT}\nssl_crl = 'crl.pem'");
    for (case, list) in [
        ("revoked", authority.crl(&[6, 7], 2090)),
        ("without a list of its issuer", Authority::named("a stranger").crl(&[], 2090)),
        ("with a list that is too old", authority.crl(&[], 2024)),
        ("with a list of another key", Authority::named("the authority").crl(&[], 2090)),
    ] {
        files.put("crl.pem", &list);
        files.refused(case, port, &keys).await;
    }
    // Through the binary, and renewed without a restart.
    files.put("crl.pem", &authority.crl(&[7], 2090));
    let mut slotd = Slotd::run(&files.entry(port, &keys));
    assert_eq!(slotd.await_state("db", "failed").await["reason"], "tls");
    files.put("crl.pem", &authority.crl(&[6], 2090));
    slotd.await_state("db", "streaming").await;
    files.let_in(port, &keys).await;
}

#[tokio::test]
async fn versions_of_tls_and_servers_without_it() {
    let authority = Authority::named("the authority");
    let files = Files::new(&authority);
    let only = |version| [("ssl_min_protocol_version", version), ("ssl_max_protocol_version", version)];
    let leaf = || authority.leaf_with("db", &["127.0.0.1"], |_| {});
    let new_enough = cluster(18, leaf(), "scram-sha-256", &only("TLSv1.2")).await;
    files.let_in(new_enough.port(), ROOT).await;
    let too_old = cluster(15, leaf(), "scram-sha-256", &only("TLSv1.1")).await;
    files.refused("too old a TLS", too_old.port(), ROOT).await;
    files.refused("no TLS at all", Cluster::shared(18).port(), ROOT).await;
    let direct = format!("{ROOT}\nssl_negotiation = \"direct\"");
    files.let_in(new_enough.port(), &direct).await;
    files.refused("direct TLS before 17", too_old.port(), &direct).await;
}

#[tokio::test]
async fn client_certificates_let_in_or_are_refused_in_words() {
    let authority = Authority::named("the authority");
    let files = Files::new(&authority);
    let keys = format!("{ROOT}\nssl_cert = 'client.crt'\nssl_key = 'client.key'");
    let give = |(chain, key): (String, String)| {
        files.put("client.crt", &chain);
        files.put("client.key", &key);
    };
    for major in [15, 18] {
        let mut cluster = cluster(major, authority.leaf_with("db", &["127.0.0.1"], |_| {}), "cert", &[]).await;
        let path = cluster.put("clients.pem", &authority.pem()).unwrap();
        cluster.execute("postgres", &format!("ALTER SYSTEM SET ssl_ca_file = '{}'", path.display())).await;
        cluster.restart();
        let port = cluster.port();
        give(authority.leaf_with("keeper", &[], |_| {}));
        files.let_in(port, &keys).await;
        files.refused("no client certificate", port, ROOT).await;
        give(authority.leaf_with("somebody", &[], |_| {}));
        files.refused("a client certificate of another user", port, &keys).await;
        give(Authority::named("a stranger").leaf_with("keeper", &[], |_| {}));
        files.refused("a client certificate of an unknown authority", port, &keys).await;
        give(authority.leaf_with("keeper", &[], |params| params.not_after = date_time_ymd(2025, 1, 1)));
        files.refused("an expired client certificate", port, &keys).await;

        // Through the binary, and renewed without a restart.
        let mut slotd = Slotd::run(&files.entry(port, &keys));
        assert_eq!(slotd.await_state("db", "failed").await["reason"], "tls");
        give(authority.leaf_with("keeper", &[], |_| {}));
        slotd.await_state("db", "streaming").await;

        // Beside a password: the server refuses either in the same words.
        let hba = "local all all trust\nhostssl all all all scram-sha-256 clientcert=verify-full\n";
        cluster.put("data/pg_hba.conf", hba).unwrap();
        cluster.restart();
        let both = format!("{keys}\npassword = \"{PASSWORD}\"");
        files.let_in(port, &both).await;
        give(authority.leaf_with("somebody", &[], |_| {}));
        for said in logins(&declared(&files.entry(port, &both))).await {
            let said = said.expect("a certificate of another user was let in").trouble;
            assert!(said.sentence.contains("28P01") && said.hint.contains("clientcert=verify-full"), "{said:?}");
        }
        give(authority.leaf_with("keeper", &[], |_| {}));

        // The same key as SEC1 has it.
        let key = files.0.path().join("client.key");
        let sec1 = Command::new("openssl").args(["pkey", "-traditional", "-in"]).arg(&key).output().unwrap().stdout;
        let sec1 = String::from_utf8(sec1).unwrap();
        assert!(sec1.starts_with("-----BEGIN EC PRIVATE KEY-----"), "{sec1}");
        files.put("client.key", &sec1);
        files.let_in(port, &both).await;
    }
    let port = Cluster::shared(18).port();
    let (_, other) = authority.leaf_with("keeper", &[], |_| {});
    let key = files.put("client.key", &other);
    files.refused("a key of another certificate", port, &keys).await;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    files.refused("a key that others can read", port, &keys).await;
    fs::remove_file(&key).unwrap();
    files.refused("a file that is missing", port, &keys).await;
}

#[tokio::test]
async fn a_login_is_bound_where_the_certificate_names_a_hash() {
    let bound = "channel_binding = \"require\"\nssl_mode = \"require\"";
    let leaf = |algorithm| Authority::signing_by("the authority", algorithm).leaf_with("db", &["127.0.0.1"], |_| {});
    let files = Files::new(&Authority::new());
    for major in [15, 18] {
        let cluster = cluster(major, leaf(&rcgen::PKCS_ECDSA_P384_SHA384), "scram-sha-256", &[]).await;
        files.let_in(cluster.port(), bound).await;
        show(&cluster, leaf(&rcgen::PKCS_ED25519)).await;
        files.refused("a certificate that can't be bound to", cluster.port(), bound).await;
        files.let_in(cluster.port(), "ssl_mode = \"require\"").await;
        show(&cluster, leaf(&rcgen::PKCS_ECDSA_P256_SHA256)).await;
        files.let_in(cluster.port(), bound).await;
        for hash in ["sha256", "sha384"] {
            show(&cluster, rsa_pss(hash)).await;
            files.let_in(cluster.port(), bound).await;
        }
    }
    let trusting = cluster(18, leaf(&rcgen::PKCS_ECDSA_P256_SHA256), "trust", &[]).await;
    files.refused("a login that is not bound", trusting.port(), bound).await;
}

/// One on loopback who is no Postgres server, and does the same with each connection.
async fn peer<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (u16, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client));
        }
    });
    (port, AbortOnDropHandle::new(serving))
}

async fn requested(client: &mut TcpStream) {
    client.read_exact(&mut [0; 8]).await.unwrap();
}

#[tokio::test]
async fn peers_that_are_no_postgres_are_found_out() {
    let authority = Authority::named("the authority");
    let files = Files::new(&authority);
    for (case, answer) in [
        ("plain text behind the yes", &b"SR\0\0\0\x08\0\0\0\0"[..]),
        ("neither yes nor no", b"H"),
        ("an answer that is an error", b"E\0\0\0\x08SFAT\0"),
    ] {
        let (port, _serving) = peer(move |mut client| async move {
            requested(&mut client).await;
            client.write_all(answer).await.unwrap();
            drop(client.read(&mut [0; 1024]).await);
        })
        .await;
        files.refused(case, port, ROOT).await;
    }
    let (port, _serving) = peer(|mut client| async move {
        requested(&mut client).await;
        client.write_all(b"S").await.unwrap();
        drop(client.read(&mut [0; 4096]).await);
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    })
    .await;
    files.refused("no TLS behind the yes", port, ROOT).await;
}

/// A TLS server of `protocols` for [`peer`].
fn acceptor(authority: &Authority, protocols: &[&[u8]]) -> Arc<ServerConfig> {
    let (chain, key) = authority.leaf_with("db", &["127.0.0.1", "localhost"], |_| {});
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

#[tokio::test]
async fn the_protocol_is_agreed_on_and_a_name_is_told_to_the_server() {
    let authority = Authority::named("the authority");
    let files = Files::new(&authority);
    let direct = format!("{ROOT}\nssl_negotiation = \"direct\"");
    for (case, protocols) in [("a proxy that agrees on no protocol", &[][..]), ("another protocol", &[&b"h2"[..]])] {
        let config = acceptor(&authority, protocols);
        let (port, _serving) = peer(move |client| {
            let acceptor = TlsAcceptor::from(Arc::clone(&config));
            async move {
                if let Ok(mut client) = acceptor.accept(client).await {
                    drop(client.read(&mut [0; 64]).await);
                }
            }
        })
        .await;
        files.refused(case, port, &direct).await;
    }
    for (hostname, told) in [("localhost", Some("localhost")), ("127.0.0.1", None)] {
        let (send, mut hello) = tokio::sync::mpsc::channel(2);
        let (port, _serving) = peer(move |client| {
            let send = send.clone();
            async move {
                let started = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), client).await.unwrap();
                let hello = started.client_hello();
                let alpn: Vec<_> = hello.alpn().unwrap().map(<[u8]>::to_vec).collect();
                send.send((hello.server_name().map(str::to_owned), alpn)).await.unwrap();
            }
        })
        .await;
        let text = files.entry(port, &direct).replace("\"127.0.0.1\"", &format!("\"{hostname}\""));
        for said in logins(&declared(&text)).await {
            assert_eq!(said.unwrap().trouble.reason, Reason::Connection);
            assert_eq!(hello.recv().await.unwrap(), (told.map(str::to_owned), vec![b"postgresql".to_vec()]));
        }
    }
}

#[test]
fn the_page_shows_the_table_and_each_row_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/TLS.md")).unwrap();
    let tests = fs::read_to_string(root.join("tests/it/tls.rs")).unwrap();
    let mut wanted = String::from("| the case | what is said | and the hint |\n|---|---|---|\n");
    for (case, sentence, hint) in TABLE {
        assert!(tests.contains(&format!("\"{case}\"")), "no test provokes {case}");
        let (sentence, hint) = (sentence.replace("db.example.com:5432: ", ""), hint.replace('|', "\\|"));
        wanted += &format!("| {case} | {sentence} | {hint} |\n");
    }
    assert!(page.contains(&wanted), "docs/TLS.md does not show\n{wanted}");
}
