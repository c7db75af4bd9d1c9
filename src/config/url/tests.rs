use proptest::prelude::*;

use super::*;

fn env(name: &str) -> Option<String> {
    match name {
        "PASSWORD" => Some("p@s/s:%41?#[".to_owned()),
        "HOST" => Some("db.example.com".to_owned()),
        "URL" => Some("postgres://u:p%40$$@db/shop".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Url {
    url(text, &env).unwrap_or_else(|wrong| panic!("{text}: {}", wrong.sentence))
}

fn parts(text: &str) -> (String, Option<String>, Host, u16, String) {
    let url = read(text);
    (url.username, url.password, url.host, url.port, url.database)
}

fn name(text: &str) -> Host {
    Host::Name(text.to_owned())
}

#[test]
fn parts_are_found_and_decoded() {
    let some = |text: &str| Some(text.to_owned());
    let own = str::to_owned;
    assert_eq!(parts("postgresql://u:p@db:6543/shop"), (own("u"), some("p"), name("db"), 6543, own("shop")));
    assert_eq!(parts("postgres://u@db/shop"), (own("u"), None, name("db"), 5432, own("shop")));
    assert_eq!(parts("postgres://u:@db/shop"), (own("u"), None, name("db"), 5432, own("shop")));
    assert_eq!(
        parts("postgres://a%40b:p%3A%2f%c3%A9@db/my%20shop"),
        (own("a@b"), some("p:/é"), name("db"), 5432, own("my shop"))
    );
    assert_eq!(parts("postgres://u:p@ss:w@db/shop"), (own("u"), some("p@ss:w"), name("db"), 5432, own("shop")));
    assert_eq!(parts("postgres://u:a$$b@db/shop").1, some("a$b"));
}

#[test]
fn every_kind_of_host_is_found() {
    let address = |ip: &str| Host::Address { ip: ip.parse().unwrap(), zone: None };
    assert_eq!(read("postgres://u@10.0.0.1/s").host, address("10.0.0.1"));
    assert_eq!(read("postgres://u@[::1]/s").host, address("::1"));
    assert_eq!((read("postgres://u@[::1]:99/s").host, read("postgres://u@[::1]:99/s").port), (address("::1"), 99));
    let zoned = Host::Address { ip: "fe80::1".parse().unwrap(), zone: Some("eth0".to_owned()) };
    assert!(read("postgres://u@[fe80::1%25eth0]/s").host == zoned);
    assert!(read("postgres://u@[fe80::1%eth0]/s").host == zoned);
    assert_eq!(read("postgres://u@%2Frun%2Fpostgresql/s").host, Host::Socket("/run/postgresql".into()));
}

#[test]
fn what_a_variable_holds_is_never_syntax() {
    let url = read("postgresql://u:${PASSWORD}@${HOST}:${PORT:-6000}/${DB:-a/b@c?d}");
    assert_eq!(url.password.as_deref(), Some("p@s/s:%41?#["));
    assert_eq!((url.host, url.port, url.database.as_str()), (name("db.example.com"), 6000, "a/b@c?d"));
    let whole = read("${URL}");
    assert_eq!(whole.password.as_deref(), Some("p@$$"));
}

#[test]
fn what_is_wrong_names_the_key_to_use_and_no_part_of_the_url() {
    for (text, answer) in [
        ("postgres://u:secret@db/shop?sslmode=require", "`ssl_mode`"),
        ("postgres://u:secret@db/shop?dbname=x", "path"),
        ("postgres://u:secret@db/shop?x=require", "keys of their own"),
        ("postgres://u:sec?ret@db/shop", "%3F"),
        ("postgres://u:sec/ret@db/shop", "%2F"),
        ("postgres://u:sec#ret@db/shop", "%23"),
        ("postgres://u:sec%ret@db/shop", "%25"),
        ("postgres://u:secret@db/shop#x", "%23"),
        ("postgres://u:secret@::1/shop", "brackets"),
        ("postgres://u:secret@a:1,b:2/shop", "one host"),
        ("postgres://u:secret@[::1/shop", "`]`"),
        ("postgres://u:secret@[::1]x/shop", "behind its host"),
        ("postgres://u:secret@db:0/shop", "1 to 65535"),
        ("postgres://u:secret@db:/shop", "1 to 65535"),
        ("postgres://u:secret@db:+1/shop", "1 to 65535"),
        ("postgres://u:secret@/shop", "no host"),
        ("postgres://:secret@db/shop", "no user"),
        ("postgres://db/shop", "no user"),
        ("postgres://u:secret@db", "no database"),
        ("postgres://u:secret@db/", "no database"),
        ("postgres://u:secret@db/a/b", "more than a database"),
        ("postgres://u:%ff@db/shop", "UTF-8"),
        ("postgres://u:%00@db/shop", "UTF-8"),
        ("mysql://u:secret@db/shop", "postgresql://"),
        ("u:secret@db/shop", "postgresql://"),
        ("", "postgresql://"),
        ("postgres://u:${NO}@db/shop", "NO"),
        ("postgres://u:$secret@db/shop", "`$$`"),
        ("${NO}", "NO"),
    ] {
        let wrong = url(text, &env).err().unwrap_or_else(|| panic!("{text} was taken"));
        let answered = format!("{} {}", wrong.sentence, wrong.hint.unwrap_or_default());
        assert!(answered.contains(answer), "{text}: {answered}");
        assert!(!answered.contains("secret") && !answered.contains("ret@"), "{text}: {answered}");
    }
}

/// `text` with every byte escaped that is not plain.
fn escape(text: &str) -> String {
    let byte = |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(byte).collect()
}

proptest! {
    #[test]
    fn escaped_parts_come_back(user in "[^\0]+", password in "[^\0]+", database in "[^\0]+", port in 1_u16..) {
        let text = format!("postgresql://{}:{}@db:{port}/{}", escape(&user), escape(&password), escape(&database));
        prop_assert_eq!(parts(&text), (user, Some(password), name("db"), port, database));
    }

    #[test]
    fn parts_from_variables_come_back(user in ".+", password in ".+", database in ".+") {
        let (u, p, d) = (user.clone(), password.clone(), database.clone());
        let env = move |name: &str| Some(match name { "U" => u.clone(), "P" => p.clone(), _ => d.clone() });
        let read = url("postgresql://${U}:${P}@db/${D}", &env);
        if [&user, &password, &database].iter().any(|part| part.contains('\0')) {
            prop_assert!(read.is_err());
        } else {
            let read = read.unwrap_or_else(|wrong| panic!("{}", wrong.sentence));
            prop_assert_eq!((read.username, read.password, read.database), (user, Some(password), database));
        }
    }

    #[test]
    fn nothing_panics(text in "postgres://[a:@/?#%\\[\\]${}0-9]{0,20}|.*") {
        let _ = url(&text, &env);
    }
}
