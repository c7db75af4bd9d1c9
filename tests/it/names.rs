//! From a name to the server, on hosts whose network and name servers do what the test wants.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use slotd::config;
use slotd::net::resolve::{Families, Resolver};
use slotd::postgres::Connector;
use tokio::time::Instant;

use crate::support::{
    Authority, Cluster, HERE_V4, HERE_V6, HOLE_V4, HOLE_V6, LINK_LOCAL, NameServer, Network, Options, Said, Slotd,
    children_of, on_a_host,
};

/// A server on all addresses of the host.
fn cluster() -> Cluster {
    let options = Options { hba: vec!["host all all all trust".to_owned()], ..Options::default() };
    Cluster::start(18, &options.set("listen_addresses", "*"))
}

/// An entry `name` for a server known as `hostname`, with further keys.
fn entry(cluster: &Cluster, name: &str, hostname: &str, keys: &str) -> String {
    let entry = cluster.entry("postgres").replace("name = \"postgres\"\nhost", &format!("name = \"{name}\"\nhost"));
    format!("{}{keys}\n", entry.replace("127.0.0.1", hostname))
}

/// How long an attempt runs alone: RFC 8305, section 8.
const STAGGER: Duration = Duration::from_millis(250);

fn connector() -> Connector {
    let patience = Duration::from_secs(10);
    Connector::new(Resolver::new(config::Resolver::Hickory), patience, patience, "slotd/test".to_owned())
}

/// All addresses of `host`, or why there is none.
async fn look_up(resolver: &Resolver, host: &str) -> Result<Vec<String>, String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let answers: Vec<_> = resolver.lookup(host, 5432, Families::Both, deadline).collect().await;
    let mut addresses: Vec<SocketAddr> = answers.iter().flatten().flatten().copied().collect();
    addresses.sort();
    match answers.into_iter().find_map(Result::err) {
        Some(error) if addresses.is_empty() => Err(error.to_string()),
        _ => Ok(addresses.iter().map(|address| address.ip().to_string()).collect()),
    }
}

/// The family of the addresses that the streams come from.
async fn families(cluster: &Cluster) -> String {
    let sql = "SELECT string_agg(DISTINCT family(client_addr)::text, ',') FROM pg_stat_replication";
    cluster.value("postgres", sql).await.unwrap_or_default()
}

#[test]
fn a_name_leads_to_its_server_by_the_families_it_has() {
    on_a_host(Network::Both, async |_| {
        let server = NameServer::at("127.0.0.53").await;
        server.has("four.test", &[HERE_V4]);
        server.has("six.test", &[HERE_V6]);
        server.has("both.test", &[HERE_V4, HERE_V6]);
        let cluster = cluster();
        for (name, keys, family) in
            [("four.test", "", "4"), ("six.test", "", "6"), ("both.test", "", "6"), ("both.test", "ipv6 = true", "6")]
        {
            let mut slotd = Slotd::run(&entry(&cluster, "shop", name, keys));
            slotd.await_state("shop", "streaming").await;
            assert_eq!(families(&cluster).await, family, "{name} {keys}");
            assert!(slotd.sigterm().await.success());
        }
        assert_eq!(server.asked("four.test", RecordType::A), 1, "an answer is kept for its TTL");
    });
}

#[test]
fn an_address_that_lives_is_reached_beside_one_that_swallows_everything() {
    on_a_host(Network::Both, async |_| {
        let server = NameServer::at("127.0.0.53").await;
        server.has("db.test", &[HOLE_V6, HERE_V4]);
        let authority = Authority::new();
        let options = Options {
            certificate: Some(authority.leaf(&["db.test"])),
            hba: vec!["hostssl all all all trust".to_owned()],
            ..Options::default()
        };
        let cluster = Cluster::start(18, &options.set("listen_addresses", "*"));
        let entry = entry(&cluster, "shop", "db.test", "").replace("ssl = false", "ssl_root_cert = \"root.pem\"");
        // Each connection has to stand, and be logged in, within this second.
        let mut slotd = Slotd::new(&format!("agent.connect_timeout = \"1s\"\n{entry}"));
        let root = slotd.config_path().with_file_name("root.pem");
        fs::write(&root, authority.pem()).unwrap();
        slotd.start();
        slotd.await_state("shop", "streaming").await;
        assert_eq!(families(&cluster).await, "4");

        let text = format!("agent.state_dir = \"/nowhere\"\n{entry}");
        let config = config::parse(&slotd.config_path(), &text, &|_| None).unwrap();
        let begun = Instant::now();
        connector().sql(&config.databases[0].connection).await.unwrap();
        let taken = begun.elapsed();
        assert!(taken >= STAGGER && taken < STAGGER * 10, "{taken:?}");
    });
}

#[test]
fn an_answer_that_never_comes_holds_up_no_address() {
    on_a_host(Network::Both, async |_| {
        let server = NameServer::at("127.0.0.53").await;
        server.has("db.test", &[HERE_V4]);
        server.says("db.test", RecordType::AAAA, Said::Nothing);
        let cluster = cluster();
        let text = format!("agent.connect_timeout = \"1s\"\n{}", entry(&cluster, "shop", "db.test", ""));
        let mut slotd = Slotd::run(&text);
        slotd.await_state("shop", "streaming").await;
    });
}

#[test]
fn each_way_to_fail_has_words_of_its_own() {
    on_a_host(Network::NoIpv6Route, async |_| {
        let server = NameServer::at("127.0.0.53").await;
        server.has("none.test", &[]);
        server.has("four.test", &[HERE_V4]);
        server.has("six.test", &[HERE_V6]);
        server.has("hole.test", &[HOLE_V4]);
        server.has("half.test", &[HOLE_V4]);
        server.says("half.test", RecordType::AAAA, Said::Nothing);
        for kind in [RecordType::A, RecordType::AAAA] {
            server.says("sick.test", kind, Said::Code(ResponseCode::ServFail));
            server.says("refused.test", kind, Said::Code(ResponseCode::Refused));
            server.says("mute.test", kind, Said::Nothing);
        }
        let cluster = cluster();
        let cases = [
            ("nosuch.test", "", "there is no name \"nosuch.test\", says the name server 127.0.0.53 (NXDOMAIN)"),
            ("none.test", "", "has no address, says the name server 127.0.0.53"),
            ("four.test", "ipv6 = true", "has no IPv6 address, says the name server 127.0.0.53"),
            ("sick.test", "", "the name server 127.0.0.53 answered SERVFAIL"),
            ("refused.test", "", "the name server 127.0.0.53 answered REFUSED"),
            ("mute.test", "", "the name server 127.0.0.53 did not answer"),
            ("six.test", "", "has IPv6 addresses only, and this host has no IPv6 route"),
            ("six.test", "ipv6 = true", "this host has no IPv6 route"),
            ("hole.test", "", "timed out"),
            (
                "half.test",
                "",
                "timed out; the IPv6 addresses of \"half.test\" are not known: the name server 127.0.0.53 did not answer",
            ),
        ];
        let mut text = "agent.connect_timeout = \"2s\"\n".to_owned();
        for (at, (name, keys, _)) in cases.iter().enumerate() {
            text.push_str(&entry(&cluster, &format!("db{at}"), name, keys));
        }
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/BAD_DAY.md")).unwrap();
        let mut slotd = Slotd::run(&text);
        for (at, (name, keys, words)) in cases.iter().enumerate() {
            let health = slotd.await_state(&format!("db{at}"), "retrying").await;
            let [sentence, hint] = ["sentence", "hint"].map(|key| health[key].as_str().unwrap());
            assert_eq!(health["reason"], "connection", "{health:#}");
            assert!(sentence.contains(words), "{name} {keys}: {health:#}");
            let block = format!("{sentence}\nhint: {hint}\n")
                .replace(name, "db.example.com")
                .replace("127.0.0.53", "10.0.0.53")
                .replace(&cluster.port().to_string(), "5432");
            assert!(page.contains(&format!("```text\n{block}```\n")), "docs/BAD_DAY.md does not show\n{block}");
        }
    });
}

#[test]
fn resolv_conf_and_hosts_are_read_again_when_they_change() {
    on_a_host(Network::Both, async |host| {
        let (first, second) = (NameServer::at("127.0.0.53").await, NameServer::at("127.0.0.54").await);
        second.has("db.test", &[HERE_V4]);
        let cluster = cluster();
        let entries = ["db.test", "hosted.test"].map(|name| entry(&cluster, name, name, ""));
        let mut slotd = Slotd::run(&entries.concat());
        let health = slotd.await_state("db.test", "retrying").await;
        assert!(health["sentence"].as_str().unwrap().contains("127.0.0.53 (NXDOMAIN)"), "{health:#}");
        host.write("resolv.conf", "nameserver 127.0.0.54\n");
        slotd.await_state("db.test", "streaming").await;

        slotd.await_state("hosted.test", "retrying").await;
        host.write("hosts", &format!("{HERE_V4} hosted.test\n"));
        slotd.await_state("hosted.test", "streaming").await;

        host.write("resolv.conf", "# nothing is left of it\n");
        let asked_before = first.asked("later.test", RecordType::A);
        second.has("later.test", &[HERE_V4]);
        let ipv6_of_hosts = entry(&cluster, "six", "hosted.test", "ipv6 = true");
        slotd.configure(&[&entries.concat(), &*entry(&cluster, "later", "later.test", ""), &ipv6_of_hosts].concat());
        slotd.sighup();
        slotd.await_state("later", "streaming").await;
        assert_eq!(first.asked("later.test", RecordType::A), asked_before);
        let told = "/etc/resolv.conf names no name server";
        assert_eq!(slotd.log().matches(told).count(), 1, "{}", slotd.log());
        let health = slotd.await_state("six", "retrying").await;
        assert_eq!(health["sentence"], "the name \"hosted.test\" has no IPv6 address, says /etc/hosts");
    });
}

#[test]
fn a_host_without_name_servers_starts_all_the_same() {
    on_a_host(Network::Both, async |host| {
        host.sh("rm /etc/resolv.conf");
        let cluster = cluster();
        let mut slotd =
            Slotd::run(&[entry(&cluster, "literal", HERE_V4, ""), entry(&cluster, "name", "db.test", "")].concat());
        slotd.await_state("literal", "streaming").await;
        let health = slotd.await_state("name", "retrying").await;
        let sentence =
            "the name \"db.test\" can't be resolved: /etc/resolv.conf can't be read: no such file or directory";
        assert_eq!(health["sentence"], sentence);
        assert!(health["hint"].as_str().unwrap().contains("`nameserver ADDRESS`"), "{health:#}");
    });
}

#[test]
fn no_answer_is_kept_past_its_ttl() {
    on_a_host(Network::Both, async |_| {
        const TTL: Duration = Duration::from_secs(1);
        let server = NameServer::at("127.0.0.53").await;
        let says = |ip: &str| server.says("db.test", RecordType::A, Said::Addresses(vec![ip.parse().unwrap()], 1));
        server.says("db.test", RecordType::AAAA, Said::Addresses(Vec::new(), 1));
        says(HERE_V4);
        let resolver = Resolver::new(config::Resolver::Hickory);
        assert_eq!(look_up(&resolver, "db.test").await.unwrap(), [HERE_V4]);
        let answered = Instant::now();
        assert_eq!(look_up(&resolver, "db.test").await.unwrap(), [HERE_V4]);
        assert_eq!(server.asked("db.test", RecordType::A), 1, "within its TTL an answer is not asked for again");
        says(HOLE_V4);
        loop {
            let begun = Instant::now();
            if look_up(&resolver, "db.test").await.unwrap() == [HOLE_V4] {
                break;
            }
            assert!(begun - answered <= TTL, "an answer of {TTL:?} was given after {:?}", begun - answered);
        }
    });
}

#[test]
fn a_short_name_is_looked_for_where_search_and_ndots_say() {
    on_a_host(Network::Both, async |host| {
        host.write("resolv.conf", "search corp.test test\noptions ndots:2\nnameserver 127.0.0.53\n");
        let server = NameServer::at("127.0.0.53").await;
        server.has("db.corp.test", &[HERE_V4]);
        // Another host, whose address is none of the first one's.
        server.has("db.test", &[HOLE_V6]);
        let resolver = Resolver::new(config::Resolver::Hickory);
        assert_eq!(look_up(&resolver, "db").await.unwrap(), [HERE_V4]);
        assert_eq!(server.names_asked(), ["db.corp.test"]);
        assert_eq!(look_up(&resolver, "db.corp").await.unwrap(), [HERE_V4]);
        assert_eq!(server.names_asked(), ["db.corp.test", "db.corp.corp.test"]);
        let sentence = "there is no name \"nosuch\" (asked for: nosuch.corp.test, nosuch.test, nosuch), says the name server \
                        127.0.0.53 (NXDOMAIN)";
        assert_eq!(look_up(&resolver, "nosuch").await.unwrap_err(), sentence);
    });
}

#[test]
fn name_servers_are_asked_in_their_order_and_a_dead_one_stops_nothing() {
    on_a_host(Network::Both, async |host| {
        host.write("resolv.conf", &format!("nameserver {HOLE_V4}\nnameserver 127.0.0.53\n"));
        let server = NameServer::at("127.0.0.53").await;
        server.has("db.test", &[HERE_V4]);
        for kind in [RecordType::A, RecordType::AAAA] {
            server.says("sick.test", kind, Said::Code(ResponseCode::ServFail));
        }
        let cluster = cluster();
        let entries = ["db.test", "nosuch.test", "sick.test"].map(|name| entry(&cluster, name, name, ""));
        let mut slotd = Slotd::run(&format!("agent.connect_timeout = \"3s\"\n{}", entries.concat()));
        slotd.await_state("db.test", "streaming").await;
        let sentence = slotd.await_state("nosuch.test", "retrying").await["sentence"].to_string();
        assert!(sentence.contains("says the name server 127.0.0.53 (NXDOMAIN)"), "{sentence}");
        let sentence = slotd.await_state("sick.test", "retrying").await["sentence"].to_string();
        let each = "the name server 127.0.0.53 answered SERVFAIL; the name server 192.0.2.66 did not answer";
        assert!(sentence.contains(each), "{sentence}");
        assert!(slotd.sigterm().await.success());

        // Here the first is never in doubt, and the second knows nothing.
        host.write("resolv.conf", "nameserver 127.0.0.53\nnameserver 127.0.0.54\n");
        let second = NameServer::at("127.0.0.54").await;
        let mut slotd = Slotd::run(&entry(&cluster, "db.test", "db.test", ""));
        slotd.await_state("db.test", "streaming").await;
        assert_eq!(second.names_asked(), Vec::<String>::new());
    });
}

#[test]
fn a_name_server_that_was_slow_once_is_believed_again() {
    on_a_host(Network::Both, async |host| {
        host.write("resolv.conf", "nameserver 127.0.0.53\nnameserver 127.0.0.54\n");
        let (first, second) = (NameServer::at("127.0.0.53").await, NameServer::at("127.0.0.54").await);
        let late = |name: &str, millis| {
            for (kind, addresses) in [(RecordType::A, vec![HERE_V4.parse().unwrap()]), (RecordType::AAAA, Vec::new())] {
                first.says_late(name, kind, Duration::from_millis(millis), Said::Addresses(addresses, 60));
            }
        };
        late("slow.test", 1500);
        // Slower than one that is in doubt is waited for, and quicker than one that is not.
        for name in 0..200 {
            late(&format!("db{name}.test"), 300);
        }
        let resolver = Resolver::new(config::Resolver::Hickory);
        let sentence = look_up(&resolver, "slow.test").await.unwrap_err();
        assert!(sentence.contains("127.0.0.54 (NXDOMAIN)"), "{sentence}");
        assert_eq!(second.asked("slow.test", RecordType::A), 1);
        for name in 0..200 {
            match look_up(&resolver, &format!("db{name}.test")).await {
                Ok(addresses) => return assert_eq!(addresses, [HERE_V4]),
                Err(sentence) => assert!(sentence.contains("NXDOMAIN"), "{sentence}"),
            }
        }
        panic!("the first name server is never believed again");
    });
}

#[test]
fn an_answer_that_is_too_long_for_udp_is_asked_for_by_tcp() {
    on_a_host(Network::Both, async |_| {
        let server = NameServer::at("127.0.0.53").await;
        let addresses: Vec<String> = (1..=200).map(|number| format!("127.1.1.{number}")).collect();
        server.has("many.test", &addresses.iter().map(String::as_str).collect::<Vec<_>>());
        let mut found = look_up(&Resolver::new(config::Resolver::Hickory), "many.test").await.unwrap();
        found.sort_by_key(|ip| ip.rsplit('.').next().unwrap().parse::<u8>().unwrap());
        assert_eq!(found, addresses);
        assert_eq!(server.asked("many.test", RecordType::A), 2, "by UDP, and then by TCP");
    });
}

#[test]
fn hundreds_of_names_are_resolved_at_once() {
    on_a_host(Network::Both, async |_| {
        let server = NameServer::at("127.0.0.53").await;
        let names: Vec<_> = (0..500).map(|number| format!("db{number}.test")).collect();
        for name in &names {
            server.says_late(
                name,
                RecordType::A,
                Duration::from_millis(20),
                Said::Addresses(vec![HERE_V4.parse().unwrap()], 60),
            );
        }
        let resolver = Resolver::new(config::Resolver::Hickory);
        for found in join_all(names.iter().map(|name| look_up(&resolver, name))).await {
            assert_eq!(found.unwrap(), [HERE_V4]);
        }
    });
}

#[test]
fn addresses_may_have_brackets_and_a_zone() {
    on_a_host(Network::Both, async |_| {
        let cluster = cluster();
        let index = fs::read_to_string("/sys/class/net/out/ifindex").unwrap_or_else(|_| "3".to_owned());
        let literals = [
            HERE_V6.to_owned(),
            format!("[{HERE_V6}]"),
            format!("{LINK_LOCAL}%out"),
            format!("[{LINK_LOCAL}%out]"),
            format!("{LINK_LOCAL}%{}", index.trim()),
        ];
        let mut text = entry(&cluster, "odd", &format!("{LINK_LOCAL}%elsewhere"), "");
        for (at, literal) in literals.iter().enumerate() {
            text.push_str(&entry(&cluster, &format!("db{at}"), literal, "ipv6 = true"));
        }
        let mut slotd = Slotd::run(&text);
        for (at, literal) in literals.iter().enumerate() {
            println!("{literal}");
            slotd.await_state(&format!("db{at}"), "streaming").await;
        }
        let health = slotd.await_state("odd", "retrying").await;
        assert_eq!(health["sentence"], "the interface \"elsewhere\" of fe80::1 does not exist on this host");
    });
}

const SYSTEM: &str = "agent.resolver = \"system\"\nagent.connect_timeout = \"2s\"\n";

#[test]
fn the_system_is_asked_where_the_file_says_so() {
    on_a_host(Network::Both, async |host| {
        let server = NameServer::at("127.0.0.53").await;
        server.has("four.test", &[HERE_V4]);
        server.has("six.test", &[HERE_V6]);
        host.write("hosts", &format!("{HERE_V4} hosted\n"));
        // Left alone, getent would wait for the mute server for minutes.
        host.write("resolv.conf", "nameserver 127.0.0.53\noptions timeout:30 attempts:5\n");
        for kind in [RecordType::A, RecordType::AAAA] {
            server.says("mute.test", kind, Said::Nothing);
        }
        let cluster = cluster();
        let cases = [
            ("four.test", "", None),
            ("six.test", "ipv6 = true", None),
            ("hosted", "", None),
            (
                "four.test",
                "ipv6 = true",
                Some("this system knows no IPv6 address of the name \"four.test\", says `getent ahostsv6 four.test`"),
            ),
            (
                "nosuch.test",
                "",
                Some("this system knows no address of the name \"nosuch.test\", says `getent ahosts nosuch.test`"),
            ),
            (
                "mute.test",
                "",
                Some("the name \"mute.test\" can't be resolved: `getent ahosts mute.test` did not answer in time"),
            ),
        ];
        let mut text = SYSTEM.to_owned();
        for (at, (name, keys, _)) in cases.iter().enumerate() {
            text.push_str(&entry(&cluster, &format!("db{at}"), name, keys));
        }
        let mut slotd = Slotd::run(&text);
        for (at, (name, keys, sentence)) in cases.iter().enumerate() {
            let state = if sentence.is_some() { "retrying" } else { "streaming" };
            let health = slotd.await_state(&format!("db{at}"), state).await;
            println!("{name} {keys}\n  {}\n  -> {}", health["sentence"], health["hint"]);
            if let Some(sentence) = sentence {
                assert_eq!(health["sentence"], *sentence);
            }
        }

        // The one that waits for the mute server ends with its time, while slotd runs.
        slotd.configure(&format!("{SYSTEM}{}", entry(&cluster, "db0", "four.test", "")));
        slotd.sighup();
        let pid = slotd.pid().unwrap();
        slotd.await_until("db0", |_| children_of(pid).unwrap().is_empty()).await;
    });
}

#[test]
fn a_system_without_getent_is_told_so() {
    on_a_host(Network::Both, async |_| {
        let cluster = cluster();
        let mut slotd = Slotd::new(&format!("{SYSTEM}{}", entry(&cluster, "shop", "db.test", "")));
        slotd.set_env("PATH", "/nowhere");
        slotd.start();
        let health = slotd.await_state("shop", "retrying").await;
        let sentence =
            "the name \"db.test\" can't be resolved: this host has no `getent`, which `resolver = \"system\"` asks";
        assert_eq!(health["sentence"], sentence);
        assert!(health["hint"].as_str().unwrap().contains("libc-bin"), "{health:#}");
    });
}
