use std::sync::Arc;

use super::*;
use crate::config::{
    Budget, ChannelBinding, Connection, Database, Host, Password, Provision, Scope, SslMode, SslNegotiation, Status,
};

fn good(text: &str) -> Config {
    good_with(text, &[])
}

fn one(text: &str) -> Arc<Database> {
    Arc::clone(&good(text).databases[0])
}

/// The database `Shop.eu`, with `keys` of its own, under `[defaults]` with `defaults`.
fn of(defaults: &str, keys: &str) -> String {
    format!("[defaults]\n{defaults}\n[[postgres_databases]]\nname = \"Shop.eu\"\n{keys}\n")
}

const WHERE: &str = "hostname = \"db\"\ndatabase = \"{name}\"\nusername = \"u\"\n";

#[test]
fn a_database_takes_what_it_is_silent_about() {
    let defaults = format!(
        "{WHERE}port = 6432\npassword_file = \"${{ON}}/{{name}}\"\nssl_mode = \"verify-ca\"\nssl_root_cert = \"ca.pem\"\n\
         slot_name = \"cdc_{{name}}\"\npublication_name = \"cdc\"\nstatus = \"disabled\"\nprovision = \"report\"\n\
         schemas = [\"sales\"]\nmax_retained_wal = \"5GB\"\nsink = \"changes\"\n"
    );
    let shop = one(&of(&defaults, ""));
    let to = &shop.connection;
    assert_eq!((&to.host, to.port, &*to.database), (&Host::Name("db".to_owned()), 6432, "Shop.eu"));
    assert_eq!(to.password, Password::File("/etc/slotd/true/Shop.eu".into()));
    assert!(matches!(&to.tls.as_ref().unwrap().mode, SslMode::VerifyCa(trust) if trust.root_cert.is_some()));
    assert_eq!((shop.slot.as_str(), shop.publication.as_str()), ("cdc_shop_eu", "cdc"));
    assert_eq!((shop.status, shop.provision), (Status::Disabled, Provision::Report));
    assert_eq!(shop.scope, Some(Scope::Schemas(vec!["sales".to_owned()])));
    assert_eq!(shop.max_retained_wal, Budget::Bytes(5 << 30));

    let own = one(&of(
        &defaults,
        "port = 1\ndatabase = \"d\"\nslot_name = \"s\"\nstatus = \"active\"\nprovision = \"apply\"",
    ));
    assert_eq!((own.connection.port, &*own.connection.database, own.slot.as_str()), (1, "d", "s"));
    assert_eq!((own.status, own.provision), (Status::Active, Provision::Apply));
    let nested = one(&of(&defaults, "[[postgres_databases.replication_slots]]\nstatus = \"active\"\ntables = [\"t\"]"));
    assert_eq!((nested.slot.as_str(), nested.status), ("cdc_shop_eu", Status::Active));
    assert!(matches!(nested.scope, Some(Scope::Tables(_))));
}

#[test]
fn what_a_database_says_makes_void_what_contradicts_it() {
    let to = |defaults: &str, keys: &str| one(&of(&format!("{WHERE}{defaults}"), keys)).connection.clone();
    let secret = |text: &str| Password::Value(text.into());
    let url = "url = \"postgresql://me:pw@there/d\"";
    let by_url = to("port = 1\npassword_file = \"p\"", url);
    assert_eq!((by_url.port, &*by_url.username, &*by_url.database), (5432, "me", "d"));
    assert_eq!((by_url.host, by_url.password), (Host::Name("there".to_owned()), secret("pw")));
    assert_eq!(to("password = \"x\"", url).password, secret("pw"));
    let no_password = "url = \"postgresql://me@there/d\"";
    assert_eq!(to("password = \"x\"", no_password).password, secret("x"));
    assert_eq!(to("password_file = \"p\"", no_password).password, Password::File("/etc/slotd/p".into()));
    assert_eq!(to("password_file = \"p\"", "password = \"x\"").password, secret("x"));
    assert_eq!(to("password = \"x\"", "password_file = \"p\"").password, Password::File("/etc/slotd/p".into()));
    assert_eq!(to("ssl_root_cert = \"ca.pem\"", "ssl = false\nhostname = \"localhost\"").tls, None);
    assert!(to("ssl = false", "ssl_mode = \"require\"").tls.is_some());
    assert_eq!(to("ssl_root_cert = \"c\"", "ssl_mode = \"require\"").tls.unwrap().mode, SslMode::Require);
    assert_eq!(to("ssl_mode = \"verify-full\"", "hostname = \"/run/postgresql\"").tls, None);
    let scope = |defaults: &str, keys: &str| one(&of(&format!("{WHERE}{defaults}"), keys)).scope.clone();
    assert!(matches!(scope("schemas = [\"s\"]", "tables = [\"t\"]"), Some(Scope::Tables(_))));
    assert!(matches!(scope("tables = [\"t\"]", "schemas = [\"s\"]"), Some(Scope::Schemas(_))));
}

#[test]
fn a_primary_of_all_is_that_of_those_on_their_replica() {
    let defaults =
        format!("{WHERE}primary = {{ hostname = \"first\", username = \"{{name}}\" }}\nssl_negotiation = \"direct\"\n");
    let shop = one(&of(&defaults, ""));
    let primary = shop.primary.as_ref().unwrap();
    assert_eq!((&primary.host, &*primary.database), (&Host::Name("first".to_owned()), "Shop.eu"));
    assert_eq!(primary.username, "Shop.eu");
    assert_eq!(primary.tls.as_ref().unwrap().negotiation, SslNegotiation::Direct);
    assert_eq!(one(&of(&defaults, "hostname = \"elsewhere\"")).primary, None);
    let slot_on = format!("slot_on = \"primary\"\n{defaults}");
    assert_eq!(one(&of(&slot_on, "")).connection.host, Host::Name("first".to_owned()));
    assert_eq!(one(&of(&slot_on, "hostname = \"alone\"")).connection.host, Host::Name("alone".to_owned()));
    let hosts = one(&of(&defaults, "hosts = [\"a\", \"b\"]"));
    assert_eq!((hosts.connection.servers().len(), &hosts.primary), (2, &None));
    let by_hosts = one(&of(&WHERE.replace("hostname = \"db\"", "hosts = [\"{name}-a\", \"{name}-b:1\"]"), ""));
    assert_eq!(by_hosts.connection.servers()[1].to_string(), "shop.eu-b:1");
    let hosts = WHERE.replace("hostname = \"db\"", "hosts = [\"a\", \"b\"]");
    assert_eq!(one(&of(&hosts, "hostname = \"c\"")).connection.servers().len(), 1);
    let failover = format!("{WHERE}failover = true\n");
    assert!(one(&of(&failover, "")).failover && !one(&of(&failover, "primary = { hostname = \"p\" }")).failover);
    let own = one(&of(
        "channel_binding = \"require\"",
        "url = \"postgresql://u:p@db/d\"\nprimary = { hostname = \"first\" }",
    ));
    let bound = |to: &Connection| to.channel_binding;
    assert_eq!(
        (bound(&own.connection), bound(own.primary.as_ref().unwrap())),
        (ChannelBinding::Require, ChannelBinding::Require)
    );
}

#[test]
fn paths_of_defaults_start_at_the_main_file() {
    let main = "include = [\"conf.d/*\"]\n[defaults]\npassword_file = \"secrets/{name}\"\n";
    let config = good_with(main, &[("conf.d/a", &shop(""))]);
    assert_eq!(config.databases[0].connection.password, Password::File("/etc/slotd/secrets/shop".into()));
}

fn two(defaults: &str) -> String {
    let entry = |name: &str| format!("[[postgres_databases]]\nname = \"{name}\"\ndatabase = \"{name}\"\n");
    format!("[defaults]\n{defaults}\n{}{}{}", entry("a"), entry("b"), entry("c"))
}

#[test]
fn a_mistake_in_defaults_is_shown_once() {
    let defaults = "hostname = \"a:1\"\nport = 0\nusername = \"{user}\"\nssl_mode = \"prefer\"\nprovision = \"aply\"\n\
                    sink = \"chnages\"\nmax_retained_wal = 10\ntables = [\"A\", 1]\nname = \"x\"\nurl = \"postgresql://u:hunter2@h/d\"\n\
                    password = \"hunter2$\"\npassword_file = \"p\"\nslot_name = \"S\"\ngrace = \"1s\"\nprot = 1\n\
                    primary = { hostname = \"b:1\", prot = 1 }\n";
    insta::assert_snapshot!(shown(&two(defaults)));
}

#[test]
fn what_is_right_in_defaults_and_wrong_for_a_database_is_shown_with_the_first_of_them() {
    let defaults = "hostname = \"10.0.0.1\"\nusername = \"u\"\nchannel_binding = \"require\"\nssl_mode = \"require\"\n\
                    slot_name = \"{name}_with_a_tail_that_makes_it_longer_than_postgres_can_take\"\n";
    let text = format!("{}ssl_root_cert = \"c\"\nipv6 = true\n", two(defaults));
    insta::assert_snapshot!(shown(&text.replace("name = \"b\"", "name = \"longer_name\"")));
}

#[test]
fn a_warning_of_defaults_is_given_once() {
    let config = good(&two("hostname = \"db\"\nusername = \"u\"\nssl = false\n"));
    assert_eq!(config.warnings.len(), 1);
    let config = good(&two("hostname = \"{name}\"\nusername = \"u\"\nssl = false\n").replacen(
        "\ndatabase",
        "\nssl = true\ndatabase",
        1,
    ));
    assert_eq!(config.warnings.len(), 1);
}

#[test]
fn one_slot_for_all_of_a_server_is_shown_once() {
    let server = "hostname = \"db\"\nusername = \"u\"\n";
    insta::assert_snapshot!(shown(&two(&format!("{server}slot_name = \"s\"\npublication_name = \"p\"\n"))));
    // One server each, or each its own name.
    assert!(read(&two("hostname = \"{name}.example.com\"\nusername = \"u\"\nslot_name = \"s\"\n")).is_ok());
    assert!(read(&two(&format!("{server}slot_name = \"s_{{name}}\"\n"))).is_ok());
    let meet = two(&format!("{server}slot_name = \"s_{{name}}\"\n")).replace("\"b\"", "\"A\"");
    assert!(shown(&meet).contains("`a` and `A` name one slot of one server, `s_a`"));
}

#[test]
fn defaults_without_a_database_are_read_all_the_same() {
    assert!(shown("[defaults]\nprovision = \"aply\"\nprimary = { port = 0 }").contains("1 to 65535"));
    assert_eq!(
        good("[defaults]\nhostname = \"db\"\nslot_on = \"primary\"\nchannel_binding = \"require\"").databases,
        []
    );
    assert!(shown("defaults = 1").contains("write [defaults] on a line of its own"));
}
