//! Values of every type against an oracle: what the server's own `to_jsonb` makes of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value as Json;
use slotd::change::{Change, ChangeKind, Column, Relation, StreamIdentity, Transaction, Type};
use slotd::encode::Sequin;
use slotd::ident::{DatabaseName, PublicationName, SlotName, TableName, quote_literal};
use slotd::lsn::{Lsn, Timeline};
use slotd::pgoutput::{self, Message, ReplicaIdentity};
use slotd::postgres::StreamFacts;
use slotd::postgres::types::resolve;
use tokio_postgres::Client;

use crate::support::{Cluster, Flow, VERSIONS};

/// What the types of `SAMPLES` need besides those of Postgres.
pub(crate) const SETUP: &str = r#"
create schema samples;
create domain samples.qty as integer check (value >= 0);
create domain samples.few as samples.qty;
create domain samples.ints as integer[];
create domain samples.corner as box;
create domain samples.doc as jsonb;
create type samples.mood as enum ('sad', 'ok', 'happy "as" can, be', '');
create type samples.pair as (n integer, t text);
create type samples.none as ();
create type samples.nested as (pairs samples.pair[], doc json, at timestamptz, moods samples.mood[], few samples.few);
create type samples.deep as ("Odd ""name""" samples.nested, price numeric);
create domain samples.some as samples.pair;
create domain samples.same as samples.some;
create domain samples.pairs as samples.pair[];
create type samples.textrange as range (subtype = text, collation = "C");
alter type samples.pair add attribute gone integer;
alter type samples.pair drop attribute gone;
"#;

/// A type, and a literal of it. Types that are not built in come from `SETUP`.
#[rustfmt::skip]
pub(crate) const SAMPLES: &[(&str, &str)] = &[
    ("boolean", "t"), ("boolean", "f"),
    ("smallint", "-32768"), ("integer", "2147483647"),
    ("bigint", "9223372036854775807"), ("bigint", "-9223372036854775808"), ("bigint", "9007199254740993"),
    ("real", "0.1"), ("real", "3.4028235e38"), ("real", "1e-45"), ("real", "NaN"), ("real", "Infinity"),
    ("double precision", "0.1"), ("double precision", "1"), ("double precision", "-0"),
    ("double precision", "1e300"), ("double precision", "5e-324"), ("double precision", "1e20"),
    ("double precision", "NaN"), ("double precision", "-Infinity"),
    ("numeric", "0"), ("numeric", "19.90"), ("numeric(10,2)", "-1.5"), ("numeric", "0.00000000000000000001"),
    ("numeric", "123456789012345678901234567890123456789012345678901234567890.5"),
    ("numeric", "NaN"), ("numeric", "Infinity"), ("numeric", "-Infinity"),
    ("money", "-1234.56"),
    ("oid", "4294967295"), ("xid", "7"), ("xid8", "18446744073709551615"), ("cid", "7"), ("tid", "(4294967295,65535)"),
    ("\"char\"", "x"), ("\"char\"", "\\351"), ("\"char\"", ""),
    ("name", "a \"name\""), ("text", ""), ("text", "NULL"), ("text", "null"),
    ("text", "say \"hi\", back\\slash, {braces} (parens) ; tab\t line\nreturn\r bell\u{7} del\u{7f}"),
    ("text", "Größe 日本 🐘 \u{2028}\u{2029}\u{feff}"), ("text", " blanks "), ("text", "\\"), ("text", "\""),
    ("varchar(3)", "abc"), ("char(5)", "ab"), ("char(2)", "  "),
    ("bytea", "\\x"), ("bytea", "\\x00deadbeefff"),
    ("bit(3)", "101"), ("bit varying", ""), ("bit varying(8)", "1011"),
    ("date", "2026-01-01"), ("date", "0044-03-15 BC"), ("date", "5874897-12-31"), ("date", "4713-01-01 BC"),
    ("date", "infinity"), ("date", "-infinity"),
    ("time", "24:00:00"), ("time", "00:00:00.000001"), ("timetz", "12:00:00+05:30"), ("timetz", "24:00:00-15:59"),
    ("timestamp", "2026-01-01"), ("timestamp", "2026-01-01 12:34:56.789"), ("timestamp", "0044-03-15 12:00:00.5 BC"),
    ("timestamp", "294276-12-31 23:59:59.999999"), ("timestamp", "infinity"), ("timestamp", "-infinity"),
    ("timestamptz", "2026-01-01 00:00:00.000001+00"), ("timestamptz", "2026-01-01 00:00:00+05:30"),
    ("timestamptz", "0044-03-15 12:00:00+00 BC"), ("timestamptz", "4714-11-24 00:00:00+00 BC"),
    ("timestamptz", "294276-12-31 23:59:59.999999+00"), ("timestamptz", "10000-01-01 00:00:00+00"),
    ("timestamptz", "infinity"), ("timestamptz", "-infinity"),
    ("interval", "1 year 2 months -3 days 04:05:06.789"), ("interval", "0"), ("interval", "-00:00:00.000001"),
    ("json", "{\"a\": [1, 2.50, \"x\\ny\"], \"b\": null}"), ("json", "{\n  \"a\":\r\n\t1\n}"), ("json", "\"\\\"\\\\\""),
    ("json", "null"), ("json", " 7 "), ("json", "{\"dup\": 1, \"dup\": 2}"), ("json", "\"\\u00e9\""),
    ("jsonb", "{\"a\": [1, 2.50, \"x\\ny\"], \"b\": null}"), ("jsonb", "\"NULL\""), ("jsonb", "null"), ("jsonb", "[]"),
    ("jsonpath", "$.\"a b\"[*] ? (@ > 1)"),
    ("xml", "<a b=\"c\">&lt;\n</a>"),
    ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"), ("pg_lsn", "16/B374D848"),
    ("inet", "10.0.0.1/8"), ("inet", "::1"), ("cidr", "10.0.0.0/8"),
    ("macaddr", "08:00:2b:01:02:03"), ("macaddr8", "08:00:2b:01:02:03:04:05"),
    ("point", "(1,-2.5)"), ("point", "(NaN,Infinity)"), ("line", "{1,2,3}"), ("lseg", "[(1,2),(3,4)]"),
    ("box", "(1,1),(0,0)"), ("path", "((0,0),(1,1))"), ("path", "[(0,0),(1,1)]"), ("polygon", "((0,0),(1,1),(1,0))"),
    ("circle", "<(1,2),3>"),
    ("tsvector", "'a cat':2A 'it''s':1"), ("tsquery", "'a' & !'b c'"),
    ("refcursor", "some cursor"), ("aclitem", "postgres=r/postgres"),
    ("regproc", "pg_catalog.now"), ("regprocedure", "pg_catalog.abs(integer)"), ("regoper", "pg_catalog.||/"),
    ("regoperator", "pg_catalog.+(integer,integer)"), ("regclass", "pg_catalog.pg_class"), ("regtype", "timestamptz"),
    ("regconfig", "pg_catalog.simple"), ("regdictionary", "pg_catalog.simple"), ("regnamespace", "pg_catalog"),
    ("regrole", "postgres"), ("regcollation", "pg_catalog.\"C\""),
    ("pg_snapshot", "10:20:10,14,15"), ("txid_snapshot", "10:20:10,14,15"),
    ("int2vector", "1 -2 3"), ("int2vector", ""), ("oidvector", "1 4294967295"),
    ("int4range", "[1,5)"), ("int4range", "empty"), ("int4range", "(,)"), ("int8range", "(,5)"),
    ("numrange", "[1.50,2.5]"), ("daterange", "[2026-01-01,infinity)"),
    ("tsrange", "[2026-01-01 00:00,2026-01-02 00:00)"), ("tstzrange", "[2026-01-01 00:00+00,)"),
    ("int4multirange", "{[1,5),[7,9)}"), ("int4multirange", "{}"), ("int8multirange", "{(,5)}"),
    ("nummultirange", "{[1.50,2.5]}"), ("datemultirange", "{[2026-01-01,2026-01-03)}"),
    ("tsmultirange", "{[2026-01-01 00:00,2026-01-02 00:00)}"), ("tstzmultirange", "{[2026-01-01 00:00+00,)}"),
    ("integer[]", "{}"), ("integer[]", "{1,NULL,-3}"), ("integer[]", "{{1,2},{3,NULL}}"),
    ("integer[]", "{{{1},{2}},{{3},{4}}}"), ("integer[]", "{{{{{{1,2}}}}}}"),
    ("integer[]", "[0:1]={1,2}"), ("integer[]", "[-1:0][5:6]={{1,2},{3,4}}"),
    ("text[]", "{\"\",NULL,\"NULL\",null,a,\"b c\",\"d,e\",\"{}\",\"q\\\"q\",\"b\\\\b\",\"line\nbreak\",é}"),
    ("text[]", "{{a,b},{\"c d\",NULL}}"),
    ("box[]", "{(1,1),(0,0);NULL;(2,2),(1,1)}"), ("box[]", "{{(1,1),(0,0)};{(2,2),(1,1)}}"),
    ("int2vector[]", "{\"1 2\",NULL,3}"), ("oidvector[]", "{\"1 2\",3}"),
    ("json[]", "{\"{\\\"a\\\":\n \\\"b\\\\nc\\\"}\",NULL,\"null\",1}"),
    ("bytea[]", "{\"\\\\xdeadbeef\",\"\\\\x\"}"),
    ("samples.qty", "7"), ("samples.few", "7"), ("samples.ints", "{1,NULL}"), ("samples.ints", "{{1,2},{3,4}}"),
    ("samples.corner", "(1,1),(0,0)"), ("samples.doc", "{\"a\": 1}"),
    ("samples.ints[]", "{\"{1,2}\",\"{{3},{4}}\",NULL}"), ("samples.corner[]", "{(1,1),(0,0);(2,2),(1,1)}"),
    ("samples.mood", "ok"), ("samples.mood", "happy \"as\" can, be"), ("samples.mood", ""),
    ("samples.mood[]", "{sad,NULL,\"happy \\\"as\\\" can, be\",\"\"}"),
    ("samples.pair", "(1,\"two words\")"), ("samples.pair", "(,)"), ("samples.pair", "(,\"\")"), ("samples.none", "()"),
    ("samples.pair", "(1,\"say \"\"hi\"\", \\\\ (bye) {x}\nline\")"), ("samples.some", "(1,a)"),
    ("samples.pair[]", "{\"(1,\\\"a b\\\")\",NULL,\"(,)\"}"), ("samples.pair[]", "{{\"(1,a)\"},{\"(2,b)\"}}"),
    (
        "samples.deep",
        r#"("(""{""""(1,\\\\""""a \\\\""""\\\\""""\\\\\\\\\\\\\\\\ b\\\\"""")"""",NULL}"",""{""""k"""":
 [""""it\\\\""""s""""]}"",""2026-01-01 00:00:00+00"",""{sad,"""""""",""""happy \\\\""""as\\\\"""" can, be""""}"",5)",19.90)"#,
    ),
    ("samples.same", "(1,\"two words\")"), ("samples.pairs", "{\"(1,\\\"a b\\\")\",NULL}"),
    ("json", "\"\u{2028}\\t\\u0001\u{85}\""),
    ("samples.textrange", "[a,\"b c\")"), ("samples.textmultirange", "{[a,b),[\"c,d\",e)}"),
];

/// Base types that no column can be given a value of.
const NEVER_IN_A_TABLE: &[&str] = &[
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
];

/// As slotd's own sessions have them.
const SETTINGS: &str = "
    set client_encoding = 'UTF8'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; set timezone = 'UTC';
    set extra_float_digits = 3; set bytea_output = 'hex'; set lc_monetary = 'C'; set search_path = '';
";

#[tokio::test]
async fn every_type_is_as_to_jsonb_has_it_pg15() {
    compare_with_the_server(15).await;
}

#[tokio::test]
async fn every_type_is_as_to_jsonb_has_it_pg16() {
    compare_with_the_server(16).await;
}

#[tokio::test]
async fn every_type_is_as_to_jsonb_has_it_pg17() {
    compare_with_the_server(17).await;
}

#[tokio::test]
async fn every_type_is_as_to_jsonb_has_it_pg18() {
    compare_with_the_server(18).await;
}

async fn compare_with_the_server(major: u32) {
    let client = connect(major).await;
    client.batch_execute(SETTINGS).await.unwrap();
    client.batch_execute(SETUP).await.unwrap();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (at, (name, literal)) in SAMPLES.iter().enumerate() {
        let wrapper = format!("samples.sample_{at}");
        client.batch_execute(&format!("create type {wrapper} as (v {name}, n {name})")).await.unwrap();
        let value = format!("{}::{name}", quote_literal(literal));
        let row = format!("row({value}, null)::{wrapper}");
        let mut forms = vec![
            ((*name).to_owned(), value.clone()),
            (wrapper.clone(), row.clone()),
            (format!("{wrapper}[]"), format!("array[{row}, null, row(null, {value})::{wrapper}]")),
        ];
        if !name.ends_with("[]") && !name.ends_with("vector") || *name == "tsvector" {
            let array = format!("{name}[]");
            forms.push((array.clone(), format!("array[{value}, null]::{array}")));
            forms.push((array.clone(), format!("array[[{value}, null], [null, {value}]]::{array}")));
            forms.push((array.clone(), format!("array[[[{value}], [{value}]]]::{array}")));
        }
        for (name, expression) in forms {
            wrong.extend(check(&client, &name, &expression).await);
            checked += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {checked} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(types_without_a_sample(&client).await, Vec::<String>::new());
}

/// Compares what slotd writes for `expression`, of the type `name`, with what the server makes of it.
async fn check(client: &Client, name: &str, expression: &str) -> Option<String> {
    // `format` prints by the type's output function, as the walsender does; `::text` is a cast and may do otherwise.
    let sql = format!(
        "select format('%s', v), to_jsonb(v)::text, {}::regtype::oid from (select {expression}) as sample(v)",
        quote_literal(name)
    );
    let row = match client.query_one(&sql, &[]).await {
        Ok(row) => row,
        Err(error) => panic!("{sql}: {error:?}"),
    };
    let (text, server, oid): (String, String, u32) = (row.get(0), row.get(1), row.get(2));
    let resolved = types_of(client, &[oid]).await;
    let r#type = &resolved[&oid];
    let line = encode(r#type, &text);
    let json: Json = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{name} {text}: {error}: {line}"));
    let ours = &json["record"]["v"];
    let server: Json = serde_json::from_str(&server).unwrap_or_else(|error| panic!("{name} {server}: {error}"));
    (!same(r#type, ours, &server)).then(|| format!("{name}: text {text}\n    ours   {ours}\n    server {server}"))
}

async fn types_of(client: &Client, oids: &[u32]) -> HashMap<u32, Arc<Type>> {
    let none = SlotName::new("none").unwrap();
    let StreamFacts { horizon, .. } = StreamFacts::look(client, &none).await.unwrap();
    let resolved = resolve(client, &none, &horizon, oids).await.unwrap();
    resolved.types.into_iter().map(|(oid, found)| (oid, found.r#type)).collect()
}

/// The line of an insert into a table of one column `v`.
fn encode(r#type: &Arc<Type>, text: &str) -> String {
    let mut message = b"I\0\0\0\x01N\0\x01t".to_vec();
    message.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    message.extend_from_slice(text.as_bytes());
    let Message::Insert { new, .. } = pgoutput::decode(&message).unwrap() else { panic!("not an insert") };
    let relation = Arc::new(Relation {
        oid: 1,
        name: TableName { schema: "samples".to_owned(), table: "samples".to_owned() },
        identity: ReplicaIdentity::Default,
        columns: vec![Column { name: "v".to_owned(), key: false, r#type: Arc::clone(r#type), before: None }],
    });
    let stream = StreamIdentity {
        system_identifier: 1,
        timeline: Timeline { id: 1, begin: Lsn::ZERO },
        standby: false,
        slot: SlotName::new("samples").unwrap(),
        publication: PublicationName::new("samples").unwrap(),
        database: DatabaseName::new("samples").unwrap(),
        dbname: "samples".to_owned(),
        hostname: "localhost".to_owned(),
    };
    let transaction = Transaction { timeline: 1, commit_lsn: Lsn(1), commit_timestamp: None, xid: None };
    let kind = ChangeKind::Insert { relation: &relation, new };
    let mut line = Vec::new();
    Sequin::new(Arc::new(stream)).line(&Change { transaction: &transaction, ordinal: Some(0), kind }, &mut line);
    String::from_utf8(line).unwrap()
}

/// Whether two values are the same but for what docs/FORMAT.md does otherwise than `to_jsonb`.
pub(crate) fn same(r#type: &Type, ours: &Json, server: &Json) -> bool {
    match (r#type, ours, server) {
        (Type::Numeric, Json::String(ours), Json::Number(server)) => ours.parse().ok() == server.as_f64(),
        (Type::Numeric, Json::Number(_), _) => false,
        // `to_jsonb` prints 1e+20 with all its zeros, and loses the sign of zero.
        (Type::Float, Json::Number(ours), Json::Number(server)) => ours.as_f64() == server.as_f64(),
        (Type::TimestampTz, Json::String(ours), Json::String(server)) => *ours == server.replace("+00:00", "Z"),
        (Type::Array { element, .. }, Json::Array(ours), Json::Array(server)) => {
            let item = |(ours, server)| same(element, ours, server) || same(r#type, ours, server);
            ours.len() == server.len() && ours.iter().zip(server).all(item)
        }
        (Type::Composite(fields), Json::Object(ours), Json::Object(server)) => {
            ours.len() == server.len()
                && fields.iter().all(|field| match (ours.get(&field.name), server.get(&field.name)) {
                    (Some(ours), Some(server)) => same(&field.r#type, ours, server),
                    _ => false,
                })
        }
        (_, ours, server) => ours == server,
    }
}

/// The types of Postgres itself that a table can hold and that `SAMPLES` forgot.
async fn types_without_a_sample(client: &Client) -> Vec<String> {
    let names: BTreeSet<_> = SAMPLES.iter().map(|(name, _)| format!("{}::regtype::oid", quote_literal(name))).collect();
    let sampled = names.into_iter().collect::<Vec<_>>().join(", ");
    let sql = format!(
        "select typname::text from pg_type
         where typtype in ('b', 'r', 'm') and typnamespace = 'pg_catalog'::regnamespace
             and oid not in (select typarray from pg_type) and oid not in ({sampled}) order by 1"
    );
    let rows = client.query(&sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).filter(|name: &String| !NEVER_IN_A_TABLE.contains(&name.as_str())).collect()
}

/// The whole way: tables, WAL, the walsender, a file.
#[tokio::test]
async fn every_type_arrives_in_the_file_as_to_jsonb_has_it() {
    for major in VERSIONS {
        let mut flow = Flow::start(Cluster::shared(major), SETUP, "").await;
        flow.client.batch_execute(SETTINGS).await.unwrap();
        for (at, sample) in SAMPLES.iter().enumerate() {
            flow.run(&[&table_of(at, *sample)]).await;
        }
        let lines = flow.take().await;
        assert_eq!(lines.len(), SAMPLES.len());
        let mut wrong = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let table = format!("samples.t_{at}");
            let server: String = one(&flow.client, &format!("select to_jsonb(t)::text from {table} as t")).await;
            let server: Json = serde_json::from_str(&server).unwrap();
            let sql = "select attname::text, atttypid from pg_attribute
                       where attrelid = $1::text::regclass and attnum > 0";
            let columns = flow.client.query(sql, &[&table]).await.unwrap();
            let oids: Vec<u32> = columns.iter().map(|column| column.get(1)).collect();
            let types = types_of(&flow.client, &oids).await;
            assert_eq!(line["record"].as_object().unwrap().len(), columns.len(), "{:?}", SAMPLES[at]);
            for column in &columns {
                let (name, r#type) = (column.get::<_, &str>(0), &types[&column.get(1)]);
                let (ours, server) = (&line["record"][name], &server[name]);
                if !same(r#type, ours, server) {
                    wrong.push(format!("{:?}.{name}\n    ours   {ours}\n    server {server}", SAMPLES[at]));
                }
            }
        }
        assert!(wrong.is_empty(), "PostgreSQL {major}: {} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// A table with a sample in each of its forms, and its one row.
fn table_of(at: usize, (name, literal): (&str, &str)) -> String {
    let value = format!("{}::{name}", quote_literal(literal));
    let (domain, row, table) = (format!("samples.d_{at}"), format!("samples.r_{at}"), format!("samples.t_{at}"));
    let mut columns = vec![
        (name.to_owned(), value.clone()),
        (name.to_owned(), "null".to_owned()),
        (domain.clone(), value.clone()),
        (row.clone(), format!("row({value}, null, {value})")),
        (format!("{row}[]"), format!("array[row({value}, null, null)::{row}, null]")),
    ];
    if !name.ends_with("[]") && !name.ends_with("vector") || name == "tsvector" {
        let array = format!("{name}[]");
        columns.push((array.clone(), format!("array[{value}, null]::{array}")));
        columns.push((array.clone(), format!("array[[{value}, null], [null, {value}]]::{array}")));
        columns.push((array.clone(), format!("array[[[{value}], [{value}]]]::{array}")));
        columns.push((format!("{domain}[]"), format!("array[{value}, null]::{domain}[]")));
    }
    let defined: Vec<_> = columns.iter().enumerate().map(|(n, (name, _))| format!("c{n} {name}")).collect();
    let values: Vec<_> = columns.iter().map(|(_, value)| value.as_str()).collect();
    format!(
        "create domain {domain} as {name};
         create type {row} as (v {name}, n {name}, d {domain});
         create table {table} (id int primary key, {});
         insert into {table} values ({at}, {})",
        defined.join(", "),
        values.join(", ")
    )
}

/// Longer than a batch, with what JSON escapes, and out of line.
#[tokio::test]
async fn values_of_a_megabyte_arrive_whole() {
    let table = "
        create type pair as (a text, b json);
        create table t (id int primary key, t text, b bytea, j json, jb jsonb, l text[], p pair);
        alter table t alter t set storage external, alter b set storage external;";
    let insert = r#"
        insert into public.t
        with v as (select repeat(e'line\n\t"quoted\\" Größe 日本', 50000) as v)
        select n, v || n, convert_to(v, 'UTF8'),
            ('{' || repeat(e'\n\r  ', 100000) || '"a":' || to_json(v) || repeat(e'\n', 100000) || '}')::json,
            jsonb_build_array(v, n), array[v, null, ''], row(v, to_json(v))::public.pair
        from v, generate_series(1, 3) as n"#;
    for major in [15, 18] {
        let mut flow = Flow::start(Cluster::shared(major), table, "").await;
        flow.client.batch_execute(SETTINGS).await.unwrap();
        flow.run(&[insert]).await;
        let lines = flow.take().await;
        assert_eq!(lines.len(), 3);
        for (at, line) in lines.iter().enumerate() {
            let sql = format!("select to_jsonb(t.*)::text from public.t where id = {}", at + 1);
            let server: Json = serde_json::from_str(&one(&flow.client, &sql).await).unwrap();
            assert!(server["t"].as_str().unwrap().len() > 1_000_000);
            for (name, value) in server.as_object().unwrap() {
                assert!(line["record"][name] == *value, "PostgreSQL {major}: {name} of row {at} differs");
            }
        }
    }
}

async fn one(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_type_that_is_gone_is_text() {
    let client = connect(18).await;
    let resolved = types_of(&client, &[4_000_000_000, 23]).await;
    let expected = HashMap::from([(4_000_000_000, Arc::new(Type::Text)), (23, Arc::new(Type::Int))]);
    assert_eq!(resolved, expected);
}

/// A session of a superuser in a new database on a server of this version.
async fn connect(major: u32) -> Client {
    let cluster = Cluster::shared(major);
    cluster.connect(&cluster.create_database().await).await
}
